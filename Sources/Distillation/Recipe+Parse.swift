import TensorFiles
import Yams

extension Recipe {
    /// Bytes of the longest recipe: of its lists the longest has a thousand numbers, and a parsed text takes hundreds of times
    /// its size.
    public static let mostBytes = 1 << 17

    /// A recipe's file without its byte-order mark.
    ///
    /// - Throws: `DistillationError.badRecipe` for one of more than `mostBytes`; `TensorFileError.unreadable`.
    public init(contentsOf path: String) throws {
        guard let text = try readText(path, most: Self.mostBytes) else { throw Self.tooLong(path) }
        try self.init(yaml: text, path: path)
    }

    private static func tooLong(_ path: String) -> DistillationError {
        .badRecipe(path: path, reason: "it has more than the \(mostBytes) bytes that a recipe can have")
    }

    /// Reads a recipe from YAML; keys left out keep their defaults. A file of comments only is empty: all defaults would be
    /// the demo, work that nobody asked for.
    ///
    /// - Throws: `DistillationError` for an empty recipe, one of more than `mostBytes`, a syntax error, an unknown key, one given twice or a value of the
    ///   wrong type.
    public init(yaml text: String, path: String) throws {
        self.init()
        guard text.utf8.count <= Self.mostBytes else { throw Self.tooLong(path) }
        func bad(_ reason: String) -> DistillationError { .badRecipe(path: path, reason: reason) }
        var documents: [Node] = []
        do {
            var sequence = try Yams.compose_all(yaml: text)
            while let node = sequence.next() { documents.append(node) }
            if let error = sequence.error { throw error }
        } catch let error as YamlError { throw bad(Self.reason(error)) }
        guard let root = documents.first, root.scalar?.string != "" else { throw bad("it is empty") }
        guard documents.count == 1 else {
            throw bad("it holds \(documents.count) documents, divided by \"---\", instead of one")
        }
        guard let mapping = root.mapping else { throw bad("it is not a list of keys and values") }
        var seen: Set<String> = []
        try read(mapping, prefix: "", path: path, &seen)
    }

    /// A syntax error on one line, its place first.
    private static func reason(_ error: YamlError) -> String {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            return "line \(mark.line), column \(mark.column): \(context.map { $0.text + ": " } ?? "")\(problem)"
        case .reader(let problem, let offset, _, let yaml):
            let line = offset.map { yaml.prefix($0).reduce(1) { $0 + ($1.isNewline ? 1 : 0) } }
            return (line.map { "line \($0): " } ?? "") + problem
        case .duplicatedKeysInMapping(let duplicates, let context):
            return "line \(context.mark.line): \"\(duplicates.joined(separator: "\", \""))\" is there twice"
        default: return "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
        }
    }

    /// Sets one key, as `--set train.k=160` does.
    ///
    /// - Throws: as `init(yaml:path:)`.
    public mutating func set(_ assignment: String) throws {
        guard let equals = assignment.firstIndex(of: "=") else {
            throw DistillationError.badRecipe(path: "--set \(assignment)", reason: "there is no \"=\" in it")
        }
        let key = String(assignment[..<equals])
        let text = String(assignment[assignment.index(after: equals)...])
        do {
            try set(key, try Yams.compose(yaml: text) ?? Node(""))
        } catch let error as YamlError {
            throw DistillationError.badRecipe(path: "--set \(assignment)", reason: Self.reason(error))
        }
    }

    private mutating func read(
        _ mapping: Node.Mapping, prefix: String, path: String, _ seen: inout Set<String>
    ) throws {
        for (key, value) in mapping {
            let name = prefix + (key.scalar?.string ?? "")
            if name == RecipeGrid.section {
                grid = try RecipeGrid(value)
            } else if let section = value.mapping, Self.keys.contains(where: { $0.name.hasPrefix(name + ".") }) {
                try read(section, prefix: name + ".", path: path, &seen)
            } else if Self.keys.contains(where: { $0.name.hasPrefix(name + ".") }) {
                throw DistillationError.badValue(
                    key: name, value: value.shown, wanted: "a section of keys")
            } else {
                // "train.k" and k in the section train are one key.
                guard seen.insert(name).inserted else {
                    throw DistillationError.badRecipe(path: path, reason: "\"\(name)\" is there twice")
                }
                try set(name, value)
            }
        }
    }

    private mutating func set(_ name: String, _ value: Node) throws {
        if let inside = Self.keys.first(where: { $0.name.hasPrefix(name + ".") }) {
            throw DistillationError.badValue(
                key: name, value: value.shown, wanted: "a section of keys, each set by itself, as \(inside.name)")
        }
        guard let key = Self.keys.first(where: { $0.name == name }) else {
            throw DistillationError.unknownKey(key: name, nearest: Self.nearest(to: name))
        }
        try key.set(&self, value)
        given.insert(name)
        // A hook names its block.
        if let hook, !given.contains("layer") { layer = hook.block }
    }

    /// The key that was most likely meant: one whose last part is the same, or one that differs in few letters.
    private static func nearest(to name: String) -> String? {
        func lastPart(_ key: String) -> Substring? { key.split(separator: ".").last }
        if let same = keys.first(where: { lastPart($0.name) == lastPart(name) }) { return same.name }
        let close = keys.map { ($0.name, editDistance(name, $0.name)) }.min { $0.1 < $1.1 }
        // Three edits turn any short word into any other.
        if let close, close.1 <= min(3, name.utf8.count / 3) { return close.0 }
        let sections = Set(keys.compactMap { $0.name.contains(".") ? $0.name.split(separator: ".").first : nil })
        return sections.sorted().first { editDistance(name, String($0)) <= 2 }.map(String.init)
    }
}
