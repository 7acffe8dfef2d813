import Attribution
import PluginHost
import PluginTestSupport
import PluginWorkers
import TensorFiles
import TestSupport
import Testing

/// A scorer that looks three times, in order, from one state: in this process and in a worker.
struct PassesTests {
    let services = Services()
    let folder = TemporaryFolder()
    private let key = PassKey(["layer": "1"])

    private struct Stopped: Error {}

    private func scorer(_ settings: String = "", isIsolated: Bool, _ macros: [String] = []) throws
        -> any AttributionScorer & LoadedPlugin
    {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            fixturePlugin("passes.c", macros, in: folder) + settings, services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram) : nil)
    }

    /// A run over the golden tokens, two sequences a sample.
    private func run(_ scorer: any AttributionScorer, part: Range<Int>? = nil) throws -> ScoringRun {
        let splice = try GoldenSplice(), whole = try splice.sample()
        let samples = [0..<2, 2..<4].map { sequences in
            let rows = sequences.lowerBound * 24..<sequences.upperBound * 24
            return SpliceSample(
                tokens: splice.tokens.sequences(sequences), residual: whole.residual.copy(rows: rows),
                replaced: Array(whole.replaced[rows]))
        }
        return try ScoringRun(
            try splice.pass(scorer, prefix: 32), ScoreAccumulator(latents: 32, tokens: 96),
            over: SampledSequences(samples), part: part, key: key)
    }

    /// Runs it until so many samples were seen; returns how many tokens went by.
    private func go(_ run: ScoringRun, samples: Int = .max, keeping checkpoint: ScoringRun.Checkpoint? = nil) throws
        -> Int
    {
        nonisolated(unsafe) var (checks, tokens) = (0, 0)
        do {
            try run.run(
                keeping: checkpoint,
                watch: PassWatch(
                    check: {
                        checks += 1
                        if checks > samples { throw Stopped() }
                    }, advance: { count, _ in tokens += count }))
        } catch is Stopped {}
        return tokens
    }

    private func scores(_ run: ScoringRun) throws -> [Double] {
        try run.result(tau: 0.5) { _ in .total("count") }.scores
    }

    @Test(arguments: [false, true]) func `every batch comes three times, in order, and progress counts them`(
        isIsolated: Bool
    ) throws {
        let run = try run(try scorer(isIsolated: isIsolated))
        #expect(run.remainingTokens == 3 * 96)
        #expect(try go(run) == 3 * 96 && run.remainingTokens == 0)
        let f = try GoldenSplice().golden.expected("acts")
        // 1 + 2 + 3 for each entry.
        #expect(
            try scores(run) == (0..<32).map { j in 6 * Double((0..<96).count { f[$0 * 128 + j] > 0 }) })
        #expect(run.accumulator.tokenCount == 96)
    }

    @Test(arguments: [1, 2, 3, 4, 5]) func `one that was stopped in any pass goes on to the same scores`(samples: Int)
        throws
    {
        let path = folder.file("state")
        let lock = try OutputLock.file(path) { _ in "" }
        defer { withExtendedLifetime(lock) {} }
        let checkpoint = ScoringRun.Checkpoint(path, lock)
        let first = try run(try scorer(isIsolated: false))
        _ = try go(first, samples: samples, keeping: checkpoint)
        let second = try run(try scorer(isIsolated: false))
        try second.resume(checkpoint) { _ in [] }
        #expect(second.remainingTokens == (6 - samples) * 48)
        _ = try go(second, keeping: checkpoint)
        let whole = try run(try scorer(isIsolated: false))
        _ = try go(whole)
        #expect(try scores(second) == scores(whole))
    }

    @Test func `it has no shards`() throws {
        let text =
            "scorer passes looks at all sequences in order, from one state, so that its pass has no shards; leave --shard and "
            + "--merge out"
        #expect(message { _ = try run(try scorer(isIsolated: false), part: 0..<2) } == text)
        let whole = try run(try scorer(isIsolated: false))
        #expect(message { try whole.merge(["state"]) { _ in [] } } == text)
    }

    @Test(arguments: [false, true]) func `a number of passes that nobody makes, or several without the flag`(
        isIsolated: Bool
    ) throws {
        for (fault, count) in [("none", 0), ("many", 1_000_001)] {
            let text = message { _ = try run(try scorer(",fault=\(fault)", isIsolated: isIsolated)) }
            #expect(text.contains("wants \(count) passes; at least 1, at most 1000000 (DMSAE-SCORER-15)"), "\(text)")
        }
        for macro in ["FLAGS=0", "ALONE"] {
            let text = message { _ = try scorer(isIsolated: isIsolated, [macro]) }
            #expect(
                text.contains(
                    "which goes with dmsae.scorer.accumulate/1 and DMSAE_PLUGIN_SEQUENTIAL (DMSAE-SCORER-15)"),
                "\(text)")
        }
    }
}
