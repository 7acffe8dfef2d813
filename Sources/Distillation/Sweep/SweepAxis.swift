/// One key of a recipe with the values that a sweep gives it.
public struct SweepAxis: Codable, Sendable, Equatable {
    public let key: String
    /// As `--set KEY=` takes them.
    public let values: [String]

    package init(key: String, values: [String]) { (self.key, self.values) = (key, values) }

    /// Reads "distill.tau=0.5,0.7"; commas within brackets and quotes do not divide values: "final.k=[16],[16, 32]".
    ///
    /// - Throws: `SweepError.badAxis`.
    public init(_ text: String) throws {
        func bad(_ reason: String) -> SweepError { .badAxis(text: text, reason: reason) }
        guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
            throw bad("it is not KEY=VALUE,VALUE,…")
        }
        key = String(text[..<equals])
        guard let values = Self.divided(text[text.index(after: equals)...]) else {
            throw bad("a bracket or a quote is not closed")
        }
        guard !values.contains("") else { throw bad("a value is empty") }
        if let twice = values.first(where: { value in values.count { $0 == value } > 1 }) {
            throw bad("\(twice) is there twice")
        }
        self.values = values
    }

    /// "distill.tau=0.5,0.7"
    var text: String { "\(key)=\(values.joined(separator: ","))" }

    /// Parts between commas that stand in no bracket and no quotes; nil where one of these is not closed.
    private static func divided(_ text: Substring) -> [String]? {
        var (parts, depth, quote) = ([""], 0, nil as Character?)
        for character in text {
            switch character {
            case "," where depth == 0 && quote == nil:
                parts.append("")
                continue
            case _ where quote == nil && "[{".contains(character): depth += 1
            case _ where quote == nil && "]}".contains(character): depth -= 1
            case "'", "\"":
                if quote == nil { quote = character } else if quote == character { quote = nil }
            default: break
            }
            if depth < 0 { return nil }
            parts[parts.count - 1].append(character)
        }
        let trimmed = parts.map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        return depth == 0 && quote == nil ? trimmed : nil
    }
}
