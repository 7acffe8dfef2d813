/// Which tokens of a context are marked, as Delphi 0.1.3 marks them.
enum Marking {
    /// Tokens whose activations are worth a mark, as a share of the largest in the context.
    static let threshold: Float = 0.3

    /// For the explanation: above the threshold.
    static func explained(_ context: Context) -> [Int] {
        context.tokens.indices.filter { context.activations[$0] > threshold * context.largest }
    }

    /// For fuzzing, marked as the latent has it: not below the threshold.
    static func right(_ context: Context) -> [Int] {
        context.tokens.indices.filter { context.activations[$0] >= threshold * context.largest }
    }

    /// For fuzzing, marked otherwise: `count` tokens drawn of those not above the threshold, all of a context in which nothing fires;
    /// nil where there is none. (Delphi always marks the one at three quarters of the length, too.)
    static func wrong(_ context: Context, count: Int, _ draws: inout Draws) -> [Int]? {
        let open = context.tokens.indices.filter { context.activations[$0] <= threshold * context.largest }
        return open.isEmpty || count < 1 ? nil : draws.sample(Array(open), count).sorted()
    }

    /// How many tokens are marked wrongly: on average as many as fire in `contexts`, rounded up.
    static func wrongCount(_ contexts: [Context]) -> Int {
        let firing = contexts.reduce(0) { $0 + $1.activations.count { $0 != 0 } }
        return (firing + contexts.count - 1) / max(1, contexts.count)
    }

    /// Activations as whole numbers from 0 to 10: ⌈10 a / largest⌉, `largest` being the latent's.
    static func strengths(_ context: Context, largest: Float) -> [Int] {
        context.activations.map { Int(min(10, max(0, (10 * $0 / max(largest, 1e-6)).rounded(.up)))) }
    }
}
