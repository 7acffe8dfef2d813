/// How numbers are stored: floats of some width, or blocks of a scale and a few bits for each. The raw value is ggml's type number;
/// `Level/Expansion` has the formulas.
public enum NumberFormat: UInt32, Sendable, CaseIterable {
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

    /// Bytes of `count` elements, whole blocks of them.
    public func bytes(_ count: Int) -> Int { count / blockLength * blockBytes }
}
