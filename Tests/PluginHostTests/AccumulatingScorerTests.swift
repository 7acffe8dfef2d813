import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import TestSupport
import Testing

/// Scorers that accumulate, and what they may and may not ask the host, on the small Llama model.
struct AccumulatingScorerTests {
    let services = Services()
    let folder = TemporaryFolder()

    private func fixture(_ fault: String, macros: [String] = []) throws -> any AttributionScorer & LoadedPlugin {
        let path = folder.file(UUID().uuidString + ".so")
        let result = try run(
            ["cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I", "Include"] + macros.map { "-D" + $0 }
                + ["Tests/PluginHostTests/Fixtures/accumulating.c", "-o", path])
        guard result.status == 0 else { throw CompilationFailed(description: result.output) }
        return try PluginCatalog(executableFolder: folder.path)
            .scorer(fault.isEmpty ? path : "\(path),fault=\(fault)", services: services.value)
    }

    private func message(_ body: () throws -> Void) -> String {
        do { try body() } catch { return "\(error)" }
        return "nothing failed"
    }

    /// The outputs of a pass over the golden tokens in batches of `sequences` sequences.
    private func outputs(
        _ scorer: any AttributionScorer, prefix: Int = 32, sequences: Int = 4, budget: Int? = nil
    ) throws -> [String: [Double]] {
        let splice = try GoldenSplice()
        let pass = try splice.pass(scorer, prefix: prefix, budget: budget)
        try pass.begin(sequences: 4, tokens: 96)
        let whole = try splice.sample()
        for first in stride(from: 0, to: 4, by: sequences) {
            let rows = first * 24..<(first + sequences) * 24
            _ = try pass.score(
                SpliceSample(
                    tokens: splice.tokens.sequences(first..<first + sequences),
                    residual: whole.residual.copy(rows: rows),
                    replaced: Array(whole.replaced[rows])))
        }
        return Dictionary(uniqueKeysWithValues: try pass.outputs().map { ($0.output.name, $0.values) })
    }

    @Test func `frequency counts what fires, whatever the batches are`() throws {
        let catalog = try PluginCatalog()
        func frequency(_ sequences: Int) throws -> [String: [Double]] {
            try outputs(try catalog.scorer("frequency", services: services.value), sequences: sequences)
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

    // MARK: Ablation and integrated gradients against PyTorch

    @Test(arguments: [1, 4]) func `ablation is the recorded one`(sequences: Int) throws {
        let found = try outputs(try PluginCatalog().scorer("ablation", services: services.value), sequences: sequences)
        let golden = try GoldenSplice().golden
        let expected = try golden.expected("p32.ablation.delta_per_token")
        for j in 0..<32 {
            var total = 0.0
            for s in 0..<4 {
                let delta = expected[(j * 4 + s) * 23..<(j * 4 + s + 1) * 23].reduce(0, +)
                // Sums of 23 differences of losses, each to 1e-5 of a loss of 6 nats.
                #expect(abs((found["loss_delta"]?[j * 4 + s] ?? .nan) - delta) < 1e-3, "latent \(j), sequence \(s)")
                total += delta
            }
            #expect(abs((found["ablation"]?[j] ?? .nan) - total / 4) < 1e-3)
            #expect(found["ablation_standard_error"]?[j] == 0)
        }
        // To first order: -Σ f·⟨g, w⟩ of the recorded gradient.
        let (f, g) = (try golden.expected("acts"), try golden.expected("p32.grad"))
        let w = try golden.expected("W_dec")
        for j in [0, 7, 31] {
            for s in 0..<4 {
                var sum = 0.0
                for t in s * 24..<(s + 1) * 24 {
                    for c in 0..<48 { sum -= 92 * f[t * 128 + j] * g[t * 48 + c] * w[j * 48 + c] }
                }
                #expect(abs((found["first_order"]?[j * 4 + s] ?? .nan) - sum) < 1e-3, "latent \(j), sequence \(s)")
            }
        }
    }

    @Test func `a drawn ablation is made of the same numbers, with a standard error`() throws {
        let all = try outputs(try PluginCatalog().scorer("ablation", services: services.value))
        func drawn(_ sequences: Int) throws -> [String: [Double]] {
            try outputs(
                try PluginCatalog().scorer("ablation,sequences=2,seed=5", services: services.value),
                sequences: sequences)
        }
        let some = try drawn(4)
        let (delta, whole) = (try #require(some["loss_delta"]), try #require(all["loss_delta"]))
        var missed = 0, withError = 0
        for j in 0..<32 {
            let row = Array(delta[j * 4..<j * 4 + 4])
            let evaluated = (0..<4).filter { !row[$0].isNaN && whole[j * 4 + $0] != 0 }
            missed += row.count { $0.isNaN }
            for s in 0..<4 where !row[s].isNaN { #expect(abs(row[s] - whole[j * 4 + s]) < 1e-3) }
            let fired = evaluated.count + row.count { $0.isNaN }
            guard fired > 0, !evaluated.isEmpty, fired > evaluated.count, evaluated.count > 1 else { continue }
            let n = Double(evaluated.count), mean = evaluated.reduce(0) { $0 + row[$1] } / n
            let variance = evaluated.reduce(0) { $0 + (row[$1] - mean) * (row[$1] - mean) } / (n - 1)
            #expect(abs(some["ablation"]![j] - Double(fired) / 4 * mean) < 1e-9)
            let ofMean = (1 - n / Double(fired)) * variance / n
            let error = Double(fired) / 4 * ofMean.squareRoot()
            #expect(abs(some["ablation_standard_error"]![j] - error) < 1e-9)
            withError += 1
        }
        // Half of up to 128 pairs are drawn; far from it the draw is not what it says.
        #expect((40...90).contains(missed) && withError > 3, "\(missed), \(withError)")
        // What is drawn does not depend on the batches.
        let singly = try #require(try drawn(1)["loss_delta"])
        #expect(singly.map(\.isNaN) == delta.map(\.isNaN))
    }

    @Test func `when the budget is spent the rest is missing, not wrong`() throws {
        let all = try outputs(try PluginCatalog().scorer("ablation", services: services.value))["loss_delta"]!
        let some = try outputs(
            try PluginCatalog().scorer("ablation", services: services.value), sequences: 1, budget: 50)
        let delta = try #require(some["loss_delta"])
        #expect(delta.count { !$0.isNaN && $0 != 0 } <= 50 && delta.count { !$0.isNaN && $0 != 0 } > 40)
        for i in 0..<128 where !delta[i].isNaN { #expect(abs(delta[i] - all[i]) < 1e-3) }
    }

    @Test(arguments: ["joint", "single"]) func `integrated gradients are the recorded ones`(path: String) throws {
        let splice = try GoldenSplice()
        let scorer = try PluginCatalog().scorer("ig,path=\(path),steps=8", services: services.value)
        let scores = try splice.pass(scorer, prefix: 32).score(try splice.sample())
        let found = scores.dense(width: 32)
        // Recorded with the opposite sign, of the mean loss.
        try splice.golden.check("p32.ig_\(path)", found.map { -$0 * splice.meanFactor }, tolerance: 1e-4)
    }

    // MARK: What the host refuses

    @Test(arguments: [
        ("none", "0 outputs"), ("many", "65 outputs"), ("null", "null"), ("capital", "DMSAE-OUTPUT-01"),
        ("taken", "DMSAE-OUTPUT-01"), ("twice", "taken"), ("wide", "DMSAE-OUTPUT-02"), ("strange", "shape is 9"),
        ("unitless", "unit"), ("circular", "output 0"), ("small", "at least 48"),
    ])
    func `a description that breaks a rule is refused`(fault: String, part: String) throws {
        let text = message { _ = try fixture(fault) }
        #expect(text.contains(part), "\(text)")
    }

    @Test(arguments: [
        ("?unwritten", "left unwritten element 3"), ("?infinite", "-inf"), ("huge", "cannot be had"),
        ("thread", "another thread"), ("other-batch", "another batch"), ("operation", "operation 7"),
        ("no-rows", "no rows"), ("token", "tokens 0 to 9223372036854775807"), ("latent", "latent -3"),
        ("edits", "there are 1"), ("overflow", "there are 1"), ("sequence", "sequence -1"), ("negative", "-1"),
        ("point", "sequence 1000"),
    ])
    func `a call that breaks a rule is refused`(fault: String, part: String) throws {
        let text = message { _ = try outputs(try fixture(fault)) }
        #expect(text.contains(part), "\(text)")
    }

    @Test func `no evidence is legal, and scores nothing`() throws {
        #expect(try outputs(try fixture("?nan"))["count"]?[2].isNaN == true)
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
        let text = message { _ = try outputs(try fixture("sound", macros: ["FLAGS=0"])) }
        #expect(text.contains("DMSAE_PLUGIN_NEEDS_EVALUATION"), "\(text)")
    }

    @Test func `modes that a plugin sets reach neither the host's answer nor the host`() throws {
        #expect(try outputs(try fixture("flush")) == outputs(try fixture("sound")))
        // A denormal survives: nothing is flushed to zero on this thread.
        #expect(Float.leastNormalMagnitude / 2 > 0)
    }

    @Test func `a cancelled evaluation stops the scorer`() throws {
        services.cancel()
        let text = message {
            _ = try outputs(try PluginCatalog().scorer("ablation", services: services.value))
        }
        #expect(text.contains("cancelled"), "\(text)")
    }
}

extension ScoringPass.Scores {
    /// [N, width], 0 where there is no entry.
    fileprivate func dense(width: Int) -> [Float] {
        var result = [Float](repeating: 0, count: codes.rows * width)
        for r in 0..<codes.rows {
            for e in codes.entries(ofRow: r) { result[r * width + Int(codes.columnIndices[e])] = values[e] }
        }
        return result
    }
}
