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
}

/// Trains an SAE by the reference recipe (method: arXiv:2503.17547 with BatchTopK selection and AuxK).
///
/// One step: select → prefix residuals → closed-form gradients → remove each decoder row's parallel component → clip
/// the global norm → Adam → unit decoder rows. Nothing of size B×F exists at any point. With a core, the first c
/// encoder rows are frozen: no gradient, no moments, no share in the clip norm.
public final class Trainer {
    /// The SAE being trained.
    public let sae: SparseAutoencoder
    /// Its numbers.
    public let plan: TrainingPlan
    /// Steps done.
    public private(set) var step = 0
    /// [F] tokens since each latent last fired.
    public private(set) var tokensSinceFired: [Int]
    /// Chooses among the pre-activations.
    public let rule: any SparsityRule
    /// Encoder rows that do not train: the core's.
    public let frozenCount: Int

    private let lanes: Lanes
    private let pass: EncodingPass
    package let codes = SparseCodes()
    let gradient: PrefixGradient
    package let gradients: ParameterGradients
    package let auxiliary: AuxiliaryLoss
    private let moments: AdamMoments
    private var centered = Matrix(rows: 0, columns: 0)
    private let prefixOfLatent: [Int32]
    private var starvedSteps = 0

    /// After this many steps in a row in which the core left nothing, training stops.
    public static let starvationLimit = 50

    /// A trainer at step 0; `frozenCount` encoder rows stay as they are (the core's).
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
        gradient = PrefixGradient(lanes: lanes)
        gradients = ParameterGradients(sae, lanes: lanes)
        auxiliary = AuxiliaryLoss(lanes: lanes)
        moments = AdamMoments(sae, lanes: lanes)
        prefixOfLatent = sae.layout.prefixOfLatent
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
        updateThreshold(record.leastSelected)
        record.threshold = sae.threshold
        step += 1
        return record
    }

    /// Selection, losses and gradients of one batch, and the bookkeeping of what fired.
    package func computeGradients(_ x: Matrix, projecting: Bool) throws -> StepRecord {
        if centered.rows != x.rows { centered = Matrix(rows: x.rows, columns: sae.dIn) }
        try pass.center(x, for: sae, into: centered)
        let summary = try pass.select(
            centered, with: sae, rule: rule, mode: .train, step: step, totalSteps: plan.steps, k: plan.k,
            budget: plan.budget, into: codes)
        try checkStarvation(summary, rows: x.rows)
        let dead = recordFirings(rows: x.rows)
        let squares = gradient.compute(x, codes, sae, weights: plan.groupWeights)
        let prefixLosses = squares.map { $0 / Double(x.rows) }
        let n = Double(prefixLosses.count)
        var loss = zip(plan.groupWeights, prefixLosses).reduce(0) { $0 + $1.0 * $1.1 } / n

        var sources = prefixOfLatent
        var parts = [(codes: codes, deltas: UnsafePointer(gradient.deltas.elements))]
        var auxiliaryLoss = 0.0
        if !dead.isEmpty {
            auxiliaryLoss = auxiliary.compute(
                centered, sae, dead: dead, count: plan.auxiliaryCount, weight: plan.auxiliaryWeight, gradient: gradient)
            loss += plan.auxiliaryWeight * auxiliaryLoss
            if auxiliary.hasGradient {
                // A dead latent fired nowhere in this batch: all its entries are the auxiliary loss's.
                for j in dead { sources[j] = Int32(prefixLosses.count) }
                parts.append((codes: auxiliary.codes, deltas: UnsafePointer(auxiliary.deltas.elements)))
            }
        }
        guard loss.isFinite else { throw SparseCodingError.diverged(step: step, loss: loss) }
        gradients.codes.assemble(latents: sae.dSAE, parts)
        gradients.compute(
            centered, sae, gradient, sources: sources, frozen: frozenCount, projecting: projecting)
        return StepRecord(
            step: step, loss: loss, prefixLosses: prefixLosses, auxiliaryLoss: auxiliaryLoss,
            learningRate: plan.learningRate(at: step), gradientNorm: gradients.globalNorm(),
            meanActiveCore: Double(coreEntries()) / Double(x.rows),
            meanActiveNonCore: Double(codes.count - coreEntries()) / Double(x.rows), deadCount: dead.count,
            leastSelected: summary.leastSelected, threshold: sae.threshold)
    }

    private func coreEntries() -> Int {
        let core = Int32(sae.layout.coreCount)
        guard core > 0 else { return 0 }
        var count = 0
        for e in 0..<codes.count where codes.columnIndices[e] < core { count += 1 }
        return count
    }

    /// Counts tokens since each latent fired and returns the dead ones, ascending. Latents of a dense core are never
    /// among them: no selection keeps them from firing, so AuxK has nothing to offer them.
    private func recordFirings(rows: Int) -> [Int] {
        for j in tokensSinceFired.indices { tokensSinceFired[j] += rows }
        for e in 0..<codes.count { tokensSinceFired[Int(codes.columnIndices[e])] = 0 }
        let exempt = sae.exemptCore.count
        return (exempt..<sae.dSAE).filter { tokensSinceFired[$0] >= plan.deadAfterTokens }
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
