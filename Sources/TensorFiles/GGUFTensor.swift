/// How the elements of a GGUF tensor are stored. The raw value is ggml's type number.
public enum GGUFElementType: UInt32, Sendable, CaseIterable {
    /// IEEE single precision.
    case f32 = 0
    /// IEEE half precision.
    case f16 = 1
    /// Blocks of 32: a half-precision scale and 32 nibbles; x = d (q − 8).
    case q4_0 = 2
    /// Blocks of 32: half-precision scale and minimum and 32 nibbles; x = d q + m.
    case q4_1 = 3
    /// Blocks of 32: a half-precision scale and 32 signed bytes; x = d q.
    case q8_0 = 8

    /// Elements in one block.
    public var blockLength: Int {
        switch self {
        case .f32, .f16: 1
        case .q4_0, .q4_1, .q8_0: 32
        }
    }

    /// Bytes of one block.
    public var blockBytes: Int {
        switch self {
        case .f32: 4
        case .f16: 2
        case .q4_0: 18
        case .q4_1: 20
        case .q8_0: 34
        }
    }

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
