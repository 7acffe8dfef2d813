import Attribution

/// A comparison of scorers as one page: the findings first, then the numbers behind them.
public struct ComparisonReport {
    let record: ComparisonRecord
    /// Every method's latents, highest score first.
    let orders: [[Int]]
    /// Size of every method's core at the record's τ; the core is that many of the first in its order.
    let coreSizes: [Int]

    /// A report of a record.
    public init(_ record: ComparisonRecord) {
        self.record = record
        orders = record.methods.map { method in
            method.scores.indices.sorted { (method.scores[$0], $1) > (method.scores[$1], $0) }
        }
        coreSizes = record.methods.map {
            // No core where no score is above 0.
            (try? CoreSelection($0.scores, fraction: record.tau).latents.count) ?? 0
        }
    }

    /// Methods by number and name, as legends show them.
    var names: [String] { record.methods.enumerated().map { "\($0.offset + 1) \($0.element.name)" } }
    /// A method's marker and number.
    var keys: [String] { record.methods.indices.map { key($0) } }

    func key(_ method: Int) -> String {
        "<span class=\"series\" title=\"\(escape(record.methods[method].name))\">\(Series(method).key(line: false)) \(method + 1)</span>"
    }

    /// Marker, number and name.
    func named(_ method: Int) -> String { "\(key(method)) \(breakable(record.methods[method].name))" }

    /// Marker and number of the method called so.
    func key(of name: String) -> String {
        record.methods.firstIndex { $0.name == name }.map { key($0) } ?? escape(name)
    }

    /// What is known of two methods, in either order.
    func pair(_ a: Int, _ b: Int) -> ComparisonRecord.Pair? {
        let (a, b) = (record.methods[a].name, record.methods[b].name)
        return record.pairs.first { $0.first == a && $0.second == b || $0.first == b && $0.second == a }
    }

    var tau: String { record.shownTau }

    /// The page as one HTML file.
    public func html() -> String {
        var page = HTMLPage(title: "Which latents matter: \(record.methods.map(\.name).joined(separator: ", "))")
        page.begin(
            "Which latents matter, and do methods agree?", findings: record.summary,
            facts: record.about.map { ($0.name, $0.value) })
        page.section(
            "Methods", id: "methods", methods(),
            note:
                "Cores at τ = \(tau). Small numbers hold 95 of 100 results when sequences are drawn again with replacement "
                + "(\(record.draws) draws). Halves: a method against itself on random halves of the sequences. Areas are taken "
                + "over log(1 + n) latents and go from 0 to 1; the higher, the better the ranking.")
        page.section("Agreement", id: "agreement", matrices() + agreement())
        page.section("Coverage", id: "coverage", coverage())
        if record.methods.contains(where: { $0.faithfulness != nil }) {
            page.section("Faithfulness", id: "faithfulness", faithfulness(), note: curveNote)
        }
        if record.methods.count > 1 {
            let scatter = RankScatter(self)
            page.section("Rank by rank", id: "ranks", scatter.html(), note: scatter.note)
            page.script = scatter.script
        }
        page.section("Cost against agreement", id: "cost", cost())
        page.section("Sensitivity to the aggregate", id: "sensitivity", sensitivity())
        page.section(
            "Latents of the cores", id: "latents", topLatents() + cards(),
            note:
                "The first of each core. Below, the rank each method gives a latent, bold where it is in that core; the contexts in which each fires most, shaded by its activation, the highest "
                + "token underlined, and the tokens whose logits its decoder row moves most.")
        return page.html()
    }

    // MARK: Latents

    /// The first latents of each core that the record has looked at.
    private func topLatents() -> String {
        let looked = Dictionary(record.latents.map { ($0.latent, $0) }) { first, _ in first }
        let tops = record.methods.indices.map { m in
            Array(orders[m].prefix(coreSizes[m]).prefix(10).prefix { looked[$0] != nil })
        }
        // Some methods' next latents were looked at for another method's sake; a rank is shown where all have one.
        let cut = zip(tops, coreSizes).filter { $0.0.count < $0.1 }.map(\.0.count)
        guard let longest = cut.min() ?? tops.map(\.count).max(), longest > 0 else {
            return "<p>No latent was looked at.</p>"
        }
        let rows = (0..<longest).map { rank in
            ["\(rank + 1)"]
                + tops.map { top in
                    guard rank < top.count else { return "" }
                    let promoted = looked[top[rank]]?.promoted.first.map {
                        "<small><code>\(visible($0.text))</code></small>"
                    }
                    return "<a href=\"#latent-\(top[rank])\">\(top[rank])</a>\(promoted ?? "")"
                }
        }
        return legend(names, line: false) + table(["rank"] + keys, rows)
            + "<p class=\"note\">Under each latent, the token it promotes most.</p>"
    }

    private func cards() -> String {
        let ranks = orders.map { order in
            Dictionary(uniqueKeysWithValues: order.enumerated().map { ($0.element, $0.offset + 1) })
        }
        return latentCards(record.latents) { latent in
            let places = record.methods.indices.map { m -> String in
                guard let rank = ranks[m][latent] else { return "" }
                let text = "\(key(m)): #\(rank)"
                return "<span class=\"series\">\(rank <= coreSizes[m] ? "<b>\(text)</b>" : text)</span>"
            }
            return [("rank", places.joined(separator: " &ensp;"))]
        }
    }
}
