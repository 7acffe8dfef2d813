import Kernels
import LinearAlgebra

/// What one training step did; every number is before the update.
public struct StepRecord: Sendable, Codable, Equatable {
    /// Counted from 0.
    public var step: Int
    /// L = L_rec + α L_aux.
    public var loss: Double
    /// MSE_i = mean_b ‖x − x̂_i‖², per prefix, unweighted.
    public var prefixLosses: [Double]
    /// L_aux, 0 without dead latents.
    public var auxiliaryLoss: Double
    /// lr of this step.
    public var learningRate: Double
    /// ‖gradients‖ after projection, before the clip.
    public var gradientNorm: Double
    /// Mean active latents of the core per token.
    public var meanActiveCore: Double
    /// Mean active latents outside the core per token.
    public var meanActiveNonCore: Double
    /// Dead latents that the auxiliary loss may revive.
    public var deadCount: Int
    /// The smallest value the rule selected, nil if none.
    public var leastSelected: Float?
    /// The inference threshold after this step, nil while unset.
    public var threshold: Float?
    /// What the rule added to the loss, nil for a rule that learns nothing.
    public var penalty: Double?
}

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
    /// The SAE being trained.
    public let sae: SparseAutoencoder
    public let plan: TrainingPlan
    /// Steps done so far.
    public private(set) var step = 0
    /// [F] tokens since each latent last fired.
    public private(set) var tokensSinceFired: [Int]
    /// Chooses among the pre-activations.
    public let rule: any SparsityRule
    /// Encoder rows that do not train: the core's.
    public let frozenCount: Int

    private let lanes: Lanes
    package let pass: EncodingPass
    package let codes = SparseCodes()
    private let live: LatentMajorCodes
    private let gradient: PrefixGradient
    package let gradients: ParameterGradients
    package let auxiliary: AuxiliaryLoss
    private let moments: AdamMoments
    private var centered = Matrix(rows: 0, columns: 0)
    private var starvedSteps = 0
    /// For a rule that learns.
    let learned: LearnedTensors?
    /// Where each candidate of a rule that learns is among the codes, and where each of those is in `live`.
    private var places: [Int] = []
    private var livePlaces: [Int] = []
    /// Called at the end of each phase, for benchmarks.
    package var onPhase: ((TrainingPhase) -> Void)?

    /// The tensors [1, F] that the rule learns, in its order.
    public var learnables: [Matrix] { learned?.values ?? [] }

    /// After this many steps in a row in which the core left nothing, training stops.
    public static let starvationLimit = 50

    /// A trainer at step 0; `frozenCount` encoder rows stay as they are (the core's). Decoder rows are scaled to unit
    /// norm, which every step relies on.
    public init(
        _ sae: SparseAutoencoder, plan: TrainingPlan, rule: any SparsityRule, frozenCount: Int? = nil,
        tokensSinceFired: [Int]? = nil, lanes: Lanes = .shared
    ) {
        self.sae = sae
        self.plan = plan
        self.rule = rule
        self.frozenCount = frozenCount ?? sae.layout.coreCount
        self.lanes = lanes
        self.tokensSinceFired = tokensSinceFired ?? [Int](repeating: 0, count: sae.dSAE)
        pass = EncodingPass(lanes: lanes)
        let panels = ColumnPanels(lanes: lanes)
        live = LatentMajorCodes(lanes: lanes)
        gradient = PrefixGradient(lanes: lanes, panels: panels)
        gradients = ParameterGradients(sae, lanes: lanes, panels: panels)
        auxiliary = AuxiliaryLoss(lanes: lanes)
        moments = AdamMoments(sae, lanes: lanes)
        learned = rule.learning.map { LearnedTensors($0, latents: sae.dSAE) }
        for j in 0..<sae.dSAE { normalizeRow(sae.decoder.row(j), sae.dIn) }
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
        moments.update(
            sae, gradients, learningRate: record.learningRate, clip: clip, frozen: frozenCount, plan: plan)
        learned?.update(learningRate: record.learningRate, plan: plan)
        if rule.inference == nil { updateThreshold(record.leastSelected) }
        record.threshold = sae.threshold
        step += 1
        onPhase?(.update)
        return record
    }

    /// Selection, losses and gradients of one batch, and the bookkeeping of what fired.
    package func computeGradients(_ x: Matrix, projecting: Bool) throws -> StepRecord {
        if centered.rows != x.rows { centered = Matrix(rows: x.rows, columns: sae.dIn) }
        try pass.center(x, for: sae, into: centered)
        let silent = latentsSilent(for: plan.deadAfterTokens - x.rows)
        if !silent.isEmpty {
            auxiliary.begin(silent: silent, of: sae.dSAE, rows: x.rows, count: plan.auxiliaryCount)
        }
        let summary = try select(centered, beside: silent.isEmpty ? nil : auxiliary.candidates)
        try checkStarvation(summary, rows: x.rows)
        assembleLive()
        let dead = recordFirings(rows: x.rows)
        onPhase?(.selection)
        let revived = dead.isEmpty ? nil : auxiliary
        if let revived {
            revived.select(dead: dead, of: sae.dSAE) {
                pass.bringTiles(of: centered, sae, to: revived.candidates)
            }
            onPhase?(.auxiliary)
        }

        gradients.begin()
        let squares = gradient.compute(
            x, live, sae, weights: plan.groupWeights, revived: revived, into: gradients)
        let prefixLosses = squares.map { $0 / Double(x.rows) }
        let n = Double(prefixLosses.count)
        var loss = zip(plan.groupWeights, prefixLosses).reduce(0) { $0 + $1.0 * $1.1 } / n
        gradients.completeDecoder(live, factor: 1, projecting: projecting)
        var auxiliaryLoss = 0.0
        if let revived {
            auxiliaryLoss = revived.finish(weight: plan.auxiliaryWeight)
            loss += plan.auxiliaryWeight * auxiliaryLoss
            gradients.completeDecoder(revived.entries, factor: revived.factor, projecting: projecting)
        }
        if let learned {
            try learnedBackward(learned, rows: x.rows, dead: dead)
            loss += learned.penalty
        }
        guard loss.isFinite else { throw SparseCodingError.diverged(step: step, loss: loss) }
        onPhase?(.losses)

        gradients.computeEncoder(centered, [live] + (revived.map { [$0.entries] } ?? []), frozen: frozenCount)
        let norm = gradients.globalNorm()
        guard norm.isFinite else { throw SparseCodingError.gradientDiverged(step: step, norm: norm) }
        onPhase?(.gradients)
        let core = coreEntries()
        return StepRecord(
            step: step, loss: loss, prefixLosses: prefixLosses, auxiliaryLoss: auxiliaryLoss,
            learningRate: plan.learningRate(at: step), gradientNorm: norm,
            meanActiveCore: Double(core) / Double(x.rows),
            meanActiveNonCore: Double(summary.selectedEntries + summary.coreEntries - core) / Double(x.rows),
            deadCount: dead.count, leastSelected: summary.leastSelected, threshold: sae.threshold,
            penalty: learned?.penalty)
    }

    private func context(_ mode: SelectionMode, rows: Int) -> SelectionContext {
        var context = SelectionContext(
            mode: mode, step: step, totalSteps: plan.steps, batchRows: rows, latentCount: sae.dSAE, meanActive: plan.k,
            batchBudget: Int((plan.k * Double(rows)).rounded(.down)), core: 0..<sae.layout.coreCount,
            coreIsExempt: !sae.exemptCore.isEmpty)
        context.learnables = learnables
        return context
    }

    private func select(_ centered: Matrix, beside: RowCandidates?) throws -> SelectionSummary {
        guard let learned else {
            return try pass.select(
                centered, with: sae, rule: rule, mode: .train, step: step, totalSteps: plan.steps, k: plan.k,
                budget: plan.budget, beside: beside, into: codes)
        }
        return try pass.selectLearned(
            centered, with: sae, rule: rule, learned, context(.train, rows: centered.rows), beside: beside, into: codes,
            places: &places)
    }

    private func assembleLive() {
        guard learned != nil else { return live.assemble(codes) }
        if livePlaces.count < codes.count { livePlaces = [Int](repeating: 0, count: codes.count * 5 / 4) }
        livePlaces.withUnsafeMutableBufferPointer { live.assemble(codes, places: $0.baseAddress) }
    }

    /// Replaces ∂L/∂f of the candidates by ∂(L + penalty)/∂p. Candidates of dead latents have no value, and no gradient
    /// either: what could revive them comes from the auxiliary loss.
    private func learnedBackward(_ learned: LearnedTensors, rows: Int, dead: [Int]) throws {
        let candidates = pass.candidates
        for e in 0..<candidates.count { places[e] = livePlaces[places[e]] }
        try pass.selected.withUnsafeBufferPointer {
            try learned.backward(
                candidates, UnsafeBufferPointer(rebasing: $0[..<candidates.count]), places: places,
                context(.train, rows: rows), deltas: live.deltas)
        }
        for j in dead { for e in live.entries(ofLatent: j) { live.deltas[e] = 0 } }
    }

    /// Ends the training: the SAE takes the form in which it is used without the rule, and reads raw activations, that is
    /// those it was trained on times `inputScale`. To be called once, after the last step.
    ///
    /// - Throws: what the rule throws; `SparseCodingError.badSetting` for a form that a dense core cannot have. The SAE then reads
    ///   raw activations all the same, and has no form yet: what was trained is not lost.
    public func finish(inputScale: Float) throws {
        let form = Result { try rule.inference.map { try self.form($0) } }
        switch try? form.get() {
        case .thresholds(let thresholds):
            let matrix = Matrix(vector: thresholds)
            for j in sae.exemptCore { matrix[j] = 0 }
            sae.latentThresholds = matrix
        case .rowTopK(let k): sae.rowTopK = k
        case nil: break
        }
        sae.fold(inputScale: inputScale)
        _ = try form.get()
        if let learned { try learned.rule.rescale(learned.values, factor: Double(inputScale)) }
    }

    /// Calibrates on the last batch, if the rule needs to look at one, and asks for the form.
    func form(_ inference: any SparsityRuleInference) throws -> InferenceForm {
        let size = try inference.stateSize(latentCount: sae.dSAE)
        let state = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 64), alignment: 64)
        defer { state.deallocate() }
        state.initializeMemory(as: UInt8.self, repeating: 0)
        let used = UnsafeMutableRawBufferPointer(rebasing: state[..<size])
        let context = context(.calibrate, rows: max(centered.rows, 1))
        if size > 0 && centered.rows > 0 {
            let kept = SparseCodes()
            if let learned {
                _ = try pass.selectLearned(
                    centered, with: sae, rule: rule, learned, context, into: kept, places: &places)
            } else {
                _ = try pass.select(
                    centered, with: sae, rule: rule, mode: .calibrate, step: step, totalSteps: plan.steps, k: plan.k,
                    budget: plan.budget, into: kept)
            }
            let candidates = pass.candidates
            try pass.selected.withUnsafeBufferPointer {
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

    private func coreEntries() -> Int {
        (0..<sae.layout.coreCount).reduce(0) { sum, j in
            sum + live.entries(ofLatent: j).reduce(0) { $0 + (live.values[$1] > 0 ? 1 : 0) }
        }
    }

    /// Counts tokens since each latent fired and returns the dead ones, ascending.
    private func recordFirings(rows: Int) -> [Int] {
        tokensSinceFired.withUnsafeMutableBufferPointer { tokens in
            for j in tokens.indices { tokens[j] = live.fired(j) ? 0 : tokens[j] + rows }
        }
        return latentsSilent(for: plan.deadAfterTokens)
    }

    /// Latents that have not fired for so many tokens. Those of a dense core are never among them: no selection keeps
    /// them from firing, so AuxK has nothing to offer them.
    private func latentsSilent(for tokens: Int) -> [Int] {
        (sae.exemptCore.count..<sae.dSAE).filter { tokensSinceFired[$0] >= tokens }
    }

    private func checkStarvation(_ summary: SelectionSummary, rows: Int) throws {
        starvedSteps = summary.selectedEntries == 0 && summary.coreEntries > 0 ? starvedSteps + 1 : 0
        guard starvedSteps >= Self.starvationLimit, !plan.allowsStarvation else { return }
        throw SparseCodingError.starved(
            step: step, steps: starvedSteps, k: plan.k, core: sae.layout.coreCount,
            meanActiveCore: Double(summary.coreEntries) / Double(rows))
    }

    /// θ follows the smallest value the rule selected: set outright at first, averaged later, kept by a batch in which
    /// nothing was selected.
    private func updateThreshold(_ least: Float?) {
        guard step > plan.thresholdStart, let least else { return }
        guard let old = sae.threshold else {
            sae.threshold = least
            return
        }
        let beta = Float(plan.thresholdBeta)
        sae.threshold = beta * old + (1 - beta) * least
    }
}
