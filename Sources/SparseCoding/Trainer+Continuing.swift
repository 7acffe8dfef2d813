import LinearAlgebra

extension Trainer {
    /// Starts from the form in which the SAE is used until now: its thresholds or the number it keeps of each row. To
    /// be called before the first step, the SAE being in the units of the training.
    ///
    /// A rule that ends in a form of its own starts there, if it has one tensor and says that the tensor is the
    /// thresholds; without one, one threshold for all is the start of the moving average.
    ///
    /// - Throws: `SparseCodingError.formNotContinued` for a form that the rule cannot go on from; what the rule throws.
    public func continueForm() throws {
        func refuse(_ form: String, _ advice: String) -> SparseCodingError {
            .formNotContinued(form: form, rule: rule.name, advice: advice)
        }
        if case .rowTopK(let k) = sae.inference {
            guard let inference = rule.inference, try inference.stateSize(latentCount: sae.dSAE) == 0,
                case .rowTopK = try form(inference)
            else { throw refuse("keeps the \(k) largest of each row", "use --sparsity topk") }
            return
        }
        if case .thresholds(let own) = sae.inference, let one = commonThreshold(own) { sae.inference = .threshold(one) }
        guard sae.inference != nil else { return }
        let isShared = sae.threshold != nil
        let what = isShared ? "has a threshold" : "has a threshold of its own for each latent"
        let advice = "use --sparsity \(isShared ? "batchtopk or jumprelu" : "jumprelu")"
        guard let inference = rule.inference else {
            guard isShared else { throw refuse(what, advice) }
            return
        }
        guard let learned, learnables.count == 1, try inference.stateSize(latentCount: sae.dSAE) == 0 else {
            throw refuse(what, advice)
        }
        let (thresholds, tensor) = (try sae.inferenceThresholds(), learned.rule.tensors[0])
        for j in sae.exemptCore.count..<sae.dSAE {
            let value = Double(thresholds[j])
            guard value >= tensor.minimum, value <= tensor.maximum else {
                throw refuse(
                    "has a threshold of \(thresholds[j]) for latent \(j), in units of the training",
                    "the rule's go from \(tensor.minimum) to \(tensor.maximum)")
            }
            learnables[0][j] = thresholds[j]
        }
        guard case .thresholds(let own) = try form(inference),
            (sae.exemptCore.count..<sae.dSAE).allSatisfy({ own[$0] == thresholds[$0] })
        else { throw refuse(what, advice) }
        // The rule's from now on.
        sae.inference = nil
    }

    /// The threshold that all latents that compete share; nil if they differ.
    private func commonThreshold(_ thresholds: [Float]) -> Float? {
        let values = thresholds[sae.exemptCore.count...]
        guard let first = values.first, first.isFinite, values.allSatisfy({ $0 == first }) else { return nil }
        return first
    }
}
