import LanguageModeling
import TensorFiles

/// What asking will cost, counted before it starts: prompts are known but for the explanations in them.
package struct AutointerpCost: Codable, Sendable, Equatable {
    package var latents = 0
    /// Without tries that fail.
    package var requests = 0
    /// Of all prompts, in tokens of the language model that is looked at; the server's own tokens are others.
    package var tokens_in = 0
    /// Of answers as they should be: a phrase of 40 tokens, or a list of numbers.
    package var tokens_out = 0
    /// Where every answer is as long as it may be.
    package var most_tokens_out = 0

    package init() {}

    /// Tokens that an explanation is taken to have.
    private static let explanation = 40
    /// What chat formats put around a message.
    private static let aroundMessage = 5

    /// Adds what asking about a latent costs.
    package mutating func add(_ plan: LatentPlan, _ settings: AutointerpSettings, _ count: inout PromptCount) {
        latents += 1
        add(plan.explaining(settings), Self.explanation, &count)
        for method in settings.methods {
            for (request, batch) in zip(plan.judging(method, "", settings), plan.batches(method, settings)) {
                add(request, 3 * batch.count, &count)
                tokens_in += Self.explanation
            }
        }
    }

    private mutating func add(_ request: ChatRequest, _ out: Int, _ count: inout PromptCount) {
        requests += 1
        tokens_in += request.messages.reduce(0) { $0 + Self.aroundMessage + count.tokens(of: $1.content) }
        tokens_out += min(out, request.mostTokens)
        most_tokens_out += request.mostTokens
    }

    package static func + (a: AutointerpCost, b: AutointerpCost) -> AutointerpCost {
        var sum = a
        sum.latents += b.latents
        sum.requests += b.requests
        sum.tokens_in += b.tokens_in
        sum.tokens_out += b.tokens_out
        sum.most_tokens_out += b.most_tokens_out
        return sum
    }
}

/// Counts tokens of messages; what is the same in every prompt is counted once.
package struct PromptCount {
    private let tokenizer: Tokenizer
    private var known: [String: Int] = [:]

    package init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    mutating func tokens(of text: String) -> Int {
        if let known = known[text] { return known }
        let count = tokenizer.encode(text).count
        // What is asked comes once; the words around it are a few.
        if known.count < 100 { known[text] = count }
        return count
    }
}
