@_spi(_Unicode) import Swift

/// Unicode's normalisation form C, over UTF-8.
///
/// The standard library knows the form and does not publish it yet; Foundation's would bring all of ICU.
enum CanonicalComposition {
    /// A run of more characters that could be reordered is no text. It stays as it is: the standard library's time grows with the
    /// square of its length.
    private static let longestRun = 1024

    /// The text in form C; nil where it has it. Bytes that are not UTF-8 stay.
    static func apply(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        // U+0300, the first that composes, begins with 0xCC.
        guard text.contains(where: { $0 >= 0xCC }) else { return nil }
        var result: [UInt8] = []
        var (copied, position, previous) = (0, 0, 0)
        isInert.withUnsafeBufferPointer { isInert in
            func isInertCharacter(at place: Int) -> (Bool, length: Int) {
                if text[place] < 0xCC { return (true, text[place] < 0xC0 ? 1 : 2) }
                let (scalar, length) = SymbolAlphabet.scalar(text, at: place)
                guard let scalar, scalar.value < isInert.count else { return (true, length) }
                return (isInert[Int(scalar.value)], length)
            }
            while position < text.count {
                let (inert, length) = isInertCharacter(at: position)
                if inert {
                    (previous, position) = (position, position + length)
                    continue
                }
                // The character before may be what the run is composed with.
                let start = max(copied, previous)
                var count = 0
                while position < text.count, case let (inert, length) = isInertCharacter(at: position), !inert {
                    position += length
                    count += 1
                }
                let run = UnsafeBufferPointer(rebasing: text[start..<position])
                guard count <= longestRun, let string = String(validating: run, as: UTF8.self) else { continue }
                result += text[copied..<start]
                for scalar in string._nfc { result += UTF8.encode(scalar)! }
                copied = position
            }
        }
        return copied == 0 ? nil : result + text[copied...]
    }

    /// Characters that the form leaves alone whatever stands around them: not changed by themselves, not reordered, and not the
    /// later part of anything that is composed. None beyond the table is otherwise.
    private static let isInert: [Bool] = {
        var table = [Bool](repeating: true, count: 0x30000)
        for value in UInt32(0xC0)..<UInt32(table.count) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            if scalar.properties.canonicalCombiningClass != .notReordered { table[Int(value)] = false }
            let string = String(scalar)
            if !string._nfc.elementsEqual([scalar]) { table[Int(value)] = false }
            for part in string._nfd.dropFirst() { table[Int(part.value)] = false }
        }
        return table
    }()
}
