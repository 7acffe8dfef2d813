/// What a user may set about a training; nil takes the default that `TrainingPlan` resolves.
public struct TrainingSettings: Sendable {
    /// Mean number of active latents per token.
    public var k: Double
    /// Tokens per step, B.
    public var batchSize: Int
    /// S, training steps.
    public var steps: Int
    /// Peak learning rate; default 2e-4 / √(F / 2¹⁴).
    public var learningRate: Double?
    /// Steps of linear warm-up from 0; default min(1000, S/20).
    public var warmupSteps: Int?
    /// Default 80% of the steps.
    public var decayStart: DecayStart?
    /// Weight of each prefix's loss; default 1/n each.
    public var groupWeights: [Double]?
    /// The threshold is updated at steps after this one; default min(1000, S/4).
    public var thresholdStart: Int?
    /// β of the threshold's moving average; default min(0.999, 1 − 10/S).
    public var thresholdBeta: Double?
    /// A latent is dead after this many tokens without firing; default min(10 million, S·B/10).
    public var deadAfterTokens: Int?
    /// Weight of the auxiliary loss; default 1/32.
    public var auxiliaryWeight: Double?
    /// Dead latents that reconstruct the residual of a token; default D/2.
    public var auxiliaryCount: Int?
    /// What the core may use of the budget.
    public var budget: BudgetScope = .nonCore
    /// Go on although the core starves the rest.
    public var allowsStarvation = false
    /// How b_dec starts.
    public var decoderBiasStart: DecoderBiasStart = .geometricMedian
    /// Share of tokens at which each latent of a dense core is held, in (0, 1); nil to leave them alone.
    public var coreRate: Double?

    /// Settings with every default.
    public init(k: Double, batchSize: Int, steps: Int) {
        self.k = k
        self.batchSize = batchSize
        self.steps = steps
    }
}

/// When the learning rate starts its linear decay to 0.
public enum DecayStart: Sendable, Equatable {
    /// At this step, counted from 0.
    case step(Int)
    /// The rate is constant after the warm-up.
    case never
}

/// How b_dec starts.
public enum DecoderBiasStart: String, Sendable, Codable, CaseIterable {
    /// The geometric median of the first batch.
    case geometricMedian = "geometric-median"
    /// As the SAE has it.
    case keep
}

/// Every number of a training, resolved and checked; recorded as it is.
///
/// The defaults that depend on the number of steps are there because the reference recipe's constants assume
/// hundreds of thousands of steps: a run of two thousand would never leave its warm-up.
public struct TrainingPlan: Sendable, Codable, Equatable {
    /// Mean number of active latents per token.
    public let k: Double
    /// Tokens per step, B.
    public let batchSize: Int
    /// S, training steps.
    public let steps: Int
    /// Peak learning rate.
    public let learningRate: Double
    /// Steps of linear warm-up.
    public let warmupSteps: Int
    /// First step of the decay, nil for none.
    public let decayStart: Int?
    /// w_i, one per prefix.
    public let groupWeights: [Double]
    /// The threshold is updated at steps after this one.
    public let thresholdStart: Int
    /// β of the threshold's moving average.
    public let thresholdBeta: Double
    /// A latent is dead after this many tokens without firing.
    public let deadAfterTokens: Int
    /// α of L = L_rec + α L_aux.
    public let auxiliaryWeight: Double
    /// Most dead latents per token in L_aux.
    public let auxiliaryCount: Int
    /// What the core may use of the budget.
    public let budget: BudgetScope
    /// Go on although the core starves the rest.
    public let allowsStarvation: Bool
    /// How b_dec starts.
    public let decoderBiasStart: DecoderBiasStart
    /// Share of tokens at which each latent of a dense core is held; nil where they are left alone.
    public let coreRate: Double?
    /// Adam's β₁, in [0, 1).
    public let beta1: Double
    /// Adam's β₂, in [0, 1).
    public let beta2: Double
    /// Adam's ε, added to the root.
    public let epsilon: Double
    /// Largest global norm of the gradients.
    public let clipNorm: Double

    /// Resolves settings for an SAE of this shape.
    ///
    /// - Throws: `SparseCodingError` naming the setting that is out of range.
    public init(_ settings: TrainingSettings, dIn: Int, layout: PrefixLayout) throws {
        let steps = settings.steps
        try Self.check("steps", steps, steps >= 1, "at least 1")
        try Self.check("batch", settings.batchSize, settings.batchSize >= 1, "at least 1")
        // Random numbers are drawn for a step in 32 bits, and S·B must not overflow.
        let most = Int(Int32.max)
        try Self.check("steps", steps, steps <= most, "at most \(most)")
        try Self.check("batch", settings.batchSize, settings.batchSize <= most, "at most \(most)")
        try Self.check("k", settings.k, settings.k > 0 && settings.k.isFinite, "positive")
        guard settings.k <= Double(layout.latentCount) else {
            throw SparseCodingError.tooManyActive(k: settings.k, width: layout.latentCount)
        }
        self.k = settings.k
        batchSize = settings.batchSize
        self.steps = steps
        learningRate = settings.learningRate ?? 2e-4 / (Double(layout.latentCount) / 16384).squareRoot()
        try Self.check("lr", learningRate, learningRate > 0 && learningRate.isFinite, "positive")
        warmupSteps = settings.warmupSteps ?? min(1000, steps / 20)
        try Self.check("warmup", warmupSteps, warmupSteps >= 0, "0 or more steps")
        switch settings.decayStart {
        case .never:
            decayStart = nil
            try Self.check("warmup", warmupSteps, warmupSteps <= steps, "at most the \(steps) steps there are")
        case .step(let step):
            decayStart = step
            try Self.check("decay-start", step, step >= warmupSteps, "a step after the warm-up of \(warmupSteps)")
            try Self.check("decay-start", step, step < steps, "one of the \(steps) steps, counted from 0, or none")
        case nil:
            let step = steps * 4 / 5
            decayStart = step
            try Self.check(
                "warmup", warmupSteps, warmupSteps <= step,
                "at most \(step), the step at which the rate starts to fall, or the decay must start later")
        }
        let count = layout.prefixes.count
        groupWeights = settings.groupWeights ?? [Double](repeating: 1 / Double(count), count: count)
        try Self.check(
            "group-weights", groupWeights,
            groupWeights.count == count && groupWeights.allSatisfy { $0 >= 0 && $0.isFinite },
            "\(count) weights, none negative")
        thresholdStart = settings.thresholdStart ?? min(1000, steps / 4)
        try Self.check("threshold-start", thresholdStart, thresholdStart >= 0, "0 or more")
        thresholdBeta = settings.thresholdBeta ?? max(0, min(0.999, 1 - 10 / Double(steps)))
        try Self.check("threshold-beta", thresholdBeta, (0..<1).contains(thresholdBeta), "in [0, 1)")
        deadAfterTokens = settings.deadAfterTokens ?? min(10_000_000, max(1, steps * settings.batchSize / 10))
        try Self.check("dead-after", deadAfterTokens, deadAfterTokens >= 1, "at least 1 token")
        auxiliaryWeight = settings.auxiliaryWeight ?? 1.0 / 32
        try Self.check("aux-weight", auxiliaryWeight, auxiliaryWeight >= 0 && auxiliaryWeight.isFinite, "0 or more")
        auxiliaryCount = settings.auxiliaryCount ?? dIn / 2
        try Self.check("aux-count", auxiliaryCount, auxiliaryCount >= 0, "0 or more latents")
        budget = settings.budget
        allowsStarvation = settings.allowsStarvation
        decoderBiasStart = settings.decoderBiasStart
        coreRate = settings.coreRate
        try Self.check("core-rate", coreRate ?? 0, coreRate.map { $0 > 0 && $0 < 1 } ?? true, "between 0 and 1")
        (beta1, beta2, epsilon, clipNorm) = (0.9, 0.999, 1e-8, 1)
    }

    private static func check<Value>(_ name: String, _ value: Value, _ valid: Bool, _ wanted: String) throws {
        guard valid else { throw SparseCodingError.badSetting(name: name, value: "\(value)", wanted: wanted) }
    }

    /// lr at a step: linear from exactly 0 over the warm-up, constant, linear to 0 (reached after the last step).
    public func learningRate(at step: Int) -> Double {
        if step < warmupSteps { return learningRate * Double(step) / Double(warmupSteps) }
        guard let decayStart, step >= decayStart else { return learningRate }
        // In Double: a plan may come from a file.
        return learningRate * (Double(steps) - Double(step)) / (Double(steps) - Double(decayStart))
    }
}
