/// How products are computed, whatever the precision of what they read and write.
package enum ProductPrecision: String, CaseIterable, Sendable {
    /// Single precision throughout.
    case fp32
    /// Factors are rounded to 10 bits of mantissa, sums are of single precision.
    case tf32
    /// Factors are rounded to 7 bits of mantissa, sums are of single precision.
    case bf16

    /// cublasComputeType_t
    var computeType: Int32 {
        switch self {
        case .fp32: 68
        case .tf32: 77
        case .bf16: 75
        }
    }
}
