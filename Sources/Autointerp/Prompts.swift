import TensorFiles

/// What language models are told. The words are this project's own: Delphi defines what is asked, and numbers depend on the words too, so
/// that only numbers with one `hash` are to be compared.
package enum Prompts {
    /// SHA-256 of all that is the same in every prompt.
    package static let hash = digest(explaining.messages([]) + judging(.detection, "", []) + judging(.fuzzing, "", []))

    /// SHA-256 of what was sent: of each message its role, its length in bytes, and what it says.
    package static func digest(_ messages: [ChatMessage]) -> String {
        let text = messages.map { "\($0.role) \($0.content.utf8.count) \($0.content)\n" }.joined()
        return SHA256.hexadecimal(SHA256.digest(of: text))
    }

    /// Asks for an explanation of contexts; `largest` is the largest activation of the latent.
    package static func explanation(of contexts: [Context], largest: Float) -> [ChatMessage] {
        explaining.messages(
            contexts.map { context in
                let (marked, strengths) = (Marking.explained(context), Marking.strengths(context, largest: largest))
                let listed = marked.prefix(10).map { "\"\(plain(context.tokens[$0]))\" \(strengths[$0])" }
                return context.text(marking: marked) + "\nStrengths: " + listed.joined(separator: ", ")
            })
    }

    /// Asks a judge.
    package static func judging(_ method: ScoringMethod, _ explanation: String, _ texts: [String]) -> [ChatMessage] {
        (method == .detection ? detecting : fuzzing).messages(texts, explanation)
    }

    private static func plain(_ token: String) -> String { String(token.map { $0.isNewline ? "⏎" : $0 }) }

    /// The explanation in an answer: what stands behind the last "Explanation:" on its line, or, of a model that leaves the word out, its
    /// last line; nil where there is none.
    package static func explanation(in answer: ChatAnswer) -> String? {
        let lines = answer.conclusion.split(whereSeparator: \.isNewline).map { trimmed($0) }.filter { !$0.isEmpty }
        guard let last = lines.last else { return nil }
        let marked = lines.last { $0.lowercased().hasPrefix("explanation:") }
        let text = marked.map { trimmed($0.dropFirst("explanation:".count)) } ?? last
        return text.isEmpty ? nil : String(text.prefix(500))
    }

    /// The first list in an answer of as many numbers as were asked for, 0 or 1 (or false and true); nil where there is none.
    package static func judgements(in answer: ChatAnswer, count: Int) -> [Bool]? {
        for piece in answer.conclusion.split(separator: "[").dropFirst(answer.conclusion.hasPrefix("[") ? 0 : 1) {
            guard let end = piece.firstIndex(of: "]") else { continue }
            let words = piece[..<end].split(separator: ",", omittingEmptySubsequences: false).map { trimmed($0) }
            let values = words.map { ["0": false, "1": true, "false": false, "true": true][$0.lowercased()] }
            if values.count == count, !values.contains(nil) { return values.compactMap { $0 } }
        }
        return nil
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        let start = text.drop { $0.isWhitespace }
        return String(start.prefix(start.reversed().drop { $0.isWhitespace }.count))
    }

    /// A system message and examples of how to answer.
    private struct Form: Sendable {
        let system: String
        let examples: [(question: String, answer: String)]
        let intro: @Sendable (String) -> String

        func messages(_ texts: [String], _ explanation: String = "") -> [ChatMessage] {
            let listed = texts.enumerated().map { "Excerpt \($0 + 1): \($1)" }.joined(separator: "\n")
            return [.system(system)] + examples.flatMap { [.user($0.question), .assistant($0.answer)] }
                + [.user(intro(explanation) + listed)]
        }
    }

    private static let explaining = Form(
        system: """
            You study one unit of a neural network that reads text. You get excerpts; the tokens at which the unit is active are between << \
            and >>, and below each excerpt stands how strongly, from 1 to 10. Find out what the unit reacts to: the marked tokens, what they \
            mean, or what surrounds them. Describe it in one short phrase that somebody else could recognise it by, as general as the \
            excerpts demand and no more. Say nothing of the marks and the numbers, and list no excerpts. Your last line is \
            "Explanation:" and the phrase.
            """,
        examples: [
            (
                """
                Excerpt 1: The ferry leaves at <<noon>> and comes back before<< dusk>>.
                Strengths: "noon" 9, " dusk" 7
                Excerpt 2: They met again<< at midnight>>, when the
                Strengths: " at" 3, " midnight" 10
                Excerpt 3: We start<< early>> tomorrow, said the
                Strengths: " early" 4
                """, "Explanation: words for a time of day"
            ),
            (
                """
                Excerpt 1: results were<< not>> what anyone had hoped
                Strengths: " not" 8
                Excerpt 2: he could<<n't>> find the key,<< nor>> the lamp
                Strengths: "n't" 9, " nor" 6
                """, "Explanation: words that negate"
            ),
        ], intro: { _ in "" })

    private static let detecting = Form(
        system: """
            You check descriptions of what a unit of a neural network reacts to. You get a description and numbered excerpts of text. Decide \
            of each excerpt whether what is described occurs in it. Answer with a list of as many numbers as there are excerpts, in their \
            order, 1 for yes and 0 for no, and with nothing else.
            """,
        examples: [
            (
                """
                Description: words for a time of day

                Excerpt 1:  harbour, and at noon the bells
                Excerpt 2:  of the second volume, which was
                Excerpt 3:  children slept until dawn. Then
                Excerpt 4:  colours of the flag are red and
                """, "[1, 0, 1, 0]"
            ),
            (
                """
                Description: words that negate

                Excerpt 1:  river flows through the valley to
                Excerpt 2:  she had never been there, and
                Excerpt 3:  is the capital of the province
                """, "[0, 1, 0]"
            ),
        ], intro: { "Description: \($0)\n\n" })

    private static let fuzzing = Form(
        system: """
            You check descriptions of what a unit of a neural network reacts to. You get a description and numbered excerpts of text in which \
            some tokens are marked between << and >>. Decide of each excerpt whether the marked tokens are what is described: all of them \
            have to be. Answer with a list of as many numbers as there are excerpts, in their order, 1 for yes and 0 for no, and with \
            nothing else.
            """,
        examples: [
            (
                """
                Description: words for a time of day

                Excerpt 1:  harbour, and at<< noon>> the bells
                Excerpt 2:  of the<< second>> volume, which<< was>>
                Excerpt 3: << children>> slept until dawn. Then
                Excerpt 4:  train of the<< evening>> was late
                """, "[1, 0, 0, 1]"
            ),
            (
                """
                Description: words that negate

                Excerpt 1:  river<< flows>> through the valley to
                Excerpt 2:  she had<< never>> been there, and
                Excerpt 3:  no<< doubt>> that it was he
                """, "[0, 1, 0]"
            ),
        ], intro: { "Description: \($0)\n\n" })
}
