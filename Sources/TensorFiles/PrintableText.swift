/// Text from a file, a plugin or a path, on one line and fit for a terminal: what could clear a screen, forge a line or
/// show other text than is there is written out, as in "\u{1B}", and of a megabyte the two ends are left.
public func printable(_ text: String) -> String { escaped(shortened(text, most: 2000)) { $0.deceives } }

/// A text of at most about so many characters. Of a longer one the middle is left out: a message says first what failed
/// and last what to do, and the huge value that it quotes stands between.
public func shortened(_ text: String, most: Int) -> String {
    guard text.utf8.count > most else { return text }
    let characters = text.unicodeScalars
    let (begin, left) = (most * 2 / 3, characters.count - most)
    guard left > 0 else { return text }
    let from = characters.index(characters.startIndex, offsetBy: begin)
    let to = characters.index(from, offsetBy: left)
    return "\(text[..<from])… (\(left) characters) …\(text[to...])"
}

/// Text of several lines, fit for a terminal: as `printable`, but line ends and tabs stay. Names inside it have been
/// made printable before, or they could forge lines.
public func printableLines(_ text: String) -> String { escaped(text) { $0.deceives && $0 != "\n" && $0 != "\t" } }

/// JSON text with what deceives a terminal as JSON's own escapes. All of it stands inside strings, except for line ends
/// and tabs, which stay.
package func printableJSON(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { $0.deceives && $0 != "\n" && $0 != "\t" }) else { return text }
    return text.unicodeScalars.map { scalar in
        guard scalar.deceives, scalar != "\n", scalar != "\t" else { return String(scalar) }
        return UTF16.encode(scalar)!.map { unit in
            let digits = String(unit, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }.joined()
    }.joined()
}

private func escaped(_ text: String, _ isEscaped: (Unicode.Scalar) -> Bool) -> String {
    guard text.unicodeScalars.contains(where: isEscaped) else { return text }
    return text.unicodeScalars.map { isEscaped($0) ? $0.escaped(asASCII: true) : String($0) }.joined()
}

extension Unicode.Scalar {
    /// Whether a reader cannot see that this is here: controls (ESC, CR, DEL, the C1 set), line and paragraph
    /// separators, what turns the direction of text, what has no width, tags. Joiners and variation selectors stay:
    /// Persian, the scripts of India and emoji are written with them.
    package var deceives: Bool {
        if value < 0x7F { return value < 0x20 }
        if value < 0x300 { return value < 0xA0 || value == 0xAD }
        switch value {
        case 0x200C, 0x200D, 0xFE00...0xFE0F: return false
        default: break
        }
        if properties.isDefaultIgnorableCodePoint { return true }
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: return true
        // Numbers signs of Arabic and the like are seen; U+FFF9 to U+FFFB are not.
        case .format: return (0xFFF9...0xFFFB).contains(value)
        default: return false
        }
    }
}
