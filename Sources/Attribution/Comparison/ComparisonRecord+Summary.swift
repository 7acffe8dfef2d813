extension ComparisonRecord {
    /// The findings in sentences, for the head of a report: what matters most by removal, whether it beats the controls, how
    /// far methods agree, and what could not be had. Made from the numbers alone.
    public func findings() -> [String] {
        var sentences: [String] = []
        let ranked = methods.filter { $0.faithfulness != nil }
            .sorted { ($0.faithfulness?.removed_area.value ?? 0) > ($1.faithfulness?.removed_area.value ?? 0) }
        if let best = ranked.first, let curve = best.faithfulness {
            var text =
                "Removing the top latents by \(best.name) raises the loss most: the area under its removal curve is "
                + show(curve.removed_area)
            let rivals = ranked.dropFirst().filter { !(curve.removed_area_over[$0.name]?.isAboveZero ?? false) }
            if !rivals.isEmpty {
                text += "; not beyond the interval of " + list(rivals.map(\.name))
            }
            sentences.append(text + ".")
        }
        for control in methods where Self.isControl(control.name) {
            let own = ranked.filter { !Self.isControl($0.name) }
            guard !own.isEmpty, control.faithfulness != nil else { continue }
            func over(_ method: Method) -> Interval? { method.faithfulness?.removed_area_over[control.name] }
            let better = own.filter { over($0)?.isAboveZero ?? false }
            let worse = own.filter { over($0)?.isBelowZero ?? false }
            let same = own.filter { !(over($0)?.isAboveZero ?? false) && !(over($0)?.isBelowZero ?? false) }
            var parts: [String] = []
            func each(_ methods: [Method]) -> String {
                list(methods.map { $0.name + (over($0).map { " (" + show($0, signed: true) + ")" } ?? "") })
            }
            if !better.isEmpty { parts.append("better than \(control.name): " + each(better)) }
            if !same.isEmpty { parts.append("no better than \(control.name): " + each(same)) }
            if !worse.isEmpty { parts.append("worse than \(control.name): " + each(worse)) }
            sentences.append("By the loss that removal adds, " + parts.joined(separator: "; ") + ".")
        }
        let scorers = methods.filter { !Self.isControl($0.name) }
        if let pair = pairs.first(where: { pair in
            scorers.contains { $0.name == pair.first } && scorers.contains { $0.name == pair.second }
        }) {
            sentences.append(
                "\(pair.first) and \(pair.second) rank latents with Spearman's ρ = \(show(pair.spearman)); their cores at "
                    + "τ = \(short(tau)) have a Jaccard of \(show(pair.jaccard)).")
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
        for failure in failures { sentences.append("\(failure.name) stopped and is left out: \(failure.value)") }
        return sentences
    }

    /// Whether a ranking is one that any method has to beat.
    public static func isControl(_ name: String) -> Bool {
        ["frequency", "random", "reconstruction"].contains {
            name == $0 || name.hasPrefix($0 + ",") || name.hasPrefix($0 + ":")
        }
    }

    private func list(_ names: [String]) -> String {
        names.count < 2
            ? names.first ?? "" : names.dropLast().joined(separator: ", ") + " and " + names[names.count - 1]
    }

    private func show(_ interval: Interval, signed: Bool = false) -> String {
        let sign = signed && interval.value > 0 ? "+" : ""
        return "\(sign)\(short(interval.value)) [\(short(interval.low)), \(short(interval.high))]"
    }
}

/// Three decimals; "–" for what has no value.
public func short(_ value: Double, _ places: Int = 3) -> String {
    guard value.isFinite else { return "–" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e15 else { return "\(value)" }
    let digits = String(Int(scaled))
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    let sign = value < 0 && scaled > 0 ? "−" : ""
    return places == 0 ? sign + padded : sign + padded.dropLast(places) + "." + padded.suffix(places)
}
