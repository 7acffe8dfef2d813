import Kernels
import LinearAlgebra

/// A training step on the processors of this machine. Nothing of size B×F exists at any point.
package final class LaneArithmetic: StepArithmetic {
    private let setting: StepSetting
    private let sae: SparseAutoencoder
    private let moments: AdamMoments
    private let lanes: Lanes
    package let encoder: SparseEncoder
    /// f [B, F] of the last batch.
    package let codes = SparseCodes()
    package let gradients: ParameterGradients
    package let auxiliary: AuxiliaryLoss
    private let live: LatentMajorCodes
    private let gradient: PrefixGradient
    private let places: CandidatePlaces?
    private let peers: LatentPeers?
    /// What the last step has left to do.
    private let due: DeferredUpdate
    private var x = Matrix(rows: 0, columns: 0)
    private var centered = Matrix(rows: 0, columns: 0)
    private var hasSilent = false
    /// The auxiliary loss of this batch, if latents are dead.
    private var revived: AuxiliaryLoss?
    private var squares: [Double] = []
    private var auxiliaryLoss = 0.0

    package init(_ state: TrainerState, _ setting: StepSetting, lanes: Lanes, peers: LatentPeers? = nil) {
        self.setting = setting
        self.peers = peers
        self.lanes = lanes
        (sae, moments) = (state.sae, state.moments)
        due = DeferredUpdate(latents: state.sae.dSAE, lanes: lanes)
        encoder = SparseEncoder(lanes: lanes, peers: peers, due: due)
        let panels = ColumnPanels(lanes: lanes)
        live = LatentMajorCodes(lanes: lanes)
        gradient = PrefixGradient(lanes: lanes, panels: panels)
        gradients = ParameterGradients(sae, lanes: lanes, panels: panels)
        auxiliary = AuxiliaryLoss(lanes: lanes)
        places = setting.learned.map { _ in CandidatePlaces() }
    }

    package var repeatCount: Int { encoder.repeatCount }

    package func begin(_ x: Matrix, silent: [Int]?) throws {
        if centered.rows != x.rows { centered = Matrix(rows: x.rows, columns: sae.dIn) }
        try encoder.center(x, for: sae, into: centered)
        (self.x, revived, hasSilent) = (x, nil, silent != nil)
        guard let silent else { return }
        auxiliary.begin(silent: silent, of: sae.dSAE, rows: x.rows, count: setting.plan.auxiliaryCount)
    }

    package func select(_ context: SelectionContext) throws -> SelectionSummary {
        let summary = try setting.select(
            centered, with: sae, context, by: encoder, beside: hasSilent ? auxiliary.candidates : nil, places: places,
            into: codes)
        // A batch without rows has no tiles.
        due.complete()
        if let places { places.assemble(codes, into: live) } else { live.assemble(codes) }
        return summary
    }

    package func countActive(into counts: UnsafeMutableBufferPointer<Int32>) {
        // Only what a rule that learns has not kept is among the codes as 0.
        for j in counts.indices {
            counts[j] =
                places == nil ? Int32(truncatingIfNeeded: live.entries(ofLatent: j).count) : live.activeCount(j)
        }
    }

    package func chooseAuxiliary(dead: [Int]) throws {
        try auxiliary.select(dead: dead, of: sae.dSAE, among: peers) {
            encoder.bringTiles(of: centered, sae, to: auxiliary.candidates)
        }
        revived = auxiliary
    }

    package func computeLosses(projecting: Bool) throws {
        gradients.begin()
        let plan = setting.plan
        squares = try gradient.compute(
            x, live, sae, weights: plan.groupWeights, revived: revived, among: peers, into: gradients)
        gradients.completeDecoder(live, factor: 1, projecting: projecting)
        auxiliaryLoss = revived?.finish(weight: plan.auxiliaryWeight) ?? 0
        guard let revived else { return }
        gradients.completeDecoder(revived.entries, factor: revived.factor, projecting: projecting)
    }

    package func replaceCodeGradients(
        _ learned: any StepLearning, _ context: SelectionContext, dead: [Int]
    ) throws {
        guard let places else { preconditionFailure("the rule learns nothing") }
        let candidates = encoder.candidates
        try encoder.selected.withUnsafeBufferPointer { selected in
            let selected = UnsafeBufferPointer(rebasing: selected[..<candidates.count])
            try places.replace(candidates.count, in: live.deltas) { code, replace in
                try learned.backward(candidates, selected, context, codeGradient: code, replace)
            }
        }
        for j in dead { for e in live.entries(ofLatent: j) { live.deltas[e] = 0 } }
    }

    package func computeEncoderGradients() throws {
        // What the losses give of it is the same on every rank, and is to count once.
        if let peers, !peers.isFirst { gradients.decoderBias.fill(0) }
        gradients.computeEncoder(
            centered, [live] + (revived.map { [$0.entries] } ?? []), frozen: setting.frozenCount)
        let bias = gradients.decoderBias
        try peers?.group.sum(UnsafeMutableBufferPointer(start: bias.elements, count: bias.count))
    }

    package func results() throws -> StepResults {
        // All ranks have the same gradient of b_dec.
        let square = gradients.squaredNorm(decoderBias: peers?.isFirst ?? true)
        let own = StepResults(squares: squares, auxiliary: auxiliaryLoss, gradientNorm: square.squareRoot())
        return try peers?.whole(own, gradientSquare: square) ?? own
    }

    // The next batch is centred with b_dec, and b_enc may be set; rows are wanted when it is encoded.
    package func update(_ step: AdamStep) {
        moments.updateBiases(of: sae, gradients, step)
        let (moments, sae, gradients, frozen) = (moments, sae, gradients, setting.frozenCount)
        due.begin { moments.updateRows($0, of: sae, gradients, step, frozen: frozen) }
        // Lanes without rows of a batch do not come to its tiles.
        if setting.plan.batchSize < PreactivationTiles.rowGrain * lanes.count { due.complete() }
    }

    package func makeBatch() -> Matrix { Matrix(rows: setting.plan.batchSize, columns: sae.dIn) }

    // A batch is where it is computed with.
    package var preparesAhead: Bool { false }
    package func prepare(_ x: Matrix) {}

    package func setCoreBias(_ biases: [Float]) {
        sae.encoderBias.elements.update(from: biases, count: biases.count)
    }

    // It computes with the state's own matrices.
    package func decoderBiasChanged() {}
    package func export(_ numbers: Range<Int>) { due.complete() }
    package func forget(_ numbers: Range<Int>) {}

    package func finish() {
        due.complete()
        moments.discard()
        gradients.discard()
    }

    package func lastCentered() -> Matrix { centered }

    package func inspect() -> StepInspection {
        // A decoder row's gradient is told by its row, which must not hang on whether it was due.
        due.complete()
        let all = SparseAutoencoder(dIn: sae.dIn, layout: sae.layout)
        for j in 0..<sae.dSAE {
            all.encoder.row(j).update(from: gradients.encoderRow(j), count: sae.dIn)
            gradients.decoderRow(j).withUnsafeBufferPointer {
                all.decoder.row(j).update(from: $0.baseAddress!, count: sae.dIn)
            }
        }
        all.encoderBias.assign(gradients.encoderBias)
        all.decoderBias.assign(gradients.decoderBias)
        return StepInspection(
            codes: codes, auxiliary: revived?.codes ?? SparseCodes(rows: codes.rows, columns: sae.dSAE),
            auxiliaryDenominator: revived?.denominator ?? 0, gradients: all)
    }
}

extension Lanes: TrainingDevice {
    /// Lanes are what every record names anyway.
    package var record: [String: String] { [:] }

    /// The host's memory is asked for by `TrainingPlan.memory`.
    package func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed? { nil }

    package func arithmetic(
        _ state: TrainerState, _ setting: StepSetting, among peers: LatentPeers?
    ) -> any StepArithmetic { LaneArithmetic(state, setting, lanes: self, peers: peers) }
}
