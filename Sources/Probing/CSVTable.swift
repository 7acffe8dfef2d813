/// A table of comma-separated values with a line of names (RFC 4180): cells in quotes may hold commas, quotes and line ends.
package struct CSVTable: Sendable {
    /// Cells of each column, by its name, as bytes of UTF-8.
    package let columns: [String: [[UInt8]]]
    /// Rows beneath the names.
    package let rowCount: Int

    /// Why a text is no table.
    package struct Fault: Error, Equatable {
        /// What is wrong, with the number of the row, the names' being row 1.
        package let what: String

        package init(what: String) { self.what = what }
    }

    /// Reads the whole of a table; an empty line at the end is none of it.
    ///
    /// - Throws: `Fault`.
    package init(_ text: [UInt8]) throws {
        var rows = try Self.rows(text)
        guard !rows.isEmpty else { throw Fault(what: "it is empty") }
        let names = rows.removeFirst().map { String(decoding: $0, as: UTF8.self) }
        guard Set(names).count == names.count else { throw Fault(what: "two columns have one name") }
        for (r, row) in rows.enumerated() where row.count != names.count {
            throw Fault(what: "row \(r + 2) has \(row.count) cells, and there are \(names.count) columns")
        }
        rowCount = rows.count
        columns = Dictionary(uniqueKeysWithValues: names.enumerated().map { c, name in (name, rows.map { $0[c] }) })
    }

    private static func rows(_ text: [UInt8]) throws -> [[[UInt8]]] {
        let (comma, quote) = (UInt8(ascii: ","), UInt8(ascii: "\""))
        let (newline, carriage) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
        var (rows, row, cell) = ([[[UInt8]]](), [[UInt8]](), [UInt8]())
        var (i, begun) = (0, false)
        func end() {
            row.append(cell)
            cell = []
        }
        while i < text.count {
            let byte = text[i]
            i += 1
            switch byte {
            case quote where cell.isEmpty:
                begun = true
                // Up to the next quote that is not doubled.
                while true {
                    guard let next = text[i...].firstIndex(of: quote) else {
                        throw Fault(what: "a quote in row \(rows.count + 1) has no end")
                    }
                    cell += text[i..<next]
                    i = next + 1
                    guard i < text.count, text[i] == quote else { break }
                    cell.append(quote)
                    i += 1
                }
                guard i == text.count || [comma, newline, carriage].contains(text[i]) else {
                    throw Fault(what: "something stands behind a quoted cell of row \(rows.count + 1)")
                }
            case comma:
                begun = true
                end()
            case newline, carriage:
                if byte == carriage, i < text.count, text[i] == newline { i += 1 }
                end()
                rows.append(row)
                (row, begun) = ([], false)
            default:
                begun = true
                cell.append(byte)
            }
        }
        if begun {
            end()
            rows.append(row)
        }
        return rows
    }
}
