import TensorFiles

/// What a `.bin` file of token ids holds: it does not say so itself.
public enum TokenWidth: String, Sendable, CaseIterable {
    case u16, u32

    var type: TensorType { self == .u16 ? .u16 : .u32 }
}

/// Token ids in files: `.npy`, `.safetensors` or `.bin`; vectors are streams of text, and rows [N, T] are sequences.
///
/// Mapped: memory does not grow with them.
public struct TokenFiles: Sendable {
    let source: CorpusFiles
    let files: [TokenFile]
    /// T of rows; nil for streams.
    let rowLength: Int?

    init(_ source: CorpusFiles, width: TokenWidth?) throws {
        self.source = source
        files = try source.files.map { try TokenFile(path: $0, width: width) }
        rowLength = files[0].rowLength
        if let other = files.first(where: { $0.rowLength != files[0].rowLength }) {
            throw TensorFileError.unusable(
                file: other.path,
                what: "its shape \(other.ids.shape) does not go with \(files[0].ids.shape) of \(files[0].path)",
                next: "give streams of ids, or rows of one length")
        }
    }
}

/// One file of token ids, and which of them are padding.
public struct TokenFile: Sendable {
    let ids: StoredArray
    private let mask: StoredArray?

    /// As given by the caller.
    public var path: String { ids.path }
    /// All ids.
    var count: Int { ids.count }
    /// T of rows [N, T]; nil for a stream.
    public var rowLength: Int? { ids.shape.count == 2 ? ids.shape[1] : nil }
    /// N, or 1 of a stream.
    public var rowCount: Int { ids.shape.count == 2 ? ids.shape[0] : 1 }

    /// Opens a file. `.npy` and `.bin` by their names; any other is safetensors with `input_ids`, or with one tensor of any name. Of
    /// `attention_mask` beside it padding behind the tokens of a row is understood.
    ///
    /// Throws `TensorFileError`.
    public init(path: String, width: TokenWidth? = nil) throws {
        if path.hasSuffix(".npy") {
            (ids, mask) = (try StoredArray(numpy: path), nil)
        } else if path.hasSuffix(".bin") {
            guard let width else {
                throw TensorFileError.unsupported(
                    file: path, what: "a .bin file does not say how wide its token ids are",
                    next: "give --token-type u16 or u32 (in a recipe token_type)")
            }
            (ids, mask) = (try StoredArray(raw: path, width.type), nil)
        } else {
            (ids, mask) = try Self.tensors(try SafetensorsFile(path: path))
        }
        guard (1...2).contains(ids.shape.count), ids.count > 0 else {
            throw TensorFileError.unusable(
                file: path, what: "\(ids.name) has shape \(ids.shape), and nothing is predicted in it",
                next: "give a stream of token ids [N] or rows of them [N, T]")
        }
        guard !ids.type.isFloatingPoint, ids.type != .bool else {
            throw TensorFileError.wrongType(
                file: path, name: ids.name, found: ids.type.rawValue, wanted: "whole numbers")
        }
    }

    private static func tensors(_ file: SafetensorsFile) throws -> (StoredArray, StoredArray?) {
        let name = file.tensors.count == 1 ? file.tensors.keys.first! : "input_ids"
        let ids = try file.array(name)
        // Padding would be taken for text.
        if let other = ["position_ids", "token_type_ids"].first(where: { file.tensors[$0] != nil }) {
            throw TensorFileError.unsupported(
                file: file.path, what: "it holds \(other) beside input_ids, which would be passed over",
                next: "give whole rows, and input_ids alone")
        }
        guard file.tensors["attention_mask"] != nil, name == "input_ids" else { return (ids, nil) }
        try file.require("attention_mask", shape: ids.shape)
        return (ids, try file.array("attention_mask"))
    }

    /// Some of the ids.
    ///
    /// - Throws: `TensorFileError` for one that the vocabulary does not have; without a size of the vocabulary, for one beyond 32 bits.
    func ids(_ range: Range<Int>, vocabularySize: Int?) throws -> [Int32] {
        let all = try ids.integers(range)
        let known = vocabularySize.map { 0...Int64($0 - 1) } ?? Int64(Int32.min)...Int64(Int32.max)
        if let bad = all.firstIndex(where: { !known.contains($0) }) {
            throw TensorFileError.unusable(
                file: path,
                what: "token id \(all[bad]) at position \(range.lowerBound + bad) "
                    + (vocabularySize.map { "is not in the vocabulary of \($0) tokens" } ?? "does not fit in 32 bits"),
                next: "check that ids and model belong together, and how wide the numbers are")
        }
        return all.map { Int32($0) }
    }

    /// Some of the rows, as sequences.
    ///
    /// - Throws: `TensorFileError`, also for padding that is not behind the tokens of its row.
    public func rows(_ range: Range<Int>, vocabularySize: Int? = nil) throws -> TokenBatch {
        let length = rowLength ?? count
        let elements = range.lowerBound * length..<range.upperBound * length
        let batch = TokenBatch(
            ids: try ids(elements, vocabularySize: vocabularySize), sequenceCount: range.count, length: length)
        guard let mask else { return batch }
        let marks = try mask.integers(elements)
        let counts = try (0..<range.count).map { row -> Int in
            let own = marks[row * length..<(row + 1) * length]
            let count = own.prefix { $0 == 1 }.count
            guard count > 0, own.dropFirst(count).allSatisfy({ $0 == 0 }) else {
                throw TensorFileError.unsupported(
                    file: path, what: "attention_mask of row \(range.lowerBound + row) is not ones and then zeros",
                    next: "pad rows behind their tokens (padding_side=\"right\")")
            }
            return count
        }
        return TokenBatch(ids: batch.ids, counts: counts, length: length)
    }
}
