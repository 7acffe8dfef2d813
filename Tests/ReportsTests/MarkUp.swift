/// What a browser would make of a page, as far as its tags go: enough to see whether text got out of its place.
struct MarkUp {
    /// Names of all opening tags, in order.
    private(set) var tags: [String] = []
    /// Tags that were left open or closed without having been opened.
    private(set) var faults: [String] = []
    /// Everything between tags.
    private(set) var text = ""

    private static let void: Set = [
        "meta", "br", "wbr", "img", "input", "path", "rect", "circle", "polyline", "polygon",
    ]

    init(_ html: String) {
        var rest = html[...]
        var open: [String] = []
        while let start = rest.firstIndex(of: "<") {
            text += rest[..<start]
            guard let end = rest[start...].firstIndex(of: ">") else {
                faults.append("a tag has no end: \(rest[start...].prefix(40))")
                return
            }
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            if tag.hasPrefix("!") { continue }
            let name = String(tag.drop { $0 == "/" }.prefix { $0.isLetter || $0.isNumber })
            if tag.hasPrefix("/") {
                if open.last == name {
                    open.removeLast()
                } else if !Self.void.contains(name) {
                    faults.append("</\(name)>")
                }
                continue
            }
            tags.append(name)
            if tag.hasSuffix("/") || Self.void.contains(name) { continue }
            // What stands in these ends at their closing tag and nowhere else.
            if ["script", "style"].contains(name), let close = rest.range(of: "</\(name)>") {
                rest = rest[close.upperBound...]
                continue
            }
            open.append(name)
        }
        text += rest
        faults += open.map { "<\($0)>" }
    }
}

extension Substring {
    fileprivate func range(of part: String) -> Range<Index>? {
        var at = startIndex
        while at < endIndex {
            if self[at...].hasPrefix(part) { return at..<index(at, offsetBy: part.count) }
            at = index(after: at)
        }
        return nil
    }
}
