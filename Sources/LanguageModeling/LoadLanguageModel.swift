import Glibc
import TensorFiles

/// Loads a model from a Hugging Face folder (config.json and safetensors weights in f32, bf16 or f16, whole or in
/// shards) or from a .gguf file. Weights are widened to single precision, 4 bytes a parameter.
///
/// Throws `LanguageModelError` or `TensorFileError` for a path without a model, an architecture or setting that is
/// not implemented, and weights that are missing, truncated, of another shape or not finite.
public func loadLanguageModel(path: String) throws -> any LanguageModel {
    var status = stat()
    guard stat(path, &status) == 0 else {
        throw LanguageModelError.noModel(path: path, missing: String(cString: strerror(errno)))
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        guard path.hasSuffix(".gguf") else {
            throw LanguageModelError.noModel(path: path, missing: "it is a file whose name does not end in .gguf")
        }
        let file = try GGUFFile(path: path)
        return try DecoderWeights(
            source: file, name: \.ggufName, configuration: ModelConfiguration(gguf: file), rowsArePairs: true
        ).decoder()
    }
    guard access("\(path)/config.json", F_OK) == 0 else {
        let reason = errno == ENOENT ? "it has no config.json" : String(cString: strerror(errno))
        throw LanguageModelError.noModel(path: path, missing: reason)
    }
    if access("\(path)/adapter_config.json", F_OK) == 0 {
        throw LanguageModelError.changedBy(folder: path, file: "adapter_config.json")
    }
    let configuration = try ModelConfiguration(huggingFace: "\(path)/config.json")
    return try DecoderWeights(
        source: SafetensorsFolder(path: path), name: \.huggingFaceName, configuration: configuration,
        rowsArePairs: false
    ).decoder()
}
