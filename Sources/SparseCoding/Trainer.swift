import Kernels
import LinearAlgebra
import TensorFiles

/// The parts of a step, in order.
package enum TrainingPhase: CaseIterable, Sendable {
    /// Pre-activations, selection, codes by token and by latent; on lanes, behind it, what `DeferredUpdate` holds of the step before.
    case selection
    /// The choice among dead latents; only with dead latents.
    case auxiliary
    /// Reconstructions, residuals, gradients of codes and decoder.
    case losses
    /// Gradients of the encoder, the norm of all.
    case gradients
    /// Clip, Adam, unit rows, threshold; on lanes rows wait.
    case update
}

/// Trains an SAE by the reference recipe (method: arXiv:2503.17547 with BatchTopK selection and AuxK).
///
/// One step: select → prefix residuals → closed-form gradients → remove each decoder row's parallel component → clip
/// the global norm → Adam → unit decoder rows. Nothing of size B×F exists at any point. With a core, the first c
/// encoder rows are frozen: no gradient, no moments, no share in the clip norm.
public final class Trainer {
    /// Its settings, resolved and checked.
    public let plan: TrainingPlan
    /// Chooses among the pre-activations.
    public let rule: any SparsityRule
    /// Encoder rows that do not train: the core's.
    public let frozenCount: Int
    /// What a checkpoint holds.
    package internal(set) var state: TrainerState

    let setting: StepSetting
    package let arithmetic: any StepArithmetic
    /// [F] entries above 0 of each latent in the last batch.
    private var active: [Int32]
    private var coreRate: CoreRate?
    /// Called at the end of each phase, for benchmarks.
    package var onPhase: ((TrainingPhase) -> Void)?

    /// The SAE being trained; from the first step on until `bringBack`, its matrices are up to date only in `exportedState`.
    public var sae: SparseAutoencoder { state.sae }

    /// For a rule that learns.
    let learned: LearnedGradients?

    /// How many steps have been done.
    public var step: Int { state.step }

    /// [F] tokens since each latent last fired.
    public var tokensSinceFired: [Int] { state.firings.tokensSinceFired }

    /// The tensors [1, F] that the rule learns, in its order.
    public var learnables: [Matrix] { state.learned.values }

    /// After this many steps in a row in which the core left nothing, training stops.
    public static let starvationLimit = 50

    /// A trainer at step 0; `frozenCount` encoder rows stay as they are (the core's).
    ///
    /// - Throws: `SparseCodingError.badSetting` for a core rate without a dense core; what the device throws; lanes never do.
    package convenience init(
        _ sae: SparseAutoencoder, plan: TrainingPlan, rule: any SparsityRule, frozenCount: Int? = nil,
        tokensSinceFired: [Int]? = nil, on device: any TrainingDevice = Lanes.shared
    ) throws {
        try self.init(
            TrainerState(sae, rule: rule, tokensSinceFired: tokensSinceFired), plan: plan, rule: rule,
            frozenCount: frozenCount, on: device)
    }

    /// A trainer that goes on from a state of the same plan and rule, to the same bits on the same device. The last
    /// batch, at which some rules look when a training ends, is no part of it: one step at least has to follow.
    package init(
        _ state: TrainerState, plan: TrainingPlan, rule: any SparsityRule, frozenCount: Int? = nil,
        on device: any TrainingDevice = Lanes.shared
    ) throws {
        self.state = state
        self.plan = plan
        self.rule = rule
        self.frozenCount = frozenCount ?? state.sae.layout.coreCount
        learned = rule.learning.map { LearnedGradients($0, latents: state.sae.dSAE) }
        setting = StepSetting(plan: plan, rule: rule, learned: learned, frozenCount: self.frozenCount)
        active = [Int32](repeating: 0, count: state.sae.dSAE)
        if let rate = plan.coreRate, state.sae.exemptCore.isEmpty {
            throw SparseCodingError.badSetting(
                name: "core-rate", value: "\(rate)",
                wanted: "left out where there is no dense core; the budget holds the others")
        }
        coreRate = CoreRate(plan, state.sae)
        arithmetic = try device.arithmetic(state, setting, among: nil)
    }

    /// The state with matrices that are up to date, as a checkpoint needs them.
    ///
    /// - Throws: what the device throws; lanes never do.
    package func exportedState() throws -> TrainerState {
        try arithmetic.export(TrainerState.everything)
        return state
    }

    /// Writes a checkpoint all but for its name, one tensor after the other, so that on a device none takes memory here for longer.
    ///
    /// - Throws: `TensorFileError.unwritable`; what the device throws.
    package func file(at path: String, metadata: [String: String]) throws -> AtomicFile {
        try state.file(
            at: path, metadata: metadata, bring: { try self.arithmetic.export($0..<$0 + 1) },
            done: { self.arithmetic.forget($0..<$0 + 1) })
    }

    /// A matrix [B, D] to read batches into; `update` takes others too.
    public func makeBatch() throws -> Matrix { try arithmetic.makeBatch() }

    /// Whether `update` asks for the next batch while it waits for a device.
    public var preparesAhead: Bool { arithmetic.preparesAhead }

    /// One step on x [B, D], already divided by the input scale; `next` gives the batch of the next step, which has to
    /// be another matrix, and is called if the trainer prepares ahead.
    ///
    /// - Throws: what the rule throws; `SparseCodingError` when the loss is not a number, the width is wrong, or the
    ///   core starves the rest.
    public func update(_ x: Matrix, preparing next: () throws -> Matrix? = { nil }) throws -> StepRecord {
        guard x.columns == sae.dIn else { throw SparseCodingError.inputWidth(found: x.columns, wanted: sae.dIn) }
        if step == 0 && plan.decoderBiasStart == .geometricMedian {
            sae.decoderBias.assign(geometricMedian(of: x))
            try arithmetic.decoderBiasChanged()
        }
        var record = try computeGradients(x, projecting: true, preparing: next)
        let clip = min(1, plan.clipNorm / (record.gradientNorm + 1e-6))
        try arithmetic.update(AdamStep(plan, time: step + 1, learningRate: record.learningRate, clip: clip))
        if coreRate != nil {
            coreRate?.follow(active, rows: x.rows)
            try coreRate.map { try arithmetic.setCoreBias($0.biases) }
        }
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
    package func computeGradients(
        _ x: Matrix, projecting: Bool, preparing next: () throws -> Matrix? = { nil }
    ) throws -> StepRecord {
        // Dead unless they fire now.
        let silent = silentLatents(for: plan.deadAfterTokens - x.rows)
        let context = context(.train, rows: x.rows)
        try arithmetic.begin(x, silent: silent.isEmpty ? nil : silent)
        let selection = try arithmetic.select(context)
        try checkStarvation(selection, rows: x.rows)
        onPhase?(.selection)
        var dead: [Int] = []
        if !silent.isEmpty {
            dead = try recordFirings(rows: x.rows)
            if !dead.isEmpty { try arithmetic.chooseAuxiliary(dead: dead) }
            onPhase?(.auxiliary)
        }
        try arithmetic.computeLosses(projecting: projecting)
        onPhase?(.losses)
        if let learned { try arithmetic.replaceCodeGradients(learned, context, dead: dead) }
        try arithmetic.computeEncoderGradients()
        // Nothing waits for it, and a device is at work.
        if silent.isEmpty { _ = try recordFirings(rows: x.rows) }
        if preparesAhead, let x = try next() { try arithmetic.prepare(x) }
        let results = try arithmetic.results()
        onPhase?(.gradients)
        let record = try record(results, selection, rows: x.rows, deadCount: dead.count)
        guard record.loss.isFinite else { throw SparseCodingError.diverged(step: step, loss: record.loss) }
        guard record.gradientNorm.isFinite else {
            throw SparseCodingError.gradientDiverged(step: step, norm: record.gradientNorm)
        }
        return record
    }

    private func record(
        _ results: StepResults, _ selection: SelectionSummary, rows: Int, deadCount: Int
    ) throws -> StepRecord {
        let (core, tokens) = (activeCoreEntries(), Double(rows))
        let prefixes = results.squares.map { $0 / tokens }
        let weighted = zip(plan.groupWeights, prefixes).reduce(0) { $0 + $1.0 * $1.1 }
        var loss = weighted / Double(prefixes.count)
        if deadCount > 0 { loss += plan.auxiliaryWeight * results.auxiliary }
        if let learned { loss += learned.penalty }
        return StepRecord(
            step: step, loss: loss, prefixLosses: prefixes, auxiliaryLoss: results.auxiliary,
            learningRate: plan.learningRate(at: step), gradientNorm: results.gradientNorm,
            meanActiveCore: Double(core) / tokens,
            meanActiveNonCore: Double(selection.selectedEntries + selection.coreEntries - core) / tokens,
            deadCount: deadCount, leastSelected: selection.leastSelected, threshold: sae.threshold,
            penalty: learned?.penalty)
    }

    /// Takes in which latents fired; returns those that are dead now, ascending.
    private func recordFirings(rows: Int) throws -> [Int] {
        try active.withUnsafeMutableBufferPointer { try arithmetic.countActive(into: $0) }
        state.firings.record(active, rows: rows)
        return silentLatents(for: plan.deadAfterTokens)
    }

    /// What the rule is told about a batch, of one token at least.
    func context(_ mode: SelectionMode, rows: Int) -> SelectionContext {
        var context = SelectionContext(
            mode, of: sae, rows: max(rows, 1), meanActive: plan.k, step: step, totalSteps: plan.steps)
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

    private func activeCoreEntries() -> Int { active[..<sae.layout.coreCount].reduce(0) { $0 + Int($1) } }

    // MARK: Update

    private func followThreshold(_ least: Float?) {
        let before = sae.threshold
        guard let after = InferenceThreshold(plan).after(step: step, least: least, before: before) else { return }
        sae.inference = .threshold(after)
    }
}
