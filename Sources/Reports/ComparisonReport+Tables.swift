import Attribution
import TensorFiles

extension ComparisonReport {
    /// A row for each method.
    func methods() -> String {
        let rows = record.methods.enumerated().map { i, method -> [String] in
            let fires = method.core_frequency
            let error = method.relative_standard_error.map { "\(short(100 * $0, 0))%" } ?? "–"
            return [
                "\(named(i))<small>\(escape(method.meaning))</small>", "\(coreSizes[i])",
                stacked(method.faithfulness?.removed_area), stacked(method.faithfulness?.kept_area),
                stacked(method.halves?.spearman), stacked(method.halves?.jaccard),
                short(100 * fires.mean, 1) + "%"
                    + (fires.median.isFinite ? "<small>median \(short(100 * fires.median, 1))%</small>" : ""), error,
            ] + cost(method.cost)
        }
        let heads = [
            "method", "core", "removal area", "kept area", "halves ρ", "halves Jaccard", "core fires on", "std. error",
            "own time", "forwards", "backwards",
        ]
        return table(heads, rows, class: "named")
            + "<p class=\"note\">All share one forward and one backward over the \(record.sequences) sequences "
            + "(\(short(record.shared_seconds, 1)) s); forwards and backwards are what a method adds, in passes over all of "
            + "them. Peak memory \(short(record.peak_memory, 0)) MiB.</p>"
    }

    private func cost(_ cost: ScoringCost?) -> [String] {
        guard let cost else { return ["–", "–", "–"] }
        let pass = Double(max(1, record.sequences * record.length))
        func passes(_ tokens: Int) -> String { tokens == 0 ? "0" : short(Double(tokens) / pass, 1) }
        return [
            cost.seconds < 0.01 ? "< 0.01 s" : "\(short(cost.seconds, cost.seconds < 1 ? 2 : 1)) s",
            passes(cost.replayed_tokens + cost.gradient_tokens),
            passes(cost.gradient_tokens),
        ]
    }

    /// Every two methods at a glance: rank correlation of the scores and overlap of the cores.
    func matrices() -> String {
        guard record.methods.count > 1 else { return "<p>There is only one method.</p>" }
        let rows = record.methods.indices.map { named($0) }
        return "<div class=\"grid\">"
            + matrix(
                rows, keys: keys, diagonal: rows.map { _ in "1" }, caption: "Spearman's ρ of the scores."
            ) { pair($0, $1)?.spearman.value ?? .nan }
            + matrix(
                rows, keys: keys, diagonal: coreSizes.map(String.init),
                caption: "Jaccard |A ∩ B| / |A ∪ B| of the cores at τ = \(tau); on the diagonal their sizes."
            ) { pair($0, $1)?.jaccard.value ?? .nan }
            + "</div>"
    }

    /// A row for every two methods.
    func agreement() -> String {
        guard let first = record.pairs.first else { return "" }
        let rows = record.pairs.map { pair in
            [
                "\(key(of: pair.first)) · \(key(of: pair.second))", stacked(pair.spearman), short(pair.kendall, 2),
                stacked(pair.jaccard),
            ] + pair.overlaps.map { "\(short(100 * $0.share, 0))%" } + pair.jaccards.map { short($0.wrappedValue, 2) }
        }
        let heads =
            ["pair", "Spearman ρ", "Kendall τ", "Jaccard at \(tau)"] + first.overlaps.map { "top \($0.n)" }
            + Comparison.fractions.map { "Jaccard at \(short($0, 2))" }
        let footings = record.footings.map { footing in
            "<p>On the same footing, over \(footing.count) pairs of latent and sequence: "
                + "<code>\(escape(footing.estimate))</code> against <code>\(escape(footing.truth))</code>, Pearson's r "
                + "\(short(footing.pearson)), Spearman's ρ \(short(footing.spearman)).</p>"
        }
        return "<h3>Every pair</h3>" + table(heads, rows) + footings.joined()
    }

    /// What becomes of each ranking under other aggregates.
    func sensitivity() -> String {
        let methods = record.methods.enumerated().filter { !$0.element.sensitivity.isEmpty }
        guard let first = methods.first else { return "<p>No method here gives scores of tokens.</p>" }
        let rows = methods.map { i, method in
            [named(i)]
                + method.sensitivity.map {
                    "\(short($0.spearman, 2))<small>J \(short($0.jaccard, 2)), \($0.core)</small>"
                }
        }
        return table(["method"] + first.element.sensitivity.map { escape($0.aggregate) }, rows, class: "named")
            + "<p class=\"note\">Against \(escape(record.aggregate)): Spearman's ρ of the scores, then Jaccard (J) of the "
            + "cores at τ = \(tau) and the core's size.</p>"
    }
}
