import Glibc
import TensorFiles

/// What a run was started with; `run.json`.
public struct RunRecord: Codable, Sendable, Equatable {
    /// Version of the program.
    public var version: String
    /// Every key of the recipe; what "auto" came to is in each SAE's own record of its training plan.
    public var recipe: [String: String]
    /// The kernels of the BLAS; results are the same bits only on the same ones.
    public var blasCore: String
    /// Level of our own kernels, 2 to 4.
    public var kernelLevel: Int
    /// Lanes: sums are cut by their number.
    public var lanes: Int
    /// The model's file or folder, by name.
    public var model: String
    /// The sparsity rule as it names itself, with version.
    public var rule: String
    /// The scorer as it names itself, with version.
    public var scorer: String
    /// SHA-256 of model, text and plugin files, by what they are for and their name.
    public var hashes: [String: String]
    /// Seeds of cycles 0…T and of the final SAEs.
    public var seeds: [UInt64]
}

/// The folder of a run:
/// `run.json  events.jsonl  store/  cycle-0/ … (sae/ scores.safetensors core.json core.safetensors metrics.json)
/// final/ (core.json, k-64/dmsae/, k-64/baseline/, metrics.json)`.
///
/// A step is done when the file written last in its folder is there; everything before that is made again.
public struct RunFolder: Sendable {
    /// Its path.
    public let path: String

    /// A run at `path`.
    public init(_ path: String) { self.path = path }

    /// Path of something inside, folders made as needed.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func folder(_ name: String) throws -> String {
        try createFolder(path + "/" + name)
        return path + "/" + name
    }

    /// Whether something is inside.
    public func has(_ name: String) -> Bool { exists(path + "/" + name) }

    /// Takes back the start of a run that has harvested nothing: its record and log, and the folders if that was all.
    func abandon() {
        guard !has("store/store.json") else { return }
        for name in ["run.json", "events.jsonl"] { unlink(path + "/" + name) }
        for name in ["/store", ""] { rmdir(path + name) }
    }

    /// Starts a run or, with `resuming`, checks that the one here has the same recipe. Only `final.k` may change: each
    /// final pair has a folder of its own, and a k at which a training starved must not cost the cycles before it.
    ///
    /// - Throws: `DistillationError` when a run is or is not there, or has another recipe.
    public func open(_ record: RunRecord, resuming: Bool) throws {
        guard has("run.json") else {
            // What is done would be taken for this run's own. What a cut harvest left is not: it is made again.
            for mark in ["store/store.json", "cycle-0/metrics.json", "final/core.json"] where has(mark) {
                throw DistillationError.recordMissing(folder: path, part: mark)
            }
            guard !resuming else { throw DistillationError.nothingToResume(folder: path) }
            try createFolder(path)
            try JSONRecord.write(record, to: path + "/run.json")
            return
        }
        guard resuming else { throw DistillationError.runExists(folder: path) }
        let old = try JSONRecord.read(RunRecord.self, from: path + "/run.json")
        for (key, now) in record.recipe.sorted(by: { $0.key < $1.key })
        where old.recipe[key] != now && key != Self.changeableKey {
            throw DistillationError.recipeChanged(folder: path, key: key, was: old.recipe[key] ?? "unset", now: now)
        }
        for file in Set(record.hashes.keys).union(old.hashes.keys).sorted()
        where old.hashes[file] != record.hashes[file] {
            throw DistillationError.recipeChanged(
                folder: path, key: "SHA-256 of \(file)", was: old.hashes[file] ?? "absent",
                now: record.hashes[file] ?? "absent")
        }
        for (key, was, now) in [
            ("version", old.version, record.version),
            ("lanes", String(old.lanes), String(record.lanes)), ("BLAS core", old.blasCore, record.blasCore),
            ("kernel level", String(old.kernelLevel), String(record.kernelLevel)), ("model", old.model, record.model),
            ("sparsity rule", old.rule, record.rule), ("scorer", old.scorer, record.scorer),
        ] where was != now {
            throw DistillationError.recipeChanged(folder: path, key: key, was: was, now: now)
        }
        if old.recipe != record.recipe { try JSONRecord.write(record, to: path + "/run.json") }
    }

    private static let changeableKey = "final.k"
}
