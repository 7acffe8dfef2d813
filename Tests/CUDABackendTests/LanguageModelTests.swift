import CUDABackend
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// A language model on a card against recorded vectors, and against lanes.
///
/// Tolerances are those of the recorded vectors, single precision in another order of summation: 2e-5 of the largest entry, 1e-4 for
/// gradients.
@Suite struct LanguageModelTests {
    private func model(
        _ decoder: Decoder, _ precision: ProductPrecision = .fp32, limits: PassLimits = PassLimits()
    ) throws -> CUDALanguageModel {
        try CUDALanguageModel(decoder, on: try TestCard.context(), precision: precision, limits: limits)
    }

    private func batch(_ sequences: Int, _ length: Int, words: Int) -> TokenBatch {
        TokenBatch(
            ids: (0..<sequences * length).map { Int32($0 * 37 % words) }, sequenceCount: sequences, length: length)
    }

    private func checkSame(
        _ card: any LanguageModel, _ lanes: any LanguageModel, _ batch: TokenBatch, layer: Int, factor: Double = 1,
        _ what: String
    ) throws {
        let x = try lanes.residual(of: batch, afterLayer: layer)
        let found = try card.residual(of: batch, afterLayer: layer)
        #expect(relativeDifference(found.values, x.values) < 2e-5 * factor, "residual, \(what)")
        let (losses, gradient) = try card.lossesAndGradient(of: batch, residual: x, afterLayer: layer)
        let expected = try lanes.lossesAndGradient(of: batch, residual: x, afterLayer: layer)
        #expect(relativeDifference(losses, expected.losses) < 2e-5 * factor, "losses, \(what)")
        #expect(
            relativeDifference(gradient.values, expected.gradient.values) < 1e-4 * factor, "gradient, \(what)")
    }

    @Test(arguments: GoldenModel.all) func everyLayerAgreesWithPyTorch(_ golden: GoldenModel) throws {
        try golden.check(try model(try loadDecoder(path: golden.path)))
    }

    /// Passes of two sequences of 37 tokens and a last one of one, scores of few queries and pairs, logits of five rows; windows end
    /// within blocks of queries.
    @Test(arguments: ["llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen3"])
    func sizesThatDivideNothing(_ name: String) throws {
        let lanes = try loadDecoder(path: fixture("models/\(name)"))
        var limits = PassLimits()
        (limits.tokens, limits.scores, limits.logits) = (2 * 37 + 5, 1500, 5 * 384 + 3)
        try checkSame(try model(lanes, limits: limits), lanes, batch(5, 37, words: 290), layer: 0, name)
    }

    /// Widths that no four floats divide: streams, rows of heads, perceptrons and vocabularies are padded.
    private static let padded = [
        """
        {"model_type": "llama", "hidden_size": 30, "intermediate_size": 27, "num_hidden_layers": 2, "num_attention_heads": 5,
         "num_key_value_heads": 1, "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "vocab_size": 101,
         "max_position_embeddings": 1024, "tie_word_embeddings": true}
        """,
        """
        {"model_type": "gemma2", "hidden_size": 27, "intermediate_size": 41, "num_hidden_layers": 2, "num_attention_heads": 3,
         "num_key_value_heads": 3, "head_dim": 6, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-06,
         "rope_theta": 10000.0, "query_pre_attn_scalar": 24, "sliding_window": 300, "attn_logit_softcapping": 3.0,
         "final_logit_softcapping": 4.0, "vocab_size": 102, "max_position_embeddings": 1024, "tie_word_embeddings": true}
        """,
        """
        {"model_type": "gpt_neox", "hidden_size": 30, "intermediate_size": 33, "num_hidden_layers": 2, "num_attention_heads": 5,
         "hidden_act": "gelu", "layer_norm_eps": 1e-05, "rotary_pct": 0.4, "rotary_emb_base": 10000, "vocab_size": 103,
         "max_position_embeddings": 1024, "tie_word_embeddings": false, "use_parallel_residual": true}
        """,
    ]

    @Test(arguments: padded) func rowsThatArePadded(_ configuration: String) throws {
        let lanes = try randomDecoder(configuration: configuration, seed: 3)
        try checkSame(try model(lanes), lanes, batch(3, 9, words: 101), layer: 0, "\(lanes.configuration.family)")
    }

    /// Three blocks of queries under the limits as they are; the second model's window of 300 ends within them.
    @Test(arguments: padded[..<2]) func aLongerSequence(_ configuration: String) throws {
        let lanes = try randomDecoder(configuration: configuration, seed: 4)
        try checkSame(try model(lanes), lanes, batch(1, 600, words: 101), layer: 0, "\(lanes.configuration.family)")
    }

    @Test func aSmallCardTakesFewerSequencesAtATime() throws {
        let lanes = try loadDecoder(path: fixture("models/gemma2"))
        var limits = PassLimits()
        limits.share = 1 << 20
        try checkSame(try model(lanes, limits: limits), lanes, batch(4, 11, words: 290), layer: 1, "one at a time")
    }

    /// Three suffixes in passes of two sequences, each with another residual stream.
    @Test func suffixesRunAgainHaveTheLossesOfTheWhole() throws {
        let lanes = try loadDecoder(path: fixture("models/gemma2"))
        var limits = PassLimits()
        limits.tokens = 2 * 20
        let (card, batch) = (try model(lanes, limits: limits), batch(3, 20, words: 290))
        let x = try lanes.residual(of: batch, afterLayer: 0)
        let models: [any LanguageModel] = [card, lanes]
        let replays = try models.map { try $0.replay(of: batch, residual: x, afterLayer: 0) }
        let other = randomMatrix(60, x.columns, seed: 5, from: -1, to: 1)
        let suffixes = [(2, 0), (0, 13), (2, 19)].map { (s, first) in
            SequenceSuffix(sequence: s, first: first, residual: other.row(s * 20 + first))
        }
        let found = try replays.map { replay in
            var losses = [Float](repeating: .nan, count: 20 + 7 + 1)
            try losses.withUnsafeMutableBufferPointer {
                try replay.losses(of: suffixes, into: $0.baseAddress!)
            }
            return losses
        }
        #expect(relativeDifference(found[0], found[1].map(Double.init)) < 2e-5)
        expectSame(
            try replays[0].losses, try card.losses(of: batch, residual: x, afterLayer: 0), "its own losses")
        extendLifetime(other)
    }

    /// Suffixes from all over sequences of 50, in passes from 0, 16, 32 and 48 of at most two whole sequences' room, windows that end
    /// among kept keys; some bring rows, some add at several positions.
    @Test(
        arguments: ["llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen3"],
        [HookPoint.Kind.residPost, .attnOut])
    func suffixesFromEveryBeginning(_ name: String, _ kind: HookPoint.Kind) throws {
        let lanes = try loadDecoder(path: fixture("models/\(name)"))
        var limits = PassLimits()
        (limits.tokens, limits.scores) = (2 * 50, 4000)
        let (card, batch, hook) = (
            try model(lanes, limits: limits), batch(3, 50, words: 290), HookPoint(block: 0, kind)
        )
        let x = try lanes.residual(of: batch, at: hook)
        let other = randomMatrix(150, x.columns, seed: 7, from: -1, to: 1)
        let starts = [(2, 0), (0, 15), (1, 16), (2, 31), (0, 32), (0, 33), (1, 47), (2, 48), (1, 49), (0, 3), (1, 20)]
        let suffixes = starts.enumerated().map { i, start in
            let (s, first) = start
            guard i % 3 > 0 else {
                return SequenceSuffix(sequence: s, first: first, residual: other.row(s * 50 + first))
            }
            let additions = [first, 49, (first + 49) / 2, first].map {
                SequenceSuffix.Addition(position: $0, factor: Float(i) / 3 - 2, row: other.row($0 * i % 150))
            }
            return SequenceSuffix(sequence: s, first: first, additions: additions)
        }
        let count = starts.reduce(0) { $0 + 50 - $1.1 }
        let found = try [card as any LanguageModel, lanes].map { model in
            let replay = try model.replay(of: batch, residual: x, at: hook)
            // Twice: what the first call leaves in the scratch is nothing to the second.
            return try (0..<2).map { _ in
                var losses = [Float](repeating: .nan, count: count)
                try losses.withUnsafeMutableBufferPointer {
                    try replay.losses(of: suffixes, into: $0.baseAddress!)
                }
                return losses
            }
        }
        #expect(relativeDifference(found[0][0], found[1][0].map(Double.init)) < 2e-5, "\(name)")
        expectSame(found[0][0], found[0][1], "the same call again")
        extendLifetime(other)
    }

    @Test(arguments: ["llama", "gemma2", "gpt2", "gpt_neox"], HookPoint.Kind.allCases)
    func everyHookPointAgreesWithLanes(_ name: String, _ kind: HookPoint.Kind) throws {
        let lanes = try loadDecoder(path: fixture("models/\(name)"))
        var limits = PassLimits()
        limits.tokens = 2 * 20
        let (card, batch, hook) = (
            try model(lanes, limits: limits), batch(3, 20, words: 290), HookPoint(block: 1, kind)
        )
        let x = try lanes.residual(of: batch, at: hook)
        #expect(relativeDifference(try card.residual(of: batch, at: hook).values, x.values) < 2e-5)
        let other = randomMatrix(60, x.columns, seed: 6, from: -1, to: 1)
        for value in [x, other] {
            let (losses, gradient) = try card.lossesAndGradient(of: batch, residual: value, at: hook)
            let expected = try lanes.lossesAndGradient(of: batch, residual: value, at: hook)
            #expect(relativeDifference(losses, expected.losses) < 2e-5)
            #expect(relativeDifference(gradient.values, expected.gradient.values) < 1e-4)
            expectSame(try card.losses(of: batch, residual: value, at: hook), losses, "losses alone")
        }
        let logits = try card.logits(of: batch.sequences(0..<1), residual: other.copy(rows: 0..<20), at: hook)
        let wanted = try lanes.logits(of: batch.sequences(0..<1), residual: other.copy(rows: 0..<20), at: hook)
        #expect(relativeDifference(logits.values, wanted.values) < 2e-5)
        // A suffix with other activations, before them the model's own.
        let whole = x.copy()
        for row in 25..<40 { whole.row(row).update(from: other.row(row), count: x.columns) }
        var found = [Float](repeating: .nan, count: 15)
        try found.withUnsafeMutableBufferPointer {
            try card.replay(of: batch, residual: x, at: hook).losses(
                of: [SequenceSuffix(sequence: 1, first: 5, residual: other.row(25))], into: $0.baseAddress!)
        }
        let losses = try lanes.losses(of: batch, residual: whole, at: hook)
        #expect(relativeDifference(found, losses[25..<40].map(Double.init)) < 2e-5)
        extendLifetime(other)
    }

    @Test func theSameCallGivesTheSameBits() throws {
        let card = try model(try loadDecoder(path: fixture("models/gemma2")))
        let batch = batch(3, 50, words: 290)
        let x = try card.residual(of: batch, afterLayer: 0)
        let first = try card.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
        // Another batch in between leaves other numbers in the scratch.
        _ = try card.lossesAndGradient(
            of: self.batch(2, 50, words: 111), residual: x.copy(rows: 0..<100), afterLayer: 0)
        let second = try card.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
        expectSame(first.losses, second.losses, "losses")
        expectSame(first.gradient.values, second.gradient.values, "gradient")
        expectSame(x.values, try card.residual(of: batch, afterLayer: 0).values, "residual")
    }

    @Test func aBatchThatTheModelDoesNotHaveIsRefused() throws {
        let card = try model(try loadDecoder(path: fixture("models/llama")))
        #expect(throws: LanguageModelError.layerOutOfRange(layer: 3, layerCount: 3)) {
            try card.residual(of: TokenBatch([1, 2]), afterLayer: 3)
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(id: 320, position: 1, vocabularySize: 320)) {
            try card.residual(of: TokenBatch([1, 320]), afterLayer: 0)
        }
        #expect(throws: LanguageModelError.sequenceTooLong(length: 129, contextLength: 128)) {
            try card.residual(of: batch(1, 129, words: 320), afterLayer: 0)
        }
        #expect(try card.residual(of: TokenBatch(ids: [], sequenceCount: 0, length: 5), afterLayer: 0).rows == 0)
    }

    /// Factors are rounded to 2⁻¹¹ of their value, and what a product of them is off by averages out over its terms; three blocks
    /// add up to 1.3e-3 of the largest entry, 2e-3 in gradients.
    @Test func tf32IsNearSinglePrecision() throws {
        let lanes = try loadDecoder(path: fixture("models/llama"))
        let card = try model(lanes, .tf32)
        try checkSame(card, lanes, batch(2, 20, words: 290), layer: 0, factor: 100, "TF32")
        let x = try lanes.residual(of: batch(2, 20, words: 290), afterLayer: 2)
        let found = try card.residual(of: batch(2, 20, words: 290), afterLayer: 2)
        let difference = relativeDifference(found.values, x.values)
        #expect(difference > 1e-5 && difference < 2e-3)
    }

    // MARK: bfloat16

    /// Weights and what they meet are rounded by up to 2⁻⁹ of their value each, four times in a block, of which attention and gates make
    /// more. After three blocks 4e-3 to 1.5e-2 of the largest entry were measured; the bounds are twice that, and 5e-4, which nothing
    /// stays below that rounds.
    @Test(arguments: ["llama", "gemma2", "gpt_neox", "qwen3"])
    func bfloat16IsNearSinglePrecision(_ name: String) throws {
        let lanes = try loadDecoder(path: fixture("models/\(name)"))
        var limits = PassLimits()
        (limits.tokens, limits.scores, limits.logits) = (2 * 37 + 5, 1500, 5 * 384 + 3)
        let (card, batch) = (try model(lanes, .bf16, limits: limits), batch(5, 37, words: 290))
        try checkSame(card, lanes, batch, layer: 0, factor: 600, name)
        let last = lanes.configuration.layerCount - 1
        let x = try lanes.residual(of: batch, afterLayer: last)
        let difference = relativeDifference(try card.residual(of: batch, afterLayer: last).values, x.values)
        #expect(difference > 5e-4 && difference < 3e-2, "\(name), \(difference)")
    }

    @Test(arguments: padded) func rowsOfBfloat16ArePadded(_ configuration: String) throws {
        let lanes = try randomDecoder(configuration: configuration, seed: 3)
        try checkSame(
            try model(lanes, .bf16), lanes, batch(3, 9, words: 101), layer: 0, factor: 1500,
            "\(lanes.configuration.family)")
    }

    /// Kernels that make a factor round it themselves; a launch of `roundRows` between would round the same numbers in the same way.
    @Test(arguments: ["llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen3"] + padded)
    func factorsHaveTheSameBitsWhoeverRoundsThem(_ model: String) throws {
        let lanes =
            try model.contains("{")
            ? randomDecoder(configuration: model, seed: 3)
            : loadDecoder(path: fixture("models/\(model)"))
        let batch = batch(3, 13, words: 101), x = randomMatrix(39, lanes.configuration.dModel, seed: 6)
        func found(apart: Bool) throws -> (bits: [UInt32], rounds: Int) {
            var limits = PassLimits()
            (limits.tokens, limits.logits, limits.roundsApart) = (2 * 13, 5 * 384 + 3, apart)
            let (context, launches) = (try TestCard.context(), LaunchTimes())
            let card = try CUDALanguageModel(lanes, on: context, precision: .bf16, limits: limits)
            context.times = launches
            defer { context.times = nil }
            var bits: [UInt32] = []
            for kind in HookPoint.Kind.allCases {
                let hook = HookPoint(block: 1, kind)
                bits += try card.residual(of: batch, at: hook).values.map { Float($0).bitPattern }
                for metric in [TokenMetric.loss, .divergence(from: x)] {
                    let (values, gradient) = try card.valuesAndGradient(
                        of: batch, residual: try lanes.residual(of: batch, at: hook), at: hook, metric: metric,
                        weights: nil, rule: .relp)
                    bits += values.map(\.bitPattern) + gradient.values.map { Float($0).bitPattern }
                }
            }
            return (bits, try launches.totals().first { $0.name == "roundRows" }?.count ?? 0)
        }
        let (within, apart) = (try found(apart: false), try found(apart: true))
        expectSame(within.bits, apart.bits, "bits")
        #expect(within.rounds < apart.rounds / 2 + 1, "\(within.rounds) and \(apart.rounds)")
    }

    /// Of numbers of 10 bits of mantissa one in eight lies in the middle between two of 7.
    @Test func embeddingsAreRoundedToTheNearestAndOfTwoToTheEvenOne() throws {
        let lanes = try loadDecoder(path: fixture("models/llama-f16"))
        let card = try model(lanes, .bf16)
        let batch = batch(4, 64, words: lanes.configuration.vocabularySize)
        let hook = HookPoint(block: 0, .residPre)
        let (found, exact) = (
            try card.residual(of: batch, at: hook).values, try lanes.residual(of: batch, at: hook).values
        )
        expectSame(found, exact.map { rounded(Float($0)) }, "rows of the embedding")
        let ties = exact.filter { Float($0).bitPattern & 0xFFFF == 0x8000 }
        #expect(ties.count > 100, "as many in the middle as shows the rule")
    }

    /// Logits of a stream after the last block are norms times rounded weights: here in Double. A norm that is off by its last bit may be
    /// rounded the other way, which moves a row by 5e-4; unrounded factors would move all by 1.6e-3.
    @Test func theHeadMultipliesRoundedFactors() throws {
        let lanes = try loadDecoder(path: fixture("models/llama"))
        let card = try model(lanes, .bf16)
        let (batch, d) = (batch(2, 20, words: 290), lanes.configuration.dModel)
        let x = randomMatrix(40, d, seed: 8, from: -1, to: 1)
        let last = lanes.configuration.layerCount - 1
        let found = try card.logits(of: batch, residual: x, at: .residPost(last))
        let (norm, weight) = (lanes.head.norm, lanes.head.weight.matrix())
        var (error, size) = (0.0, 0.0)
        for t in 0..<40 {
            let row = (0..<d).map { Double(x[t, $0]) }
            let r = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(d) + norm.epsilon).squareRoot()
            let normed = (0..<d).map { Double(rounded(Float(row[$0] * r * Double(norm.weight[0, $0])))) }
            for v in 0..<weight.rows {
                let logit = (0..<d).reduce(0.0) { $0 + normed[$1] * Double(rounded(weight[v, $1])) }
                error += (Double(found[t, v]) - logit) * (Double(found[t, v]) - logit)
                size += logit * logit
            }
        }
        let difference = (error / size).squareRoot()
        #expect(difference < 3e-4, "\(difference)")
    }

    /// x rounded to bfloat16 by comparing its two neighbours.
    private func rounded(_ x: Float) -> Float {
        let low = Float(bitPattern: x.bitPattern & 0xFFFF_0000)
        let high = Float(bitPattern: low.bitPattern + 0x1_0000)
        let (below, above) = (abs(Double(x) - Double(low)), abs(Double(high) - Double(x)))
        if below != above { return below < above ? low : high }
        return low.bitPattern & 0x1_0000 == 0 ? low : high
    }
}
