import LinearAlgebra

extension Trainer {
    /// After the last step: brings the SAE's matrices up to date. What else a device has of the training goes.
    ///
    /// - Throws: what the device throws; lanes never do.
    public func bringBack() throws { try arithmetic.finish() }

    /// Ends the training, which was brought back: the SAE takes the form in which it is used without the rule, and reads raw activations, that
    /// is those it was trained on times `inputScale`. To be called once, after the last step.
    ///
    /// - Throws: what the rule throws; `SparseCodingError.badSetting` for a form that a dense core cannot have. The SAE
    ///   then reads raw activations all the same, and has no form yet: what was trained is not lost.
    public func finish(inputScale: Float) throws {
        let form = Result { try rule.inference.map { try self.form($0) } }
        switch try? form.get() {
        case .thresholds(var thresholds):
            for j in sae.exemptCore { thresholds[j] = 0 }
            sae.inference = .thresholds(thresholds)
        case let other?: sae.inference = other
        case nil: break
        }
        sae.fold(inputScale: inputScale)
        _ = try form.get()
        if let learned { try learned.rule.rescale(learnables, factor: Double(inputScale)) }
    }

    /// Calibrates on the last batch, if the rule needs to look at one, and asks for the form.
    func form(_ inference: any SparsityRuleInference) throws -> InferenceForm {
        let size = try inference.stateSize(latentCount: sae.dSAE)
        let state = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 64), alignment: 64)
        defer { state.deallocate() }
        state.initializeMemory(as: UInt8.self, repeating: 0)
        let used = UnsafeMutableRawBufferPointer(rebasing: state[..<size])
        let centered = size > 0 ? try arithmetic.lastCentered() : Matrix(rows: 0, columns: sae.dIn)
        let context = context(.calibrate, rows: centered.rows)
        if centered.rows > 0 {
            let encoder = SparseEncoder()
            _ = try setting.select(
                centered, with: sae, context, by: encoder, places: CandidatePlaces(), into: SparseCodes())
            let candidates = encoder.candidates
            try encoder.selected.withUnsafeBufferPointer {
                try inference.calibrate(
                    candidates, selected: UnsafeBufferPointer(rebasing: $0[..<candidates.count]), context, state: used)
            }
        }
        let form = try inference.form(context, state: UnsafeRawBufferPointer(used))
        if case .rowTopK = form, !sae.exemptCore.isEmpty {
            throw SparseCodingError.badSetting(
                name: "the sparsity rule", value: rule.name,
                wanted: "one with thresholds where a dense core is kept whatever its rank; use batchtopk or jumprelu")
        }
        return form
    }
}
