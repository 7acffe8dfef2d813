import TensorFiles
import Yams

extension Recipe {
    /// Reads a recipe from YAML; keys left out keep their defaults.
    ///
    /// - Throws: `DistillationError` for a syntax error, an unknown key or a value of the wrong type.
    public init(yaml text: String, path: String) throws {
        self.init()
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw DistillationError.badRecipe(path: path, reason: "\(error)")
        }
        guard let root else { return }
        guard let mapping = root.mapping else {
            throw DistillationError.badRecipe(path: path, reason: "it is not a list of keys and values")
        }
        try read(mapping, prefix: "")
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
            throw DistillationError.badRecipe(path: "--set \(assignment)", reason: "\(error)")
        }
    }

    private mutating func read(_ mapping: Node.Mapping, prefix: String) throws {
        for (key, value) in mapping {
            let name = prefix + (key.scalar?.string ?? "")
            if let section = value.mapping, Self.keys.contains(where: { $0.name.hasPrefix(name + ".") }) {
                try read(section, prefix: name + ".")
            } else if Self.keys.contains(where: { $0.name.hasPrefix(name + ".") }) {
                throw DistillationError.badValue(
                    key: name, value: value.scalar?.string ?? "a list", wanted: "a section of keys")
            } else {
                try set(name, value)
            }
        }
    }

    private mutating func set(_ name: String, _ value: Node) throws {
        guard let key = Self.keys.first(where: { $0.name == name }) else {
            throw DistillationError.unknownKey(key: name, nearest: Self.nearest(to: name))
        }
        try key.set(&self, value)
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

/// Levenshtein's distance.
func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    var row = Array(0...b.count)
    for i in 0..<a.count {
        var diagonal = row[0]
        row[0] = i + 1
        for j in 0..<b.count {
            let change = diagonal + (a[i] == b[j] ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[b.count]
}
