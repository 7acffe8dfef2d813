extension BytePairEncoding {
    /// Encodes a word of any length in stretches, with the memory of one.
    ///
    /// Merges are made rank by rank, and where merges are ordered a rank is over when the next begins. If no merge crosses
    /// the border of two tokens when their two texts are encoded together, then none does in the whole: up to any rank the
    /// symbols beside the border are the same in both, and a run of one symbol that reaches the border from the left has an
    /// even number before it, whatever stands further left, or the pair alone would have been merged across. So a sequence
    /// of tokens is the encoding of its text if every two neighbours are. (Berglund and van der Merwe, arXiv:2309.08715,
    /// say when the two definitions of the encoding agree.)
    ///
    /// A stretch is encoded; its tokens up to some place stand if the first token of the next stretch, which begins there,
    /// goes with the last of them. Where none of the places tried does, the stretch is made longer.
    func encodeLong(_ word: UnsafeBufferPointer<UInt8>, into output: inout [Int32]) {
        var source = SymbolSource(word: word, alphabet: alphabet)
        var length = Self.longestStretch
        source.fill(to: length)
        var stretch = mergedLong(source.symbols)
        while !source.isEmpty {
            if let (cut, next) = continuation(of: stretch, length, &source) {
                output += stretch.tokens[..<cut]
                source.drop(stretch.starts[cut])
                stretch = next
                length = Self.longestStretch
            } else {
                length *= 2
                source.fill(to: length)
                stretch = mergedLong(source.symbols)
            }
        }
        output += stretch.tokens
    }

    /// A place where the tokens of `stretch` may end, and the stretch of up to `length` symbols that begins there.
    private func continuation(
        of stretch: (tokens: [Int32], starts: [Int]), _ length: Int, _ source: inout SymbolSource
    ) -> (cut: Int, next: (tokens: [Int32], starts: [Int]))? {
        let count = stretch.tokens.count
        // Near the end of a stretch tokens may be others than in the whole; the last places are hopeless.
        for cut in stride(from: max(1, count - 64), to: count, by: 8) {
            let from = stretch.starts[cut]
            source.fill(to: from + length)
            let next = mergedLong(Array(source.symbols[from..<min(from + length, source.symbols.count)]))
            let end = next.starts.count > 1 ? from + next.starts[1] : source.symbols.count
            let pair = mergedLong(Array(source.symbols[stretch.starts[cut - 1]..<end]))
            if pair.tokens == [stretch.tokens[cut - 1], next.tokens[0]] { return (cut, next) }
        }
        return nil
    }
}

/// The first tokens of a word, made as they are needed.
private struct SymbolSource {
    let word: UnsafeBufferPointer<UInt8>
    let alphabet: SymbolAlphabet
    private(set) var symbols: [Int32] = []
    private var position = 0

    init(word: UnsafeBufferPointer<UInt8>, alphabet: SymbolAlphabet) { (self.word, self.alphabet) = (word, alphabet) }

    /// Whether every byte has been looked at.
    var isEmpty: Bool { position == word.count }

    /// Makes symbols until there are `count` of them, if there are so many.
    mutating func fill(to count: Int) {
        while symbols.count < count, position < word.count {
            position += alphabet.append(word, at: position, to: &symbols)
        }
    }

    /// Forgets the first `count` symbols.
    mutating func drop(_ count: Int) { symbols.removeFirst(count) }
}
