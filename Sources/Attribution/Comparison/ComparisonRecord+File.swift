import TensorFiles

extension ComparisonRecord {
    /// Reads comparison.json, and checks that its numbers can be those of a comparison: a page is made of them.
    ///
    /// - Throws: `TensorFileError`.
    public static func read(_ path: String) throws -> ComparisonRecord {
        let record = try JSONRecord.read(Self.self, from: path)
        if let reason = record.disorder {
            throw TensorFileError.malformed(file: path, what: reason, next: "compare again, or restore it")
        }
        return record
    }

    /// What cannot be; nil if nothing is found.
    package var disorder: String? {
        // Products and sums of these stay whole numbers.
        let most = 1 << 24
        guard (1...most).contains(candidates), (0...most).contains(sequences), (0...most).contains(length),
            (0...sequences * length).contains(scored_tokens), (0...most).contains(draws)
        else {
            return
                "it tells of \(candidates) candidates, \(scored_tokens) scored tokens of \(sequences) sequences of \(length), "
                + "and \(draws) draws"
        }
        guard tau > 0, tau <= 1 else { return "its τ is \(tau)" }
        guard Self.isPossible(shared_seconds), shared_seconds >= 0, Self.isPossible(peak_memory) else {
            return "it took \(shared_seconds) s and \(peak_memory) MiB"
        }
        guard Set(methods.map(\.name)).count == methods.count else { return "two methods have one name" }
        for method in methods {
            if let reason = disorder(of: method) { return "of \(printable(method.name)), \(reason)" }
        }
        let names = Set(methods.map(\.name))
        for pair in pairs {
            guard names.contains(pair.first), names.contains(pair.second) else {
                return
                    "it compares \(printable(pair.first)) with \(printable(pair.second)), and both are not among its methods"
            }
            guard pair.overlaps.allSatisfy({ (1...most).contains($0.n) && (0...1).contains($0.share) }),
                pair.jaccards.count == Comparison.fractions.count, Self.isPossible(pair.kendall),
                pair.jaccards.allSatisfy({ Self.isPossible($0.wrappedValue) }),
                Self.arePossible([pair.spearman, pair.jaccard])
            else {
                return "what it tells of \(printable(pair.first)) and \(printable(pair.second)) cannot be"
            }
        }
        guard curve_losses.sequences >= 0, Self.isPossible(curve_losses.original), Self.isPossible(curve_losses.every),
            Self.isPossible(curve_losses.none)
        else { return "its curve_losses cannot be" }
        return latents.first(where: { !$0.isPossible }).map { "what it tells of latent \($0.latent) cannot be" }
    }

    private func disorder(of method: Method) -> String? {
        guard !method.name.isEmpty else { return "the name is missing" }
        guard method.scores.count == candidates, method.scores.allSatisfy(Self.isPossible) else {
            return "there are \(method.scores.count) scores of \(candidates) candidates, or impossible ones"
        }
        for core in method.cores {
            guard core.tau > 0, core.tau <= 1, Set(core.latents).count == core.latents.count,
                core.latents.allSatisfy({ (0..<candidates).contains($0) })
            else { return "the core at τ = \(core.tau) lists latents that are none of the candidates, or one twice" }
        }
        let fires = method.core_frequency
        guard Self.isPossible(fires.mean), Self.isPossible(fires.median) else { return "core_frequency cannot be" }
        guard method.cost?.isPossible ?? true else { return "its cost cannot be" }
        guard Self.arePossible([method.halves?.spearman, method.halves?.jaccard].compactMap { $0 }),
            Self.isPossible(method.relative_standard_error ?? 0),
            method.sensitivity.allSatisfy({
                Self.isPossible($0.spearman) && Self.isPossible($0.jaccard) && $0.core >= 0
            })
        else { return "its halves, standard error or sensitivity cannot be" }
        return method.faithfulness.flatMap { disorder(of: $0) }
    }

    private func disorder(of curve: Faithfulness) -> String? {
        let n = curve.counts.count
        guard n >= 2, curve.counts[0] >= 0, curve.counts[n - 1] <= candidates,
            zip(curve.counts, curve.counts.dropFirst()).allSatisfy(<)
        else { return "its curves are at \(curve.counts.prefix(20)) of \(candidates) latents" }
        guard curve.kept.count == n, curve.removed.count == n, curve.removed_over.values.allSatisfy({ $0.count == n })
        else { return "its curves have \(curve.kept.count) and \(curve.removed.count) losses at \(n) places" }
        guard Self.arePossible(curve.kept + curve.removed + [curve.kept_area, curve.removed_area]),
            Self.arePossible(Array(curve.removed_area_over.values) + curve.removed_over.values.flatMap { $0 })
        else { return "a loss or an area of its curves cannot be" }
        return nil
    }

    /// NaN has no value; what is beyond this is no score, loss or time, and would leave the room of a Double in a plot.
    fileprivate static func isPossible(_ value: Double) -> Bool { value.isNaN || abs(value) < 1e100 }

    private static func arePossible(_ intervals: [Interval]) -> Bool {
        intervals.allSatisfy { isPossible($0.value) && isPossible($0.low) && isPossible($0.high) }
    }
}

extension LatentRecord {
    fileprivate var isPossible: Bool {
        (0..<1 << 24).contains(latent) && (0...1).contains(frequency) && ComparisonRecord.isPossible(largest)
            && contexts.allSatisfy {
                $0.tokens.count == $0.activations.count && $0.tokens.indices.contains($0.peak)
                    && $0.activations.allSatisfy(ComparisonRecord.isPossible)
            }
            && (promoted + suppressed).allSatisfy { ComparisonRecord.isPossible($0.value) }
            && neighbours.allSatisfy { ComparisonRecord.isPossible($0.cosine) }
    }
}
