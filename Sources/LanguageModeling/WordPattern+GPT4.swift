extension WordPattern {
    /// Cuts by GPT-4's pattern. Written as the alternatives are tried at one place, the first that matches:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, `[^\r\n\p{L}\p{N}]?\p{L}+`, `\p{N}{1,n}`, ` ?[^\s\p{L}\p{N}]+[\r\n]*`, `\s*[\r\n]+`,
    /// `\s+(?!\S)`, `\s+`.
    func forEachGPT4Word(
        _ bytes: UnsafeBufferPointer<UInt8>, digits: Int, _ body: (Range<Int>) -> Void
    ) {
        ScalarClass.table.withUnsafeBufferPointer { table in
            var scanner = GPT4Scanner(bytes: bytes, table: table.baseAddress!, digits: digits)
            while scanner.position < bytes.count {
                let start = scanner.position
                scanner.advance()
                body(start..<scanner.position)
            }
        }
    }
}

private struct GPT4Scanner {
    let bytes: UnsafeBufferPointer<UInt8>
    let table: UnsafePointer<ScalarClass>
    /// The longest run of numbers that is one word.
    let digits: Int
    var position = 0

    /// Moves past one word.
    @inline(__always)
    mutating func advance() {
        let first = ScalarClass.decode(bytes, at: position, table)
        switch first.class {
        case .letter: skip(.letter)
        case .number: numbers()
        case .other:
            if contraction() { return }
            if isLetter(at: position + first.length) {
                position += first.length
                return skip(.letter)
            }
            others()
        case .space:
            if !isLineEnd(at: position), isLetter(at: position + first.length) {
                position += first.length
                return skip(.letter)
            }
            if bytes[position] == 0x20, position + 1 < bytes.count,
                ScalarClass.decode(bytes, at: position + 1, table).class == .other
            {
                position += 1
                return others()
            }
            spaces()
        }
    }

    @inline(__always)
    private func isLetter(at place: Int) -> Bool {
        place < bytes.count && ScalarClass.decode(bytes, at: place, table).class == .letter
    }

    private func isLineEnd(at place: Int) -> Bool {
        place < bytes.count && (bytes[place] == 0x0A || bytes[place] == 0x0D)
    }

    @inline(__always)
    private mutating func skip(_ kind: ScalarClass) {
        while position < bytes.count {
            let next = ScalarClass.decode(bytes, at: position, table)
            if next.class != kind { return }
            position += next.length
        }
    }

    private mutating func numbers() {
        for _ in 0..<digits where position < bytes.count {
            let next = ScalarClass.decode(bytes, at: position, table)
            if next.class != .number { return }
            position += next.length
        }
    }

    /// `[^\s\p{L}\p{N}]+[\r\n]*`.
    private mutating func others() {
        skip(.other)
        while isLineEnd(at: position) { position += 1 }
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line end of the white space, else all but its last character, which is left to the
    /// word that follows.
    private mutating func spaces() {
        let start = position
        var (last, afterLineEnd) = (start, start)
        while position < bytes.count {
            let next = ScalarClass.decode(bytes, at: position, table)
            if next.class != .space { break }
            last = position
            if isLineEnd(at: position) { afterLineEnd = position + 1 }
            position += next.length
        }
        if afterLineEnd > start {
            position = afterLineEnd
        } else if position < bytes.count, last > start {
            position = last
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`. In any case means also ſ (U+017F), a small s.
    @inline(__always)
    private mutating func contraction() -> Bool {
        guard bytes[position] == UInt8(ascii: "'"), position + 1 < bytes.count else { return false }
        let next = bytes[position + 1] | 0x20
        switch next {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
            position += 2
            return true
        case UInt8(ascii: "r"), UInt8(ascii: "v"), UInt8(ascii: "l"):
            let last = next == UInt8(ascii: "l") ? UInt8(ascii: "l") : UInt8(ascii: "e")
            guard position + 2 < bytes.count, bytes[position + 2] | 0x20 == last else { return false }
            position += 3
            return true
        default:
            guard position + 2 < bytes.count, bytes[position + 1] == 0xC5, bytes[position + 2] == 0xBF else {
                return false
            }
            position += 3
            return true
        }
    }
}
