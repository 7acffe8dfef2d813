/// Whether text that comes a stretch at a time is UTF-8. Bytes that are not would become tokens of no character: a text in
/// another encoding is another text.
package struct EncodingCheck {
    /// The beginning of a character of which the rest has not come: at most 3 bytes.
    private var unfinished: [UInt8] = []
    /// Where it stands in the whole text.
    private var offset = 0

    package init() {}

    /// Looks at the next bytes.
    ///
    /// - Parameter isLast: whether no more come, so that an unfinished character is a wrong one.
    /// - Returns: the place in the whole text of the first byte that is not UTF-8, counted from 0; nil where all are.
    package mutating func firstBadByte(in bytes: some Collection<UInt8>, isLast: Bool) -> Int? {
        let all = unfinished + bytes
        let end = isLast ? all.count : Self.endOfCharacters(all)
        if String(validating: all[..<end], as: UTF8.self) != nil {
            unfinished = Array(all[end...])
            offset += end
            return nil
        }
        var parser = Unicode.UTF8.ForwardParser()
        var rest = all.makeIterator()
        var place = offset
        while case .valid(let character) = parser.parseScalar(from: &rest) { place += character.count }
        return place
    }

    /// Where the last character that may be whole ends.
    private static func endOfCharacters(_ bytes: [UInt8]) -> Int {
        for i in bytes.indices.suffix(3).reversed() where bytes[i] & 0xC0 != 0x80 {
            let length = bytes[i] < 0xC0 ? 1 : bytes[i] < 0xE0 ? 2 : bytes[i] < 0xF0 ? 3 : 4
            return i + length > bytes.count ? i : bytes.count
        }
        return bytes.count
    }
}
