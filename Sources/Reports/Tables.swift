import Attribution
import Distillation
import TensorFiles

/// A table that scrolls on its own when the page is narrower. Heads and cells are HTML.
func table(_ heads: [String], _ rows: [[String]], class name: String = "") -> String {
    // Without a tab stop, what is out of sight could not be reached from a keyboard.
    "<div class=\"scroll\" tabindex=\"0\"><table\(name.isEmpty ? "" : " class=\"\(name)\"")><thead><tr>"
        + heads.map { "<th scope=\"col\">\($0)</th>" }.joined() + "</tr></thead><tbody>"
        + rows.map { row in
            "<tr>"
                + row.enumerated().map { i, cell in
                    i == 0 ? "<th scope=\"row\">\(cell)</th>" : "<td>\(cell)</td>"
                }.joined() + "</tr>"
        }.joined(separator: "\n") + "</tbody></table></div>"
}

/// A square of numbers in 0…1 as shades; `diagonal` has HTML. The columns are headed by `keys`, the rows by keys and
/// names, so that long names do not widen it; all three are HTML.
func matrix(_ names: [String], keys: [String], diagonal: [String], caption: String, _ value: (Int, Int) -> Double)
    -> String
{
    let rows = names.indices.map { a in
        [names[a]]
            + names.indices.map { b in
                if a == b { return "<b>\(diagonal[a])</b>" }
                let number = value(a, b)
                return
                    "<span class=\"heat\" style=\"--heat-share:\(short(0.75 * min(1, max(0, number)), 2))\">\(short(number, 2))</span>"
            }
    }
    return "<figure>" + table([""] + keys, rows, class: "named matrix")
        + "<figcaption>\(escape(caption))</figcaption></figure>"
}

/// A number over its interval; "–" for what has no value.
func stacked(_ interval: Interval?, _ places: Int = 2) -> String {
    guard let interval, interval.value.isFinite else { return "–" }
    let limits = interval.low.isFinite && interval.high.isFinite
    return short(interval.value, places)
        + (limits ? "<small>\(short(interval.low, places)) to \(short(interval.high, places))</small>" : "")
}

/// A mean over its range; "–" for what has no value.
func stacked(_ spread: Spread, _ places: Int) -> String {
    let (low, high) = (short(spread.low, places), short(spread.high, places))
    return short(spread.mean, places) + (low == high ? "" : "<small>\(low) to \(high)</small>")
}
