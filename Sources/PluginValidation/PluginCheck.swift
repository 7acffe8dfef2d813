import Attribution
import LinearAlgebra
import SparseCoding

/// One promise of the headers, and how it is put to the test.
public struct PluginCheck: Sendable {
    /// What users name it by.
    public let id: String
    /// Rules of the headers it is about; none where it is about what any library owes its program.
    public let rules: [String]
    /// What a plugin that passes does.
    public let promise: String
    /// Checks that it builds on: where one of them failed, a failure of this one is no news.
    var after: [String] = []
    let body: @Sendable (Subject) throws -> Void

    /// What it was run on.
    struct Subject: Sendable {
        let plugin: PluginUnderTest
        let seed: UInt64

        func has(_ flag: String) -> Bool { plugin.plugin.flags?.contains(flag) == true }
        func has(table id: String) -> Bool { plugin.plugin.extensions?.contains(id) == true }
        var scoresTokens: Bool { has(table: "dmsae.scorer.per_token/1") }

        /// The checks without which `check` has nothing to build on: that the plugin is created, that its main function
        /// works, and, for all that comes after, that it gives the same each time.
        func foundations(of check: PluginCheck) -> [String] {
            func isIn(_ checks: [PluginCheck]) -> Bool { checks.contains { $0.id == check.id } }
            if check.id == "create" { return [] }
            if isIn(PluginCheck.ofFunctions) { return ["create"] + check.after }
            let first = plugin.isRule ? "selection" : scoresTokens ? "scores" : "outputs"
            let isLate = isIn(meaningChecks + errorChecks + learningChecks + processChecks)
            let constancy = ["no-memory", "another-pass", "selection-again", "many-calls"]
            return ["create"] + (check.id == first ? [] : [first]) + (isLate ? constancy : []) + check.after
        }
    }

    /// The plugin broke the promise.
    struct Broken: Error {
        let reason: String
    }

    /// The promise is not one that this plugin makes.
    struct NotApplicable: Error {
        let reason: String
    }

    static let ofFunctions = settingsChecks + functionChecks
    private static let ofScorers = scoreChecks + accumulationChecks + errorChecks + meaningChecks
    private static let ofRules = selectionChecks + learningChecks

    /// All checks, in the order in which they are run: what can be made of a plugin, what its calls give, what that
    /// means, and what it does to its process beside that.
    public static let all =
        ofFunctions + scoreChecks + accumulationChecks + selectionChecks + callChecks + errorChecks + meaningChecks
        + learningChecks + processChecks

    /// Those that exist for a kind of plugin.
    static func planned(isRule: Bool) -> [PluginCheck] {
        let others = Set((isRule ? ofScorers : ofRules).map(\.id))
        return all.filter { !others.contains($0.id) }
    }
}

func expect(_ condition: Bool, _ reason: @autoclosure () -> String) throws {
    if !condition { throw PluginCheck.Broken(reason: reason()) }
}

func applies(_ condition: Bool, _ reason: String) throws {
    if !condition { throw PluginCheck.NotApplicable(reason: reason) }
}

/// What a check is about; it does not apply to a plugin that has none.
func required<Value>(_ value: Value?, _ reason: String) throws -> Value {
    guard let value else { throw PluginCheck.NotApplicable(reason: reason) }
    return value
}

extension AttributionScorer {
    func scores(_ batch: ScoringBatch) throws -> [Float] {
        var scores = [Float](repeating: 0, count: batch.codes.count)
        try scores.withUnsafeMutableBufferPointer { try score(batch, into: $0) }
        return scores
    }
}

extension PluginCheck.Subject {
    /// A fresh scorer of tokens.
    func perToken() throws -> any AttributionScorer {
        let scorer = try plugin.scorer()
        try applies(scorer.scoresTokens, "it gives no scores of tokens")
        return scorer
    }

    func firstDifference(_ a: [Float], _ b: [Float]) -> String {
        guard
            let e = zip(a, b).enumerated().first(where: { $0.element.0.bitPattern != $0.element.1.bitPattern })?.offset
        else {
            return "other lengths, \(a.count) and \(b.count)"
        }
        return "score \(e) is \(a[e]) and then \(b[e])"
    }
}
