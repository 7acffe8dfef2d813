import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

@Suite struct GGUFModelTests {
    private let folder = TemporaryFolder()

    /// The small model's tensors under the names of a GGUF file: llama.cpp's keys, and the rows of each query and key head in
    /// (pair, half) order.
    private func writer(of model: String = "llama") throws -> GGUFWriter {
        let file = try SafetensorsFile(path: fixture("models/\(model)/model.safetensors"))
        let c = try DecoderDescription(huggingFace: fixture("models/\(model)/config.json"))
        var writer = GGUFWriter()
        writer.set("general.architecture", "llama")
        writer.set("llama.block_count", c.configuration.layerCount)
        writer.set("llama.embedding_length", c.configuration.dModel)
        writer.set("llama.attention.head_count", c.attention.headCount)
        writer.set("llama.attention.head_count_kv", c.attention.keyValueHeadCount)
        writer.set("llama.feed_forward_length", c.perceptron.width)
        writer.set("llama.context_length", c.configuration.contextLength)
        writer.set("llama.vocab_size", c.configuration.vocabularySize)
        writer.set("llama.rope.freq_base", Float(c.rotaries[0].theta))
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
        if !c.isHeadTied { writer.add("output.weight", try file.matrix("lm_head.weight")) }
        for layer in c.layers.indices {
            for (long, short) in parts.sorted(by: { $0.key < $1.key }) {
                let stored = try file.matrix("model.layers.\(layer).\(long).weight")
                let isTurned = short == "attn_q" || short == "attn_k"
                writer.add(
                    "blk.\(layer).\(short).weight",
                    isTurned ? pairs(stored, headDimension: c.attention.headDimension) : stored)
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
        let attention = try DecoderDescription(gguf: try GGUFParts(path: path)).attention
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
            try says { $0.set("llama.rope.scaling.attn_factor", Float(4)) }
                == "\(path): llama.rope.scaling.attn_factor = 4.0 is not supported; supported: 1.0")
        #expect(
            try says { $0.set("llama.rope.scaling.factor", Float(-2)) }
                == "\(path): llama.rope.scaling.factor = -2.0 is not possible, wanted a positive number; fetch the file again"
        )
        for (key, value) in [
            ("attention.sliding_window", 4096), ("expert_count", 8),
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
            try says { $0.set("llama.rope.scaling.factor", "10000") }
                == "\(path): llama.rope.scaling.factor = \"10000\" is not possible, wanted a number; fetch the file again"
        )
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

    @Test func `a model in parts has the bits of the whole, whichever of them is given`() throws {
        try writer().write(to: path)
        let parts = try writer().writeParts(3, to: folder.file("parts"))
        let batch = TokenBatch((0..<40).map { Int32($0 * 7) })
        let whole = try loadLanguageModel(path: path)
        let x = try whole.residual(of: batch, afterLayer: 2)
        for part in parts {
            let model = try loadLanguageModel(path: part)
            #expect(model.configuration == whole.configuration)
            #expect(try model.residual(of: batch, afterLayer: 2).values == x.values)
        }
        // The tokenizer too is looked for in the first.
        for file in [path] + parts {
            #expect {
                try Tokenizer.load(path: file)
            } throws: {
                "\($0)".hasPrefix("\(file): tokenizer.ggml.model is missing")
            }
        }
    }

    /// llama.cpp's converter writes Llama 3's scaling down as divisors: its formula, on what transformers computed.
    @Test func `Llama 3's frequencies come from rope_freqs, as transformers scales them`() throws {
        let (factor, low, high, original, theta) = (8.0, 1.0, 4.0, 64.0, 500_000.0)
        let divisors = (0..<8).map { i -> Float in
            let wavelength = 2 * Double.pi * pow(theta, Double(2 * i) / 16)
            if wavelength < original / high { return 1 }
            if wavelength > original / low { return Float(factor) }
            let smooth = (original / wavelength - low) / (high - low)
            return Float(1 / ((1 - smooth) / factor + smooth))
        }
        #expect(Set(divisors).count == 3)
        var writer = try writer(of: "llama3-rope")
        writer.add("rope_freqs.weight", Matrix(vector: divisors))
        try writer.write(to: path)
        let golden = try #require(GoldenModel.all.first { $0.name == "llama3-rope" })
        try golden.check(try loadLanguageModel(path: path))
    }

    /// llama.cpp takes a factor for a linear one unless a type says otherwise.
    @Test func `frequencies are scaled linearly by either key, as in a config json`() throws {
        let old = folder.file("folder")
        try createFolder(old)
        for name in ["config.json", "model.safetensors"] {
            try AtomicFile.write(contents(of: fixture("models/llama/\(name)")), to: "\(old)/\(name)")
        }
        let text = String(decoding: contents(of: "\(old)/config.json"), as: UTF8.self)
        try AtomicFile.write(
            Array(
                text.replacing(#""rope_scaling": null"#, with: #""rope_scaling": {"type": "linear", "factor": 4.0}"#)
                    .utf8),
            to: "\(old)/config.json")
        let batch = TokenBatch((0..<40).map { Int32($0 * 7) })
        func residual(_ path: String) throws -> [Float] {
            try loadLanguageModel(path: path).residual(of: batch, afterLayer: 1).values
        }
        func changed(_ change: (inout GGUFWriter) -> Void) throws -> [Float] {
            var writer = try writer()
            change(&writer)
            try writer.write(to: path)
            return try residual(path)
        }
        let (scaled, plain) = (try residual(old), try residual(fixture("models/llama")))
        #expect(scaled != plain)
        let factor = { (writer: inout GGUFWriter) in writer.set("llama.rope.scaling.factor", Float(4)) }
        #expect(try changed(factor) == scaled)
        #expect(try changed { $0.set("llama.rope.scale_linear", Float(4)) } == scaled)
        #expect(
            try changed {
                factor(&$0)
                $0.set("llama.rope.scaling.type", "linear")
                $0.set("llama.rope.scaling.original_context_length", 32)
            } == scaled)
        #expect(
            try changed {
                factor(&$0)
                $0.set("llama.rope.scaling.type", "none")
            } == plain)
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
                == "\(path): rope_freqs.weight[0] = 0.0 is not possible, wanted a positive number; fetch the file again"
        )
        #expect(
            try says { $0.add("rope_freqs.weight", Matrix(rows: 1, columns: 8)) }
                == "\(path): tensor \"rope_freqs.weight\" has shape [8], wanted [4]; check that the file belongs with the "
                + "others given")
        #expect(
            try says { $0.add("blk.0.rope_freqs.weight", Matrix(rows: 1, columns: 4)) }
                == "\(path): a tensor \"blk.0.rope_freqs.weight\" that a model of this architecture does not have; it is a "
                + "variant that is not supported")
        var other = GGUFWriter()
        other.set("general.architecture", "gemma2")
        try other.write(to: path)
        #expect(throws: LanguageModelError.unsupportedArchitecture(file: path, found: "gemma2")) {
            try loadLanguageModel(path: path)
        }
    }
}
