/// A weight of a decoder; those after `head` are of every block.
enum DecoderWeight: Hashable, Sendable {
    case embedding, positions, finalNorm, finalNormBias, head
    case attentionNorm, attentionNormBias
    case query, key, value, queryBias, keyBias, valueBias, queryNorm, keyNorm
    case attentionOutput, attentionOutputBias, attentionPostNorm
    case perceptronNorm, perceptronNormBias
    case gate, up, upBias, down, downBias, perceptronPostNorm
}

/// Where a weight `[out, in]`, or a bias `[out]`, is in a file.
struct StoredWeight: Sendable, ExpressibleByStringLiteral {
    /// The tensor's name, with % for the number of the block.
    let name: String
    let layout: StoredLayout

    init(_ name: String, _ layout: StoredLayout = .plain) {
        self.name = name
        self.layout = layout
    }

    init(stringLiteral name: String) { self.init(name) }
}

/// How a tensor holds a weight.
enum StoredLayout: Sendable, Equatable {
    /// As it is.
    case plain
    /// The rows of each head as (pair, half), where we need (half, pair): rotary positions turn neighbours there.
    case pairs
    /// One of several side by side, `[in, count · out]`; a bias `[count · out]`.
    case column(Int, of: Int)
    /// One of several in each head, `[H, count, h, in]`; a bias `[H, count, h]`.
    case ofHead(Int, of: Int)
}

/// Where each weight of a family is.
struct WeightTable: Sendable {
    private var places: [DecoderWeight: StoredWeight]
    /// What some files put before every name but the head's.
    let optionalPrefix: String
    /// Ends of names of tensors that are no weights.
    let unreadSuffixes: [String]
    /// Tensors that the description was made of.
    let described: Set<String>

    init(
        _ places: [DecoderWeight: StoredWeight], optionalPrefix: String = "", unreadSuffixes: [String] = [],
        described: Set<String> = []
    ) {
        self.places = places
        self.optionalPrefix = optionalPrefix
        self.unreadSuffixes = unreadSuffixes
        self.described = described
    }

    /// Whether weights are stored as `[in, out]`: they are widened and transposed when they are read.
    var isTransposed: Bool {
        places.values.contains { if case .column = $0.layout { true } else { false } }
    }

    subscript(weight: DecoderWeight) -> StoredWeight? {
        get { places[weight] }
        set { places[weight] = newValue }
    }
}
