import LinearAlgebra

/// A GGUF model: one file, or the parts that llama.cpp's `gguf-split` makes of it, `NAME-00001-of-00003.gguf` and so on.
///
/// Any part stands for the whole: the others are looked for beside it. The first holds the metadata; each says which of how many it
/// is (`split.no`, from 0, and `split.count`) and how many tensors all of them hold together (`split.tensors.count`).
public struct GGUFParts: Sendable {
    /// Path of the file that was given.
    public let path: String
    /// The parts in order; a model in one file is its only one.
    public let files: [GGUFFile]
    private let owners: [String: GGUFFile]

    /// Metadata of the whole.
    public var metadata: [String: GGUFValue] { files[0].metadata }
    /// Names of all tensors.
    public var names: Set<String> { Set(owners.keys) }

    /// Opens the file at `path` and the parts that belong to it.
    ///
    /// - Throws: `TensorFileError`, as for one file, and for parts that are missing, named otherwise than they are numbered, or not of
    ///   one split.
    public init(path: String) throws {
        self.path = path
        let given = try GGUFFile(path: path)
        let name = GGUFPartName(path)
        let count = try given.splitNumber("split.count", 0...99_999) ?? 1
        guard count > 1 else {
            if let name, name.count > 1 {
                throw given.malformed(
                    "its name says part \(name.number) of \(name.count), and it is a whole model",
                    "give it a name without numbers of parts")
            }
            files = [given]
            owners = given.tensors.mapValues { _ in given }
            return
        }
        let number = try given.splitNumber("split.no", 0...count - 1)
        guard let name, let number, name.number == number + 1, name.count == count else {
            throw given.malformed(
                "it is part \(number.map { "\($0 + 1)" } ?? "?") of a model split in \(count), and is not named so",
                "name the parts as llama.cpp's llama-gguf-split does, NAME-00001-of-\(GGUFPartName.digits(count)).gguf")
        }
        files = try (1...count).map { try $0 == name.number ? given : GGUFFile(path: name.path(ofPart: $0)) }
        owners = try Self.owners(files)
    }

    /// The paths of the model at `path`, by its name alone.
    public static func paths(_ path: String) -> [String] {
        guard let name = GGUFPartName(path) else { return [path] }
        return (1...name.count).map(name.path(ofPart:))
    }

    /// Where a tensor lies.
    public subscript(name: String) -> GGUFTensor? { owners[name]?.tensors[name] }

    /// Tensor `name` in single precision: see `GGUFFile`.
    ///
    /// - Throws: `TensorFileError`.
    public func matrix(_ name: String) throws -> Matrix { try rows(name).matrix() }

    /// Tensor `name` as it is stored: see `GGUFFile`.
    ///
    /// - Throws: `TensorFileError`.
    package func rows(_ name: String) throws -> StoredRows {
        guard let file = owners[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(owners.keys))
        }
        return try file.rows(name)
    }

    /// The part that each tensor lies in, once the parts are found to be of one split.
    private static func owners(_ files: [GGUFFile]) throws -> [String: GGUFFile] {
        var owners: [String: GGUFFile] = [:]
        let first = files[0]
        for (number, file) in files.enumerated() {
            for (key, wanted) in [("split.no", GGUFValue.integer(number)), ("split.count", .integer(files.count))]
            where file.metadata[key] != wanted {
                throw file.malformed(
                    "\(key) is \(file.metadata[key]?.shown ?? "missing"), and by its name it is \(wanted.shown)",
                    "put the parts of one model together")
            }
            // Later parts bring what is of the file alone; settings of the model would be passed over there.
            let other = file.metadata.keys.sorted().first {
                !["split.no", "general.alignment"].contains($0) && file.metadata[$0] != first.metadata[$0]
            }
            if let other {
                throw file.malformed(
                    "\(other) is \(file.metadata[other]?.shown ?? ""), and \(first.metadata[other]?.shown ?? "missing") in "
                        + "\(first.path)", "put the parts of one model together")
            }
            for name in file.tensors.keys.sorted() {
                if let owner = owners.updateValue(file, forKey: name) {
                    throw file.malformed(
                        "tensor \(name) is in \(owner.path) too", "put the parts of one model together")
                }
            }
        }
        if let said = try first.splitNumber("split.tensors.count", 0...Int(Int32.max)), said != owners.count {
            throw first.malformed(
                "split.tensors.count is \(said), and the parts hold \(owners.count) tensors", "fetch the parts again")
        }
        return owners
    }
}

/// What the name of a part says: `NAME-00002-of-00003.gguf`.
private struct GGUFPartName {
    private let stem: Substring
    /// From 1.
    let number: Int
    let count: Int

    init?(_ path: String) {
        let end = path.suffix(20)
        let parts = end.dropLast(5).split(separator: "-", omittingEmptySubsequences: false)
        guard end.hasSuffix(".gguf"), parts.count == 4, parts[0].isEmpty, parts[2] == "of",
            let number = Int(parts[1]), let count = Int(parts[3]), number > 0, number <= count,
            Self.digits(number) == parts[1], Self.digits(count) == parts[3]
        else { return nil }
        (stem, self.number, self.count) = (path.dropLast(20), number, count)
    }

    func path(ofPart number: Int) -> String {
        "\(stem)-\(Self.digits(number))-of-\(Self.digits(count)).gguf"
    }

    /// Five of them.
    static func digits(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}

extension GGUFFile {
    /// A number that says of the split what it is, nil where there is none.
    fileprivate func splitNumber(_ key: String, _ range: ClosedRange<Int>) throws -> Int? {
        guard let value = metadata[key] else { return nil }
        guard let number = value.integer, range.contains(number) else {
            throw malformed(
                "\(key) is \(value.shown), not a whole number from \(range.lowerBound) to \(range.upperBound)",
                "fetch it again")
        }
        return number
    }

    fileprivate func malformed(_ what: String, _ next: String) -> TensorFileError {
        .malformed(file: path, what: what, next: next)
    }
}
