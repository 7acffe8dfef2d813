import Attribution
import Foundation

/// A comparison of scorers as one page.
public struct ComparisonReport {
    private let record: ComparisonRecord

    /// A report of a record.
    public init(_ record: ComparisonRecord) { self.record = record }

    private var names: [String] { record.methods.map(\.name) }
    private var tau: String { short(record.tau, 2) }

    private func core(_ method: ComparisonRecord.Method) -> [Int] {
        (try? CoreSelection(method.scores, fraction: record.tau).latents) ?? []
    }

    /// The page.
    public func html() -> String {
        var page = HTMLPage(title: "Which latents matter: \(names.joined(separator: ", "))")
        page.add("<header><h1>Which latents matter, and do methods agree?</h1>")
        for (i, sentence) in record.summary.enumerated() {
            page.add("<p\(i == 0 ? " class=\"lead\"" : "")>\(escape(sentence))</p>")
        }
        page.add("<p class=\"facts\">")
        for fact in record.about { page.add("<span>\(escape(fact.name)) <b>\(escape(fact.value))</b></span> ") }
        page.add("</p></header>\n")
        page.section(
            "Methods", id: "methods", methods(),
            note:
                "Cores at τ = \(tau). Brackets hold 95 of 100 results when sequences are drawn again with replacement "
                + "(\(record.draws) draws). Halves: a method against itself on random halves of the sequences. Areas: 0 to 1, "
                + "over log(1 + n); the higher, the better the ranking.")
        page.section("Agreement", id: "agreement", agreement())
        page.section(
            "Cores", id: "cores", overlap(),
            note: "Jaccard |A ∩ B| / |A ∪ B| of the cores at τ = \(tau); on the diagonal their sizes.")
        page.section("Coverage", id: "coverage", coverage())
        if record.methods.contains(where: { $0.faithfulness != nil }) {
            page.section("Faithfulness", id: "faithfulness", faithfulness(), note: curveNote)
        }
        page.section(
            "Rank by rank", id: "ranks", scatter(&page), note: "Every latent is a dot; rank 1 is bottom left.")
        page.section("Cost against agreement", id: "cost", cost())
        page.section("Sensitivity to the aggregate", id: "sensitivity", sensitivity())
        page.section(
            "Latents of the cores", id: "latents", latentCards(record.latents, badges: badges),
            note:
                "The first of each core, with the contexts in which they fire most (the highest underlined) and the tokens "
                + "whose logits their decoder rows move most.")
        return page.html()
    }

    private func cell(_ interval: Interval?, _ places: Int = 2) -> String {
        guard let interval, interval.value.isFinite else { return "–" }
        let range =
            interval.low.isFinite
            ? " <small>[\(short(interval.low, places)), \(short(interval.high, places))]</small>" : ""
        return short(interval.value, places) + range
    }

    private func methods() -> String {
        let rows = record.methods.enumerated().map { i, method -> [String] in
            let name = "<span style=\"color:\(color(i))\">■</span> \(escape(method.name))"
            let fires = method.core_frequency
            var cells = [
                "\(name)<br><small>\(escape(method.meaning))</small>", "\(core(method).count)",
                cell(method.faithfulness?.removed_area), cell(method.faithfulness?.kept_area),
                cell(method.halves?.spearman), cell(method.halves?.jaccard),
                "\(short(fires.mean, 3)) <small>median \(short(fires.median, 3))</small>",
            ]
            cells.append(method.relative_standard_error.map { "\(short(100 * $0, 0))%" } ?? "–")
            guard let cost = method.cost else { return cells + ["–", "–", "–"] }
            return cells + [
                "\(short(cost.seconds, 1)) s", passes(cost.replayed_tokens + cost.gradient_tokens),
                passes(cost.gradient_tokens),
            ]
        }
        let heads = [
            "method", "core", "removal area", "kept area", "halves ρ", "halves Jaccard", "core fires on", "std. error",
            "own time",
            "forwards", "backwards",
        ]
        return table(heads, rows)
            + "<p class=\"note\">All share one forward and one backward over the \(record.sequences) sequences "
            + "(\(short(record.shared_seconds, 1)) s); forwards and backwards are what a method adds, in passes over all of them. "
            + "Peak memory \(short(record.peak_memory, 0)) MiB.</p>"
    }

    private func passes(_ tokens: Int) -> String {
        tokens == 0 ? "0" : short(Double(tokens) / Double(max(1, record.sequences * record.length)), 1)
    }

    private func agreement() -> String {
        let overlaps = record.pairs.first?.overlaps.map { "top \($0.n)" } ?? []
        let rows = record.pairs.map { pair in
            [
                "\(escape(pair.first)) · \(escape(pair.second))", cell(pair.spearman), short(pair.kendall, 2),
                cell(pair.jaccard),
            ] + pair.overlaps.map { "\(short(100 * $0.share, 0))%" } + pair.jaccards.map { short($0, 2) }
        }
        let heads =
            ["pair", "Spearman ρ", "Kendall τ", "Jaccard"] + overlaps
            + Comparison.fractions.map { "J at \(short($0, 2))" }
        var html = table(heads, rows)
        for footing in record.footings {
            html +=
                "<p>On the same footing, over \(footing.count) pairs of latent and sequence: <code>\(escape(footing.estimate))</code> "
                + "against <code>\(escape(footing.truth))</code>, Pearson's r \(short(footing.pearson, 3)), Spearman's ρ "
                + "\(short(footing.spearman, 3)).</p>"
        }
        return html
    }

    private func overlap() -> String {
        func jaccard(_ a: String, _ b: String) -> Double? {
            record.pairs.first { $0.first == a && $0.second == b || $0.first == b && $0.second == a }?.jaccard.value
        }
        let rows = record.methods.map { a in
            [escape(a.name)]
                + record.methods.map { b in
                    if a.name == b.name { return "<b>\(core(a).count)</b>" }
                    let value = jaccard(a.name, b.name) ?? .nan
                    return
                        "<span style=\"display:block;margin:-.25em -.7em;padding:.25em .7em;background:rgba(var(--heat),\(short(0.75 * max(0, value), 2)))\">\(short(value, 2))</span>"
                }
        }
        return table([""] + names, rows)
    }

    private func coverage() -> String {
        let most = Double(record.candidates)
        var plot = Plot(
            x: .init(title: "latents, highest score first", scale: .logOnePlus, range: 0...most),
            y: .init(title: "share of all attribution", range: 0...1))
        for (i, method) in record.methods.enumerated() {
            let scores = method.scores.map { max(0, $0) }.sorted(by: >)
            let total = scores.reduce(0, +)
            guard total > 0 else { continue }
            var points = [(x: 0.0, y: 0.0)]
            var sum = 0.0
            for (n, score) in scores.enumerated() {
                sum += score
                // Every latent at first, then one in fiftieth part more: the eye sees no difference.
                if n < 50 || n == scores.count - 1 || Double(n + 1) >= points[points.count - 1].x * 1.02 {
                    points.append((Double(n + 1), sum / total))
                }
            }
            plot.curves.append(Plot.Curve(color: i, points: points))
        }
        return legend(names) + "<div class=\"grid\">"
            + figure(plot.svg(label: "Coverage curves"), "Share of the positive scores' sum in the first n latents.")
            + "</div>"
    }

    private var curveNote: String {
        let losses = record.curve_losses
        return
            "Mean next-token loss in nats over \(losses.sequences) sequences\(losses.held_out ? " that were not scored" : ""), with 95% "
            + "bands. The model itself has \(short(losses.original)), with the spliced prefix \(short(losses.every)), with none of "
            + "its latents \(short(losses.none))."
    }

    private func faithfulness() -> String {
        func plot(_ title: String, _ losses: (ComparisonRecord.Faithfulness) -> [Interval]) -> Plot {
            var plot = Plot(
                x: .init(title: title, scale: .logOnePlus, range: 0...Double(record.candidates)),
                y: .init(title: "loss [nats per token]", range: 0...1))
            for (i, method) in record.methods.enumerated() {
                guard let curve = method.faithfulness else { continue }
                let intervals = losses(curve)
                plot.curves.append(
                    Plot.Curve(
                        color: i, points: zip(curve.counts, intervals).map { (Double($0), $1.value) },
                        band: intervals.map { ($0.low, $0.high) }))
            }
            plot.y.range = range(plot.curves.flatMap { $0.points.map(\.y) + $0.band.flatMap { [$0.low, $0.high] } })
            return plot
        }
        let removed = plot("latents removed, highest score first") { $0.removed }
        let kept = plot("latents kept, highest score first") { $0.kept }
        let compared = record.methods.filter { $0.faithfulness != nil }
        let rows = compared.map { method in
            [escape(method.name)]
                + compared.map { other in
                    guard let difference = method.faithfulness?.removed_area_over[other.name] else { return "" }
                    let text = cell(difference)
                    return difference.isAboveZero || difference.isBelowZero ? "<b>\(text)</b>" : text
                }
        }
        return legend(names) + "<div class=\"grid\">"
            + figure(
                removed.svg(label: "Loss when top latents are removed"), "Removed: the sooner it rises, the better.")
            + figure(kept.svg(label: "Loss when only top latents are kept"), "Kept: the sooner it falls, the better.")
            + "</div><h3>Removal area, row less column</h3>" + table([""] + compared.map(\.name), rows)
            + "<p class=\"note\">Bold where the interval leaves out 0: the row's top latents matter more (above 0) or less.</p>"
    }

    /// Ranks of at most so many latents are in the page.
    private static let mostDots = 1500

    private func scatter(_ page: inout HTMLPage) -> String {
        let shown = stride(from: 0, to: record.candidates, by: max(1, record.candidates / Self.mostDots))
        let all = record.methods.map { method -> [Int] in
            let order = method.scores.indices.sorted { (method.scores[$0], $1) > (method.scores[$1], $0) }
            var ranks = [Int](repeating: 0, count: order.count)
            for (rank, j) in order.enumerated() { ranks[j] = rank + 1 }
            return shown.map { ranks[$0] }
        }
        guard all.count >= 2 else { return "<p>There is only one method.</p>" }
        let axis = 1...Double(max(2, record.candidates))
        var plot = Plot(
            x: .init(title: "rank by the first method", range: axis),
            y: .init(title: "rank by the second method", range: axis))
        plot.dots = ("dots", zip(all[0], all[1]).map { (Double($0), Double($1)) })
        func options(_ chosen: Int) -> String {
            names.enumerated().map {
                "<option value=\"\($0.offset)\"\($0.offset == chosen ? " selected" : "")>\(escape($0.element))</option>"
            }.joined()
        }
        let f = Plot.frame
        page.script = """
            const ranks=\(all), most=\(max(2, record.candidates)), frame=[\(f.left),\(f.top),\(f.width),\(f.height)];
            const a=document.getElementById("rank-a"), b=document.getElementById("rank-b");
            function draw(){document.querySelectorAll("#dots circle").forEach((dot,i)=>{
            dot.setAttribute("cx",frame[0]+(ranks[a.value][i]-1)/(most-1)*frame[2]);
            dot.setAttribute("cy",frame[1]+(1-(ranks[b.value][i]-1)/(most-1))*frame[3]);});}
            a.addEventListener("change",draw);b.addEventListener("change",draw);
            """
        return
            "<p><label>across <select id=\"rank-a\">\(options(0))</select></label> <label>up <select id=\"rank-b\">\(options(1))</select></label></p><div class=\"grid\">"
            + figure(plot.svg(label: "Ranks of latents by two methods"), "Dots on the diagonal: both methods agree.")
            + "</div>"
    }

    private func cost() -> String {
        let costed = record.methods.enumerated().filter { $0.element.cost != nil }
        guard let dearest = costed.max(by: { ($0.element.cost?.seconds ?? 0) < ($1.element.cost?.seconds ?? 0) }) else {
            return "<p>Nothing is known of costs.</p>"
        }
        let reference = dearest.element.name
        var plot = Plot(
            x: .init(title: "own time [s]", scale: .log, range: 0.01...1),
            y: .init(title: "Spearman ρ with \(reference)", range: 0...1))
        for (i, method) in costed {
            let pair = record.pairs.first {
                $0.first == reference && $0.second == method.name || $0.second == reference && $0.first == method.name
            }
            let agreement = method.name == reference ? 1 : pair?.spearman.value ?? .nan
            guard agreement.isFinite else { continue }
            plot.marks.append(
                Plot.Mark(color: i, x: max(0.01, method.cost?.seconds ?? 0), y: agreement, name: method.name))
        }
        plot.x.range = 0.008...(max(1, plot.marks.map(\.x).max() ?? 1) * 2)
        plot.y.range = min(0, (plot.marks.map(\.y).min() ?? 0) - 0.05)...1.08
        return "<div class=\"grid\">"
            + figure(
                plot.svg(label: "Cost against agreement"),
                "Agreement with \(reference), the dearest method here, against the time each takes beyond the shared pass."
            )
            + "</div>"
    }

    private func sensitivity() -> String {
        let methods = record.methods.filter { !$0.sensitivity.isEmpty }
        guard let first = methods.first else { return "<p>No method here gives scores of tokens.</p>" }
        let rows = methods.map { method in
            [escape(method.name)]
                + method.sensitivity.map {
                    "\(short($0.spearman, 2)) <small>J \(short($0.jaccard, 2)), \($0.core)</small>"
                }
        }
        return table(["method"] + first.sensitivity.map(\.aggregate), rows)
            + "<p class=\"note\">Against \(escape(record.aggregate)): Spearman's ρ of the scores, then Jaccard of the cores at τ = "
            + "\(tau) and the core's size.</p>"
    }

    private func badges(_ latent: Int) -> [String] { record.methods.filter { core($0).contains(latent) }.map(\.name) }
}
