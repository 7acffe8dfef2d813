/// From a text to words: what is done to it first and where it is cut.
struct TextPreparation: Sendable, Equatable {
    /// Where a pre-tokenizer puts a space in front of a text that does not begin with one.
    enum Prefix: Sendable, Equatable {
        case none
        /// Before a text, not after an added token.
        case first
        /// Before every stretch between added tokens.
        case every
    }

    var normalization = TextNormalization()
    var prefix = Prefix.none
    var pattern: WordPattern

    /// Calls `body` with a stretch of normalised text and the space in front of it.
    ///
    /// - Parameters:
    ///   - begins: whether the text begins with it.
    ///   - continues: whether the text before it is a part of the same stretch.
    @inline(__always)
    func withPrefix(
        _ stretch: UnsafeBufferPointer<UInt8>, begins: Bool, continues: Bool,
        _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard prefix == .every || prefix == .first && begins, !continues, let first = stretch.first, first != 0x20
        else {
            return body(stretch)
        }
        ([0x20] + stretch).withUnsafeBufferPointer(body)
    }
}
