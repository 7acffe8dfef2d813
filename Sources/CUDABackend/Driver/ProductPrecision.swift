/// How products are computed, whatever the precision of what they read and write.
///
/// cuBLASLt's mode for bfloat16 on factors of single precision is not among them: on an H100 it computes in TF32, to the bit.
package enum ProductPrecision: String, CaseIterable, Sendable {
    /// Single precision throughout.
    case fp32
    /// Factors are rounded to 10 bits of mantissa, sums are of single precision.
    case tf32

    /// cublasComputeType_t
    var computeType: Int32 {
        switch self {
        case .fp32: 68
        case .tf32: 77
        }
    }
}
