import TensorFiles

/// Where an SAE comes from; kept under `metadata.dmsae` because SAELens has no names for it.
public struct SAEProvenance: Codable, Sendable, Equatable {
    /// Language model, by name.
    public var model: String?
    /// The block that the SAE reads, counted from 0.
    public var layer: Int?
    /// Where in the block; nil for the residual stream after it.
    public var hook: HookPoint.Kind?
    /// Tokens per sequence in training.
    public var contextLength: Int?
    /// First positions of each sequence that its training left out.
    public var keepFirst: Int?
    /// Positions with a norm above this multiple of the median were left out as attention sinks; 0 for none.
    public var sinks: Float?
    /// Seed of the parameters.
    public var seed: UInt64?
    /// √(mean ‖x‖²) that inputs were divided by in training, already folded into b_enc, b_dec and the threshold.
    public var inputScale: Double?
    /// The sparsity rule.
    public var rule: String?
    /// Every setting of it, defaults included.
    public var ruleSettings: [String: String]?
    /// What of the command that trained it is not in the plan.
    public var settings: [String: String]?
    /// SHA-256 of what it was made from, by what that is for: activations, core, starting point, plugin.
    public var hashes: [String: String]?
    /// Every number of the training.
    public var plan: TrainingPlan?
    /// Training steps behind it.
    public var steps: Int?
    /// Active latents of a token that it was trained for, of an SAE of another program, which has no plan here.
    public var k: Double?
    /// What cfg.json says of the training that is otherwise where the SAE is used here, in sentences; not kept.
    public var remarks: [String] = []

    public init() {}

    private enum CodingKeys: String, CodingKey {
        case model, layer, hook, contextLength, keepFirst, sinks, seed, inputScale, rule, ruleSettings, settings,
            hashes, plan
        case steps, k
    }
}

extension SAEProvenance {
    /// What the SAE reads and rebuilds; nil where that is not known.
    public var hookPoint: HookPoint? {
        get { layer.map { HookPoint(block: $0, hook ?? .residPost) } }
        set { (layer, hook) = (newValue?.block, newValue?.recordedKind) }
    }
}
