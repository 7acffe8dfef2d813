import Attribution
import CDMSAE
import LinearAlgebra
import PluginABI

/// A scorer that lives in a plugin.
///
/// The arrays of a batch are lent, never copied. What comes back is checked: every score written, every score finite.
public final class PluginScorer: AttributionScorer, LoadedPlugin {
    private let instance: PluginInstance
    /// Nil for a scorer that only accumulates.
    private let table: dmsae_scorer_per_token?
    /// Totals and named outputs, if the plugin has them.
    public let accumulation: (any AccumulatingScore)?

    /// A scorer of the given plugin.
    /// - Throws: a `PluginReferenceError` for settings, a `PluginCallError`; `PluginABIError.missingTable` if it has
    ///   neither of a scorer's tables.
    public init(
        _ plugin: PluginDescriptor, of library: PluginLibrary, parameters: [PluginReference.Parameter] = [],
        services: PluginServices
    ) throws {
        instance = try PluginInstance(plugin, of: library, parameters: parameters, services: services)
        let accumulates = plugin.extensions.contains(DMSAE_SCORER_ACCUMULATE)
        if plugin.extensions.contains(DMSAE_SCORER_PASSES) && !accumulates {
            throw PluginABIError.notSequential(plugin: plugin.id, path: library.path)
        }
        accumulation = accumulates ? try PluginAccumulation(instance) : nil
        // One without either table is told of the one that most scorers have.
        table =
            accumulates && !plugin.extensions.contains(DMSAE_SCORER_PER_TOKEN)
            ? nil
            : try instance.table(DMSAE_SCORER_PER_TOKEN, dmsae_scorer_per_token.self, notNull: [("score", \.score)])
    }

    /// What the plugin is.
    public var identity: PluginIdentity { instance.identity }
    /// What it reads of a batch beside what every batch has.
    public var needs: BatchNeeds { instance.plugin.batchNeeds }
    /// Whether it has scores of tokens.
    public var scoresTokens: Bool { table != nil }

    /// Scores a batch; see `AttributionScorer`.
    /// - Throws: `PluginCallError.failed`, `.cancelled`, `.lost`, `.unwrittenScore`, `.nonFiniteScore`.
    public func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        guard let table else { preconditionFailure("\(name) scores no tokens") }
        precondition(scores.count == batch.codes.count, "\(scores.count) scores for \(batch.codes.count) entries")
        guard let output = scores.baseAddress, batch.codes.count > 0 else { return }  // DMSAE-SCORER-06
        output.update(repeating: Unwritten.float, count: scores.count)
        try batch.limited(to: needs).withArgument(minor: instance.library.functions.abi_minor_min) { argument in
            try instance.call("score", about: batch, argument) { table.score($0, argument, output, $1) }
        }
        try ScoreCheck.check(UnsafeBufferPointer(scores), batch.codes, plugin: name, path: path)
    }
}
