/// An element type, by its name in safetensors files.
///
/// The order of the cases is the order in which the safetensors library sorts types; a writer lays out tensors by
/// descending type so that every tensor is aligned to its element.
public enum TensorType: String, Sendable, CaseIterable {
    /// One byte, 0 or 1.
    case bool = "BOOL"
    /// Unsigned, 8 bits.
    case u8 = "U8"
    /// Signed, 8 bits.
    case i8 = "I8"
    /// Signed, 16 bits.
    case i16 = "I16"
    /// Unsigned, 16 bits.
    case u16 = "U16"
    /// IEEE 754 binary16.
    case f16 = "F16"
    /// The upper half of a binary32.
    case bf16 = "BF16"
    /// Signed, 32 bits.
    case i32 = "I32"
    /// Unsigned, 32 bits.
    case u32 = "U32"
    /// IEEE 754 binary32.
    case f32 = "F32"
    /// IEEE 754 binary64.
    case f64 = "F64"
    /// Signed, 64 bits.
    case i64 = "I64"
    /// Unsigned, 64 bits.
    case u64 = "U64"

    /// Bytes an element takes.
    public var size: Int {
        switch self {
        case .bool, .u8, .i8: 1
        case .i16, .u16, .f16, .bf16: 2
        case .i32, .u32, .f32: 4
        case .f64, .i64, .u64: 8
        }
    }

    /// Whether elements are floating point.
    public var isFloatingPoint: Bool { self == .f64 || self == .f32 || self == .f16 || self == .bf16 }

    /// Rank in the layout order; higher comes first in a file.
    var rank: Int { Self.allCases.firstIndex(of: self)! }
}

/// What a file says about one tensor.
public struct TensorDescription: Sendable, Equatable {
    /// The tensor's name.
    public let name: String
    /// Of its elements.
    public let type: TensorType
    /// Sizes, slowest dimension first; a scalar has none.
    public let shape: [Int]

    /// A description; the caller has checked that the product of `shape` does not overflow.
    public init(name: String, type: TensorType, shape: [Int]) {
        self.name = name
        self.type = type
        self.shape = shape
    }

    /// Number of elements.
    public var count: Int { shape.reduce(1, *) }
    /// Bytes of all elements.
    public var byteCount: Int { count * type.size }
    /// Columns of the tensor seen as a matrix: the last size, 1 for a scalar.
    public var columns: Int { shape.last ?? 1 }
    /// Rows of the tensor seen as a matrix: the product of all sizes but the last; a vector is one row.
    public var rows: Int { shape.dropLast().reduce(1, *) }

    /// nil when a size is negative or the elements would take more than `Int.max` bytes.
    static func byteCount(of type: TensorType, shape: [Int]) -> Int? {
        var total = type.size
        // A zero size must not hide an overflow of the others: `rows` and `columns` multiply them as well.
        for size in shape {
            guard size >= 0 else { return nil }
            let (product, overflow) = total.multipliedReportingOverflow(by: max(size, 1))
            if overflow { return nil }
            total = product
        }
        return shape.contains(0) ? 0 : total
    }
}
