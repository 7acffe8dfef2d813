import Attribution
import Testing

/// What a comparison says of itself follows from its numbers.
@Suite struct FindingsTests {
    /// Methods with these removal areas; each interval reaches `margin` to both sides, of differences too.
    private func record(_ areas: [(String, Double)], margin: Double) -> ComparisonRecord {
        func interval(_ value: Double) -> Interval { Interval(value, draws: [value - margin, value + margin]) }
        var record = ComparisonRecord()
        record.tau = 0.35
        record.curve_losses.held_out = true
        record.methods = areas.map { name, area in
            var method = ComparisonRecord.Method()
            method.name = name
            let over = areas.filter { $0.0 != name }.map { ($0.0, interval(area - $0.1)) }
            method.faithfulness = ComparisonRecord.Faithfulness(
                counts: [0, 1], kept: [], removed: [], kept_area: interval(area), removed_area: interval(area),
                removed_area_over: Dictionary(uniqueKeysWithValues: over), removed_over: [:])
            return method
        }
        for (i, a) in areas.enumerated() {
            for b in areas.dropFirst(i + 1) {
                var pair = ComparisonRecord.Pair()
                (pair.first, pair.second) = (a.0, b.0)
                pair.spearman = interval(0.25)
                pair.jaccard = interval(0.5)
                record.pairs.append(pair)
            }
        }
        return record
    }

    private let areas = [("ig", 0.2), ("gxa,norm=none", 0.5), ("ablation", 0.7), ("frequency", 0.3), ("random", 0.1)]

    @Test func theHeadSaysWhoBeatsTheControls() {
        let findings = record(areas, margin: 0.05).findings()
        #expect(
            findings[0]
                == "By the loss that removal adds, ablation and gxa,norm=none are better than frequency (ablation by 0.400 "
                + "[0.353, 0.447] of area); ig worse.")
        #expect(
            findings[1].hasPrefix(
                "By the loss that removal adds, ablation, gxa,norm=none and ig are better than random"))
        #expect(findings[2].hasPrefix("Removing the top latents by ablation raises the loss most"))
        #expect(!findings[2].contains("not beyond"))
        #expect(findings[3].hasPrefix("gxa,norm=none and ablation rank latents with Spearman's ρ = 0.250 ["))
        #expect(findings[3].contains("τ = 0.35 have a Jaccard of 0.500"))
    }

    @Test func aMethodThatIsNoBetterIsCalledSo() {
        let findings = record(areas, margin: 0.3).findings()
        #expect(findings[0].contains("ablation is better than frequency (by 0.400"))
        #expect(findings[0].hasSuffix("; gxa,norm=none and ig no better."))
        #expect(findings[2].contains("; not beyond the interval of gxa,norm=none"))
        let none = record([("gxa", 0.3), ("ig", 0.31), ("frequency", 0.3)], margin: 0.1).findings()
        #expect(none[0] == "By the loss that removal adds, no method is better than frequency.")
    }

    @Test func whatWasDrawnSaysHowUncertainItIs() {
        var record = record(areas, margin: 0.05)
        record.methods[2].relative_standard_error = 0.04
        #expect(!record.findings().contains { $0.contains("was drawn") })
        record.methods[2].relative_standard_error = 0.317
        // Who does not say how an error came about did not say that anything was drawn.
        #expect(!record.findings().contains { $0.contains("was drawn") })
        #expect(
            record.findings().contains {
                $0.hasPrefix("ablation says that the scores of its core have a standard error of 32% on average")
            })
        record.methods[2].was_drawn = true
        #expect(
            record.findings().contains {
                $0.hasPrefix("ablation was drawn: the scores of its core have a standard error of 32%")
            })
    }

    @Test func withoutCurvesAndWithFailuresTheRestIsSaid() {
        var record = record([("gxa", 0.3), ("frequency", 0.1)], margin: 0.1)
        for i in record.methods.indices { record.methods[i].faithfulness = nil }
        record.failures = [.init("bad.so", "it stopped")]
        #expect(record.findings() == ["bad.so is left out: it stopped"])
        #expect(ComparisonRecord.isControl("random,seed=3") && !ComparisonRecord.isControl("randomised.so"))
    }
}
