import Glibc
import TensorFiles

/// Refuses an output that would take the place of what the command reads, or of something of another kind: what was
/// overwritten is found missing long after.
enum OutputPlace {
    /// Refuses a file that is an input, under whatever name, or one of the files of an input folder; and what cannot be written.
    ///
    /// - Throws: `TensorFileError`.
    static func requireFile(_ path: String, reading inputs: [String?]) throws {
        var own = stat()
        if stat(path, &own) == 0 {
            for input in inputs.compactMap({ $0 }).flatMap(GGUFParts.paths) {
                var other = stat()
                guard stat(input, &other) == 0 else { continue }
                var parent = stat()
                let isInput = own.st_dev == other.st_dev && own.st_ino == other.st_ino
                // A report in a run's folder is made again and again.
                let isPart =
                    !path.hasSuffix(".html") && stat(parentFolder(of: path), &parent) == 0
                    && parent.st_dev == other.st_dev && parent.st_ino == other.st_ino
                guard !isInput, !isPart else {
                    throw TensorFileError.unusable(
                        file: path,
                        what: "it is "
                            + (isInput
                                ? "read by this command" : "a file of \(printable(input)), which this command reads")
                            + ", and would be replaced", next: "give another output")
                }
            }
        }
        try AtomicFile.requireWritable(path)
    }

    /// Files by which a folder of each kind is known.
    private static let marks = [
        ("run.json", "a distillation"), ("store.json", "an activation store"), ("comparison.json", "a comparison"),
        ("sae_weights.safetensors", "an SAE"), ("config.json", "a model"),
        ("synthetic.json", "a world of known features"),
    ]

    /// Refuses a folder that holds something else than `mark` stands for.
    ///
    /// - Throws: `TensorFileError.unusable`.
    static func requireFolder(_ path: String, holdingOnly mark: String?) throws {
        for (file, kind) in marks where file != mark && exists(path + "/" + file) {
            throw TensorFileError.unusable(
                file: path, what: "it holds \(kind) (\(file)), which would be mixed with the output of this command",
                next: "choose another --out")
        }
    }
}
