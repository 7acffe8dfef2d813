import TensorFiles

/// Rows of cells as lines of a terminal: the first column to the left, the others to the right, at least two columns of the
/// terminal between two cells, whatever they hold.
struct TextTable {
    private var rows: [[String]] = []
    private let widths: [Int]

    /// A table with these heads, columns at least so wide.
    init(_ heads: [(name: String, width: Int)]) {
        widths = heads.map(\.width)
        add(heads.map(\.name))
    }

    /// Adds a row of as many cells.
    mutating func add(_ cells: [String]) { rows.append(cells.map(printable)) }

    /// Each row as a line.
    var lines: [String] {
        let widths = self.widths.indices.map { c in rows.reduce(self.widths[c]) { max($0, terminalWidth($1[c])) } }
        return rows.map { row in
            row.indices.map { c in
                let space = String(repeating: " ", count: widths[c] - terminalWidth(row[c]))
                return c == 0 ? row[c] + space : "  " + space + row[c]
            }.joined()
        }
    }
}

/// Columns of a terminal that a text takes, after Unicode's widths: none for marks that stand on another, two for the letters
/// of East Asia and for pictures. (wcwidth knows no letters in the C locale.)
func terminalWidth(_ text: String) -> Int {
    text.unicodeScalars.reduce(0) { sum, scalar in
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return sum
        default: return sum + (wide.contains { $0.contains(scalar.value) } ? 2 : 1)
        }
    }
}

/// East_Asian_Width W and F (Unicode 16), in blocks.
private let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
    0xA960...0xA97C,
    0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
    0x1F680...0x1F6FF, 0x1F900...0x1F9FF, 0x1FA70...0x1FAFF, 0x20000...0x3FFFD,
]
