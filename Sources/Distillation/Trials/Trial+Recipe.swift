import SparseCoding
import TensorFiles
import Yams

/// The trials of a recipe. Each is written as its name or its core, `random`; with settings after commas, `random,seed=2,name=other`;
/// or as a map, `{core: random, seed: 2, name: other}`, which also holds paths with commas in them.
public struct TrialList: Sendable, Equatable {
    /// nil for "auto", those that `Recipe.resolvedTrials` names.
    public var list: [Trial]?

    public init(_ list: [Trial]? = nil) { self.list = list }
}

extension TrialList: RecipeValue {
    static let wanted =
        "auto or a list of trials, each \(CoreSource.wanted), or a map of \(Trial.keys.joined(separator: ", "))"

    init?(recipeNode: Node) {
        guard let trials = try? TrialList(recipeNode: recipeNode, key: "") else { return nil }
        self = trials
    }

    /// - Throws: `DistillationError.badValue` naming what of which trial is wrong, and what was most likely meant.
    init(recipeNode node: Node, key: String) throws {
        if node.scalar?.string == "auto" {
            list = nil
            return
        }
        list = try (node.sequence.map(Array.init) ?? [node]).map { node in
            if let map = node.mapping { return try Trial(map, key) }
            guard let text = node.scalar?.string, !text.isEmpty else {
                throw DistillationError.badValue(key: key, value: node.shown, wanted: Self.wanted)
            }
            return try Trial(compact: text, key)
        }
    }

    var recipeText: String { list.map { "[" + $0.map(\.text).joined(separator: ", ") + "]" } ?? "auto" }
}

extension Trial {
    /// What of a trial can be set.
    static let keys = ["name", "core", "k", "seed", "budget", "tokens", "core_mode", "core_rate"]

    /// `CORE` or `CORE,key=value,…`. A part that sets nothing goes on with the core: the paths of `pooled` have commas between them.
    fileprivate init(compact text: String, _ key: String) throws {
        var core: String?
        var settings: [(String, Node)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
            // A path may have a "=" in it; a word before one is a setting, or meant to be.
            let name = part.prefix { $0 != "=" }
            if part.contains("="), !name.contains("/"), !name.contains(":") {
                settings.append((String(name), Node(String(part.dropFirst(name.count + 1)))))
            } else if settings.isEmpty {
                core = core.map { $0 + "," + part } ?? part
            } else {
                throw DistillationError.badValue(key: key, value: text, wanted: "the core first, then key=value")
            }
        }
        if let core { settings.insert(("core", Node(core)), at: 0) }
        try self.init(settings, key, shown: text)
    }

    fileprivate init(_ map: Node.Mapping, _ key: String) throws {
        let settings = map.map { ($0.key.scalar?.string ?? "", $0.value) }
        let shown = settings.map { "\($0.0): \($0.1.shown)" }.joined(separator: ", ")
        try self.init(settings, key, shown: "{\(shown)}")
    }

    private init(_ settings: [(String, Node)], _ key: String, shown: String) throws {
        func refuse(_ value: String, _ wanted: String) -> DistillationError {
            .badValue(key: key, value: value, wanted: wanted)
        }
        var seen: [String: Node] = [:]
        for (name, node) in settings {
            guard Self.keys.contains(name) else {
                let meant = nearest(name, among: Self.keys).map { "; did you mean \"\($0)\"?" } ?? ""
                throw refuse(
                    shown, "a trial with \(Self.keys.joined(separator: ", ")) only, and not \"\(name)\"\(meant)")
            }
            guard seen.updateValue(node, forKey: name) == nil else { throw refuse(shown, "a trial with one \(name)") }
        }
        func value<Value: RecipeValue>(_ name: String, _: Value.Type) throws -> Value? {
            guard let node = seen[name] else { return nil }
            guard let value = Value(recipeNode: node) else {
                throw refuse(shown, "a trial whose \(name), \"\(node.shown)\", is \(Value.wanted)")
            }
            return value
        }
        let name = try value("name", String.self)
        guard let text = try value("core", String.self) ?? name, let core = CoreSource(text) else {
            let text = seen["core"]?.scalar?.string ?? name ?? ""
            let meant = CoreSource.nearest(to: text).map { " (did you mean \"\($0)\"?)" } ?? ""
            throw refuse(shown, "a trial whose core is one of \(CoreSource.wanted)\(meant)")
        }
        self.init(name, core: core)
        k = try value("k", Double.self)
        seed = try value("seed", Int.self)
        budget = try value("budget", BudgetScope.self)
        tokens = try value("tokens", TrialTokens.self)
        coreMode = try value("core_mode", CoreMode.self)
        coreRate = try value("core_rate", Double.self)
    }

    /// As a recipe writes it, in the shortest way.
    var text: String {
        var settings: [String] = []
        if name != core.usualName { settings.append("name: \(name.quotedInList)") }
        if let k { settings.append("k: \(k.recipeText)") }
        if let seed { settings.append("seed: \(seed)") }
        if let budget { settings.append("budget: \(budget.rawValue)") }
        if let tokens { settings.append("tokens: \(tokens.recipeText)") }
        if let coreMode { settings.append("core_mode: \(coreMode.rawValue)") }
        if let coreRate { settings.append("core_rate: \(coreRate.recipeText)") }
        guard !settings.isEmpty || !core.paths.isEmpty else {
            return core.usualName == core.text ? core.text : shortName
        }
        return "{" + (["core: \(core.text.quotedInList)"] + settings).joined(separator: ", ") + "}"
    }

    /// "dmsae" for a distilled core; of one that a word does not name, its source.
    private var shortName: String { CoreSource(core.usualName) == core ? core.usualName : core.text }
}

extension TrialTokens: RecipeValue {
    init?(recipeNode: Node) {
        if recipeNode.scalar?.string == Self.totalWord {
            self = .totalCompute
        } else if let count = Int(recipeNode: recipeNode) {
            self = .count(count)
        } else {
            return nil
        }
    }
    var recipeText: String { if case .count(let count) = self { String(count) } else { Self.totalWord } }
    static var wanted: String { "\(totalWord) or \(Int.wanted)" }
}
