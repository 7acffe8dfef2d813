import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// A change to the text of a sound config.json and what must be said about it, after the file's path.
struct BadConfiguration: CustomTestStringConvertible {
    let old: String
    let new: String
    let says: String
    var testDescription: String { new.isEmpty ? "no \(old)" : new }

    init(_ old: String, _ new: String, _ says: String) { (self.old, self.new, self.says) = (old, new, says) }

    private static let supported =
        "LlamaForCausalLM, MistralForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, GPT2LMHeadModel, GPTNeoXForCausalLM, "
        + "Qwen2ForCausalLM, Qwen3ForCausalLM; in GGUF files llama, gemma3"
    private static let unknown =
        " is not known to this program, which could not follow it if it changes what the model computes; if it does not, "
        + "remove it from the file"

    static let all = [
        BadConfiguration(
            "LlamaForCausalLM", "OPTForCausalLM",
            ": architecture \"OPTForCausalLM\" is not supported; supported: "
                + supported),
        BadConfiguration(
            "LlamaForCausalLM", "GPT2LMHeadModel",
            ": architecture \"llama\" is not supported; supported: "
                + supported),
        BadConfiguration(
            "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}",
            ": rope_scaling.rope_type = \"yarn\" is not supported; supported: default, linear, llama3"),
        BadConfiguration(
            "\"rope_scaling\": null", "\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"dynamic\"}",
            ": rope_parameters.rope_type = \"dynamic\" is not supported; supported: default, linear, llama3"),
        BadConfiguration(
            "\"rope_scaling\": null",
            "\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"linear\", \"factor\": 0}",
            ": rope_parameters.factor = 0.0 is not possible, wanted a positive number; fetch the file again"),
        BadConfiguration(
            "\"attention_bias\": false", "\"attention_bias\": true",
            ": attention_bias = true is not supported; supported: false"),
        BadConfiguration(
            "\"silu\"", "\"gelu\"", ": hidden_act = \"gelu\" is not supported; supported: \"silu\""),
        BadConfiguration(
            "\"mlp_bias\": false", "\"sliding_window\": 5",
            ": sliding_window = 5 is not supported; supported: null"),
        BadConfiguration(
            "\"hidden_size\": 48,", "",
            ": hidden_size is missing; the file is not a complete model configuration, fetch it again"),
        BadConfiguration(
            "\"hidden_size\": 48", "\"hidden_size\": \"48\"",
            ": hidden_size = \"48\" is not possible, wanted a whole number; fetch the file again"),
        BadConfiguration(
            "\"hidden_size\": 48", "\"hidden_size\": -48",
            ": hidden size = -48 is not possible, wanted 1 to 1048576; fetch the file again"),
        BadConfiguration(
            "\"num_attention_heads\": 6", "\"num_attention_heads\": 0",
            ": number of heads = 0 is not possible, wanted 1 to 1048576; fetch the file again"),
        BadConfiguration(
            "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
            ": number of key and value heads = 4 is not possible, wanted a divisor of 6 heads; fetch the file again"),
        BadConfiguration(
            "\"hidden_act\"", "\"head_dim\": 7, \"hidden_act\"",
            ": head dimension = 7 is not possible, wanted an even number of turned dimensions, at most 7; fetch the file again"
        ),
        BadConfiguration(
            "\"eos_token_id\": 2", "\"eos_token_id\": [2, 999]",
            ": special token id = 999 is not possible, wanted 0 to 319; fetch the file again"),
        BadConfiguration(
            "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0",
            ": norm epsilon = 0.0 is not possible, wanted a positive number; fetch the file again"),
        BadConfiguration(
            "\"silu\",", "\"silu\"",
            ": not JSON: neither a comma nor a closing brace at byte 253; correct it there"),
        BadConfiguration(
            "\"hidden_size\": 48", "\"hidden_size\": 48.0",
            ": hidden_size = 48.0 is not possible, wanted a whole number; fetch the file again"),
        BadConfiguration(
            "\"attention_bias\": false", "\"attention_bias\": 0",
            ": attention_bias = 0 is not supported; supported: false"),
        BadConfiguration(
            "\"mlp_bias\": false", "\"mlp_bias\": \"False\"",
            ": mlp_bias = \"False\" is not supported; supported: false"),
        BadConfiguration(
            "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": 0",
            ": tie_word_embeddings = 0 is not possible, wanted true or false; fetch the file again"),
        BadConfiguration(
            "\"mlp_bias\": false", "\"attn_logit_softcapping\": 50.0",
            ": attn_logit_softcapping = 50.0" + unknown),
        BadConfiguration("\"mlp_bias\": false", "\"num_local_experts\": 8", ": num_local_experts = 8" + unknown),
        BadConfiguration(
            "\"mlp_bias\": false", "\"embedding_multiplier\": 12.0", ": embedding_multiplier = 12.0" + unknown),
        BadConfiguration("\"mlp_bias\": false", "\"no_rope_layers\": [1, 0]", ": no_rope_layers = a list" + unknown),
        BadConfiguration(
            "\"mlp_bias\": false", "\"partial_rotary_factor\": 0.5",
            ": partial_rotary_factor = 0.5 is not supported; supported: 1"),
        BadConfiguration(
            "\"mlp_bias\": false", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
            ": layer_types = \"sliding_attention\" is not supported; supported: \"full_attention\""),
        BadConfiguration(
            "\"mlp_bias\": false", "\"auto_map\": {\"AutoModel\": \"own.Model\"}",
            ": auto_map = an object is not supported; supported: null"),
        BadConfiguration(
            "\"mlp_bias\": false", "\"quantization_config\": {\"bits\": 4}",
            ": quantization_config = an object is not supported; supported: null"),
        BadConfiguration(
            "\"model_type\": \"llama\"", "\"model_type\": \"mistral\"",
            ": architecture \"mistral\" is not supported; supported: "
                + supported),
        BadConfiguration(
            "\"LlamaForCausalLM\"", "\"LlamaForCausalLM\", \"Other\"",
            ": architecture \"LlamaForCausalLM, Other\" is not supported; supported: "
                + supported
        ),
        BadConfiguration(
            "\"bos_token_id\": 1", "\"bos_token_id\": [1, 2]",
            ": bos_token_id = a list is not possible, wanted a token id; fetch the file again"),
        BadConfiguration(
            "\"rope_scaling\": null", "\"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"default\"}",
            ": rope_theta = 10000.0 is not possible, wanted 500000.0, as rope_parameters has it; fetch the file again"),
        BadConfiguration(
            "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"default\", \"factor\": 4}",
            ": rope_scaling.factor = 4" + unknown),
        BadConfiguration(
            "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"default\", \"type\": \"linear\"}",
            ": rope_scaling.type = \"linear\" is not possible, wanted \"default\", as rope_scaling.rope_type has it; "
                + "fetch the file again"),
    ]
}

/// What a user can hand us that is not a usable model, and what they are told.
@Suite struct BadModelTests {
    private let folder = TemporaryFolder()

    @Test(arguments: BadConfiguration.all) func aBadConfigurationIsRefusedByItsSetting(_ bad: BadConfiguration) throws {
        let text = String(decoding: contents(of: fixture("models/llama/config.json")), as: UTF8.self)
        let place = try #require(text.firstRange(of: bad.old))
        let path = folder.file("config.json")
        try AtomicFile.write(text.replacingCharacters(place, bad.new), to: path)
        let message = says { try loadLanguageModel(path: folder.path) }
        #expect(message == path + bad.says)
    }

    /// The small model with its tensors changed by `change`, and what loading it says.
    private func saying(_ change: (inout [String: Matrix]) -> Void) throws -> String? {
        let source = try SafetensorsFile(path: fixture("models/llama/model.safetensors"))
        var matrices = try source.tensors.mapValues { try source.matrix($0.name) }
        change(&matrices)
        var writer = SafetensorsWriter()
        for (name, matrix) in matrices { writer.add(name, matrix, shape: matrix.rows == 1 ? [matrix.columns] : nil) }
        try writer.write(to: folder.file("model.safetensors"))
        try AtomicFile.write(contents(of: fixture("models/llama/config.json")), to: folder.file("config.json"))
        return says { try loadLanguageModel(path: folder.path) }
    }

    @Test func changedWeightsAreRefusedByName() throws {
        #expect(try saying { _ in } == nil)
        let gate = "model.layers.1.mlp.gate_proj.weight"
        #expect(try saying { $0[gate] = nil }?.hasPrefix("\(folder.path): no tensor \"\(gate)\"; it holds ") == true)
        #expect(
            try saying { $0[gate] = Matrix(rows: 48, columns: 112) }
                == "\(folder.path)/model.safetensors: tensor \"\(gate)\" has shape [48, 112], wanted [112, 48]; "
                + "check that the file belongs with the others given")
        for value in [Float.nan, -.infinity] {
            #expect(
                try saying { $0[gate]![77] = value }
                    == "\(folder.path): tensor \"\(gate)\" holds NaN or infinite numbers; the file is damaged, "
                    + "fetch it again")
        }
        let bias = "model.layers.0.self_attn.q_proj.bias"
        #expect(
            try saying { $0[bias] = Matrix(rows: 1, columns: 48) }
                == "\(folder.path): a tensor \"\(bias)\" that a model of this architecture does not have; it is a "
                + "variant that is not supported")
    }

    /// Older files keep them; they must be those that the configuration gives, as precisely as half precision can have them.
    @Test func storedRotaryFrequenciesMustBeTheConfigurations() throws {
        let name = "model.layers.1.self_attn.rotary_emb.inv_freq"
        func frequencies(_ factor: (Int) -> Float) -> Matrix {
            Matrix(vector: (0..<4).map { pow(10_000, -Float($0) / 4) * factor($0) })
        }
        #expect(try saying { $0[name] = frequencies { _ in 1 } } == nil)
        #expect(try saying { $0[name] = frequencies { $0 % 2 == 0 ? 1.003 : 0.997 } } == nil)
        let refused = "; supported: 0.1, which config.json gives"
        #expect(
            try saying { $0[name] = frequencies { $0 == 1 ? 0.25 : 1 } }
                == "\(folder.path): \(name)[1] = 0.025 is not supported" + refused)
        #expect(
            try saying { $0[name] = frequencies { $0 == 1 ? .infinity : 1 } }
                == "\(folder.path): \(name)[1] = inf is not supported" + refused)
    }

    @Test func aTiedHeadThatIsStoredMustBeTheEmbedding() throws {
        let text = String(decoding: contents(of: fixture("models/llama/config.json")), as: UTF8.self)
        let place = try #require(text.firstRange(of: "\"tie_word_embeddings\": false"))
        let tied = text.replacingCharacters(place, "\"tie_word_embeddings\": true")
        _ = try saying { _ in }
        try AtomicFile.write(tied, to: folder.file("config.json"))
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "\(folder.path): tie_word_embeddings = true, and lm_head.weight holds other weights is not supported; "
                + "supported: one of the two")
        _ = try saying { $0["lm_head.weight"] = $0["model.embed_tokens.weight"] }
        try AtomicFile.write(tied, to: folder.file("config.json"))
        #expect(says { try loadLanguageModel(path: folder.path) } == nil)
    }

    @Test func anAdapterBesideAModelIsNotReadPast() throws {
        _ = try saying { _ in }
        try AtomicFile.write("{}", to: folder.file("adapter_config.json"))
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "\(folder.path) holds adapter_config.json, an adapter that changes the model and is not applied here; merge it "
                + "into the weights, or move it away to use the model without it")
    }

    /// Every key that transformers 4 and 5 give a Llama model of their own accord, with their values.
    @Test func whatTransformersWritesIsRead() throws {
        _ = try saying { _ in }
        let text = String(decoding: contents(of: fixture("models/llama/config.json")), as: UTF8.self)
        let more = #"""
            {"_name_or_path": "x", "transformers_version": "4.57.1", "initializer_range": 0.02, "use_cache": true,
            "pretraining_tp": 1, "attention_dropout": 0.0, "is_llama_config": true, "rope_interleaved": false, "pad_token_id": -1,
            "head_dim": null, "sliding_window": null, "return_dict": true, "output_hidden_states": false, "dtype": "float32",
            "chunk_size_feed_forward": 0, "is_encoder_decoder": false, "id2label": {"0": "LABEL_0"}, "temperature": 1.0,
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "unsloth_fixed": true,
            """#
        try AtomicFile.write(more + text.dropFirst(), to: folder.file("config.json"))
        #expect(says { try loadLanguageModel(path: folder.path) } == nil)
    }

    @Test func truncatedWeightsAreRefused() throws {
        let whole = contents(of: fixture("models/llama/model.safetensors"))
        try AtomicFile.write(Array(whole.dropLast(1000)), to: folder.file("model.safetensors"))
        try AtomicFile.write(contents(of: fixture("models/llama/config.json")), to: folder.file("config.json"))
        let message = says { try loadLanguageModel(path: folder.path) }
        #expect(message?.contains("the file is truncated or its header is wrong") == true, "\(message ?? "")")
    }

    @Test func aFolderWithoutAModelIsNamed() throws {
        let rest = "; give a .gguf file or a Hugging Face folder with config.json and safetensors weights"
        #expect(
            says { try loadLanguageModel(path: "/nowhere") }
                == "/nowhere is not a model: No such file or directory" + rest)
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "\(folder.path) is not a model: it has no config.json" + rest)
        try AtomicFile.write(contents(of: fixture("models/llama/config.json")), to: folder.file("config.json"))
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "\(folder.path) is not a model: it has neither model.safetensors nor "
                + "model.safetensors.index.json" + rest)
        #expect(
            says { try loadLanguageModel(path: folder.file("config.json")) }
                == "\(folder.path)/config.json is not a model: it is a file whose name does not end in .gguf" + rest)
    }

    @Test func shardsMustExistBesideTheirIndex() throws {
        try AtomicFile.write(contents(of: fixture("models/llama/config.json")), to: folder.file("config.json"))
        let index = folder.file("model.safetensors.index.json")
        try AtomicFile.write(#"{"weight_map":{"a":"../b.safetensors"}}"#, to: index)
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "\(index): the shard \"../b.safetensors\" is not a file name; shards must lie beside the index")
        try AtomicFile.write(#"{"weight_map":{"a":"b.safetensors"}}"#, to: index)
        #expect(
            says { try loadLanguageModel(path: folder.path) }
                == "cannot read \(folder.path)/b.safetensors: No such file or directory; check the path")
    }

    @Test func requestsAModelCannotServeAreRefused() throws {
        let model = try loadLanguageModel(path: fixture("models/llama"))
        let batch = TokenBatch([1, 2, 3])
        let x = try model.residual(of: batch, afterLayer: 2)
        for layer in [-1, 3] {
            let message = "layer \(layer) does not exist: the model has 3 layers; choose 0 to 2"
            #expect(says { try model.residual(of: batch, afterLayer: layer) } == message)
            #expect(says { try model.losses(of: batch, residual: x, afterLayer: layer) } == message)
            #expect(says { try model.lossesAndGradient(of: batch, residual: x, afterLayer: layer) } == message)
            #expect(says { try model.logits(of: batch, residual: x, afterLayer: layer) } == message)
        }
        for id: Int32 in [-1, 320] {
            #expect(
                says { try model.residual(of: TokenBatch([1, id]), afterLayer: 0) }
                    == "token id \(id) at position 1 does not exist: the model has 320 tokens; use the tokenizer "
                    + "that belongs to the model")
        }
        #expect(
            says { try model.residual(of: TokenBatch([Int32](repeating: 1, count: 129)), afterLayer: 0) }
                == "sequences of 129 tokens exceed the model's context of 128; use shorter sequences")
    }

    private func says<Result>(_ body: () throws -> Result) -> String? {
        do {
            _ = try body()
            return nil
        } catch { return "\(error)" }
    }
}

extension String {
    fileprivate func replacingCharacters(_ range: Range<Index>, _ new: String) -> String {
        String(self[..<range.lowerBound]) + new + self[range.upperBound...]
    }

    fileprivate func firstRange(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
