import TensorFiles

extension ComparisonRecord {
    /// The findings in sentences, for the head of a report: whether any method beats the controls and which does best,
    /// how far methods agree, and what could not be had. Made from the numbers alone.
    public func findings() -> [String] {
        var sentences: [String] = []
        let ranked = methods.filter { $0.faithfulness != nil }
            .sorted { ($0.faithfulness?.removed_area.value ?? 0) > ($1.faithfulness?.removed_area.value ?? 0) }
        sentences += ["frequency", "random", "reconstruction", "norm"].compactMap { id in
            ranked.first { $0.name == id || $0.name.hasPrefix(id + ",") }.flatMap { against($0, ranked) }
        }
        if !ranked.isEmpty, curve_losses.none <= curve_losses.every {
            sentences.append(
                "Without any latent of the spliced prefix the loss is \(short(curve_losses.none)), with all of them "
                    + "\(short(curve_losses.every)): no higher, so the curves and their areas say nothing of what latents are good for."
            )
        }
        if let best = ranked.first, let curve = best.faithfulness {
            var text =
                "Removing the top latents by \(best.name) raises the loss most: the area under its removal curve is "
                + show(curve.removed_area)
            let rivals = ranked.dropFirst().filter { !(curve.removed_area_over[$0.name]?.isAboveZero ?? false) }
            if !rivals.isEmpty { text += "; not beyond the interval of " + list(rivals.map(\.name)) }
            sentences.append(text + ".")
        }
        if let pair = leadingPair {
            sentences.append(
                "\(pair.first) and \(pair.second) rank latents with Spearman's ρ = \(show(pair.spearman)); their cores at "
                    + "τ = \(shownTau) have a Jaccard of \(show(pair.jaccard)).")
        }
        for method in methods {
            guard let error = method.relative_standard_error, error > 0.05 else { continue }
            let size = "a standard error of \(short(100 * error, 0))% on average"
            sentences.append(
                method.was_drawn == true
                    ? "\(method.name) was drawn: the scores of its core have \(size), so it agrees less with others than it would, "
                        + "and in sequences drawn again (the brackets) less still."
                    : "\(method.name) says that the scores of its core have \(size), so it agrees less with others than exact ones "
                        + "would.")
        }
        for footing in footings {
            sentences.append(
                "On the same footing, pair by pair of latent and sequence, \(footing.estimate) and \(footing.truth) correlate "
                    + "with Pearson's r = \(short(footing.pearson)), Spearman's ρ = \(short(footing.spearman)) "
                    + "(\(footing.count) pairs).")
        }
        if !curve_losses.held_out && !ranked.isEmpty {
            sentences.append("The curves are of sequences that were scored too; give others to have them held out.")
        }
        for failure in failures { sentences.append("\(failure.name) is left out: \(failure.value)") }
        return sentences
    }

    /// Which methods beat a control, with the difference of the best; nil where there is none to judge.
    private func against(_ control: Method, _ ranked: [Method]) -> String? {
        let own = ranked.filter { !Self.isControl($0.name) }
        guard !own.isEmpty else { return nil }
        func over(_ method: Method) -> Interval? { method.faithfulness?.removed_area_over[control.name] }
        let better = own.filter { over($0)?.isAboveZero ?? false }
        let worse = own.filter { over($0)?.isBelowZero ?? false }
        let same = own.filter { method in !(better + worse).contains { $0.name == method.name } }
        var text =
            better.isEmpty
            ? "By the loss that removal adds, no method is better than \(control.name)"
            : "By the loss that removal adds, \(list(better.map(\.name))) \(better.count == 1 ? "is" : "are") better than "
                + "\(control.name)"
        if let best = better.first, let difference = over(best) {
            text += " (\(better.count > 1 ? best.name + " by " : "by ")\(show(difference)) of area)"
        }
        // That all are no better was said already.
        if !same.isEmpty && !better.isEmpty { text += "; \(list(same.map(\.name))) no better" }
        if !worse.isEmpty { text += "; \(list(worse.map(\.name))) worse" }
        return text + "."
    }

    /// The two methods whose agreement is told first: the gradient's and ablation if both are there,
    /// else the first two.
    private var leadingPair: Pair? {
        let scorers = Set(methods.map(\.name).filter { !Self.isControl($0) })
        let told = pairs.filter { scorers.contains($0.first) && scorers.contains($0.second) }
        func isOne(_ name: String, _ id: String) -> Bool { name == id || name.hasPrefix(id + ",") }
        return told.first { pair in
            isOne(pair.first, "gxa") && isOne(pair.second, "ablation")
                || isOne(pair.first, "ablation") && isOne(pair.second, "gxa")
        } ?? told.first
    }

    /// The first `count` latents of every method's core, each once, in the methods' order.
    public func firstOfCores(_ count: Int) -> [Int] {
        var seen = Set<Int>()
        return methods.flatMap { method in
            (method.cores.first { $0.tau == 0.9 } ?? method.cores.last)?.latents.prefix(count) ?? []
        }.filter { seen.insert($0).inserted }
    }

    /// Whether a ranking is one that any method has to beat.
    public static func isControl(_ name: String) -> Bool {
        ["frequency", "random", "reconstruction", "norm"].contains {
            name == $0 || name.hasPrefix($0 + ",") || name.hasPrefix($0 + ":")
        }
    }

    /// τ with two decimals, or as many as it has: 0.999 is not 1.00.
    public var shownTau: String { abs(100 * tau - (100 * tau).rounded()) < 1e-9 ? short(tau, 2) : "\(tau)" }

    private func list(_ names: [String]) -> String {
        names.count < 2
            ? names.first ?? "" : names.dropLast().joined(separator: ", ") + " and " + names[names.count - 1]
    }

    private func show(_ interval: Interval) -> String {
        "\(short(interval.value)) [\(short(interval.low)), \(short(interval.high))]"
    }
}
