import CDMSAE
import LinearAlgebra
import PluginABI
import SparseCoding

/// A sparsity rule that lives in a plugin.
///
/// The candidates are lent, never copied. What comes back is checked: marks of 0 and 1, no more of them in a scope
/// than the rule announced.
public final class PluginSparsityRule: SparsityRule, LoadedPlugin {
    private let instance: PluginInstance
    private let table: dmsae_sparsity_rule
    /// Which entries compete.
    public let scope: SelectionScope
    /// Whether a device may choose in its place: said by who knows the plugin, not by the plugin.
    public let keepsLargest: Bool
    /// What the rule learns, if it does.
    public let learning: (any SparsityRuleLearning)?
    /// How a trained SAE is used without it, if it says so.
    public let inference: (any SparsityRuleInference)?

    /// A rule of the given plugin.
    /// - Throws: a `PluginABIError`, `PluginCallError` or, for settings, `PluginReferenceError`.
    public init(
        _ plugin: PluginDescriptor, of library: PluginLibrary, parameters: [PluginReference.Parameter] = [],
        services: PluginServices, keepsLargest: Bool = false
    ) throws {
        let instance = try PluginInstance(plugin, of: library, parameters: parameters, services: services)
        let table = try instance.table(
            DMSAE_SPARSITY_RULE, dmsae_sparsity_rule.self,
            notNull: [("scope", \.scope), ("upper_count", \.upper_count), ("select", \.select)])
        let declared = instance.ask { table.scope($0) }.rawValue
        guard let scope = SelectionScope(rawValue: declared) else {
            throw PluginABIError.unknownScope(plugin: plugin.id, path: library.path, scope: declared)
        }
        self.instance = instance
        self.table = table
        self.scope = scope
        self.keepsLargest = keepsLargest
        learning =
            plugin.extensions.contains(DMSAE_SPARSITY_RULE_LEARNED)
            ? try PluginRuleLearning(instance, scope: scope) : nil
        inference =
            plugin.extensions.contains(DMSAE_SPARSITY_RULE_INFERENCE) ? try PluginRuleInference(instance) : nil
    }

    /// What the plugin is.
    public var identity: PluginIdentity { instance.identity }

    /// The most the rule will select in one scope, never more than the scope has entries.
    /// - Throws: `PluginCallError.failed`, `.negativeUpperCount`, `.cancelled`, `.lost`.
    public func upperCount(_ context: SelectionContext) throws -> Int {
        let everything = scope == .row ? context.latentCount : context.batchRows * context.latentCount
        guard scope != .all else { return everything }
        var count: Int64 = 0
        try context.withArgument { argument in
            try instance.call("upper_count") { table.upper_count($0, argument, &count, $1) }
        }
        guard count >= 0 else { throw PluginCallError.negativeUpperCount(plugin: name, path: path, count: count) }
        return Int(min(count, Int64(everything)))
    }

    /// Marks the candidates to keep; see `SparsityRule`.
    /// - Throws: `PluginCallError.failed`, `.badMark`, `.tooManySelected`, `.negativeUpperCount`, `.cancelled`,
    ///   `.lost`.
    public func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) throws {
        precondition(
            selected.count == candidates.count, "\(selected.count) marks for \(candidates.count) candidates")
        guard let marks = selected.baseAddress, candidates.count > 0 else { return }  // DMSAE-RULE-06
        try context.withArgument { argument in
            try withUnsafePointer(to: dmsae_csr(candidates)) { view in
                try instance.call("select") { table.select($0, argument, view, marks, $1) }
            }
        }
        try check(UnsafeBufferPointer(selected), candidates, context)
    }

    private func check(_ marks: UnsafeBufferPointer<UInt8>, _ candidates: SparseCodes, _ context: SelectionContext)
        throws
    {
        var largest: UInt8 = 0
        for mark in marks { largest = max(largest, mark) }
        if largest > 1, let e = marks.firstIndex(where: { $0 > 1 }) {
            let (row, latent) = candidates.position(of: e)
            throw PluginCallError.badMark(plugin: name, path: path, value: marks[e], row: row, latent: latent)
        }
        func count(_ range: Range<Int>) -> Int { range.reduce(0) { $0 + Int(marks[$1]) } }
        switch scope {
        case .all: return
        case .batch:
            let upper = try upperCount(context), selected = count(0..<marks.count)
            guard selected <= upper else {
                throw PluginCallError.tooManySelected(
                    plugin: name, path: path, selected: selected, upperCount: upper, row: nil)
            }
        case .row:
            let upper = try upperCount(context)
            for row in 0..<candidates.rows {
                let selected = count(candidates.entries(ofRow: row))
                guard selected <= upper else {
                    throw PluginCallError.tooManySelected(
                        plugin: name, path: path, selected: selected, upperCount: upper, row: context.firstRow + row)
                }
            }
        }
    }
}
