import Glibc

/// What can be wrong with a file of tensors or its surroundings: what failed, on which file, what to do next.
public enum TensorFileError: Error, Sendable, Equatable {
    /// The file cannot be opened, measured or mapped.
    case unreadable(file: String, reason: String)
    /// The file cannot be written; nothing under its final name was touched.
    case unwritable(file: String, reason: String)
    /// The contents break the format.
    case malformed(file: String, what: String, next: String)
    /// The format is right and uses something this program does not read.
    case unsupported(file: String, what: String, next: String)
    /// No tensor has that name.
    case missingTensor(file: String, name: String, present: [String])
    /// A tensor has another element type than the caller can use.
    case wrongType(file: String, name: String, found: String, wanted: String)
    /// A tensor has another shape than the caller needs; nil is any size.
    case wrongShape(file: String, name: String, found: [Int], wanted: [Int?])
    /// The caller gave something that a file cannot hold.
    case unusable(file: String, what: String, next: String)
}

extension TensorFileError: CustomStringConvertible {
    /// One sentence for the user.
    ///
    /// What a system call could not do brings the advice that belongs to the system's reason.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .unreadable(let file, let reason):
            "cannot read \(file): \(reason)" + (SystemAdvice.reading(reason).map { "; \($0)" } ?? "")
        case .unwritable(let file, let reason):
            "cannot write \(file): \(reason)"
                + (SystemAdvice.writing(reason).map { "; \($0)" } ?? "; choose another place")
        case .malformed(let file, let what, let next), .unsupported(let file, let what, let next),
            .unusable(let file, let what, let next):
            "\(file): \(what); \(next)"
        case .missingTensor(let file, let name, let present):
            "\(file): no tensor \"\(name)\"; it holds \(Self.list(present))"
        case .wrongType(let file, let name, let found, let wanted):
            "\(file): tensor \"\(name)\" is \(found), wanted \(wanted); convert it or choose another tensor"
        case .wrongShape(let file, let name, let found, let wanted):
            "\(file): tensor \"\(name)\" has shape \(found), wanted \(Self.text(wanted)); "
                + "check that the file belongs with the others given"
        }
    }

    private static func text(_ shape: [Int?]) -> String {
        "[" + shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", ") + "]"
    }

    /// At most twelve names: a model has hundreds of tensors.
    private static func list(_ names: [String]) -> String {
        if names.isEmpty { return "no tensors" }
        let sorted = names.sorted()
        let shown = sorted.prefix(12).joined(separator: ", ")
        return sorted.count <= 12 ? shown : "\(shown) and \(sorted.count - 12) more"
    }
}

extension TensorFileError {
    /// What is there is no file that can be mapped or hashed.
    static func noOrdinaryFile(_ path: String, _ status: stat) -> TensorFileError {
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        return .unreadable(
            file: path,
            reason: isFolder
                ? String(cString: strerror(EISDIR)) : "it is a device or a pipe, and an ordinary file is needed")
    }
}
