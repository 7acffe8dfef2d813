import TensorFiles

/// Where an OpenAI-compatible server answers chats: its address, and the key that it wants.
package struct ChatEndpoint: Sendable {
    /// …/chat/completions.
    package let url: String
    /// Never printed, never written.
    private let key: String?

    /// - Parameters:
    ///   - text: as clients of the server get it: "http://127.0.0.1:8080/v1", or the whole address of its chats.
    ///   - key: sent as a bearer token.
    /// - Throws: `ChatError.badEndpoint`, `.noKey`.
    package init(_ text: String, key: (variable: String, value: String?)? = nil) throws {
        func bad(_ what: String) -> ChatError { .badEndpoint(text: Self.hidden(text), what: what) }
        guard let rest = ["http://", "https://"].first(where: text.hasPrefix).map({ text.dropFirst($0.count) }) else {
            throw bad("is no address that begins with http:// or https://")
        }
        let host = rest.prefix { $0 != "/" }
        guard !host.contains("@") else {
            throw bad("holds a password, which records would show; keys go through --api-key-variable")
        }
        guard !host.isEmpty, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else { throw bad("names no server") }
        guard !text.contains(where: { "?#".contains($0) }) else {
            throw bad("has a query (? or #), which records would show")
        }
        let path = text.hasSuffix("/") ? String(text.dropLast()) : text
        url = path.hasSuffix("/chat/completions") ? path : path + "/chat/completions"
        guard let key else {
            self.key = nil
            return
        }
        guard let value = key.value, !value.isEmpty else {
            throw ChatError.noKey(variable: key.variable, what: "is not set")
        }
        guard value.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw ChatError.noKey(
                variable: key.variable, what: "holds what no key holds (spaces, or letters beyond ASCII)")
        }
        self.key = value
    }

    /// A key over http to another machine can be read on the way.
    package var sendsKeyInTheOpen: Bool { key != nil && !url.hasPrefix("https://") && !Self.isLocal(url) }

    /// A request as it is sent.
    func post(_ body: [UInt8]) -> HTTPPost {
        HTTPPost(
            url: url,
            headers: ["Content-Type: application/json", "Accept: application/json", "Expect:"]
                + (key.map { ["Authorization: Bearer \($0)"] } ?? []), body: body)
    }

    /// What a server said, short and without the key, which some repeat.
    func quoted(_ said: String) -> String {
        let hidden = key.map { said.replacing($0, with: "(key)") } ?? said
        let line = hidden.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        return line.isEmpty ? "nothing" : line.count > 300 ? line.prefix(300) + "…" : line
    }

    /// Whether an address is of this machine.
    static func isLocal(_ url: String) -> Bool {
        guard let start = url.firstRange(of: "://") else { return false }
        let host = url[start.upperBound...].prefix { $0 != "/" }
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" } + "]" : host.prefix { $0 != ":" }
        return name == "localhost" || name == "[::1]" || name.hasPrefix("127.")
    }

    /// Without what stands before "@".
    private static func hidden(_ text: String) -> String {
        guard let at = text.lastIndex(of: "@"), let start = text.firstRange(of: "://")?.upperBound, start <= at else {
            return text
        }
        return text[..<start] + "…" + text[at...]
    }
}
