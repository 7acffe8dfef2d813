/// What others than the decoder itself need to know of a model.
public struct ModelConfiguration: Sendable, Equatable {
    /// The family's name, such as `llama`.
    public var family: String
    /// Number of blocks.
    public var layerCount: Int
    /// d, the width of the residual stream.
    public var dModel: Int
    /// V.
    public var vocabularySize: Int
    /// Positions the model was made for.
    public var contextLength: Int
    /// Token that begins a sequence.
    public var beginningTokenId: Int?
    /// Tokens that end a text; more than one in some chat models.
    public var endTokenIds: [Int] = []
    /// Token that fills up short sequences.
    public var paddingTokenId: Int?

    /// Of a model without tokens of its own.
    public init(family: String, layerCount: Int, dModel: Int, vocabularySize: Int, contextLength: Int) {
        (self.family, self.layerCount, self.dModel) = (family, layerCount, dModel)
        (self.vocabularySize, self.contextLength) = (vocabularySize, contextLength)
    }

    /// Special ids of the configuration: beginning, ends and padding.
    public var specialTokenIds: Set<Int> {
        Set(endTokenIds).union([beginningTokenId, paddingTokenId].compactMap { $0 })
    }
}
