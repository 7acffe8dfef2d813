/// How a text is cut into words before byte-pair encoding; merges never cross a cut.
///
/// Written by hand over UTF-8 bytes: the regular expressions that define these patterns are a hundred times slower.
package enum WordPattern: Sendable, Equatable {
    /// GPT-2's:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    case gpt2
    /// SmolLM's: every `\p{N}` is first cut out as a word of its own, then GPT-2's on each piece between.
    case singleDigits
    /// GPT-4's, with up to `digits` numbers a word: 3 in Llama 3, 1 in Qwen 2 and 3.
    case gpt4(digits: Int)
    /// Before every space: a space begins a word.
    case spaces
    /// None: a text is one word. It is cut all the same before a space that follows something else, since no piece crosses that
    /// place, except after what is in `joined`.
    case pieces(joined: [[UInt8]])

    /// Whether a text between added tokens is one word, as far as the tokenizer's own definition goes.
    var isNone: Bool { if case .pieces = self { true } else { false } }

    /// Calls `body` with each word of `bytes`, in order; together they are the whole text.
    package func forEachWord(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        switch self {
        case .pieces(let joined): return forEachPiece(bytes, joined, body)
        case .gpt4(let digits): return forEachGPT4Word(bytes, digits: digits, body)
        case .spaces: return forEachPiece(bytes, nil, body)
        case .gpt2, .singleDigits: break
        }
        ScalarClass.table.withUnsafeBufferPointer { table in
            var scanner = WordScanner(
                bytes: bytes, table: table.baseAddress!, singleDigits: self == .singleDigits)
            while scanner.position < bytes.count {
                let start = scanner.position
                scanner.advance()
                body(start..<scanner.position)
            }
        }
    }
}

extension WordPattern {
    /// No pattern, for a vocabulary of pieces in which merges make `pieces`.
    static func none(pieces: [String]) -> WordPattern {
        let space: Unicode.Scalar = "\u{2581}"
        var joined: Set<[UInt8]> = []
        for piece in pieces {
            var previous = space
            for scalar in piece.unicodeScalars {
                if scalar == space, previous != space { joined.insert(Array(UTF8.encode(previous)!)) }
                previous = scalar
            }
        }
        return .pieces(joined: joined.sorted { $0.lexicographicallyPrecedes($1) })
    }

    /// Cuts before spaces: all of them without `joined`, else those that follow neither a space nor what is in it.
    private func forEachPiece(
        _ bytes: UnsafeBufferPointer<UInt8>, _ joined: [[UInt8]]?, _ body: (Range<Int>) -> Void
    ) {
        var start = 0
        for i in 0..<bytes.count where bytes[i] == 0x20 && i > start {
            if let joined {
                let isJoined = joined.contains { $0.count <= i - start && bytes[i - $0.count..<i].elementsEqual($0) }
                if bytes[i - 1] == 0x20 || isJoined { continue }
            }
            body(start..<i)
            start = i
        }
        if start < bytes.count { body(start..<bytes.count) }
    }
}

private struct WordScanner {
    let bytes: UnsafeBufferPointer<UInt8>
    let table: UnsafePointer<ScalarClass>
    let singleDigits: Bool
    var position = 0

    /// Moves past one word.
    @inline(__always)
    mutating func advance() {
        if contraction() { return }
        var (kind, length) = ScalarClass.decode(bytes, at: position, table)
        if kind == .space {
            // " ?" takes one space, and only the plain one, if a word follows.
            guard bytes[position] == 0x20, position + 1 < bytes.count else { return spaces() }
            let next = ScalarClass.decode(bytes, at: position + 1, table)
            // With single digits a number is the start of another piece, so the space before it ends this one.
            if next.class == .space || singleDigits && next.class == .number { return spaces() }
            position += 1
            (kind, length) = next
        }
        position += length
        if singleDigits && kind == .number { return }
        while position < bytes.count {
            let next = ScalarClass.decode(bytes, at: position, table)
            if next.class != kind { return }
            position += next.length
        }
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`, lower case only.
    @inline(__always)
    private mutating func contraction() -> Bool {
        guard bytes[position] == UInt8(ascii: "'"), position + 1 < bytes.count else { return false }
        switch bytes[position + 1] {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
            position += 2
            return true
        case UInt8(ascii: "r"), UInt8(ascii: "v"): return longContraction(UInt8(ascii: "e"))
        case UInt8(ascii: "l"): return longContraction(UInt8(ascii: "l"))
        default: return false
        }
    }

    private mutating func longContraction(_ last: UInt8) -> Bool {
        guard position + 2 < bytes.count, bytes[position + 2] == last else { return false }
        position += 3
        return true
    }

    /// `\s+(?!\S)|\s+`: a run of white space; its last character is left to the word that follows, unless it is
    /// the only one.
    private mutating func spaces() {
        let start = position
        var last = start
        while position < bytes.count {
            let next = ScalarClass.decode(bytes, at: position, table)
            if next.class != .space {
                // A number that starts another piece is the end of this one: nothing follows.
                if singleDigits && next.class == .number { return }
                if last > start { position = last }
                return
            }
            last = position
            position += next.length
        }
    }
}
