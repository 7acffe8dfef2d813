import Testing

/// Records an issue unless the arrays are equal, naming the first difference: `#expect` would print all of both.
/// Nothing is not the same as nothing: what was to be compared is missing on both sides.
public func expectSame<Element: Equatable>(
    _ found: [Element], _ expected: [Element], _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    if found.isEmpty && expected.isEmpty {
        Issue.record("\(what): there is nothing to compare", sourceLocation: sourceLocation)
    } else if found.count != expected.count {
        Issue.record("\(what): \(found.count) elements, not \(expected.count)", sourceLocation: sourceLocation)
    } else if let i = found.indices.first(where: { found[$0] != expected[$0] }) {
        let count = found.indices.count { found[$0] != expected[$0] }
        Issue.record(
            "\(what): element \(i) is \(found[i]), not \(expected[i]); \(count) of \(found.count) differ",
            sourceLocation: sourceLocation)
    }
}

/// `zip` for what must be of one length: it records an issue where the counts differ, since `zip` would leave the rest
/// of the longer one unseen, and where there is nothing to look at.
public func paired<A, B>(_ a: [A], _ b: [B], sourceLocation: SourceLocation = #_sourceLocation) -> Zip2Sequence<
    [A], [B]
> {
    #expect(a.count == b.count && !a.isEmpty, "\(a.count) elements beside \(b.count)", sourceLocation: sourceLocation)
    return zip(a, b)
}
