import Testing

/// Records an issue unless the arrays are equal, naming the first difference: `#expect` would print all of both.
public func expectSame<Element: Equatable>(
    _ found: [Element], _ expected: [Element], _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    if found.count != expected.count {
        Issue.record("\(what): \(found.count) elements, not \(expected.count)", sourceLocation: sourceLocation)
    } else if let i = found.indices.first(where: { found[$0] != expected[$0] }) {
        let count = found.indices.count { found[$0] != expected[$0] }
        Issue.record(
            "\(what): element \(i) is \(found[i]), not \(expected[i]); \(count) of \(found.count) differ",
            sourceLocation: sourceLocation)
    }
}
