/// A metadata value of a GGUF file.
///
/// The format's ten number types are folded into three, and arrays are typed: a boxed value per element would let a
/// file of bytes claim two dozen times its own size in memory.
public enum GGUFValue: Sendable, Equatable {
    /// Any integer type that fits.
    case integer(Int)
    /// `f32` or `f64`.
    case real(Double)
    /// A truth value.
    case boolean(Bool)
    /// Checked to be UTF-8.
    case string(String)
    /// An array of any integer type.
    case integers([Int])
    /// An array of `f32` or `f64`.
    case reals([Double])
    /// An array of truth values.
    case booleans([Bool])
    /// An array of UTF-8 texts.
    case strings([String])

    /// The value for a message; arrays as such.
    public var shown: String {
        switch self {
        case .integer(let value): "\(value)"
        case .real(let value): "\(value)"
        case .boolean(let value): "\(value)"
        case .string(let value): "\"\(value)\""
        case .integers, .reals, .booleans, .strings: "a list"
        }
    }

    /// The value if it is one integer.
    public var integer: Int? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// The value if it is one number of either kind.
    public var real: Double? {
        switch self {
        case .real(let value): value
        case .integer(let value): Double(value)
        default: nil
        }
    }

    /// The value if it is one truth value.
    public var boolean: Bool? {
        if case .boolean(let value) = self { value } else { nil }
    }

    /// The value if it is one text.
    public var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// The value if it is an array of integers.
    public var integers: [Int]? {
        if case .integers(let values) = self { values } else { nil }
    }

    /// The value if it is an array of texts.
    public var strings: [String]? {
        if case .strings(let values) = self { values } else { nil }
    }
}
