import SparseCoding

/// What a `dict_class` computes, and the names of its tensors.
enum DictionaryKind {
    case matryoshkaBatchTopK, batchTopK, topK, jumpReLU, standard, standardWithOwnBias, gated

    static let classes: [String: DictionaryKind] = [
        "MatryoshkaBatchTopKSAE": .matryoshkaBatchTopK, "MatroyshkaBatchTopKSAE": .matryoshkaBatchTopK,
        "BatchTopKSAE": .batchTopK, "AutoEncoderTopK": .topK, "JumpReluAutoEncoder": .jumpReLU,
        "AutoEncoder": .standard, "AutoEncoderNew": .standardWithOwnBias, "GatedAutoEncoder": .gated,
    ]

    /// The classes of dictionary_learning that it is written as.
    var written: (trainer: String, dictionary: String) {
        switch self {
        case .matryoshkaBatchTopK: ("MatryoshkaBatchTopKTrainer", "MatryoshkaBatchTopKSAE")
        case .batchTopK: ("BatchTopKTrainer", "BatchTopKSAE")
        case .topK: ("TopKTrainer", "AutoEncoderTopK")
        case .jumpReLU: ("JumpReluTrainer", "JumpReluAutoEncoder")
        case .standard: ("StandardTrainer", "AutoEncoder")
        case .standardWithOwnBias: ("StandardTrainerAprilUpdate", "AutoEncoderNew")
        case .gated: ("GatedSAETrainer", "GatedAutoEncoder")
        }
    }

    /// Names of W_enc, b_enc, W_dec, b_dec, and whether the matrices are `[out, in]`, as `torch.nn.Linear` has them.
    var names: (encoder: String, encoderBias: String, decoder: String, decoderBias: String, isLinear: Bool) {
        switch self {
        case .matryoshkaBatchTopK, .jumpReLU: ("W_enc", "b_enc", "W_dec", "b_dec", false)
        case .batchTopK, .topK: ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", true)
        case .standard: ("encoder.weight", "encoder.bias", "decoder.weight", "bias", true)
        case .standardWithOwnBias: ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", true)
        case .gated: ("encoder.weight", "mag_bias", "decoder.weight", "decoder_bias", true)
        }
    }

    /// Tensors beside those four.
    var others: Set<String> {
        switch self {
        case .matryoshkaBatchTopK: ["k", "threshold", "group_sizes"]
        case .batchTopK, .topK: ["k", "threshold"]
        case .jumpReLU: ["threshold"]
        case .standard, .standardWithOwnBias: []
        case .gated: ["r_mag", "gate_bias"]
        }
    }

    var subtractsDecoderBias: Bool { self != .jumpReLU && self != .standardWithOwnBias }

    /// The kind that computes what an SAE does.
    ///
    /// - Throws: `SAEFormatError.cannotHold`.
    init(of sae: SparseAutoencoder, format: String) throws {
        func cannot(_ reason: String) -> SAEFormatError {
            .cannotHold(format: format, reason: reason, next: "write it as saelens")
        }
        switch sae.inference {
        case nil: throw cannot("its threshold was never set")
        case .rowTopK:
            guard sae.subtractsDecoderBias else {
                throw cannot("it keeps the largest of x W_enc, and an AutoEncoderTopK those of (x − b_dec) W_enc")
            }
            self = .topK
        case .threshold, .thresholds:
            let own = try sae.inferenceThresholds().values
            if sae.subtractsDecoderBias {
                guard let common = sae.commonThreshold else {
                    throw cannot(
                        sae.exemptCore.isEmpty
                            ? "it has no threshold that all latents share"
                            : "the \(sae.exemptCore.count) latents of its dense core have no threshold, and the format has one "
                                + "for all")
                }
                let isPlain = common == 0 && sae.threshold == nil && sae.layout.prefixes.count == 1
                self = isPlain ? .standard : .matryoshkaBatchTopK
            } else {
                self = own.allSatisfy { $0 <= 0 } ? .standardWithOwnBias : .jumpReLU
            }
        }
    }
}

extension SparseAutoencoder {
    /// The threshold of all latents, at least 0; nil if they differ or if one is infinite.
    var commonThreshold: Float? {
        guard let all = try? inferenceThresholds().values, let first = all.first, first.isFinite,
            all.allSatisfy({ max(0, $0) == max(0, first) })
        else { return nil }
        return max(0, first)
    }
}
