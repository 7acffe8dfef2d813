import TensorFiles

/// What can be wrong with a model or a request to one: what failed, on which file or value, what to do next.
public enum LanguageModelError: Error, Sendable, Equatable {
    /// The path holds no model.
    case noModel(path: String, missing: String)
    /// The architecture is not one of ours.
    case unsupportedArchitecture(file: String, found: String)
    /// A setting of the architecture that is not implemented; ignoring it would give other numbers.
    case unsupportedSetting(file: String, key: String, found: String, supported: String)
    /// A setting that is not known here; it may change what the model computes.
    case unknownSetting(file: String, key: String, found: String)
    /// Something lies beside a model that changes it.
    case changedBy(folder: String, file: String)
    /// A setting that must be there is not.
    case missingSetting(file: String, key: String)
    /// A setting has a value that is not possible.
    case badSetting(file: String, key: String, found: String, wanted: String)
    /// Tensors that the architecture does not have, so the file is of a variant we do not know.
    case unexpectedTensors(file: String, names: [String])
    /// A weight is NaN or infinite.
    case notFinite(file: String, tensor: String)
    /// The file with the list of shards names a file outside its folder.
    case strayShard(file: String, shard: String)
    /// No such layer.
    case layerOutOfRange(layer: Int, layerCount: Int)
    /// No such token.
    case tokenOutOfRange(id: Int32, position: Int, vocabularySize: Int)
    /// Sequences longer than the positions the model was trained on.
    case sequenceTooLong(length: Int, contextLength: Int)
    /// A metric of a token that the vocabulary does not have.
    case metricToken(id: Int32, vocabularySize: Int)
    /// A metric of the stream after a layer that the model does not have, or that comes before the hook point.
    case metricLayer(layer: Int, first: Int, layerCount: Int)
    /// Rows of a head, or what its norm divides by, of a model whose logits do not come about in this way.
    case noHead
}

extension LanguageModelError: CustomStringConvertible {
    /// One sentence for the user.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noModel(let path, let missing):
            "\(path) is not a model: \(missing); "
                + SystemAdvice.reading(
                    missing, else: "give a .gguf file or a Hugging Face folder with config.json and safetensors weights"
                )
        case .unsupportedArchitecture(let file, let found):
            "\(file): architecture \"\(found)\" is not supported; supported: \(DecoderFamily.listed)"
        case .unsupportedSetting(let file, let key, let found, let supported):
            "\(file): \(key) = \(found) is not supported; supported: \(supported)"
        case .unknownSetting(let file, let key, let found):
            "\(file): \(key) = \(found) is not known to this program, which could not follow it if it changes what the model "
                + "computes; if it does not, remove it from the file"
        case .changedBy(let folder, let file):
            "\(folder) holds \(file), an adapter that changes the model and is not applied here; merge it into the weights, or move "
                + "it away to use the model without it"
        case .missingSetting(let file, let key):
            "\(file): \(key) is missing; the file is not a complete model configuration, fetch it again"
        case .badSetting(let file, let key, let found, let wanted):
            "\(file): \(key) = \(found) is not possible, wanted \(wanted); fetch the file again"
        case .unexpectedTensors(let file, let names):
            "\(file): \(names.count == 1 ? "a tensor" : "\(names.count) tensors, such as") "
                + "\"\(names.min() ?? "")\" that a model of this architecture does not have; it is a variant that is "
                + "not supported"
        case .notFinite(let file, let tensor):
            "\(file): tensor \"\(tensor)\" holds NaN or infinite numbers; the file is damaged, fetch it again"
        case .strayShard(let file, let shard):
            "\(file): the shard \"\(shard)\" is not a file name; shards must lie beside the index"
        case .layerOutOfRange(let layer, let layerCount):
            "layer \(layer) does not exist: the model has \(layerCount) layers; choose 0 to \(layerCount - 1)"
        case .tokenOutOfRange(let id, let position, let vocabularySize):
            "token id \(id) at position \(position) does not exist: the model has \(vocabularySize) tokens; "
                + "use the tokenizer that belongs to the model"
        case .metricToken(let id, let vocabularySize):
            "there is no token \(id); the vocabulary has \(vocabularySize)"
        case .metricLayer(let layer, let first, let layerCount):
            "a direction after layer \(layer) says nothing; the layers from the hook point on are \(first) to "
                + "\(layerCount - 1)"
        case .noHead:
            "this model has no final norm and no rows of a head that logits are products with; use a method that asks for losses or "
                + "gradients"
        case .sequenceTooLong(let length, let contextLength):
            "sequences of \(length) tokens exceed the model's context of \(contextLength); use shorter sequences"
        }
    }
}
