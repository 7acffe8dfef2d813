import Attribution
import CDMSAE
import LanguageModeling

/// An evaluation that a worker asks for; rows and gradients are in blocks.
struct EvaluationRequest: Codable {
    /// An edit; a float as its bits, which JSON keeps.
    struct Change: Codable {
        var tokens: Range<Int>
        var operation: dmsae_edit_operation.RawValue
        var latent: Int
        var value: UInt32
    }

    struct Group: Codable {
        var sequence: Int
        var edits: [Change]
        var wantsLosses: Bool
    }

    var groups: [Group] = []
    /// Sequences of points or paths.
    var sequences: [Int] = []
    var length = 0
    /// Nil for the loss; its weights and direction are in the last blocks.
    var metric: Metric?
    var rule: BackwardRule = .plain
    /// Tokens whose rows of the head are wanted.
    var tokens: [Int32] = []

    /// What is measured.
    struct Metric: Codable {
        enum Kind: Codable {
            case loss, divergence
            case logitDifference(Int32, Int32)
            case direction(layer: Int)
        }

        var kind: Kind
        var hasWeights: Bool

        /// How many blocks it takes at the end of its message.
        var blockCount: Int {
            if case .direction = kind { return hasWeights ? 2 : 1 }
            return hasWeights ? 1 : 0
        }
    }

    /// Puts a metric into the request, whose other blocks are there already.
    mutating func add(_ metric: EvaluationMetric, to blocks: inout ArenaBlocks) {
        var kind = Metric.Kind.loss
        switch metric.kind {
        case .loss: break
        case .divergence: kind = .divergence
        case .logitDifference(let a, let b): kind = .logitDifference(a, b)
        case .direction(let direction, let layer):
            kind = .direction(layer: layer)
            blocks.add(direction)
        }
        if let weights = metric.weights { blocks.add(weights) }
        self.metric = Metric(kind: kind, hasWeights: metric.weights != nil)
    }

    /// The metric of a message about a batch of N tokens in d dimensions.
    func metric(_ arena: Arena, tokens N: Int, dimension d: Int) throws -> EvaluationMetric {
        guard let metric else { return .loss }
        var block = arena.blocks.count - metric.blockCount
        guard block >= 1 else { throw Arena.Malformed(reason: "no metric") }
        var kind = EvaluationMetric.Kind.loss
        switch metric.kind {
        case .loss: break
        case .divergence: kind = .divergence
        case .logitDifference(let a, let b): kind = .logitDifference(a, b)
        case .direction(let layer):
            kind = .direction(try arena.values(block, Float.self, count: d), layer: layer)
            block += 1
        }
        return EvaluationMetric(
            kind, weights: metric.hasWeights ? try arena.values(block, Float.self, count: N) : nil)
    }
}

/// The answer to one; numbers are in blocks.
struct EvaluationAnswer: Codable {
    /// What the host threw.
    enum Failure: Codable {
        case badEdit(String)
        case budgetExhausted(asked: Int, remaining: Int)
        case unsupported(String)
        case other(String)
    }

    var failure: Failure?
    var remaining: Int?
}
