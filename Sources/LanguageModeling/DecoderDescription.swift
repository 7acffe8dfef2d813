import Kernels

/// What a family of decoders is, as data: blocks interpret it, traces and workspaces are sized from it, weights are read by it.
///
/// A file in `Families` makes one of a model's settings.
public struct DecoderDescription: Sendable, Equatable {
    /// Sizes and special tokens.
    public var configuration: ModelConfiguration
    /// Of every norm of the residual stream.
    package var norm = NormDescription()
    /// Whether attention's and the perceptron's results are normed too before they are added.
    package var hasPostNorms = false
    /// Whether both halves of a block read what enters it.
    package var isParallel = false
    package var attention: AttentionDescription
    /// One for each block.
    package var layers: [LayerDescription]
    /// The rotary embeddings that layers refer to.
    package var rotaries: [RotaryDescription]
    package var perceptron: PerceptronDescription
    /// Multiplies the token embedding.
    package var embeddingScale: Float = 1
    /// Whether an embedding of the position is added to that of the token.
    package var hasLearnedPositions = false
    /// c: logits are c·tanh(logits/c).
    package var finalSoftCap: Float?
    /// Whether the head is the token embedding.
    package var isHeadTied: Bool
}

/// A norm, of rows or of heads.
package struct NormDescription: Sendable, Equatable {
    package var kind = Norm.Kind.rootMeanSquare
    /// ε under the root.
    package var epsilon = 0.0
    /// Whether files hold the weights less 1.
    package var isStoredLessOne = false
}

/// What attention is in every block.
package struct AttentionDescription: Sendable, Equatable {
    /// H, query heads.
    package var headCount: Int
    /// K, key and value heads; each serves H / K query heads.
    package var keyValueHeadCount: Int
    /// h, the width of a head; H·h need not be d.
    package var headDimension: Int
    /// α of α·q·k; nil for 1/√h.
    package var scale: Float?
    /// c: scores are c·tanh(scores/c).
    package var softCap: Float?
    /// Whether each query and key head is normed (as `NormDescription` says, by root mean square).
    package var hasHeadNorms = false
    /// Whether q, k and v have biases.
    package var hasInputBias = false
    /// Whether the result has one.
    package var hasOutputBias = false
}

/// In what blocks differ.
package struct LayerDescription: Sendable, Equatable {
    /// Which of the rotary embeddings; nil for none.
    package var rotary: Int? = 0
    /// How many positions a query sees, itself included; nil for all before it.
    package var window: Int?
}

/// The feed-forward half.
package struct PerceptronDescription: Sendable, Equatable {
    /// m.
    package var width: Int
    package var activation: Activation
    /// Whether a(G·y) multiplies U·y.
    package var isGated = true
    package var hasBias = false

    /// Numbers of G·y and U·y together.
    package var inputWidth: Int { isGated ? 2 * width : width }
}

extension DecoderDescription {
    /// Checks what must hold between the numbers; `file` is named in messages.
    ///
    /// - Throws: `LanguageModelError.badSetting`.
    func validate(file: String) throws {
        func require(_ key: String, _ value: Int, _ wanted: String, _ holds: Bool) throws {
            if !holds {
                throw LanguageModelError.badSetting(file: file, key: key, found: "\(value)", wanted: wanted)
            }
        }
        let (c, a) = (configuration, attention)
        // Far above any model and far below where a product of three sizes would overflow.
        let sizes = [
            ("number of layers", c.layerCount), ("hidden size", c.dModel), ("number of heads", a.headCount),
            ("number of key and value heads", a.keyValueHeadCount), ("head dimension", a.headDimension),
            ("intermediate size", perceptron.width), ("vocabulary size", c.vocabularySize),
            ("context length", c.contextLength),
        ]
        for (key, value) in sizes {
            try require(
                key, value, "1 to \(1 << 20)", (1...1 << 20).contains(value) || key == "context length" && value > 0)
        }
        try require(
            "number of key and value heads", a.keyValueHeadCount, "a divisor of \(a.headCount) heads",
            a.headCount % a.keyValueHeadCount == 0)
        for rotary in rotaries {
            try require(
                "head dimension", rotary.dimension, "an even number of turned dimensions, at most \(a.headDimension)",
                rotary.dimension % 2 == 0 && (1...a.headDimension).contains(rotary.dimension))
        }
        for window in layers.compactMap(\.window) {
            try require("sliding window", window, "1 or more positions", window >= 1)
        }
        for id in c.specialTokenIds {
            try require("special token id", id, "0 to \(c.vocabularySize - 1)", (0..<c.vocabularySize).contains(id))
        }
        var numbers = rotaries.map { ("rope theta", $0.theta) } + [("norm epsilon", norm.epsilon)]
        for (key, value) in [
            ("attention scale", a.scale), ("attention soft cap", a.softCap), ("final soft cap", finalSoftCap),
            ("embedding scale", embeddingScale),
        ] {
            if let value { numbers.append((key, Double(value))) }
        }
        for (key, value) in numbers where !(value > 0 && value.isFinite) {
            throw LanguageModelError.badSetting(file: file, key: key, found: "\(value)", wanted: "a positive number")
        }
    }
}
