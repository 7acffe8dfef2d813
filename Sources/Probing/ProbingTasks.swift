import TensorFiles

/// The tasks of sae-probes (arXiv:2502.16681): prompts of two classes each, in the package's own wheel.
package struct ProbingTasks: Sendable {
    /// Names of the binary tasks, "5_hist_fig_ismale", in the package's order.
    package let names: [String]
    private let archive: ZipArchive

    private static let folder = "sae_probes/data/"

    /// Reads the list of tasks.
    ///
    /// - Throws: `TensorFileError`; `ProbingError.malformed`.
    package init(wheel path: String) throws {
        archive = try ZipArchive(path: path)
        let list = try Self.table("probing_datasets_MASTER.csv.zst", archive)
        guard let kinds = list.columns["Data type"], let files = list.columns["Dataset save name"] else {
            throw ProbingError.malformed(file: path, what: "its list of tasks has other columns")
        }
        names = zip(kinds, files).compactMap { kind, file in
            guard String(decoding: kind, as: UTF8.self) == "Binary Classification" else { return nil }
            let name = String(decoding: file, as: UTF8.self)
            guard name.hasPrefix("cleaned_data/"), name.hasSuffix(".csv") else { return nil }
            return String(name.dropFirst(13).dropLast(4))
        }
    }

    /// A task's prompts and classes.
    ///
    /// - Throws: `ProbingError.noSuchTask`, `.malformed`; `TensorFileError`.
    package func task(_ name: String) throws -> ProbingTask {
        guard names.contains(name) else { throw ProbingError.noSuchTask(name: name, names: names) }
        let file = "cleaned_data/\(name).csv.zst"
        let table = try Self.table(file, archive)
        guard let prompts = table.columns["prompt"], let targets = table.columns["target"] else {
            throw ProbingError.malformed(file: archive.path, what: "\(file) has no columns prompt and target")
        }
        // As a label encoder numbers them: the second in the order of their texts is the positive one.
        let classes = Set(targets.map { String(decoding: $0, as: UTF8.self) }).sorted()
        guard classes.count == 2 else {
            throw ProbingError.malformed(file: archive.path, what: "\(file) has \(classes.count) classes, not two")
        }
        return ProbingTask(
            name: name, prompts: prompts, labels: targets.map { String(decoding: $0, as: UTF8.self) == classes[1] })
    }

    private static func table(_ name: String, _ archive: ZipArchive) throws -> CSVTable {
        let packed = try archive.contents(folder + name)
        let text = try unpackedZstandard(packed.bytes, of: "\(name) in \(archive.path)")
        do { return try CSVTable(text) } catch let fault as CSVTable.Fault {
            throw ProbingError.malformed(file: archive.path, what: "\(name) is no table: \(fault.what)")
        }
    }
}

/// One task: texts, each of one of two classes.
package struct ProbingTask: Sendable {
    package let name: String
    /// Bytes of UTF-8.
    package let prompts: [[UInt8]]
    /// Whether each is of the second class.
    package let labels: [Bool]

    package init(name: String, prompts: [[UInt8]], labels: [Bool]) {
        (self.name, self.prompts, self.labels) = (name, prompts, labels)
    }
}
