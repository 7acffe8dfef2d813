import CDMSAE

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
}

/// The answer to one; numbers are in blocks.
struct EvaluationAnswer: Codable {
    /// What the host threw.
    enum Failure: Codable {
        case badEdit(String)
        case budgetExhausted(asked: Int, remaining: Int)
        case other(String)
    }

    var failure: Failure?
    var remaining: Int?
}
