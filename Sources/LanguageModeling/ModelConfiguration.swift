/// Sizes and constants of a decoder, as its configuration file states them.
public struct ModelConfiguration: Sendable, Equatable {
    /// The family of decoder.
    public var architecture: Architecture
    /// Number of blocks.
    public var layerCount: Int
    /// Width of the residual stream.
    public var dModel: Int
    /// H, heads of the queries.
    public var headCount: Int
    /// Key and value heads; each serves headCount / keyValueHeadCount query heads.
    public var keyValueHeadCount: Int
    /// Width of a head; headCount · headDimension need not be dModel.
    public var headDimension: Int
    /// Width of the gated perceptron.
    public var intermediateSize: Int
    /// V, tokens that have an embedding.
    public var vocabularySize: Int
    /// Positions the model was made for.
    public var contextLength: Int
    /// θ: pair i of a head turns by position · θ^(−2i / headDimension).
    public var ropeTheta: Double
    /// How the rotary frequencies were changed after training.
    public var ropeScaling: RotaryScaling
    /// ε under the root of every norm.
    public var rmsNormEpsilon: Double
    /// Whether the head is the token embedding.
    public var isHeadTied: Bool
    /// Token that begins a sequence.
    public var beginningTokenId: Int?
    /// Tokens that end a text; more than one in some chat models.
    public var endTokenIds: [Int]
    /// Token that fills up short sequences.
    public var paddingTokenId: Int?

    /// A family of decoders.
    public enum Architecture: String, Sendable {
        /// RMSNorm before each half of a block, rotary positions, grouped-query attention, SwiGLU (arXiv:2302.13971).
        case llama
    }

    /// Special ids of the configuration: beginning, ends and padding.
    public var specialTokenIds: Set<Int> {
        Set(endTokenIds).union([beginningTokenId, paddingTokenId].compactMap { $0 })
    }

    /// Checks what must hold between the numbers; `file` is named in messages.
    func validate(file: String) throws {
        func require(_ key: String, _ value: Int, _ wanted: String, _ holds: Bool) throws {
            if !holds {
                throw LanguageModelError.badSetting(file: file, key: key, found: "\(value)", wanted: wanted)
            }
        }
        // Far above any model and far below where a product of three sizes would overflow.
        let sizes = [
            ("number of layers", layerCount), ("hidden size", dModel), ("number of heads", headCount),
            ("number of key and value heads", keyValueHeadCount), ("head dimension", headDimension),
            ("intermediate size", intermediateSize), ("vocabulary size", vocabularySize),
            ("context length", contextLength),
        ]
        for (key, value) in sizes {
            try require(
                key, value, "1 to \(1 << 20)", (1...1 << 20).contains(value) || key == "context length" && value > 0)
        }
        try require(
            "number of key and value heads", keyValueHeadCount, "a divisor of \(headCount) heads",
            headCount % keyValueHeadCount == 0)
        try require("head dimension", headDimension, "an even number", headDimension % 2 == 0)
        for id in specialTokenIds {
            try require("special token id", id, "0 to \(vocabularySize - 1)", (0..<vocabularySize).contains(id))
        }
        for (key, value) in [("rope theta", ropeTheta), ("norm epsilon", rmsNormEpsilon)]
        where !(value > 0 && value.isFinite) {
            throw LanguageModelError.badSetting(file: file, key: key, found: "\(value)", wanted: "a positive number")
        }
    }
}
