import Kernels
import LinearAlgebra

/// The parts of a step, in order.
package enum TrainingPhase: CaseIterable, Sendable {
    /// Pre-activations, selection, codes by token and by latent.
    case selection
    /// The choice among dead latents; only with dead latents.
    case auxiliary
    /// Reconstructions, residuals, gradients of codes and decoder.
    case losses
    /// Gradients of the encoder, the norm of all.
    case gradients
    /// Clip, Adam, unit rows, threshold.
    case update
}

/// Trains an SAE by the reference recipe (method: arXiv:2503.17547 with BatchTopK selection and AuxK).
///
/// One step: select → prefix residuals → closed-form gradients → remove each decoder row's parallel component → clip
/// the global norm → Adam → unit decoder rows. Nothing of size B×F exists at any point. With a core, the first c
/// encoder rows are frozen: no gradient, no moments, no share in the clip norm.
public final class Trainer {
    /// Its numbers.
    public let plan: TrainingPlan
    /// Chooses among the pre-activations.
    public let rule: any SparsityRule
    /// Encoder rows that do not train: the core's.
    public let frozenCount: Int
    /// What a checkpoint holds.
    package internal(set) var state: TrainerState

    // Scratch, allocated once.
    private let lanes: Lanes
    package let pass: EncodingPass
    package let codes = SparseCodes()
    private let live: LatentMajorCodes
    private let gradient: PrefixGradient
    package let gradients: ParameterGradients
    package let auxiliary: AuxiliaryLoss
    /// For a rule that learns.
    let learned: LearnedGradients?
    /// x − b_dec of the last batch.
    private(set) var centered = Matrix(rows: 0, columns: 0)
    /// Called at the end of each phase, for benchmarks.
    package var onPhase: ((TrainingPhase) -> Void)?

    /// The SAE being trained.
    public var sae: SparseAutoencoder { state.sae }

    /// Steps done.
    public var step: Int { state.step }

    /// [F] tokens since each latent last fired.
    public var tokensSinceFired: [Int] { state.firings.tokensSinceFired }

    /// The tensors [1, F] that the rule learns, in its order.
    public var learnables: [Matrix] { state.learned.values }

    /// After this many steps in a row in which the core left nothing, training stops.
    public static let starvationLimit = 50

    /// A trainer at step 0; `frozenCount` encoder rows stay as they are (the core's). Decoder rows are scaled to unit
    /// norm, which every step relies on.
    public convenience init(
        _ sae: SparseAutoencoder, plan: TrainingPlan, rule: any SparsityRule, frozenCount: Int? = nil,
        tokensSinceFired: [Int]? = nil, lanes: Lanes = .shared
    ) {
        for j in 0..<sae.dSAE { normalizeRow(sae.decoder.row(j), sae.dIn) }
        self.init(
            TrainerState(sae, rule: rule, tokensSinceFired: tokensSinceFired), plan: plan, rule: rule,
            frozenCount: frozenCount, lanes: lanes)
    }

    /// A trainer that goes on from a state of the same plan and rule, to the same bits on as many lanes. The last batch, at
    /// which some rules look when a training ends, is no part of it: one step at least has to follow.
    package init(
        _ state: TrainerState, plan: TrainingPlan, rule: any SparsityRule, frozenCount: Int? = nil,
        lanes: Lanes = .shared
    ) {
        let sae = state.sae
        self.state = state
        self.plan = plan
        self.rule = rule
        self.frozenCount = frozenCount ?? sae.layout.coreCount
        self.lanes = lanes
        pass = EncodingPass(lanes: lanes)
        let panels = ColumnPanels(lanes: lanes)
        live = LatentMajorCodes(lanes: lanes)
        gradient = PrefixGradient(lanes: lanes, panels: panels)
        gradients = ParameterGradients(sae, lanes: lanes, panels: panels)
        auxiliary = AuxiliaryLoss(lanes: lanes)
        learned = rule.learning.map { LearnedGradients($0, latents: sae.dSAE) }
    }

    /// One step on x [B, D], already divided by the input scale.
    ///
    /// - Throws: what the rule throws; `SparseCodingError` when the loss is not a number, the width is wrong, or the
    ///   core starves the rest.
    public func update(_ x: Matrix) throws -> StepRecord {
        guard x.columns == sae.dIn else { throw SparseCodingError.inputWidth(found: x.columns, wanted: sae.dIn) }
        if step == 0 && plan.decoderBiasStart == .geometricMedian {
            sae.decoderBias.assign(geometricMedian(of: x))
        }
        var record = try computeGradients(x, projecting: true)
        let clip = min(1, plan.clipNorm / (record.gradientNorm + 1e-6))
        state.moments.update(
            sae, gradients, time: step + 1, learningRate: record.learningRate, clip: clip, frozen: frozenCount,
            plan: plan, lanes: lanes)
        if let learned {
            state.learned.update(
                learned.rule.tensors, learned.tensors, time: step + 1, learningRate: record.learningRate, plan: plan)
        }
        if rule.inference == nil { followThreshold(record.leastSelected) }
        record.threshold = sae.threshold
        state.step += 1
        onPhase?(.update)
        return record
    }

    /// Selection, losses and gradients of one batch, and the bookkeeping of what fired: all of a step but the update.
    package func computeGradients(_ x: Matrix, projecting: Bool) throws -> StepRecord {
        let (selection, dead) = try encode(x)
        onPhase?(.selection)
        let revived = revive(dead)
        if revived != nil { onPhase?(.auxiliary) }
        let losses = try computeLosses(x, dead: dead, revived, projecting: projecting)
        onPhase?(.losses)
        let norm = try computeEncoderGradients(revived)
        onPhase?(.gradients)
        let (core, tokens) = (coreEntries(), Double(x.rows))
        return StepRecord(
            step: step, loss: losses.total, prefixLosses: losses.prefixes, auxiliaryLoss: losses.auxiliary,
            learningRate: plan.learningRate(at: step), gradientNorm: norm, meanActiveCore: Double(core) / tokens,
            meanActiveNonCore: Double(selection.selectedEntries + selection.coreEntries - core) / tokens,
            deadCount: dead.count, leastSelected: selection.leastSelected, threshold: sae.threshold,
            penalty: learned?.penalty)
    }

    // MARK: Selection

    /// What is kept of x's pre-activations, by token and by latent, and which latents are dead now, ascending.
    private func encode(_ x: Matrix) throws -> (SelectionSummary, dead: [Int]) {
        if centered.rows != x.rows { centered = Matrix(rows: x.rows, columns: sae.dIn) }
        try pass.center(x, for: sae, into: centered)
        // Dead unless they fire now.
        let silent = silentLatents(for: plan.deadAfterTokens - x.rows)
        if !silent.isEmpty {
            auxiliary.begin(silent: silent, of: sae.dSAE, rows: x.rows, count: plan.auxiliaryCount)
        }
        let selection = try select(.train, beside: silent.isEmpty ? nil : auxiliary.candidates, into: codes)
        try checkStarvation(selection, rows: x.rows)
        if let learned { learned.assemble(codes, into: live) } else { live.assemble(codes) }
        state.firings.record(live, rows: x.rows)
        return (selection, silentLatents(for: plan.deadAfterTokens))
    }

    /// What the rule keeps of the batch in `centered`.
    func select(_ mode: SelectionMode, beside: RowCandidates? = nil, into codes: SparseCodes) throws -> SelectionSummary
    {
        let context = context(mode)
        guard let learned else {
            return try pass.select(
                centered, with: sae, rule: rule, context, budget: plan.budget, beside: beside, into: codes)
        }
        return try pass.selectLearned(
            centered, with: sae, rule: rule, learned, context, beside: beside, into: codes)
    }

    /// What the rule is told about a batch, of one token at least.
    func context(_ mode: SelectionMode) -> SelectionContext {
        var context = SelectionContext(
            mode, of: sae, rows: max(centered.rows, 1), meanActive: plan.k, step: step, totalSteps: plan.steps)
        context.learnables = learnables
        return context
    }

    /// Latents that have not fired for so many tokens. Those of a dense core are never among them: no selection keeps
    /// them from firing, so AuxK has nothing to offer them.
    private func silentLatents(for tokens: Int) -> [Int] {
        state.firings.silent(for: tokens, from: sae.exemptCore.count)
    }

    private func checkStarvation(_ selection: SelectionSummary, rows: Int) throws {
        let isStarved = selection.selectedEntries == 0 && selection.coreEntries > 0
        state.starvedSteps = isStarved ? state.starvedSteps + 1 : 0
        guard state.starvedSteps >= Self.starvationLimit, !plan.allowsStarvation else { return }
        throw SparseCodingError.starved(
            step: step, steps: state.starvedSteps, k: plan.k, core: sae.layout.coreCount,
            meanActiveCore: Double(selection.coreEntries) / Double(rows))
    }

    private func coreEntries() -> Int {
        (0..<sae.layout.coreCount).reduce(0) { sum, j in
            sum + live.entries(ofLatent: j).reduce(0) { $0 + (live.values[$1] > 0 ? 1 : 0) }
        }
    }

    // MARK: Auxiliary loss

    /// Chooses what dead latents reconstruct with; nil where none is dead.
    private func revive(_ dead: [Int]) -> AuxiliaryLoss? {
        guard !dead.isEmpty else { return nil }
        auxiliary.select(dead: dead, of: sae.dSAE) {
            pass.bringTiles(of: centered, sae, to: auxiliary.candidates)
        }
        return auxiliary
    }

    // MARK: Losses, and gradients of codes and decoder

    private struct Losses {
        /// L.
        var total: Double
        /// MSE_i.
        let prefixes: [Double]
        /// L_aux.
        var auxiliary = 0.0
    }

    /// The losses, and with them the gradients of decoder, decoder bias and codes.
    private func computeLosses(
        _ x: Matrix, dead: [Int], _ revived: AuxiliaryLoss?, projecting: Bool
    ) throws -> Losses {
        gradients.begin()
        let squares = gradient.compute(x, live, sae, weights: plan.groupWeights, revived: revived, into: gradients)
        let prefixes = squares.map { $0 / Double(x.rows) }
        let weighted = zip(plan.groupWeights, prefixes).reduce(0) { $0 + $1.0 * $1.1 }
        var losses = Losses(total: weighted / Double(prefixes.count), prefixes: prefixes)
        gradients.completeDecoder(live, factor: 1, projecting: projecting)
        if let revived {
            losses.auxiliary = revived.finish(weight: plan.auxiliaryWeight)
            losses.total += plan.auxiliaryWeight * losses.auxiliary
            gradients.completeDecoder(revived.entries, factor: revived.factor, projecting: projecting)
        }
        if let learned {
            try learnedBackward(learned, dead: dead)
            losses.total += learned.penalty
        }
        guard losses.total.isFinite else { throw SparseCodingError.diverged(step: step, loss: losses.total) }
        return losses
    }

    /// Replaces ∂L/∂f of the candidates by ∂(L + penalty)/∂p. Candidates of dead latents have no value, and no gradient
    /// either: what could revive them comes from the auxiliary loss.
    private func learnedBackward(_ learned: LearnedGradients, dead: [Int]) throws {
        let candidates = pass.candidates
        try pass.selected.withUnsafeBufferPointer {
            try learned.backward(
                candidates, UnsafeBufferPointer(rebasing: $0[..<candidates.count]), context(.train),
                deltas: live.deltas)
        }
        for j in dead { for e in live.entries(ofLatent: j) { live.deltas[e] = 0 } }
    }

    // MARK: Gradients of the encoder

    /// The rest of the gradients; returns the norm of all of them.
    private func computeEncoderGradients(_ revived: AuxiliaryLoss?) throws -> Double {
        gradients.computeEncoder(centered, [live] + (revived.map { [$0.entries] } ?? []), frozen: frozenCount)
        let norm = gradients.globalNorm()
        guard norm.isFinite else { throw SparseCodingError.gradientDiverged(step: step, norm: norm) }
        return norm
    }

    // MARK: Update

    private func followThreshold(_ least: Float?) {
        let before = sae.threshold
        guard let after = InferenceThreshold(plan).after(step: step, least: least, before: before) else { return }
        sae.inference = .threshold(after)
    }
}
