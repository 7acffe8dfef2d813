import LinearAlgebra

/// How a trained SAE is used without its rule.
public enum InferenceForm: Sendable, Equatable {
    /// f = p where p > max(0, θ), one θ for all latents that compete; those of a dense core have 0.
    case threshold(Float)
    /// f = p where p > max(0, θ_j): [F].
    case thresholds([Float])
    /// The k largest positive p of each row.
    case rowTopK(Int)

    /// On pre-activations multiplied by `factor`.
    func scaled(by factor: Float) -> InferenceForm {
        switch self {
        case .threshold(let shared): .threshold(shared * factor)
        case .thresholds(let own): .thresholds(own.map { $0 * factor })
        case .rowTopK: self
        }
    }
}

extension SparseAutoencoder {
    /// θ where one is shared; nil for other forms and while none is set.
    public var threshold: Float? {
        if case .threshold(let shared) = inference { shared } else { nil }
    }

    /// k where the k largest of a row are kept; nil for other forms.
    public var rowTopK: Int? {
        if case .rowTopK(let k) = inference { k } else { nil }
    }

    /// What a latent must exceed at inference, [1, F].
    ///
    /// - Throws: `SparseCodingError.thresholdUnset`.
    public func inferenceThresholds() throws -> Matrix {
        switch inference {
        case .thresholds(let own): return Matrix(vector: own)
        case .threshold(let shared):
            let result = Matrix(rows: 1, columns: dSAE)
            result.fill(shared)
            for j in exemptCore { result[j] = 0 }
            return result
        case .rowTopK, nil: throw SparseCodingError.thresholdUnset
        }
    }
}
