import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Recorded vectors: see `GoldenModel`.
@Suite struct GoldenModelTests {
    @Test(arguments: GoldenModel.all) func everyLayerAgrees(_ golden: GoldenModel) throws {
        try golden.check(try loadLanguageModel(path: golden.path))
    }

    @Test func aBatchOfManySequencesGivesWhatEachGivesAlone() throws {
        let model = try loadLanguageModel(path: fixture("models/llama"))
        // 100 sequences of 11 tokens are cut into several passes, the last one smaller.
        let (count, length) = (100, 11)
        let ids = (0..<count * length).map { Int32($0 * 37 % 320) }
        let batch = TokenBatch(ids: ids, sequenceCount: count, length: length)
        let x = try model.residual(of: batch, afterLayer: 1)
        let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 1)
        for s in [0, 45, 46, 99] {
            let rows = s * length..<(s + 1) * length
            let alone = TokenBatch(Array(ids[rows]))
            let y = try model.residual(of: alone, afterLayer: 1)
            // Other sizes of product may round otherwise: one unit in the last place per term, far below 1e-5.
            #expect(relativeDifference(y.values, x.copy(rows: rows).values.map(Double.init)) < 1e-5)
            let (l, g) = try model.lossesAndGradient(of: alone, residual: y, afterLayer: 1)
            #expect(relativeDifference(l, losses[rows].map(Double.init)) < 1e-5)
            #expect(relativeDifference(g.values, gradient.copy(rows: rows).values.map(Double.init)) < 1e-5)
        }
    }

    @Test(arguments: ["llama", "gemma3"]) func paddingHasNoLossAndChangesNone(_ name: String) throws {
        let model = try loadLanguageModel(path: fixture("models/" + name))
        let (length, counts) = (12, [12, 5, 1, 9])
        func batch(padding: Int32) -> TokenBatch {
            let ids = (0..<48).map { $0 % length < counts[$0 / length] ? Int32($0 * 37 % 200) : padding }
            return TokenBatch(ids: ids, counts: counts, length: length)
        }
        let whole = batch(padding: 0)
        let x = try model.residual(of: whole, afterLayer: 1)
        let (losses, gradient) = try model.lossesAndGradient(of: whole, residual: x, afterLayer: 1)
        for (s, count) in counts.enumerated() {
            let rows = s * length..<s * length + count
            let alone = TokenBatch(Array(whole.ids[rows]))
            let y = try model.residual(of: alone, afterLayer: 1)
            // Other sizes of product may round otherwise: one unit in the last place per term, far below 1e-5.
            #expect(relativeDifference(y.values, x.copy(rows: rows).values.map(Double.init)) < 1e-5)
            for position in rows.upperBound - 1..<(s + 1) * length { #expect(losses[position] == 0) }
            for position in rows.upperBound..<(s + 1) * length {
                #expect((0..<x.columns).allSatisfy { gradient[position, $0] == 0 })
            }
            if count == 1 { continue }
            let (l, g) = try model.lossesAndGradient(of: alone, residual: y, afterLayer: 1)
            #expect(relativeDifference(l, losses[rows].map(Double.init)) < 1e-5)
            #expect(relativeDifference(g.values, gradient.copy(rows: rows).values.map(Double.init)) < 1e-5)
        }
        let other = batch(padding: 7)
        let z = try model.residual(of: other, afterLayer: 1)
        #expect(
            try model.losses(of: other, residual: z, afterLayer: 1)
                == model.losses(of: whole, residual: x, afterLayer: 1))
        let replay = try model.replay(of: other, residual: z, afterLayer: 1)
        #expect(try replay.losses == losses)
    }

    @Test func theSameCallGivesTheSameBits() throws {
        let model = try loadLanguageModel(path: fixture("models/llama"))
        let batch = TokenBatch(ids: (0..<300).map { Int32($0 % 320) }, sequenceCount: 3, length: 100)
        let x = try model.residual(of: batch, afterLayer: 0)
        let first = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
        let second = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
        #expect(first.losses == second.losses && first.gradient.values == second.gradient.values)
    }

    @Test func bothStylesOfConfigurationSayTheSame() throws {
        for name in ["llama", "llama3-rope", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen2", "qwen3"] {
            let old = try DecoderDescription(huggingFace: fixture("models/\(name)/config.json"))
            #expect(
                old == (try DecoderDescription(huggingFace: fixture("models/\(name)/config.transformers5.json"))),
                "\(name)")
        }
    }

    @Test func `a suffix that is run again has the losses of the whole`() throws {
        for name in ["mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen3"] {
            let model = try loadLanguageModel(path: fixture("models/\(name)"))
            let io = try SafetensorsFile(path: fixture("models/\(name)/io.safetensors"))
            let batch = TokenBatch(ids: try io.integers("input_ids").map(Int32.init), sequenceCount: 2, length: 16)
            let layer = Int(try io.integers("splice.layer")[0]), x = try io.matrix("splice.x")
            let losses = try model.losses(of: batch, residual: x, afterLayer: layer)
            let replay = try model.replay(of: batch, residual: x, afterLayer: layer)
            #expect(try replay.losses == losses, "\(name)")
            // From the start, before, at and past the end of a window of 5 or 6, and the last position alone.
            let starts = [0, 3, 5, 6, 11, 15]
            let suffixes = (0..<2).flatMap { s in
                starts.map { SequenceSuffix(sequence: s, first: $0, residual: x.row(s * 16 + $0)) }
            }
            let wanted = (0..<2).flatMap { s in starts.flatMap { losses[s * 16 + $0..<(s + 1) * 16] } }
            var found = [Float](repeating: .nan, count: wanted.count)
            try found.withUnsafeMutableBufferPointer { try replay.losses(of: suffixes, into: $0.baseAddress!) }
            // Other sizes of product may round otherwise.
            #expect(relativeDifference(found, wanted.map(Double.init)) < 1e-6, "\(name)")
            extendLifetime(x)
        }
    }

    @Test func `GPT-2 under the names of the Hub, with its masks, is the same model`() throws {
        let folder = TemporaryFolder()
        let source = try SafetensorsFile(path: fixture("models/gpt2/model.safetensors"))
        var writer = SafetensorsWriter()
        for name in source.tensors.keys.sorted() {
            let short = name.hasPrefix("transformer.") ? String(name.dropFirst("transformer.".count)) : name
            writer.add(short, try source.matrix(name), shape: source.tensors[name]!.shape)
        }
        writer.add("h.0.attn.bias", Matrix(rows: 64, columns: 64), shape: [1, 1, 64, 64])
        try writer.write(to: folder.file("model.safetensors"))
        try AtomicFile.write(contents(of: fixture("models/gpt2/config.json")), to: folder.file("config.json"))
        let batch = TokenBatch([1, 7, 2, 299])
        let short = try loadLanguageModel(path: folder.path).residual(of: batch, afterLayer: 2)
        let long = try loadLanguageModel(path: fixture("models/gpt2")).residual(of: batch, afterLayer: 2)
        #expect(short.values == long.values)
    }
}
