import Kernels

extension NumberFormat {
    /// All that can be read, for messages.
    static var listed: String { allCases.map(\.name).joined(separator: ", ") }

    /// As ggml calls it.
    package var name: String { Self.name(of: rawValue) }

    /// ggml's name of a type number, known to us or not: an error that says "Q6_K" tells the reader what to convert,
    /// "14" does not.
    package static func name(of number: UInt32) -> String {
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
    public let elementType: NumberFormat
    /// Bytes from the start of the file.
    public let byteRange: Range<Int>
}
