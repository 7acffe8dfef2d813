import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import TestSupport
import Testing

/// Scorers that accumulate, and what they may and may not ask the host, on the small Llama model.
struct AccumulatingScorerTests {
    let services = Services()
    let folder = TemporaryFolder()

    private func fixture(_ fault: String, macros: [String] = []) throws -> any AttributionScorer & LoadedPlugin {
        let path = try fixturePlugin("accumulating.c", macros, in: folder)
        return try PluginCatalog(executableFolder: folder.path)
            .scorer(fault.isEmpty ? path : "\(path),fault=\(fault)", services: services.value)
    }

    @Test func `frequency counts what fires, whatever the batches are`() throws {
        let catalog = try PluginCatalog()
        func frequency(_ sequences: Int) throws -> [String: [Double]] {
            try GoldenSplice().outputs(try catalog.scorer("frequency", services: services.value), sequences: sequences)
        }
        let f = try GoldenSplice().golden.expected("acts")
        let found = try frequency(4)
        for j in 0..<32 {
            let column = (0..<96).map { f[$0 * 128 + j] }
            #expect(found["frequency"]?[j] == Double(column.count { $0 > 0 }) / 96)
            // Fixed point of 2^-20, half a unit an activation; activations agree to 2e-5 of the largest, 20.
            let mean = column.reduce(0, +) / 96
            #expect(abs((found["mean_activation"]?[j] ?? .nan) - mean) < 4e-4)
        }
        // Counts are exact; activations may round otherwise where the encoder's product has another shape.
        let singly = try frequency(1)
        #expect(singly["frequency"] == found["frequency"])
        checkClose(
            singly["mean_activation"]!.map(Float.init), found["mean_activation"]!, tolerance: 2e-6, "mean_activation")
    }

    @Test func `a merged state is that of the whole pass, bit for bit`() throws {
        let scorer = try #require(try PluginCatalog().scorer("frequency", services: services.value).accumulation)
        let plan = ScoringPlan(
            latentCount: 60, dimension: 8, sequenceCount: 8, tokenCount: 160, coreCount: 1, errorTermAdded: false)
        let batches = (0..<4).map { randomBatch(tokens: 40, latents: 60, dimensions: 8, perToken: 6, seed: UInt64($0)) }
        func state() throws -> UnsafeMutableRawBufferPointer {
            let size = try scorer.stateSize(plan)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0)
            try scorer.begin(plan, state: memory)
            return memory
        }
        let (whole, first, second) = (try state(), try state(), try state())
        defer { for memory in [whole, first, second] { memory.deallocate() } }
        for (i, batch) in batches.enumerated() {
            try scorer.accumulate(batch, plan, state: whole)
            try scorer.accumulate(batch, plan, state: i < 2 ? first : second)
        }
        try scorer.merge(plan, state: first, other: UnsafeRawBufferPointer(second))
        #expect(whole.elementsEqual(first))
    }

    @Test(arguments: ["frequency", "ablation"])
    func `a pass that goes on, or is put together, has the results of the whole, bit for bit`(reference: String) throws
    {
        let (splice, key) = (try GoldenSplice(), PassKey(["layer": "1"]))
        let tokens = try splice.sample()
        func sample(_ sequences: Range<Int>) -> SpliceSample {
            let rows = sequences.lowerBound * 24..<sequences.upperBound * 24
            return SpliceSample(
                tokens: splice.tokens.sequences(sequences), residual: tokens.residual.copy(rows: rows),
                replaced: Array(tokens.replaced[rows]))
        }
        func begun() throws -> ScoringPass {
            let pass = try splice.pass(try PluginCatalog().scorer(reference, services: services.value), prefix: 32)
            try pass.begin(sequences: 4, tokens: 96)
            return pass
        }
        let counts = ScoreAccumulator(latents: 32, tokens: 96)
        let (whole, continued, rest, merged) = (try begun(), try begun(), try begun(), try begun())
        _ = try whole.score(sample(0..<3))
        for pass in [continued, merged] {
            try pass.resume(whole.state(key: key, from: 0, counts), path: "state", length: 24, counts)
        }
        rest.start(at: 3, length: 24)
        for pass in [whole, continued, rest] { _ = try pass.score(sample(3..<4)) }
        try merged.merge(rest.state(key: key, from: 3, counts), path: "state", length: 24, counts)
        let expected = try whole.outputs().map(\.values)
        #expect(expected.contains { $0.contains { $0 > 0 } })
        for pass in [continued, merged] { #expect(try pass.outputs().map(\.values) == expected) }
    }

    // MARK: What the host refuses

    @Test(arguments: [
        ("none", "0 outputs"), ("many", "65 outputs"), ("null", "null"), ("capital", "DMSAE-OUTPUT-01"),
        ("taken", "DMSAE-OUTPUT-01"), ("twice", "taken"), ("wide", "DMSAE-OUTPUT-02"), ("strange", "shape is 9"),
        ("unitless", "unit"), ("circular", "output 0"), ("roles", "DMSAE-OUTPUT-03"), ("total", "DMSAE-OUTPUT-03"),
        ("alone", "sizes alone (DMSAE-OUTPUT-03)"), ("small", "at least 48"),
    ])
    func `a description that breaks a rule is refused`(fault: String, part: String) throws {
        let text = message { _ = try fixture(fault) }
        #expect(text.contains(part), "\(text)")
    }

    @Test(arguments: [
        ("?unwritten", "left unwritten element 3"), ("?infinite", "-inf"),
        ("huge", "a state of 18446744073709551615 bytes, and "),
        ("petabyte", "a state of 1125899906842624 bytes, and "), ("rows-nan", "edit 0 has nan at token 3, element 1"),
        ("rows-infinite", "edit 0 has -inf at token 3"), ("value-nan", "nan"), ("value-infinite", "inf"),
        ("path-base", "the base of path 0 has nan"), ("path-end", "the end of path 0 has nan"),
        ("alpha", "alphas[0] is nan"),
        ("weight", "weights[0] is inf"), ("steps", "step_count is -9223372036854775808"),
        ("point-nan", "point 0 has nan at token 3"), ("point-null", "an array of point 0 is null"),
        ("elsewhere", "edit 0 is of tokens 24..<25, and the sequence of group 0 has 0..<24"),
        ("empty-elsewhere", "edit 0 is of tokens 25..<25"),
        ("thread", "another thread"), ("other-batch", "another batch"), ("operation", "operation 7"),
        ("no-rows", "no rows"), ("token", "tokens 0 to 9223372036854775807"), ("latent", "latent -3"),
        ("edits", "there are 1"), ("overflow", "there are 1"), ("sequence", "sequence -1"), ("negative", "-1"),
        ("point", "sequence 1000"),
    ])
    func `a call that breaks a rule is refused`(fault: String, part: String) throws {
        let text = message { _ = try GoldenSplice().outputs(try fixture(fault)) }
        #expect(text.contains(part), "\(text)")
    }

    @Test func `what is not a number is legal where it is not read`() throws {
        let splice = try GoldenSplice()
        let asked = try splice.outputs(try fixture("rows-unscored"), keepFirst: 1)
        #expect(try asked == splice.outputs(try fixture("sound"), keepFirst: 1))
    }

    @Test func `no evidence is legal, and scores nothing`() throws {
        #expect(try GoldenSplice().outputs(try fixture("?nan"))["count"]?[2].isNaN == true)
        let splice = try GoldenSplice()
        let pass = try splice.pass(try fixture("?nan"), prefix: 32)
        try pass.begin(sequences: 4, tokens: 96)
        let accumulator = ScoreAccumulator(latents: 32, tokens: 96)
        try pass.score(try splice.sample()).add(to: accumulator)
        let totals = try pass.totals(accumulator)
        #expect(totals[2] == 0 && accumulator.tokenCount == 96)
        #expect(totals.indices.allSatisfy { $0 == 2 || totals[$0] == Double(accumulator.activeCounts[$0]) })
    }

    @Test func `a plugin that does not say it asks gets no answer`() throws {
        let text = message { _ = try GoldenSplice().outputs(try fixture("sound", macros: ["FLAGS=0"])) }
        #expect(text.contains("DMSAE_PLUGIN_NEEDS_EVALUATION"), "\(text)")
    }

    @Test func `modes that a plugin sets reach neither the host's answer nor the host`() throws {
        #expect(try GoldenSplice().outputs(try fixture("flush")) == GoldenSplice().outputs(try fixture("sound")))
        // A denormal survives: nothing is flushed to zero on this thread.
        #expect(Float.leastNormalMagnitude / 2 > 0)
    }

    @Test func `a cancelled evaluation stops the scorer`() throws {
        services.cancel()
        let text = message {
            _ = try GoldenSplice().outputs(try PluginCatalog().scorer("ablation", services: services.value))
        }
        #expect(text.contains("cancelled"), "\(text)")
    }
}
