import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

@Suite struct GGUFModelTests {
    private let folder = TemporaryFolder()

    /// The small model's tensors under the names of a GGUF file: llama.cpp's keys, and the rows of each query and key head in
    /// (pair, half) order.
    private func writer() throws -> GGUFWriter {
        let file = try SafetensorsFile(path: fixture("models/llama/model.safetensors"))
        var writer = GGUFWriter()
        writer.set("general.architecture", "llama")
        writer.set("llama.block_count", 3)
        writer.set("llama.embedding_length", 48)
        writer.set("llama.attention.head_count", 6)
        writer.set("llama.attention.head_count_kv", 2)
        writer.set("llama.feed_forward_length", 112)
        writer.set("llama.context_length", 128)
        writer.set("llama.vocab_size", 320)
        writer.set("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        writer.set("tokenizer.ggml.bos_token_id", 1)
        writer.set("tokenizer.ggml.eos_token_id", 2)
        let parts = [
            "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
            "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        ]
        writer.add("token_embd.weight", try file.matrix("model.embed_tokens.weight"))
        writer.add("output_norm.weight", try file.matrix("model.norm.weight"))
        writer.add("output.weight", try file.matrix("lm_head.weight"))
        for layer in 0..<3 {
            for (long, short) in parts.sorted(by: { $0.key < $1.key }) {
                let stored = try file.matrix("model.layers.\(layer).\(long).weight")
                let isTurned = short == "attn_q" || short == "attn_k"
                writer.add("blk.\(layer).\(short).weight", isTurned ? pairs(stored, headDimension: 8) : stored)
            }
        }
        return writer
    }

    /// Row half·(h/2) + pair of a head becomes row 2·pair + half.
    private func pairs(_ matrix: Matrix, headDimension h: Int) -> Matrix {
        let result = Matrix(rows: matrix.rows, columns: matrix.columns)
        for row in 0..<matrix.rows {
            let (head, r) = row.quotientAndRemainder(dividingBy: h)
            let target = head * h + 2 * (r % (h / 2)) + r / (h / 2)
            result.row(target).update(from: matrix.row(row), count: matrix.columns)
        }
        return result
    }

    @Test func aModelGivesTheSameBitsFromEitherFormat() throws {
        let path = folder.file("llama.gguf")
        try writer().write(to: path)
        let (fromGGUF, fromFolder) = (
            try loadLanguageModel(path: path), try loadLanguageModel(path: fixture("models/llama"))
        )
        var expected = fromFolder.configuration
        // A GGUF file without a padding token pads with the end.
        expected.paddingTokenId = 2
        #expect(fromGGUF.configuration == expected)
        let batch = TokenBatch((0..<40).map { Int32($0 * 7) })
        let x = try fromFolder.residual(of: batch, afterLayer: 1)
        #expect(try fromGGUF.residual(of: batch, afterLayer: 1).values == x.values)
        #expect(
            try fromGGUF.losses(of: batch, residual: x, afterLayer: 1)
                == (try fromFolder.losses(of: batch, residual: x, afterLayer: 1)))
    }

    /// A file says nothing of it; llama.cpp goes by the number of layers, and config.json says 168 of the 27B and 256 of the 12B.
    @Test(arguments: [(62, 5376, 32, 128, 168), (48, 3840, 16, 256, 256)])
    func scoresOfGemma3AreScaledAsInItsSize(
        _ layers: Int, _ d: Int, _ heads: Int, _ width: Int, _ scalar: Float
    ) throws {
        var writer = GGUFWriter()
        writer.set("general.architecture", "gemma3")
        for (key, value) in [
            ("block_count", layers), ("embedding_length", d), ("attention.head_count", heads),
            ("attention.head_count_kv", heads / 2), ("attention.key_length", width), ("attention.value_length", width),
            ("feed_forward_length", 4 * d), ("context_length", 1024), ("vocab_size", 320),
            ("attention.sliding_window", 1024),
        ] { writer.set("gemma3." + key, value) }
        writer.set("gemma3.attention.layer_norm_rms_epsilon", Float(1e-6))
        writer.set("gemma3.rope.freq_base", Float(1e6))
        // A file without tensors is none.
        writer.add("output_norm.weight", Matrix(rows: 1, columns: 8))
        try writer.write(to: path)
        let attention = try DecoderDescription(gguf: try GGUFFile(path: path)).attention
        #expect((attention.scale ?? 1 / Float(attention.headDimension).squareRoot()) == 1 / scalar.squareRoot())
    }

    private var path: String { folder.file("llama.gguf") }

    /// What loading a model says that was changed.
    private func says(_ change: (inout GGUFWriter) -> Void) throws -> String? {
        var writer = try writer()
        change(&writer)
        try writer.write(to: path)
        do {
            _ = try loadLanguageModel(path: path)
            return nil
        } catch { return "\(error)" }
    }

    @Test func keysThatChangeTheFunctionAreRefusedByNameAndValue() throws {
        #expect(
            try says { $0.set("llama.rope.scale_linear", Float(4)) }
                == "\(path): llama.rope.scale_linear = 4.0 is not supported; supported: 1.0 or 0.0")
        for (key, value) in [
            ("rope.scaling.factor", 2), ("attention.sliding_window", 4096), ("expert_count", 8),
            ("attention.clamp_kqv", 8),
            ("logit_scale", 16), ("attention.scale", 1), ("attention.value_length", 16),
            ("final_logit_softcapping", 30),
        ] {
            let text = try #require(try says { $0.set("llama." + key, value) })
            #expect(text.hasPrefix("\(path): llama.\(key) = \(value) is not supported; supported: "), "\(text)")
        }
        for key in ["llama.rope.dimension_sections", "gemma.x", "adapter.type"] {
            #expect(
                try says { $0.set(key, 1) }
                    == "\(path): \(key) = 1 is not known to this program, which could not follow it if it changes what the "
                    + "model computes; if it does not, remove it from the file")
        }
        #expect(
            try says { $0.set("llama.rope.freq_base", "10000") }
                == "\(path): llama.rope.freq_base = \"10000\" is not possible, wanted a number; fetch the file again")
        #expect(
            try says { $0.set("llama.rope.scaling.type", 0) }
                == "\(path): llama.rope.scaling.type = 0 is not possible, wanted a text; fetch the file again")
        #expect(
            try says { $0.set("general.type", "adapter") }
                == "\(path): general.type = \"adapter\" is not supported; supported: \"model\"")
        #expect(
            try says { $0.set("tokenizer.ggml.padding_token_id", "2") }
                == "\(path): tokenizer.ggml.padding_token_id = \"2\" is not possible, wanted a whole number; fetch the file again"
        )
    }

    @Test func keysThatChangeNothingArePassedOver() throws {
        let message = try says {
            $0.set("general.name", "x")
            $0.set("general.quantization_version", 2)
            $0.set("general.base_model.0.name", "y")
            $0.set("llama.rope.scaling.factor", Float(1))
            $0.set("llama.rope.scaling.type", "none")
            $0.set("llama.expert_count", 0)
            $0.set("quantize.imatrix.file", "z")
            $0.set("mradermacher.quantized_by", "w")
            $0.set("split.count", 1)
            $0.set("split.no", 0)
        }
        #expect(message == nil)
    }

    @Test(arguments: ["bos", "padding"]) func theLargestIdStandsForNone(_ name: String) throws {
        var writer = try writer()
        writer.set("tokenizer.ggml.\(name == "bos" ? "unknown" : name)_token_id", 4_294_967_295)
        try writer.write(to: path)
        let configuration = try loadLanguageModel(path: path).configuration
        #expect(configuration.paddingTokenId == (name == "padding" ? nil : 2))
        #expect(configuration.specialTokenIds == [1, 2])
    }

    @Test func aPartOfASplitModelSaysWhichItIs() throws {
        let message = try says {
            $0.set("split.count", 2)
            $0.set("split.no", 0)
        }
        #expect(
            message
                == "\(path) is part 1 of 2 of a split model; join the parts with llama.cpp's llama-gguf-split --merge and give "
                + "the whole")
        #expect(throws: LanguageModelError.partOfModel(file: path, part: "part 1 of 2")) {
            try Tokenizer.load(path: path)
        }
    }

    @Test func whatWouldChangeTheNumbersIsRefused() throws {
        #expect(
            try says { $0.set("llama.rope.scaling.type", "yarn") }
                == "\(path): llama.rope.scaling.type = \"yarn\" is not supported; supported: none, linear")
        #expect(
            try says { $0.set("llama.rope.dimension_count", 4) }
                == "\(path): llama.rope.dimension_count = 4 is not supported; supported: the head dimension, 8")
        #expect(
            try says { $0.add("rope_freqs.weight", Matrix(rows: 1, columns: 4)) }
                == "\(path): a tensor \"rope_freqs.weight\" that a model of this architecture does not have; it is a "
                + "variant that is not supported")
        var other = GGUFWriter()
        other.set("general.architecture", "gemma2")
        try other.write(to: path)
        #expect(throws: LanguageModelError.unsupportedArchitecture(file: path, found: "gemma2")) {
            try loadLanguageModel(path: path)
        }
    }
}
