import LanguageModeling
import LinearAlgebra

/// One change of the spliced reconstruction x̂ in a range of tokens of one sequence.
public struct Edit: @unchecked Sendable {
    /// What happens to x̂_t += (a′ − a)·W_dec[j], with a = f[t, j].
    public enum Change {
        /// a′ = factor·a; 0 ablates. Tokens where the latent is inactive stay as they are.
        case scale(latent: Int, factor: Float)
        /// a′ = value at every scored token of the range, active or not.
        case set(latent: Int, value: Float)
        /// x̂_t = the row of t, [tokens.count, d], borrowed for the call.
        case rows(UnsafePointer<Float>)
    }

    /// Tokens, counted in the batch.
    public var tokens: Range<Int>
    /// What happens there.
    public var change: Change

    /// A change of `tokens`.
    public init(tokens: Range<Int>, change: Change) {
        self.tokens = tokens
        self.change = change
    }
}

/// Edits of one sequence that act together.
public struct EditGroup: @unchecked Sendable {
    /// Sequence of the batch.
    public var sequence: Int
    /// Applied in order.
    public var edits: [Edit]
    /// [T] where the losses in nats are wanted; position t predicts t + 1, the last is 0.
    public var losses: UnsafeMutableBufferPointer<Float>?

    /// A group of edits.
    public init(sequence: Int, edits: [Edit], losses: UnsafeMutableBufferPointer<Float>? = nil) {
        self.sequence = sequence
        self.edits = edits
        self.losses = losses
    }
}

/// A reconstruction [T, d] of one sequence, and where its gradient goes.
public struct GradientPoint: @unchecked Sendable {
    /// Sequence of the batch.
    public var sequence: Int
    /// r [T, d].
    public var rows: UnsafePointer<Float>
    /// [T, d]: written, 0 where the position is not scored.
    public var gradient: UnsafeMutablePointer<Float>

    public init(sequence: Int, rows: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Float>) {
        self.sequence = sequence
        self.rows = rows
        self.gradient = gradient
    }
}

/// A straight line between two reconstructions [T, d] of one sequence.
public struct GradientPath: @unchecked Sendable {
    /// Sequence of the batch.
    public var sequence: Int
    /// r₀ [T, d].
    public var base: UnsafePointer<Float>
    /// r₁ [T, d].
    public var end: UnsafePointer<Float>
    /// [T, d]: written, Σ_i weight_i·g(r₀ + α_i (r₁ − r₀)), 0 where the position is not scored.
    public var gradient: UnsafeMutablePointer<Double>

    public init(
        sequence: Int, base: UnsafePointer<Float>, end: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Double>
    ) {
        self.sequence = sequence
        self.base = base
        self.end = end
        self.gradient = gradient
    }
}

/// The model spliced as in one scoring batch, asked about other reconstructions: losses and gradients.
///
/// Positions that are not scored keep the model's own residual whatever is asked. Valid during the call that got the
/// batch, on its thread, one question at a time.
public protocol SplicedEvaluation: AnyObject, Sendable {
    /// How many groups a call should carry to be cheap, at least 1.
    var preferredGroups: Int { get }
    /// How many groups may still be evaluated in this pass; nil without a limit.
    var remainingGroups: Int? { get }

    /// A function that gives back what is spent from now on, for a call that is made again after its process was lost.
    func checkpoint() -> () -> Void
    /// Σ (loss after − loss before) of each group's sequence, in nats; fills `losses`. Losses before the first changed
    /// token are the batch's, bit for bit.
    ///
    /// - Throws: `AttributionError.badEdit`, `.budgetExhausted` (then nothing was evaluated), what the model throws.
    func lossChanges(_ groups: [EditGroup]) throws -> [Double]
    /// Σ losses at each point; fills `gradient`. A point costs one group.
    func gradients(at points: [GradientPoint]) throws -> [Double]
    /// Fills each path's `gradient`. A step of a path costs one group.
    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws
    /// M after − M before of each group's sequence; fills `losses` with m. Before the first changed token m is the batch's.
    ///
    /// - Throws: as `lossChanges`; `AttributionError.metricUnsupported`.
    func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double]
    /// M at each point, and the gradient of it under a rule.
    func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws -> [Double]
    /// As the gradients along paths of the loss.
    func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws
    /// Rows [n, d] of the vocabulary projection, the final norm's weights in them; of −1 their mean.
    func headRows(_ tokens: [Int32]) throws -> Matrix
    /// σ [N]: what the final norm divides by in the batch as it was spliced.
    func finalScales() throws -> [Float]
    /// How active each candidate is in the whole pass.
    ///
    /// - Throws: `AttributionError.passUnknown`, what the model throws.
    func meanActivations() throws -> MeanActivations.Values
}

extension ScoringBatch {
    /// Refuses a sequence that the batch does not have; `what` asks about it.
    package func check(sequence: Int, _ what: String) throws {
        guard (0..<sequenceOffsets.count - 1).contains(sequence) else {
            throw AttributionError.badEdit(
                "a \(what) is of sequence \(sequence) of a batch of \(sequenceOffsets.count - 1)")
        }
    }

    /// Refuses groups with tokens, latents or values that the batch does not have: what every evaluation
    /// of it does first.
    package func check(_ groups: [EditGroup]) throws {
        for (index, group) in groups.enumerated() {
            try check(sequence: group.sequence, "group")
            let sequence = Int(sequenceOffsets[group.sequence])..<Int(sequenceOffsets[group.sequence + 1])
            for edit in group.edits {
                guard edit.tokens.clamped(to: sequence) == edit.tokens || edit.tokens.isEmpty else {
                    throw AttributionError.badEdit(
                        "group \(index) edits tokens \(edit.tokens), and its sequence \(group.sequence) has \(sequence)"
                    )
                }
                switch edit.change {
                case .rows: break
                case .scale(let latent, let value), .set(let latent, let value):
                    guard (0..<codes.columns).contains(latent) else {
                        throw AttributionError.badEdit(
                            "group \(index) edits latent \(latent) of \(codes.columns) candidates")
                    }
                    guard value.isFinite else {
                        throw AttributionError.badEdit("group \(index) sets latent \(latent) by \(value)")
                    }
                }
            }
        }
    }
}

extension SplicedEvaluation {
    /// Gives nothing back: for evaluations without a budget of their own.
    public func checkpoint() -> () -> Void { {} }
}
