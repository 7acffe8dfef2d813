/// Byte-pair encoding of one word (Sennrich et al., arXiv:1508.07909), on bytes as in GPT-2 or on characters as in SentencePiece.
///
/// The word starts as one token per byte or character; as long as any two neighbours have a merge, the one of lowest rank is
/// applied, the leftmost first among equals. By hand: the reference is a Rust library, and the whole of it is this file and
/// `WordPattern`.
package struct BytePairEncoding: Sendable {
    let alphabet: SymbolAlphabet
    let merges: MergeTable
    /// Words that are one token whatever the merges say; empty unless the tokenizer sets `ignore_merges`.
    let wholeWords: [[UInt8]: Int32]

    /// Whether a merge comes after every merge that makes one of its parts, as training leaves it. Then a text is encoded
    /// exactly where its neighbouring tokens are, pair by pair: see `encodeLong`.
    let isOrdered: Bool
    private let longestWholeWord: Int

    init(alphabet: SymbolAlphabet, merges: MergeTable, wholeWords: [[UInt8]: Int32], isOrdered: Bool) {
        self.alphabet = alphabet
        self.merges = merges
        self.wholeWords = wholeWords
        self.isOrdered = isOrdered
        longestWholeWord = wholeWords.keys.reduce(0) { max($0, $1.count) }
    }

    /// Above this length the quadratic search for the next merge loses to a heap.
    private static let longWord = 48
    /// A word of more bytes is encoded in stretches of about so many: memory then does not grow with the word.
    package static let longestStretch = 1 << 15

    /// The token of a word that is one whatever the merges say.
    func wholeWord(_ word: UnsafeBufferPointer<UInt8>) -> Int32? {
        word.count <= longestWholeWord ? wholeWords[Array(word)] : nil
    }

    /// Appends the tokens of `word`, as merged, to `output`.
    func encode(_ word: UnsafeBufferPointer<UInt8>, into output: inout [Int32], _ scratch: inout WordScratch) {
        if word.count > Self.longestStretch, isOrdered { return encodeLong(word, into: &output) }
        scratch.tokens.removeAll(keepingCapacity: true)
        var position = 0
        while position < word.count { position += alphabet.append(word, at: position, to: &scratch.tokens) }
        if scratch.tokens.count > Self.longWord {
            scratch.tokens = mergedLong(scratch.tokens).tokens
        } else if scratch.tokens.count > 1 {
            mergeShort(&scratch.tokens, &scratch.pairs)
        }
        output += scratch.tokens
    }

    /// Keeps the merge of every pair of neighbours in an array and searches it through.
    private func mergeShort(_ word: inout [Int32], _ scratch: inout [UInt64]) {
        var count = word.count
        if scratch.isEmpty { scratch = Array(repeating: 0, count: Self.longWord) }
        word.withUnsafeMutableBufferPointer { tokens in
            scratch.withUnsafeMutableBufferPointer { pairs in
                for i in 0..<count - 1 { pairs[i] = merges.find(tokens[i], tokens[i + 1]) }
                while count > 1 {
                    var best = 0
                    for i in 1..<max(1, count - 1) where MergeTable.isEarlier(pairs[i], pairs[best]) { best = i }
                    if pairs[best] == MergeTable.none { break }
                    tokens[best] = Int32(truncatingIfNeeded: pairs[best])
                    count -= 1
                    for i in best + 1..<max(best + 1, count) { tokens[i] = tokens[i + 1] }
                    for i in best + 1..<max(best + 1, count - 1) { pairs[i] = pairs[i + 1] }
                    if best > 0 { pairs[best - 1] = merges.find(tokens[best - 1], tokens[best]) }
                    if best < count - 1 { pairs[best] = merges.find(tokens[best], tokens[best + 1]) }
                }
            }
        }
        word.removeLast(word.count - count)
    }

    /// Tokens as a linked list, candidate merges in a heap ordered by rank, then position: n log n for a word of any
    /// length, and a megabyte without a space is one word.
    ///
    /// Also returns where each token begins, in tokens of `word`.
    func mergedLong(_ word: [Int32]) -> (tokens: [Int32], starts: [Int]) {
        var tokens = word
        let count = tokens.count
        guard count > 0 else { return ([], []) }
        var next = Array(1...count)
        var previous = Array(-1..<count - 1)
        var heap = CandidateHeap()
        func propose(_ left: Int) {
            guard left >= 0, next[left] < count else { return }
            let found = merges.find(tokens[left], tokens[next[left]])
            if found != MergeTable.none { heap.push(Candidate(merge: found, left: left)) }
        }
        for i in 0..<count - 1 { propose(i) }
        while let best = heap.pop() {
            let left = best.left
            // Stale if either side has been merged since: then the pair at this place has another merge, or none.
            guard tokens[left] >= 0, next[left] < count,
                merges.find(tokens[left], tokens[next[left]]) == best.merge
            else { continue }
            let right = next[left]
            tokens[left] = Int32(truncatingIfNeeded: best.merge)
            tokens[right] = -1
            next[left] = next[right]
            if next[right] < count { previous[next[right]] = left }
            propose(previous[left])
            propose(left)
        }
        let starts = tokens.indices.filter { tokens[$0] >= 0 }
        return (starts.map { tokens[$0] }, starts)
    }
}

/// Memory that is reused from word to word.
struct WordScratch {
    var tokens: [Int32] = []
    var pairs: [UInt64] = []
}

/// A merge that could be applied to the token at `left` and the one after it.
private struct Candidate {
    let merge: UInt64
    let left: Int

    /// Among merges of one rank position decides.
    static func < (a: Candidate, b: Candidate) -> Bool {
        if MergeTable.isEarlier(a.merge, b.merge) { return true }
        return a.left < b.left && !MergeTable.isEarlier(b.merge, a.merge)
    }
}

/// A binary heap, smallest first.
private struct CandidateHeap {
    private var items: [Candidate] = []

    mutating func push(_ item: Candidate) {
        items.append(item)
        var child = items.count - 1
        while child > 0, case let parent = (child - 1) / 2, items[child] < items[parent] {
            items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Candidate? {
        guard let first = items.first, let last = items.popLast() else { return nil }
        if items.isEmpty { return first }
        items[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child] < items[least] {
                least = child
            }
            if least == parent { return first }
            items.swapAt(least, parent)
            parent = least
        }
    }
}
