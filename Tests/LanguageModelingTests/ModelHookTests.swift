import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// What half a block adds to the residual stream, read, replaced and differentiated, of every family: sequential blocks with and
/// without norms of results, and parallel ones.
@Suite struct ModelHookTests {
    static let families = ["llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen2", "qwen3"]
    static let halves = [HookPoint.Kind.attnOut, .mlpOut]

    private func model(_ name: String) throws -> any LanguageModel {
        try loadLanguageModel(path: fixture("models/\(name)"))
    }

    private func batch(_ name: String) throws -> TokenBatch {
        let io = try SafetensorsFile(path: fixture("models/\(name)/io.safetensors"))
        let shape = try io.require("input_ids").shape
        return TokenBatch(
            ids: try io.integers("input_ids").map(Int32.init), sequenceCount: shape[0], length: shape[1])
    }

    /// Losses without the last position of each sequence.
    private func trimmed(_ losses: [Float], _ batch: TokenBatch) -> [Float] {
        losses.enumerated().filter { $0.offset % batch.length != batch.length - 1 }.map(\.element)
    }

    /// transformers in Double, by hooks on the modules whose results are added (`make_hooks.py`). Tolerances as of the other recorded
    /// numbers: single precision is off by a tenth of them.
    @Test(arguments: families, halves) func `values, losses and gradients are those of transformers' own hooks`(
        _ name: String, _ kind: HookPoint.Kind
    ) throws {
        let (model, batch) = (try model(name), try batch(name))
        let recorded = try SafetensorsFile(path: fixture("models/\(name)/hooks.safetensors"))
        let key = kind == .attnOut ? "attn_out" : "mlp_out"
        let hook = HookPoint(block: 1, kind)
        let value = try model.residual(of: batch, at: hook)
        #expect(relativeDifference(value.values, try recorded.doubles(key)) < 2e-5)
        let gradient = try model.lossesAndGradient(of: batch, residual: value, at: hook).gradient
        #expect(relativeDifference(gradient.values, try recorded.doubles("\(key).grad")) < 1e-4)

        let other = try recorded.matrix("\(key).splice.x")
        let spliced = try model.lossesAndGradient(of: batch, residual: other, at: hook)
        #expect(
            relativeDifference(trimmed(spliced.losses, batch), try recorded.doubles("\(key).splice.losses")) < 2e-5)
        #expect(relativeDifference(spliced.gradient.values, try recorded.doubles("\(key).splice.grad")) < 1e-4)
        #expect(try model.losses(of: batch, residual: other, at: hook) == spliced.losses)
        let logits = try model.logits(of: batch, residual: other, at: hook)
        let first = (0..<logits.columns).map { Double(logits[0, $0]) }
        let largest = first.max()!
        let loss = log(first.reduce(0) { $0 + exp($1 - largest) }) + largest - first[Int(batch.ids[1])]
        #expect(abs(loss - Double(spliced.losses[0])) < 1e-5 * loss)
    }

    /// Both sides are sums of the same three numbers in single precision, rounded at other places: a few units of 6e-8.
    @Test(arguments: families) func `a block hands on what entered it and what its halves add`(_ name: String) throws {
        let (model, batch) = (try model(name), try batch(name))
        for block in 0..<model.configuration.layerCount {
            func at(_ kind: HookPoint.Kind) throws -> Matrix {
                try model.residual(of: batch, at: HookPoint(block: block, kind))
            }
            let (pre, attention, perceptron, post) = (
                try at(.residPre), try at(.attnOut), try at(.mlpOut), try at(.residPost)
            )
            let sum = (0..<pre.count).map { Double(pre[$0]) + Double(attention[$0]) + Double(perceptron[$0]) }
            #expect(relativeDifference(post.values, sum) < 5e-7, "block \(block)")
            if block > 0 {
                expectSame(pre.values, try model.residual(of: batch, afterLayer: block - 1).values, "block \(block)")
            }
        }
    }

    @Test func `what enters the first block is the embedding, scaled or with positions where the family has them`()
        throws
    {
        for (name, tensor) in [
            ("llama", "model.embed_tokens.weight"), ("gemma2", "model.embed_tokens.weight"),
            ("gpt2", "transformer.wte.weight"),
        ] {
            let (model, batch) = (try model(name), try batch(name))
            let file = try SafetensorsFile(path: fixture("models/\(name)/model.safetensors"))
            let embedding = try file.matrix(tensor)
            let positions = name == "gpt2" ? try file.matrix("transformer.wpe.weight") : nil
            let scale = name == "gemma2" ? Float(model.configuration.dModel).squareRoot() : 1
            let found = try model.residual(of: batch, at: HookPoint(block: 0, .residPre))
            for (row, id) in batch.ids.enumerated() {
                for i in 0..<found.columns {
                    let wanted = embedding[Int(id), i] * scale + (positions?[row % batch.length, i] ?? 0)
                    #expect(abs(found[row, i] - wanted) <= 1e-6 * max(1, abs(wanted)), "\(name) \(row)")
                }
            }
        }
    }

    @Test func `before a block and after the one before it are the same to the bit`() throws {
        for name in ["gemma3", "gpt_neox"] {
            let (model, batch) = (try model(name), try batch(name))
            let x = try model.residual(of: batch, afterLayer: 0)
            let hook = HookPoint(block: 1, .residPre)
            let (before, after) = (
                try model.lossesAndGradient(of: batch, residual: x, at: hook),
                try model.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
            )
            expectSame(before.losses, after.losses, name)
            expectSame(before.gradient.values, after.gradient.values, name)
            // From the embedding on it is the whole model.
            let first = HookPoint(block: 0, .residPre)
            let embedded = try model.residual(of: batch, at: first)
            let last = model.configuration.layerCount - 1
            let whole = try model.losses(
                of: batch, residual: try model.residual(of: batch, afterLayer: last), afterLayer: last)
            // Together or block by block, the sums are the same.
            expectSame(try model.losses(of: batch, residual: embedded, at: first), whole, name)
        }
    }

    /// Along the gradient itself, of decoders that are drawn: the sum of losses is in single precision (2e-7 of 170), and a step changes
    /// it by a tenth and more, so that a difference is good to 1e-3.
    @Test(arguments: configurations, HookPoint.Kind.allCases) func `a gradient says how the losses change`(
        _ configuration: String, _ kind: HookPoint.Kind
    ) throws {
        let model = try randomDecoder(configuration: configuration, seed: 11)
        let batch = TokenBatch(ids: (0..<36).map { Int32($0 * 37 % 101) }, sequenceCount: 3, length: 12)
        for block in 0..<2 {
            let hook = HookPoint(block: block, kind)
            let x = try model.residual(of: batch, at: hook)
            let gradient = try model.lossesAndGradient(of: batch, residual: x, at: hook).gradient
            let norm = gradient.values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            func losses(_ step: Double) throws -> Double {
                let moved = x.copy()
                for i in 0..<moved.count { moved[i] += Float(step * Double(gradient[i]) / norm) }
                return try model.losses(of: batch, residual: moved, at: hook).reduce(0.0) { $0 + Double($1) }
            }
            // Twice the step has four times the error of the cube term: what is left of two has none.
            func slope(_ step: Double) throws -> Double { (try losses(step) - losses(-step)) / (2 * step) }
            let step = 0.1 / max(norm, 5)
            let found = (4 * (try slope(step)) - (try slope(2 * step))) / 3
            #expect(abs(found - norm) < 1e-3 * norm, "\(hook.name) of \(model.configuration.family): \(found) \(norm)")
        }
    }

    static let configurations =
        [
            ("llama", "\"hidden_act\": \"silu\", \"num_key_value_heads\": 2, \"rope_theta\": 10000.0"),
            (
                "mistral",
                "\"hidden_act\": \"silu\", \"num_key_value_heads\": 2, \"rope_theta\": 10000.0, \"sliding_window\": 5"
            ),
            ("qwen2", "\"hidden_act\": \"silu\", \"num_key_value_heads\": 2, \"rope_theta\": 10000.0"),
            (
                "qwen3",
                "\"hidden_act\": \"silu\", \"num_key_value_heads\": 2, \"head_dim\": 8, \"rope_theta\": 10000.0, \"attention_bias\": false"
            ),
            (
                "gemma2",
                "\"hidden_activation\": \"gelu_pytorch_tanh\", \"num_key_value_heads\": 2, \"head_dim\": 8, \"rope_theta\": 10000.0, \"query_pre_attn_scalar\": 24, \"sliding_window\": 5, \"attn_logit_softcapping\": 3.0, \"final_logit_softcapping\": 4.0"
            ),
            (
                "gemma3_text",
                "\"hidden_activation\": \"gelu_pytorch_tanh\", \"num_key_value_heads\": 2, \"head_dim\": 8, \"rope_theta\": 10000.0, \"rope_local_base_freq\": 1000.0, \"query_pre_attn_scalar\": 24, \"sliding_window\": 5, \"attn_logit_softcapping\": null, \"final_logit_softcapping\": null"
            ),
            (
                "gpt_neox",
                "\"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"rotary_pct\": 0.5, \"rotary_emb_base\": 10000, \"use_parallel_residual\": true"
            ),
            (
                "gpt_neox",
                "\"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"rotary_pct\": 0.5, \"rotary_emb_base\": 10000, \"use_parallel_residual\": false"
            ),
        ].map { (type, rest) in
            "{\"model_type\": \"\(type)\", \"hidden_size\": 32, \"intermediate_size\": 44, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
                + (type == "gpt_neox" ? "" : "\"rms_norm_eps\": 1e-05, ")
                + "\"vocab_size\": 101, \"max_position_embeddings\": 64, \"tie_word_embeddings\": false, \(rest)}"
        } + [
            "{\"model_type\": \"gpt2\", \"n_embd\": 32, \"n_layer\": 2, \"n_head\": 4, \"n_positions\": 64, \"vocab_size\": 101, "
                + "\"layer_norm_epsilon\": 1e-05, \"activation_function\": \"gelu_new\"}"
        ]

    /// Other sizes of product may round otherwise.
    @Test(arguments: families, HookPoint.Kind.allCases) func `a suffix that is run again has the losses of the whole`(
        _ name: String, _ kind: HookPoint.Kind
    ) throws {
        let (model, batch) = (try model(name), try batch(name))
        let (n, length, hook) = (batch.tokenCount, batch.length, HookPoint(block: 1, kind))
        let x = try model.residual(of: batch, at: hook)
        let replay = try model.replay(of: batch, residual: x, at: hook)
        expectSame(try replay.losses, try model.losses(of: batch, residual: x, at: hook), "its own losses")
        let other = randomMatrix(n, x.columns, seed: 5, from: -1, to: 1)
        for first in [0, 3, 6, length - 1] {
            // Both sequences are changed from a position on.
            let whole = x.copy()
            for row in 0..<n where row % length >= first {
                whole.row(row).update(from: other.row(row), count: x.columns)
            }
            let losses = try model.losses(of: batch, residual: whole, at: hook)
            let suffixes = (0..<batch.sequenceCount).map {
                SequenceSuffix(sequence: $0, first: first, residual: other.row($0 * length + first))
            }
            let wanted = (0..<batch.sequenceCount).flatMap { losses[$0 * length + first..<($0 + 1) * length] }
            var found = [Float](repeating: .nan, count: wanted.count)
            try found.withUnsafeMutableBufferPointer { try replay.losses(of: suffixes, into: $0.baseAddress!) }
            guard first < length - 1 else {
                #expect(found.allSatisfy { $0 == 0 })
                continue
            }
            #expect(relativeDifference(found, wanted.map(Double.init)) < 1e-5, "from \(first)")
        }
        extendLifetime(other)
    }

    @Test func `a block that the model does not have is refused at every hook point`() throws {
        let model = try model("llama")
        for kind in HookPoint.Kind.allCases {
            #expect(throws: LanguageModelError.layerOutOfRange(layer: 3, layerCount: 3)) {
                try model.residual(of: TokenBatch([1, 2]), at: HookPoint(block: 3, kind))
            }
        }
    }
}
