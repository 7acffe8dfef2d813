/// Finds added tokens in text: at each place the longest, from left to right, as the `tokenizers` library does.
struct AddedTokens: Sendable {
    /// In the order of their bytes, so that those with a common beginning are neighbours, the shorter first.
    private let tokens: [Token]
    /// Where the tokens that begin with a byte begin in `tokens`: 257 places.
    private let places: [Int]

    struct Token: Sendable {
        let text: [UInt8]
        let id: Int32
        /// Not text: found only where special tokens are asked for.
        let isSpecial: Bool
    }

    init(_ tokens: [Token]) {
        let sorted = tokens.filter { !$0.text.isEmpty }.sorted { $0.text.lexicographicallyPrecedes($1.text) }
        var places = [Int](repeating: 0, count: 257)
        for token in sorted { places[Int(token.text[0]) + 1] += 1 }
        for byte in 0..<256 { places[byte + 1] += places[byte] }
        self.tokens = sorted
        self.places = places
    }

    /// Calls `body` with the stretches between the tokens that occur, empty ones too, and with the token after each; nil after the last.
    func forEachStretch(
        of text: UnsafeBufferPointer<UInt8>, allowSpecial: Bool,
        _ body: (_ stretch: Range<Int>, _ token: Int32?) -> Void
    ) {
        var start = 0
        var position = 0
        while position < text.count, !tokens.isEmpty {
            guard let token = longest(in: text, at: position, allowSpecial: allowSpecial) else {
                position += 1
                continue
            }
            body(start..<position, token.id)
            position += token.text.count
            start = position
        }
        body(start..<text.count, nil)
    }

    /// The longest token that begins at `position`.
    @inline(__always)
    private func longest(in text: UnsafeBufferPointer<UInt8>, at position: Int, allowSpecial: Bool) -> Token? {
        let first = Int(text[position])
        let candidates = places[first]..<places[first + 1]
        return candidates.isEmpty ? nil : longest(of: candidates, in: text, at: position, allowSpecial: allowSpecial)
    }

    /// Byte by byte, those that go on as the text does.
    private func longest(
        of candidates: Range<Int>, in text: UnsafeBufferPointer<UInt8>, at position: Int, allowSpecial: Bool
    ) -> Token? {
        var candidates = candidates
        var found: Int?
        var length = 1
        while true {
            if tokens[candidates.lowerBound].text.count == length {
                if allowSpecial || !tokens[candidates.lowerBound].isSpecial { found = candidates.lowerBound }
                candidates.removeFirst()
            }
            guard position + length < text.count, !candidates.isEmpty else { break }
            let next = text[position + length]
            let low = place(in: candidates) { tokens[$0].text[length] >= next }
            candidates = low..<place(in: low..<candidates.upperBound) { tokens[$0].text[length] > next }
            if candidates.isEmpty { break }
            length += 1
        }
        return found.map { tokens[$0] }
    }

    /// The first place for which `isBeyond` holds, as it does for all after it.
    private func place(in range: Range<Int>, _ isBeyond: (Int) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = (low + high) / 2
            if isBeyond(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
