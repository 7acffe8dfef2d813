/// How products are computed.
package enum ProductPrecision: String, CaseIterable, Sendable {
    /// Single precision throughout.
    case fp32
    /// Factors are rounded to 10 bits of mantissa, sums are of single precision.
    case tf32
    /// A language model's weights, and the activations and gradients they are multiplied with, are rounded to bfloat16, 7 bits of mantissa;
    /// sums and results are of single precision. Weights take half the memory. All other products, those of attention and of an SAE's
    /// training, are as with `tf32`: an SAE trains in single precision on what a model in bfloat16 computes, as it does elsewhere.
    case bf16

    /// cublasComputeType_t for factors of a form. cuBLASLt's own mode of bfloat16 for factors of single precision is not among them: on
    /// an H100 it computes in TF32, to the bit.
    func computeType(of factors: FactorFormat) -> Int32 {
        switch (self, factors) {
        case (.fp32, _), (_, .bfloat16): 68
        case (.tf32, .single), (.bf16, .single): 77
        }
    }
}

/// In what form a card has a factor of a product.
enum FactorFormat {
    case single
    case bfloat16

    /// cudaDataType_t
    var type: Int32 {
        switch self {
        case .single: 0
        case .bfloat16: 14
        }
    }

    /// Bytes of a number.
    var size: Int {
        switch self {
        case .single: 4
        case .bfloat16: 2
        }
    }
}
