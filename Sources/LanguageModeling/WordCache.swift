/// Tokens of words seen before: nine words in ten of a text repeat.
///
/// Direct-mapped and of fixed size, so it neither grows with the corpus nor needs clearing; what is stored in it
/// never changes a result. Words of up to 16 bytes and 6 tokens are kept.
struct WordCache {
    private struct Entry {
        var low: UInt64 = 0
        var high: UInt64 = 0
        var length: UInt8 = 0
        var count: UInt8 = 0
        var tokens: (Int32, Int32, Int32, Int32, Int32, Int32) = (0, 0, 0, 0, 0, 0)
    }

    private static let longestWord = 16
    private static let mostTokens = 6
    private static let slots = 1 << 15

    private var entries = [Entry](repeating: Entry(), count: slots)

    /// A word short enough to be kept, packed with its slot.
    struct Key {
        let low: UInt64
        let high: UInt64
        let length: UInt8
        let slot: Int
    }

    /// nil for a word too long to be kept.
    @inline(__always)
    static func key(_ word: UnsafeBufferPointer<UInt8>) -> Key? {
        guard word.count <= longestWord else { return nil }
        var low: UInt64 = 0
        var high: UInt64 = 0
        for i in 0..<min(8, word.count) { low |= UInt64(word[i]) << UInt64(8 * i) }
        for i in 8..<max(8, word.count) { high |= UInt64(word[i]) << UInt64(8 * (i - 8)) }
        let mixed = (low ^ high &* 0xD6E8_FEB8_6659_FD93 ^ UInt64(word.count)) &* 0x9E37_79B9_7F4A_7C15
        return Key(low: low, high: high, length: UInt8(word.count), slot: Int(mixed >> 49))
    }

    /// Appends the tokens kept under `key`; false if there are none.
    @inline(__always)
    func find(_ key: Key, into output: inout [Int32]) -> Bool {
        entries.withUnsafeBufferPointer { entries in
            let entry = entries[key.slot]
            guard entry.low == key.low, entry.high == key.high, entry.length == key.length else { return false }
            withUnsafeBytes(of: entry.tokens) {
                output.append(contentsOf: $0.bindMemory(to: Int32.self).prefix(Int(entry.count)))
            }
            return true
        }
    }

    /// Keeps `tokens` under `key`, in the place of another word if need be.
    mutating func store(_ key: Key, _ tokens: ArraySlice<Int32>) {
        guard tokens.count <= Self.mostTokens else { return }
        var entry = Entry(low: key.low, high: key.high, length: key.length, count: UInt8(tokens.count))
        withUnsafeMutableBytes(of: &entry.tokens) { memory in
            for (i, token) in tokens.enumerated() {
                memory.storeBytes(of: token, toByteOffset: 4 * i, as: Int32.self)
            }
        }
        entries[key.slot] = entry
    }
}
