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
    /// The card, its driver and the precision of its products, of trainings that are computed on one.
    public var device: [String: String]?
    /// The model's file or folder, by name.
    public var model: String
    /// The sparsity rule as it names itself, with version.
    public var rule: String
    /// Every setting of it, defaults included.
    public var ruleSettings: [String: String]?
    /// The scorer as it names itself, with version.
    public var scorer: String
    /// Every setting of it, defaults included.
    public var scorerSettings: [String: String]?
    /// SHA-256 of model, text and plugin files, by what they are for and, in a folder, their name.
    public var hashes: [String: String]
    /// Seeds of cycles 0…T and of the final SAEs.
    public var seeds: [UInt64]

    /// What final SAEs there are may change: each has a folder of its own, with what it is, and a k at which a training starved must
    /// not cost the cycles before it.
    static let changeableKeys: Set = ["final.k", "final.trials", "final.random_core"]

    /// Keys that say where something is. What it is, its hash says, and the settings for plugins.
    static let places = [
        "model", "text", "evaluate.text", "train.sparsity", "score.scorer", "distill.cycle0",
    ]

    /// Everything that results depend on, by name; of two runs of which all of it is the same, the results are.
    var causes: [(name: String, value: String)] {
        func named(_ values: [String: String]?, _ name: (String) -> String) -> [(String, String)] {
            (values ?? [:]).sorted { $0.key < $1.key }.map { (name($0.key), $0.value) }
        }
        let recipe = recipe.filter { !Self.changeableKeys.contains($0.key) && !Self.places.contains($0.key) }
        return named(recipe) { $0 }
            + [
                ("version", version), ("lanes", String(lanes)), ("BLAS core", blasCore),
                ("kernel level", String(kernelLevel)), ("sparsity rule", rule), ("scorer", scorer),
            ]
            + named(device) { "the device's \($0)" } + named(ruleSettings) { "the sparsity rule's \($0)" }
            + named(scorerSettings) { "the scorer's \($0)" }
            + named(hashes) { "SHA-256 of \($0)" }
            + [("seeds", seeds.map(String.init).joined(separator: " "))]
    }

    /// Whether a cause is the machine's, or the device's, and not the user's.
    static func isOfMachine(_ name: String) -> Bool { Causes.machineNames.contains(name) }

    /// SHA-256 of all causes, and of the name under which the model was when the run started: what the marks of its steps and
    /// its log say they are of, so that another record is found beside them.
    package var identity: String {
        let all = causes + [("model's name", model)]
        return SHA256.hexadecimal(SHA256.digest(of: all.map { "\($0.name)\0\($0.value)\0" }.joined()))
    }
}

/// The folder of a run:
/// `run.json  events.jsonl  store/  cycle-0/ … (sae/ scores.safetensors core.json core.safetensors metrics.json done.json)
/// final/ (core.json, k-64/dmsae/ … of each trial: trial.json, an SAE, metrics.json, done.json)  result.json`, cycles and final in a folder `seed-2/` each where there are several seeds.
///
/// A step is done when the file written last in its folder is there (`store.json`, or `live.json` of a run that stores no
/// activations; `done.json`); without it all of the step is made again.
public struct RunFolder: Sendable {
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

    /// What says of which activations the run is, the mark of its first step.
    func activationsMark(isLive: Bool) -> String { path + (isLive ? "/store/live.json" : "/store/store.json") }

    /// Whether something is inside.
    public func has(_ name: String) -> Bool { exists(path + "/" + name) }

    /// Takes back the start of a run that has harvested nothing: its record and log, and the store's folder.
    func abandon() {
        guard !has("store/store.json"), !has("store/live.json") else { return }
        for name in ["events.jsonl", "run.json", "store/harvest.json"] { unlink(path + "/" + name) }
        rmdir(path + "/store")
    }

    /// Starts a run or, with `resuming`, checks that the one here has the same causes. To be called with the folder locked.
    ///
    /// - Parameter elsewhere: go on although the machine is another than the one that the run was started on.
    /// - Returns: the record that counts: the one here keeps the names under which things were when the run started, and the machine; and
    ///   what of the machine is another now, by name.
    /// - Throws: `DistillationError` when a run is or is not there, or has another recipe.
    public func open(
        _ record: RunRecord, resuming: Bool, elsewhere: Bool = false
    ) throws -> (record: RunRecord, changed: [String: String]) {
        guard has("run.json") else {
            // What is done would be taken for this run's own. What a cut harvest left is not: it is made again.
            for mark in [
                "store/store.json", "store/live.json", "cycle-0/done.json", "cycle-0/metrics.json", "final/core.json",
                "events.jsonl",
            ]
            where has(mark) {
                throw DistillationError.recordMissing(folder: path, part: mark)
            }
            guard !resuming else { throw DistillationError.nothingToResume(folder: path) }
            try JSONRecord.write(record, to: path + "/run.json")
            return (record, [:])
        }
        guard resuming else { throw DistillationError.runExists(folder: path) }
        var old = try JSONRecord.read(RunRecord.self, from: path + "/run.json")
        let was = Dictionary(old.causes.map { ($0.name, $0.value) }) { first, _ in first }
        let now = Dictionary(record.causes.map { ($0.name, $0.value) }) { first, _ in first }
        var changed: [String: String] = [:]
        for (name, _) in record.causes + old.causes where was[name] != now[name] {
            if elsewhere, RunRecord.isOfMachine(name) {
                changed[name] = "\(was[name] ?? "unset"), now \(now[name] ?? "unset")"
                continue
            }
            throw DistillationError.recipeChanged(
                folder: path, key: name, was: was[name] ?? "unset", now: now[name] ?? "unset")
        }
        if RunRecord.changeableKeys.contains(where: { old.recipe[$0] != record.recipe[$0] }) {
            for key in RunRecord.changeableKeys { old.recipe[key] = record.recipe[key] }
            try JSONRecord.write(old, to: path + "/run.json")
        }
        return (old, changed)
    }
}
