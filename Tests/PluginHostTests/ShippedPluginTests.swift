import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TestSupport
import Testing

/// The shipped plugins, found as a user finds them: beside the executable.
struct ShippedPluginTests {
    let services = Services()
    let catalog: PluginCatalog

    init() throws { catalog = try PluginCatalog() }

    private func scorer(_ reference: String) throws -> any AttributionScorer & LoadedPlugin {
        try catalog.scorer(reference, services: services.value)
    }

    // MARK: Gradient × activation

    @Test func `gradient times activation gives the header's example`() throws {
        var batch = randomBatch(tokens: 1, latents: 1, dimensions: 2, perToken: 1)
        batch.codes = SparseCodes(dense: Matrix(rows: 1, columns: 1, [2]))
        batch.decoder = Matrix(rows: 1, columns: 2, [3, 4])
        batch.gradient = Matrix(rows: 1, columns: 2, [0.1, -0.2])
        let scores = try scorer("gxa").scores(batch)
        // One rounding of each input and of the result: 0.2 is not a float.
        #expect(abs(scores[0] - 0.2) < 2e-8)
    }

    @Test(arguments: [1, 7, 8, 20, 576])
    func `gradient times activation equals the definition`(dimensions d: Int) throws {
        let batch = randomBatch(tokens: 40, latents: 60, dimensions: d, perToken: 6)
        let scores = try scorer("gxa").scores(batch)
        for t in 0..<batch.codes.rows {
            for e in batch.codes.entries(ofRow: t) {
                let j = Int(batch.codes.columnIndices[e])
                var product = 0.0, square = 0.0
                for i in 0..<d {
                    product += Double(batch.gradient[t, i]) * Double(batch.decoder[j, i])
                    square += Double(batch.decoder[j, i]) * Double(batch.decoder[j, i])
                }
                let expected = j == 0 ? 0 : -Double(batch.codes.values[e]) * product / square.squareRoot()
                // Both sums are in Double, in another order; only the rounding of the result to Float is left, half a
                // unit in the last place, and a whole one where the sums straddle a boundary.
                #expect(abs(Double(scores[e]) - expected) <= Double(Float(expected).ulp))
            }
        }
    }

    @Test func `for a quadratic loss the score is the change under ablation up to its second-order term`() throws {
        // L = ½‖x̂ - y‖², g = x̂ - y; removing a·w changes L by -a⟨g, w⟩ + ½a²‖w‖². Rows of norm 1 make ŵ = w.
        var batch = randomBatch(tokens: 6, latents: 8, dimensions: 16, perToken: 4)
        let unit = batch.decoder
        for j in 1..<8 {
            let norm = (0..<16).reduce(0.0) { $0 + Double(unit[j, $1]) * Double(unit[j, $1]) }.squareRoot()
            for i in 0..<16 { unit[j, i] = Float(Double(unit[j, i]) / norm) }
        }
        batch.decoder = unit
        let scores = try scorer("gxa").scores(batch)
        func loss(_ t: Int, without a: Double, _ j: Int) -> Double {
            (0..<16).reduce(0) {
                let difference = Double(batch.gradient[t, $1]) - a * Double(unit[j, $1])
                return $0 + 0.5 * difference * difference
            }
        }
        for t in 0..<6 {
            for e in batch.codes.entries(ofRow: t) where batch.codes.columnIndices[e] != 0 {
                let a = Double(batch.codes.values[e]), j = Int(batch.codes.columnIndices[e])
                let change = loss(t, without: a, j) - loss(t, without: 0, j)
                // Scores and norms are floats: 2⁻²³ of values below 4.
                #expect(abs(Double(scores[e]) + 0.5 * a * a - change) < 1e-6)
            }
        }
    }

    @Test func `gradient times activation takes no parameter and stops when asked`() throws {
        #expect(
            message { _ = try scorer("gxa,norm=none") }.hasPrefix(
                "unknown parameter 'norm'; gxa takes none")
        )
        let gxa = try scorer("gxa")
        services.cancel()
        #expect(
            message { _ = try gxa.scores(randomBatch(tokens: 4, latents: 4, dimensions: 4, perToken: 1)) }
                == "score of plugin 'gxa' was cancelled")
    }

    // MARK: Random

    @Test func `a random score depends on seed and latent alone`() throws {
        let batch = randomBatch(tokens: 200, latents: 500, dimensions: 4, perToken: 20)
        let scores = try scorer("random,seed=7").scores(batch)
        var ofLatent: [Int32: Float] = [:]
        for e in 0..<batch.codes.count {
            let latent = batch.codes.columnIndices[e]
            #expect(scores[e] > 0 && scores[e] <= 1)
            #expect(ofLatent[latent, default: scores[e]] == scores[e])
            ofLatent[latent] = scores[e]
        }
        #expect(try scorer("random,seed=7").scores(batch) == scores)
        #expect(try scorer("random").scores(batch) == scorer("random,seed=0").scores(batch))
        // Another seed is another order, not the same one shifted by a latent.
        let other = try scorer("random,seed=8").scores(batch)
        #expect(other != scores)
        #expect(Set(ofLatent.values).isDisjoint(with: other))
    }

    @Test func `random scores are uniform`() throws {
        let count = 10_000
        var batch = randomBatch(tokens: 1, latents: count, dimensions: 1, perToken: 1)
        batch.codes = SparseCodes(dense: Matrix(rows: 1, columns: count, [Float](repeating: 1, count: count)))
        var histogram = [Int](repeating: 0, count: 10)
        for score in try scorer("random,seed=3").scores(batch) { histogram[min(9, Int(score * 10))] += 1 }
        // A bin of 1000 has a standard deviation of 30; the seed is fixed, so this either holds for ever or never.
        for bin in histogram { #expect(abs(bin - 1000) < 120) }
    }

    @Test(arguments: ["", "-1", " 1", "1x", "0x10", "18446744073709551616"])
    func `a seed that is not a whole number is refused`(seed: String) {
        #expect(
            message { _ = try scorer("random,seed=\(seed)") }.hasPrefix(
                "seed of random is '\(seed)'; give a whole number, 0 or more"))
    }

    // MARK: BatchTopK

    private func selection(_ candidates: SparseCodes, budget: Int) throws -> [UInt8] {
        let rule = try catalog.sparsityRule("batchtopk", services: services.value)
        let context = SelectionContext(
            mode: .train, batchRows: candidates.rows, latentCount: candidates.columns, meanActive: 1,
            batchBudget: budget)
        #expect(rule.scope == .batch)
        #expect(try rule.upperCount(context) == min(budget, candidates.rows * candidates.columns))
        var marks = [UInt8](repeating: 0, count: candidates.count)
        try marks.withUnsafeMutableBufferPointer { try rule.select(from: candidates, context, selected: $0) }
        return marks
    }

    /// By sorting: the largest first, among equals the one first in CSR order.
    private func oracle(_ candidates: SparseCodes, budget: Int) -> [UInt8] {
        let order = (0..<candidates.count).sorted {
            (-candidates.values[$0], $0) < (-candidates.values[$1], $1)
        }
        var marks = [UInt8](repeating: 0, count: candidates.count)
        for e in order.prefix(budget) { marks[e] = 1 }
        return marks
    }

    @Test(arguments: [0, 1, 2, 63, 500, 2047, 4000, 1_000_000])
    func `BatchTopK keeps what sorting keeps`(budget: Int) throws {
        let dense = Matrix(rows: 64, columns: 64)
        CounterRandom(seed: 5, purpose: .test).fill(
            UnsafeMutableBufferPointer(start: dense.elements, count: dense.count), from: -1, to: 1)
        for i in 0..<dense.count { dense[i] = max(0, dense[i]) }
        let candidates = SparseCodes(dense: dense)
        #expect(try selection(candidates, budget: budget) == oracle(candidates, budget: budget))
    }

    @Test func `BatchTopK gives ties to the lower row and then to the lower column`() throws {
        // Values of 1, 2 and 3 only: every budget cuts through a tie.
        let dense = Matrix(rows: 8, columns: 9)
        let random = CounterRandom(seed: 6, purpose: .test)
        for i in 0..<dense.count { dense[i] = Float(random.word(UInt64(i)) % 4) }
        let candidates = SparseCodes(dense: dense)
        for budget in 0...candidates.count + 1 {
            #expect(try selection(candidates, budget: budget) == oracle(candidates, budget: budget))
        }
    }

    @Test func `BatchTopK orders the smallest and the largest floats`() throws {
        let values: [Float] = [
            .leastNonzeroMagnitude, .greatestFiniteMagnitude, .leastNormalMagnitude, 1, 1 + .ulpOfOne,
            .leastNonzeroMagnitude.nextUp,
        ]
        let candidates = SparseCodes(dense: Matrix(rows: 2, columns: 3, values))
        for budget in 0...6 {
            #expect(try selection(candidates, budget: budget) == oracle(candidates, budget: budget))
        }
    }

    @Test(arguments: [Float.nan, -1, .infinity, -0.0])
    func `BatchTopK refuses a candidate that is not positive and finite`(value: Float) throws {
        let candidates = SparseCodes(dense: Matrix(rows: 1, columns: 3, [1, 2, 3]))
        candidates.values[1] = value
        #expect(
            message { _ = try selection(candidates, budget: 1) }.contains(
                "candidates must be positive and finite (DMSAE-RULE-02)"))
    }

    // MARK: Files

    @Test(arguments: [
        "ablation", "batchtopk", "expected-gradients", "frequency", "gxa", "ig", "jumprelu", "logit", "mattr", "norm",
        "random", "reconstruction", "relp", "shapley", "topk",
    ])
    func `a shipped plugin exports its entry and nothing else`(name: String) throws {
        let result = try run(["nm", "-D", "--defined-only", shippedPlugin(name)])
        #expect(result.status == 0, "\(result.output)")
        let symbols = result.output.split(separator: "\n").compactMap { $0.split(separator: " ").last.map(String.init) }
        // The linker's own marks are in every Swift-linked library.
        #expect(Set(symbols).subtracting(["__bss_start", "_edata", "_end"]) == ["dmsae_plugin_entry"])
    }

    @Test func `one instance gives the same scores from many threads`() async throws {
        let batch = randomBatch(tokens: 100, latents: 300, dimensions: 64, perToken: 10)
        let gxa = try scorer("gxa")
        let expected = try gxa.scores(batch)
        try await withThrowingTaskGroup(of: [Float].self) { group in
            for _ in 0..<8 { group.addTask { try gxa.scores(batch) } }
            for try await scores in group { #expect(scores == expected) }
        }
    }

    // MARK: The template

    @Test func `the template is built by one line of cc and loaded by path`() throws {
        let folder = TemporaryFolder()
        let path = folder.file("scorer.so")
        let result = try run([
            "cc", "-O2", "-shared", "-fPIC", "-I", "Include", "Plugins/Template/scorer.c", "-o", path,
        ])
        #expect(result.status == 0 && result.output.isEmpty, "\(result.output)")
        let batch = randomBatch(tokens: 9, latents: 20, dimensions: 3, perToken: 4)
        let template = try scorer(path)
        #expect(template.name == "activation")
        #expect(
            try template.scores(batch)
                == Array(UnsafeBufferPointer(start: batch.codes.values, count: batch.codes.count)))
        #expect(message { _ = try scorer(path + ",alpha=1") }.contains("unknown parameter 'alpha'"))
    }

    @Test func `the front page's scorer is the one in the template folder and agrees with gxa on unit rows`() throws {
        let source = try String(contentsOfFile: packageRoot + "/Plugins/Template/linear.c", encoding: .utf8)
        let readme = try String(contentsOfFile: packageRoot + "/README.md", encoding: .utf8)
        #expect(readme.contains("```c\n" + source + "```"))
        #expect(source.split(separator: "\n").count <= 20)
        let folder = TemporaryFolder()
        let path = folder.file("linear.so")
        let result = try run([
            "cc", "-O2", "-Wall", "-shared", "-fPIC", "-I", "Include", "Plugins/Template/linear.c", "-o", path,
        ])
        #expect(result.status == 0 && result.output.isEmpty, "\(result.output)")
        let batch = randomBatch(tokens: 9, latents: 20, dimensions: 48, perToken: 4)
        for j in 0..<batch.decoder.rows {
            let norm = (0..<48).reduce(0) { $0 + batch.decoder[j, $1] * batch.decoder[j, $1] }.squareRoot()
            // One row of the batch is zero on purpose.
            for c in 0..<48 where norm > 0 { batch.decoder[j, c] /= norm }
        }
        let (linear, gxa) = (try scorer(path).scores(batch), try scorer("gxa").scores(batch))
        // Rows are unit to single precision: the norms differ from 1 by a few 1e-7.
        checkClose(linear, gxa, tolerance: 1e-6, "without norms")
        #expect(message { _ = try scorer(path + ",alpha=1") }.contains("unknown parameter 'alpha'"))
    }
}
