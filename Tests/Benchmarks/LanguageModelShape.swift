import Glibc
import LanguageModeling
import TensorFiles

/// A published model's sizes, with the batch that it is timed on: for machines that its file cannot travel to.
struct LanguageModelShape {
    let name: String
    let layer: Int
    let sequences: Int
    let length: Int
    private let configuration: String

    /// Time does not depend on what the weights are.
    func decoder() throws -> Decoder { try randomDecoder(configuration: configuration, seed: 1) }

    /// A folder of its config.json alone, for a peer.
    func folder() throws -> String {
        let path = "/tmp/dmsae-shape-\(name)-\(getpid())"
        mkdir(path, 0o700)
        try AtomicFile.write(configuration, to: path + "/config.json")
        return path
    }

    static let all = [
        LanguageModelShape(
            name: "smollm2-135m", layer: 15, sequences: 32, length: 256,
            configuration: """
                {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
                 "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                 "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_theta": 100000.0,
                 "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true}
                """),
        LanguageModelShape(
            name: "gemma-2-2b", layer: 12, sequences: 4, length: 1024,
            configuration: """
                {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304,
                 "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
                 "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
                 "max_position_embeddings": 8192, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "attention_bias": false,
                 "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
                 "final_logit_softcapping": 30.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}
                """),
    ]
}
