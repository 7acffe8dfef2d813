import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginTestSupport
import PluginWorkers
import SparseCoding
import TestSupport
import Testing

/// What plugins see since 0.3, handed out by one that does nothing else, in this process and in a worker.
struct SeenTests {
    let services = Services()
    let folder = TemporaryFolder()

    private func plugin(_ macros: [String] = []) throws -> String {
        try fixturePlugin("seeing.c", macros, in: folder)
    }

    private func scorer(_ what: String, isIsolated: Bool, _ macros: [String] = []) throws
        -> any AttributionScorer & LoadedPlugin
    {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            plugin(macros) + ":seeing,what=\(what)", services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram) : nil)
    }

    /// What is seen at the entries of the golden batch, and its codes.
    private func seen(_ what: String, isIsolated: Bool, _ macros: [String] = [], sae: SparseAutoencoder? = nil) throws
        -> (
            values: [Float], codes: SparseCodes
        )
    {
        let splice = try GoldenSplice()
        var settings = ScoringSettings()
        settings.prefix = 32
        let spliced = try SplicedModel(
            model: splice.model, hook: .residPost(1), sae: try sae ?? splice.sae(), settings: settings)
        let pass = ScoringPass(spliced, scorer: try scorer(what, isIsolated: isIsolated, macros))
        let scores = try pass.score(try splice.sample(keepFirst: 1))
        return (scores.values, scores.codes)
    }

    private func tokens(of codes: SparseCodes) -> [Int] { (0..<codes.count).map { codes.position(of: $0).row } }

    @Test(arguments: [false, true]) func `the encoder makes the codes`(isIsolated: Bool) throws {
        let (values, codes) = try seen("encoder", isIsolated: isIsolated)
        #expect(codes.count > 100)
        // Single precision over 48 terms, beside Double: 1e-5 of the largest pre-activation of a token.
        let largest = (0..<codes.count).map { codes.values[$0] }.max() ?? 0
        for e in 0..<codes.count { #expect(abs(values[e] - codes.values[e]) < 1e-5 * largest) }
    }

    @Test(arguments: [false, true]) func `thresholds, or how many of a row are kept`(isIsolated: Bool) throws {
        let threshold = try #require(try GoldenSplice().sae().threshold)
        #expect(try seen("threshold", isIsolated: isIsolated).values.allSatisfy { $0 == threshold })
        #expect(try seen("top-k", isIsolated: isIsolated).values.allSatisfy { $0 == 0 })
        let sae = try GoldenSplice().sae()
        sae.inference = .rowTopK(7)
        #expect(try seen("top-k", isIsolated: isIsolated, sae: sae).values.allSatisfy { $0 == 7 })
        #expect(
            message { _ = try seen("threshold", isIsolated: isIsolated, sae: sae) }.contains("thresholds is not there"))
    }

    @Test(arguments: [false, true]) func `the model's own probabilities, nothing spliced in`(isIsolated: Bool) throws {
        let splice = try GoldenSplice(), sample = try splice.sample()
        let losses = try splice.model.losses(of: splice.tokens, residual: sample.residual, at: .residPost(1))
        let (values, codes) = try seen("probability", isIsolated: isIsolated)
        for (e, t) in tokens(of: codes).enumerated() {
            #expect(values[e] == (t % 24 == 23 ? 0 : Float(exp(-Double(losses[t])))))
        }
        #expect(Set(values).count > 50)
    }

    @Test(arguments: [false, true]) func `norms of x, documents and the hook point`(isIsolated: Bool) throws {
        let splice = try GoldenSplice(), sample = try splice.sample()
        let (norms, codes) = try seen("norm", isIsolated: isIsolated)
        let documents = try seen("document", isIsolated: isIsolated).values
        // The configuration's ids: a text begins with 1 and ends with 2.
        var document = -1, expected: [Float] = []
        for t in 0..<96 {
            let ids = splice.tokens.ids
            if t % 24 == 0 || ids[t] == 1 || ids[t - 1] == 2 { document += 1 }
            expected.append(Float(document))
        }
        for (e, t) in tokens(of: codes).enumerated() {
            // Of 48 squares, in single precision.
            let norm = (0..<48).reduce(0.0) { $0 + pow(Double(sample.residual[t, $1]), 2) }.squareRoot()
            #expect(abs(Double(norms[e]) - norm) < 1e-5 * norm)
            #expect(documents[e] == expected[t])
        }
        #expect(try seen("documents", isIsolated: isIsolated).values.allSatisfy { $0 == Float(document + 1) })
        // Layer 1, hook_resid_post.
        #expect(try seen("hook", isIsolated: isIsolated).values.allSatisfy { $0 == 14 })
        #expect(try seen("stream", isIsolated: isIsolated).values.allSatisfy { $0 == 1 })
    }

    @Test(arguments: [false, true]) func `what is not declared is not there`(isIsolated: Bool) throws {
        for (what, name) in [
            ("encoder", "the encoder"), ("threshold", "thresholds"), ("probability", "target_probabilities"),
        ] {
            let text = message { _ = try seen(what, isIsolated: isIsolated, ["FLAGS=0"]) }
            #expect(text.contains("\(name) is not there"), "\(text)")
        }
    }

    @Test func `bits of tensors are DLPack's to a plugin that demands 0.3, and those of 0.0 to others`() throws {
        // Read-only 1, contiguous 0x100, and in its older place 2, where DLPack says that a tensor is a copy.
        #expect(try seen("tensor-flags", isIsolated: false).values.allSatisfy { $0 == 0x103 })
        #expect(
            try seen("tensor-flags", isIsolated: false, ["DMSAE_ABI_MINOR_REQUIRED=3u"]).values.allSatisfy {
                $0 == 0x101
            })
    }

    @Test(arguments: [false, true]) func `a rule sees groups, and in use the thresholds of its form`(isIsolated: Bool)
        throws
    {
        let rule = try PluginCatalog(executableFolder: "/nowhere").sparsityRule(
            plugin() + ":seeing-rule", services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram) : nil)
        let candidates = randomBatch(tokens: 40, latents: 128, dimensions: 2, perToken: 12).codes
        let sae = try GoldenSplice().sae()
        let thresholds = (0..<128).map { Float($0 % 7) / 7 }
        sae.inference = .thresholds(thresholds)
        func marks(_ mode: SelectionMode) throws -> [Bool] {
            var marks = [UInt8](repeating: 0, count: candidates.count)
            try marks.withUnsafeMutableBufferPointer {
                try rule.select(
                    from: candidates, SelectionContext(mode, of: sae, rows: 40, meanActive: 4), selected: $0)
            }
            return marks.map { $0 == 1 }
        }
        let columns = (0..<candidates.count).map { Int(candidates.columnIndices[$0]) }
        // Groups end at 8, 32, 64 and 128.
        #expect(try marks(.train) == columns.map { (8..<32).contains($0) })
        #expect(try marks(.infer) == columns.indices.map { candidates.values[$0] > thresholds[columns[$0]] })
    }

    @Test func `a worker is sent the encoder only for a plugin that reads it`() throws {
        func blocks(_ flags: [String]) throws -> Int {
            let splice = try GoldenSplice()
            let scorer = try scorer("norm", isIsolated: true, flags)
            let spliced = try SplicedModel(model: splice.model, hook: .residPost(1), sae: try splice.sae())
            let sample = try spliced.run(try splice.sample(), needs: [.encoder, .targetProbabilities])
            return BatchHeader.blocks(sample.batch.limited(to: scorer.needs)).bytes
        }
        // Rows [m, d], biases and thresholds [m], probabilities [N]; m = 8.
        #expect(try blocks([]) - blocks(["FLAGS=0"]) == 4 * (8 * 48 + 8 + 8 + 96))
    }
}
