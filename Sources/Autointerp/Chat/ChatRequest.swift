import TensorFiles

/// What one says in a chat.
package struct ChatMessage: Sendable, Equatable {
    package let role: String
    package let content: String

    package static func system(_ text: String) -> ChatMessage { ChatMessage(role: "system", content: text) }
    package static func user(_ text: String) -> ChatMessage { ChatMessage(role: "user", content: text) }
    package static func assistant(_ text: String) -> ChatMessage { ChatMessage(role: "assistant", content: text) }
}

/// A question to a chat model, as OpenAI's POST /chat/completions has it.
package struct ChatRequest: Sendable, Equatable {
    package let model: String
    package let messages: [ChatMessage]
    package let temperature: Double
    /// Tokens of the answer at most.
    package let mostTokens: Int
    /// The server is to hold the answer to a JSON list of so many zeros and ones; nil for any text.
    package let listLength: Int?

    package init(
        model: String, messages: [ChatMessage], temperature: Double, mostTokens: Int, listLength: Int? = nil
    ) {
        (self.model, self.messages, self.temperature) = (model, messages, temperature)
        (self.mostTokens, self.listLength) = (mostTokens, listLength)
    }

    /// As it is sent.
    package var json: [UInt8] {
        JSONText.document { text in
            text.member("model", model)
            text.key("messages")
            text.list { list in
                for message in messages {
                    list.object {
                        $0.member("role", message.role)
                        $0.member("content", message.content)
                    }
                }
            }
            text.member("temperature", temperature)
            text.member("max_tokens", mostTokens)
            text.member("stream", false)
            guard let listLength else { return }
            text.key("response_format")
            text.object { format in
                format.member("type", "json_schema")
                format.key("json_schema")
                format.object { named in
                    named.member("name", "answers")
                    named.key("schema")
                    named.object { schema in
                        schema.member("type", "array")
                        schema.key("items")
                        schema.object {
                            $0.member("type", "integer")
                            $0.member("enum", [0, 1])
                        }
                        schema.member("minItems", listLength)
                        schema.member("maxItems", listLength)
                    }
                }
            }
        }
    }
}

/// What a chat model said.
package struct ChatAnswer: Codable, Sendable, Equatable {
    package var text: String
    /// "stop", or "length" where it was cut short; nil where the server does not say.
    package var finish: String?
    /// Of the prompt and of the answer, as the server counts; nil where it does not.
    package var tokens_in: Int?
    package var tokens_out: Int?

    package init(text: String, finish: String? = nil, tokens_in: Int? = nil, tokens_out: Int? = nil) {
        (self.text, self.finish, self.tokens_in, self.tokens_out) = (text, finish, tokens_in, tokens_out)
    }

    /// From the body of a reply; nil where that is none of a chat: other members than these are the server's own affair.
    init?(_ body: [UInt8]) {
        guard let reply = try? body.withUnsafeBytes({ try JSONValue(parsing: $0) }),
            let choice = reply["choices"]?.array?.first, let message = choice["message"]
        else { return nil }
        // A model that thought until its tokens were used up says null.
        guard let content = message["content"] == .null ? "" : message["content"]?.string else { return nil }
        text = content
        finish = choice["finish_reason"]?.string
        tokens_in = reply["usage"]?["prompt_tokens"]?.integer
        tokens_out = reply["usage"]?["completion_tokens"]?.integer
    }

    /// The answer behind what a reasoning model thought aloud.
    package var conclusion: Substring {
        text.ranges(of: "</think>").last.map { text[$0.upperBound...] } ?? text[...]
    }
}
