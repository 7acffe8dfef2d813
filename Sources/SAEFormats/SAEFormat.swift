import SparseCoding
import TensorFiles

/// A way in which SAEs are kept on the disk: a file beside this one for each.
///
/// To add one: a type of this protocol, a line in `SAEFormats.all`, a checkpoint of the tool that
/// writes it under `Tests/Fixtures`.
package protocol SAEFormat: Sendable {
    /// What `--to` takes and messages say.
    var name: String { get }

    /// Whether a path, told by the names that are there, is of this format.
    func recognizes(_ path: String) -> Bool

    /// The files that an SAE at a path consists of: those that say which it is.
    func files(_ path: String) -> [String]

    /// Reads an SAE and what is said of where it comes from.
    ///
    /// - Throws: `TensorFileError` for a broken file, `SparseCodingError.badFolder` for an SAE that computes something
    ///   else than `SparseAutoencoder` can, and for files that contradict each other.
    func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance)

    /// Writes an SAE so that the format's own readers compute the same.
    ///
    /// - Throws: `TensorFileError` where it cannot be written, `SAEFormatError.cannotHold` for an SAE that
    ///   the format cannot hold.
    func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws
}

/// A format in which nobody reads SAEs of others.
protocol ReadOnlySAEFormat: SAEFormat {}

extension ReadOnlySAEFormat {
    package func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws {
        throw SAEFormatError.cannotHold(
            format: name, reason: "it is read, and not written", next: "write it as saelens or dictionary_learning")
    }
}

/// All formats, and an SAE in whichever of them it is.
package enum SAEFormats {
    /// The first that recognises a path reads it.
    package static let all: [any SAEFormat] = [
        DictionaryLearning(), GemmaScope(), GemmaScope2(), OpenAI(), Sparsify(), SAELens(),
    ]

    /// The format of what is at a path; SAELens' where nothing is there, whose messages say what is missing.
    package static func format(of path: String) -> any SAEFormat { all.first { $0.recognizes(path) } ?? SAELens() }

    /// The format of this name, to write.
    ///
    /// - Throws: `SAEFormatError.unknown`.
    package static func format(named name: String) throws -> any SAEFormat {
        guard let format = all.first(where: { $0.name == name }) else {
            throw SAEFormatError.unknown(name: name, known: all.filter { !($0 is any ReadOnlySAEFormat) }.map(\.name))
        }
        return format
    }

    /// Reads an SAE of any format.
    package static func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        try format(of: path).read(path)
    }

    /// The files that say which SAE is at a path.
    package static func files(_ path: String) -> [String] { format(of: path).files(path) }
}

/// A format of two files in a folder, which may also be named by the file of its weights.
package protocol SAEFolderFormat: SAEFormat {
    static var weightsName: String { get }
    static var configurationName: String { get }
}

extension SAEFolderFormat {
    /// The folder that a path means.
    func folder(_ path: String) -> String {
        let file = Self.weightsName
        guard path == file || path.hasSuffix("/" + file) else { return path }
        return path == file ? "." : String(path.dropLast(file.count + 1))
    }

    package func recognizes(_ path: String) -> Bool { exists(folder(path) + "/" + Self.weightsName) }

    package func files(_ path: String) -> [String] {
        [Self.configurationName, Self.weightsName].map { folder(path) + "/" + $0 }
    }
}

/// Why an SAE is not written in a format.
package enum SAEFormatError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No format is called so; `known` are written.
    case unknown(name: String, known: [String])
    /// Readers of the format would compute something else.
    case cannotHold(format: String, reason: String, next: String)

    /// One sentence for the user.
    package var description: String {
        switch self {
        case .unknown(let name, let known):
            printable("no SAE format is called \"\(name)\"; choose one of \(known.joined(separator: ", "))")
        case .cannotHold(let format, let reason, let next):
            printable("\(format) cannot hold this SAE: \(reason); \(next)")
        }
    }
}

extension SAEProvenance {
    /// The layer, for a format that knows the residual stream after a block and no other place.
    ///
    /// - Throws: `SAEFormatError.cannotHold` for another place.
    func streamLayer(for format: String) throws -> Int? {
        guard let hook = hookPoint?.usual else { return nil }
        guard hook.kind == .residPost else {
            throw SAEFormatError.cannotHold(
                format: format,
                reason: "it is of \(hook.name), and the format names no place but the residual stream after a block",
                next: "write it as saelens")
        }
        return hook.block
    }
}

/// The folder format of SAELens, which is ours too.
package struct SAELens: SAEFormat {
    package let name = "saelens"

    /// For `SAEFormats`, and where SAELens is meant by name.
    package init() {}

    package func recognizes(_ path: String) -> Bool { exists(path + "/cfg.json") }

    /// The number that inputs are multiplied by too, where there is one.
    package func files(_ path: String) -> [String] {
        let scaler = path + "/" + SAEFolder.scalerName
        return [SAEFolder.configuration(in: path)] + (exists(scaler) ? [scaler] : []) + [SAEFolder.weights(in: path)]
    }

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        try SAEFolder.read(path)
    }

    package func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws {
        try SAEFolder.write(sae, provenance, to: path)
    }
}
