/// How the elements of a GGUF tensor are stored. The raw value is ggml's type number; `GGUFBlocks` has the formulas.
public enum GGUFElementType: UInt32, Sendable, CaseIterable {
    /// IEEE single precision.
    case f32 = 0
    /// IEEE half precision.
    case f16 = 1
    /// 4 bits an element, a scale for 32.
    case q4_0 = 2
    /// 4 bits, scale and minimum for 32.
    case q4_1 = 3
    /// 5 bits, a scale for 32.
    case q5_0 = 6
    /// 5 bits, scale and minimum for 32.
    case q5_1 = 7
    /// 8 bits, a scale for 32.
    case q8_0 = 8
    /// 2 bits, scale and minimum of 4 bits for 16, scales of both for 256.
    case q2_k = 10
    /// 3 bits, a scale of 6 bits for 16, a scale of those for 256.
    case q3_k = 11
    /// 4 bits, scale and minimum of 6 bits for 32, scales of both for 256.
    case q4_k = 12
    /// 5 bits, else as `q4_k`.
    case q5_k = 13
    /// 6 bits, a scale of 8 bits for 16, a scale of those for 256.
    case q6_k = 14
    /// The upper half of single precision.
    case bf16 = 30

    /// Elements in one block.
    public var blockLength: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: 32
        case .q2_k, .q3_k, .q4_k, .q5_k, .q6_k: 256
        }
    }

    /// Bytes of one block.
    public var blockBytes: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q4_0: 18
        case .q4_1: 20
        case .q5_0: 22
        case .q5_1: 24
        case .q8_0: 34
        case .q2_k: 84
        case .q3_k: 110
        case .q4_k: 144
        case .q5_k: 176
        case .q6_k: 210
        }
    }

    /// All that can be read, for messages.
    static var listed: String { allCases.map { name(of: $0.rawValue) }.joined(separator: ", ") }

    /// ggml's name of a type number, known to us or not: an error that says "Q6_K" tells the reader what to convert,
    /// "14" does not.
    static func name(of number: UInt32) -> String {
        let names: [UInt32: String] = [
            0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K",
            11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
            19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32",
            27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
        ]
        return names[number] ?? "number \(number)"
    }
}

/// Where a tensor of a GGUF file lies. Its range has been checked against the file.
public struct GGUFTensor: Sendable, Equatable {
    /// Row-major, slowest dimension first: a projection is `[out, in]`. The file lists dimensions the other way round.
    public let shape: [Int]
    /// How its elements are stored.
    public let elementType: GGUFElementType
    /// Bytes from the start of the file.
    public let byteRange: Range<Int>
}
