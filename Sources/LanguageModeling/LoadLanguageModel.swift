import Glibc
import TensorFiles

/// Loads a model from a Hugging Face folder (config.json and safetensors weights in f32, bf16 or f16, whole or in
/// shards) or from a .gguf file, or any part of one that was split. Weights
/// stay in memory as they are stored; those of GPT-2, which are stored transposed, in single precision.
///
/// Throws `LanguageModelError` or `TensorFileError` for a path without a model, an architecture or setting that is
/// not implemented, and weights that are missing, truncated, of another shape or not finite.
public func loadLanguageModel(path: String) throws -> any LanguageModel { try loadDecoder(path: path) }

/// The same, for who wants to compute with its weights elsewhere.
package func loadDecoder(path: String) throws -> Decoder {
    var status = stat()
    guard stat(path, &status) == 0 else {
        throw LanguageModelError.noModel(path: path, missing: String(cString: strerror(errno)))
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        guard path.hasSuffix(".gguf") else {
            throw LanguageModelError.noModel(path: path, missing: "it is a file whose name does not end in .gguf")
        }
        let file = try GGUFParts(path: path)
        let (description, form) = try GGUFSettings(file).description()
        return try DecoderWeights(file, form.weights, description).decoder()
    }
    guard access("\(path)/config.json", F_OK) == 0 else {
        let reason = errno == ENOENT ? "it has no config.json" : String(cString: strerror(errno))
        throw LanguageModelError.noModel(path: path, missing: reason)
    }
    if access("\(path)/adapter_config.json", F_OK) == 0 {
        throw LanguageModelError.changedBy(folder: path, file: "adapter_config.json")
    }
    let file = "\(path)/config.json"
    let (description, family) = try ModelSettings(file: file, root: try JSONValue(contentsOf: file)).description()
    return try DecoderWeights(SafetensorsFolder(path: path), family.weights, description).decoder()
}
