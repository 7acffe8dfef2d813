/// What is known of a scoring pass before its first batch.
public struct ScoringPlan: Sendable, Equatable, Codable {
    /// m: columns of every batch's codes.
    public var latentCount: Int
    /// d, numbers in a row of the residual stream.
    public var dimension: Int
    /// Sequences of the whole pass.
    public var sequenceCount: Int
    /// Tokens of the whole pass, those that are not scored included.
    public var tokenCount: Int
    /// Core latents, a prefix of the columns.
    public var coreCount: Int
    /// Whether the SAE's error is added back, held constant.
    public var errorTermAdded: Bool
    /// Evaluations that the whole pass may ask for; nil without a limit.
    public var evaluationBudget: Int?
    /// How often a scorer gets every batch.
    public var passCount = 1
    /// Which of the passes it is in.
    public var pass = 0

    /// A plan of the given sizes.
    public init(
        latentCount: Int, dimension: Int, sequenceCount: Int, tokenCount: Int, coreCount: Int, errorTermAdded: Bool,
        evaluationBudget: Int? = nil
    ) {
        self.latentCount = latentCount
        self.dimension = dimension
        self.sequenceCount = sequenceCount
        self.tokenCount = tokenCount
        self.coreCount = coreCount
        self.errorTermAdded = errorTermAdded
        self.evaluationBudget = evaluationBudget
    }
}

/// A named result of a scorer that accumulates.
public struct ScorerOutput: Sendable, Equatable, Codable {
    /// How it is laid out, row-major.
    public enum Shape: Int32, Sendable, Codable {
        /// One number a latent, [m].
        case latent = 1
        /// One number a latent and sequence, [m, S].
        case latentSequence = 2
        /// One number for each two latents, [m, m].
        case latentPair = 3
        /// One number a latent and token of the whole pass, [m, N].
        case latentToken = 4
    }

    /// The tensor's name in files.
    public var name: String
    /// How it is laid out.
    public var shape: Shape
    /// Of its numbers: "nats", or "1" for none.
    public var unit: String
    /// One line for people.
    public var description: String
    /// Whether a larger value means a latent that helps more.
    public var higherIsBetter: Bool
    /// The output whose standard error this is.
    public var standardErrorOf: Int?
    /// The output the number of whose terms this is.
    public var countOf: Int?
    /// What it is to output 0, if that is made sequence by sequence.
    public var role: Role?

    /// A part of what output 0 is made of, [m, S]: the mean over sequences of `terms` y; where only some were asked,
    /// the ratio estimate (Σ x/S)·(Σ e·y)/(Σ e·x) with `sizes` x and `expansions` e.
    public enum Role: String, Sendable, Codable {
        /// y; NaN where the sequence was not asked.
        case terms
        /// e: how many like it an evaluated sequence stands for; 0 where it was not asked.
        case expansions
        /// x: known of every sequence; 0 where y is 0 for sure.
        case sizes
    }

    /// A described output.
    public init(
        name: String, shape: Shape, unit: String, description: String, higherIsBetter: Bool,
        standardErrorOf: Int? = nil, countOf: Int? = nil, role: Role? = nil
    ) {
        self.name = name
        self.shape = shape
        self.unit = unit
        self.description = description
        self.higherIsBetter = higherIsBetter
        self.standardErrorOf = standardErrorOf
        self.countOf = countOf
        self.role = role
    }

    /// Number of elements under a plan; more than there can be where that is no number.
    public func count(_ plan: ScoringPlan) -> Int {
        let (count, overflow) = plan.latentCount.multipliedReportingOverflow(by: shape.width(plan))
        return overflow ? .max : count
    }
}

extension ScorerOutput.Shape {
    /// Numbers for each latent.
    func width(_ plan: ScoringPlan) -> Int {
        switch self {
        case .latent: 1
        case .latentSequence: plan.sequenceCount
        case .latentPair: plan.latentCount
        case .latentToken: plan.tokenCount
        }
    }
}

/// A score that is gathered over a whole pass instead of written token by token.
///
/// The state is bytes that the caller owns, aligned to 64 and zero at first, without pointers: between calls it may be
/// copied, stored, or moved to another process. After an error its content is undefined.
public protocol AccumulatingScore: AnyObject, Sendable {
    /// What `finish` writes; output 0 is the score [m], positive where the latent helps.
    var outputs: [ScorerOutput] { get }
    /// Changes with the layout of the state.
    var stateVersion: Int { get }
    /// Whether it gets all batches in order from one state, so that there are no shards.
    var isSequential: Bool { get }
    /// How often it gets every batch.
    func passCount(_ plan: ScoringPlan) throws -> Int
    /// Whether it goes on from states of this version that a build called `version` wrote; nil if it does not say.
    func accepts(stateOf version: String) throws -> Bool?
    /// Bytes of state for a pass.
    func stateSize(_ plan: ScoringPlan) throws -> Int
    /// Prepares a zeroed state.
    func begin(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws
    /// Adds a batch; batches come in order, those without entries too.
    func accumulate(_ batch: ScoringBatch, _ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws
    /// Adds the state of the next shard.
    func merge(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws
    /// Writes every output; NaN where there is no evidence. The state stays as it is.
    func finish(
        _ plan: ScoringPlan, state: UnsafeRawBufferPointer, into outputs: [UnsafeMutableBufferPointer<Double>]) throws
}

extension AccumulatingScore {
    /// States of most merge.
    public var isSequential: Bool { false }
    /// Most look once.
    public func passCount(_ plan: ScoringPlan) throws -> Int { 1 }
    /// Most say nothing of other builds.
    public func accepts(stateOf version: String) throws -> Bool? { nil }
}
