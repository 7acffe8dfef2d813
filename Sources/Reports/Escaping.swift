import TensorFiles

/// Text as it may stand in HTML, attribute values included. What would not show, or would turn the text around it
/// (control characters, directional marks, zero widths), is shown by its number: a token must not rearrange the page.
package func escape(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\"": result += "&quot;"
        case "'": result += "&#39;"
        case "\n", "\t": result.unicodeScalars.append(scalar)
        case _ where scalar.deceives: result += "‹U+" + hexadecimal(scalar.value) + "›"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}

/// A name as it may stand in HTML, which a narrow column breaks between its parts.
package func breakable(_ name: String) -> String {
    name.map { escape(String($0)) + (",:/".contains($0) ? "<wbr>" : "") }.joined()
}

/// A token whose spaces and breaks can be seen, as it may stand in HTML.
package func visible(_ text: String) -> String { escape(withBreaksShown(text).replacing(" ", with: "␣")) }

/// Text in which what would not show, or would turn the text around it, is shown by its number; for scripts, which make text of it and
/// never markup.
func withControlsShown(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: \.deceives) else { return text }
    return text.unicodeScalars.map { $0.deceives ? "‹U+\(hexadecimal($0.value))›" : String($0) }.joined()
}

/// Text on one line, its breaks as symbols.
func withBreaksShown(_ text: String) -> String {
    String(
        String.UnicodeScalarView(
            text.unicodeScalars.map { scalar in
                switch scalar {
                case "\n": "⏎"
                case "\r": "␍"
                case "\t": "⇥"
                default: scalar
                }
            }))
}

/// At most so many characters, the middle left out: names of scorers differ in front (what) and at the end (how).
package func fitted(_ name: String, _ most: Int) -> String {
    guard name.count > most else { return name }
    let tail = (most - 1) / 2
    return "\(name.prefix(most - 1 - tail))…\(name.suffix(tail))"
}

private func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
