/// The candidate nearest to `word` by edit distance, if a slip of the fingers can explain the difference.
package func nearest(_ word: String, among candidates: [String]) -> String? {
    let ranked = candidates.map { ($0, editDistance(word, $0)) }
    return ranked.min { $0.1 < $1.1 }.flatMap { $0.1 <= max(1, (word.utf8.count + 1) / 3) ? $0.0 : nil }
}

/// Levenshtein's distance: how many bytes must be put in, left out or changed to make one text of the other.
package func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    var row = Array(0...b.count)
    for i in 0..<a.count {
        var diagonal = row[0]
        row[0] = i + 1
        for j in 0..<b.count {
            let change = diagonal + (a[i] == b[j] ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[b.count]
}
