import Distillation
import Reports
import TensorFiles
import TestSupport
import Testing

@Suite struct SweepReportTests {
    /// At the first value the random core is worse with every seed by about as much, at the second now more and now less.
    private func written(seeds: Int = 3, over axes: [String] = ["distill.tau=0.9,0.5"]) throws -> WrittenSweep {
        let written = try WrittenSweep(over: axes, seeds: seeds)
        for point in try written.sweep.points() {
            let seed = (point.index % seeds), isFirst = point.index < seeds
            let noise = [0.0, 0.001, -0.001][seed % 3]
            let random = isFirst ? 0.95 - 0.01 + noise / 10 : 0.95 + noise
            try written.finish(
                point.index, carried: isFirst ? 4 : 1 + seed,
                scores: [
                    ("baseline", "none", 0.96 + noise), ("dmsae", "distilled", 0.95), ("random", "random", random),
                ])
        }
        return written
    }

    private func page(seeds: Int = 3, over axes: [String] = ["distill.tau=0.9,0.5"]) throws -> String {
        let written = try written(seeds: seeds, over: axes)
        return try withExtendedLifetime(written) { try SweepReport(folder: written.path).html() }
    }

    private func section(_ name: String, of html: String) -> String {
        let parts = html.split(separator: "<h3>").filter { $0.hasPrefix(name) }
        return String(parts.first?.split(separator: "</section>").first ?? "")
    }

    private func count(_ part: String, in html: String) -> Int {
        html.split(separator: part, omittingEmptySubsequences: false).count - 1
    }

    @Test func everyFigureOfThePaperIsThere() throws {
        let html = try page()
        for name in ["Differences between trials", "Cycle by cycle", "Where latents", "L0 of the core over training"] {
            #expect(!section(name, of: html).isEmpty, "\(name)")
        }
        #expect(MarkUp(html).faults.isEmpty && !html.contains("http"))
    }

    /// Six measures, for each a curve with a band for each τ; values in their order, not in that of the command line.
    @Test func cyclesAreACurveForEachValueInItsOrder() throws {
        let html = section("Cycle by cycle", of: try page())
        #expect(count("<figure>", in: html) == 6)
        let legend = html.split(separator: "<div class=\"grid\">").first ?? ""
        let names = legend.split(separator: "</svg> ").dropFirst().map { String($0.prefix { $0 != "<" }) }
        #expect(names == ["0.5", "0.9"])
        let sizes = html.split(separator: "<figure>").dropFirst().first ?? ""
        #expect(count("<polyline", in: String(sizes)) == 2 && count("<polygon", in: String(sizes)) == 2)
        #expect(count("stroke=\"rgb(", in: String(sizes)) == 2)
    }

    /// Of 1, 2 and 3 latents that three seeds carried over, 2 in the mean; the core has five.
    @Test func barsOfOriginsAreMeansOverSeeds() throws {
        let html = section("Where latents", of: try page())
        let titles = html.split(separator: "<title>").dropFirst().map { String($0.prefix { $0 != "<" }) }
        #expect(
            titles == [
                "0.5: 2 born in cycle 0", "0.5: 3 born in cycle 1", "0.9: 4 born in cycle 0", "0.9: 1 born in cycle 1",
            ])
    }

    /// The last cycle and the two trials with a core, at each value; cycle 0 and the plain SAE have none.
    @Test func trainingCurvesAreMeansWithABand() throws {
        let html = section("L0 of the core over training", of: try page())
        let figures = html.split(separator: "<figure>").dropFirst().map(String.init)
        #expect(figures.count == 2)
        for figure in figures { #expect(count("<polyline", in: figure) == 3 && count("<polygon", in: figure) == 3) }
        #expect(figures[0].contains("<figcaption>distill.tau 0.5</figcaption>"))
    }

    @Test func aClaimIsMadeOnlyWhereAnIntervalExcludesZero() throws {
        let html = try page()
        let words = String(html.split(separator: "<section").first ?? "")
        #expect(
            words.contains(
                "CE loss score over distill.tau: dmsae is better than random by 0.0100 [0.0098, 0.0102] at 0.9; dmsae is not shown to be "
                    + "better or worse than random, with a difference of 0.0000 [−0.0025, 0.0025] at 0.5."), "\(words)")
        #expect(
            words.contains(
                "dmsae is worse than baseline by 0.0100 [0.0075, 0.0125] at 0.5, 0.0100 [0.0075, 0.0125] at 0.9."),
            "\(words)")
        #expect(
            words.contains(
                "CE loss score over distill.tau: of dmsae, beside 0.5, it is not shown to differ, with a difference of 0.0000 [0.0000, "
                    + "0.0000] at 0.9."), "\(words)")
        let table = section("Differences between trials", of: html)
        #expect(
            table.contains("random less dmsae</td><td>3</td><td>−0.0100<small>−0.0102 to −0.0098</small>"), "\(table)")
        // A whisker for two trials at two values, of two measures.
        #expect(count("class=\"whisker\"", in: table) == 8)
    }

    /// 0.9 less 0.5, seed by seed: of the random core −.0100, −.0109 and −.0091, of latents carried over 3, 2 and 1.
    @Test func aValueIsHeldAgainstTheFirstSeedBySeed() throws {
        let table = section("Differences between values", of: try page())
        let rows = table.split(separator: "<tr>").filter { $0.contains("<td>random</td>") }
        #expect(rows.count == 1 && rows[0].contains(">0.9</th><td>random</td><td>3</td>"), "\(table)")
        #expect(rows[0].contains("<td>−0.0100<small>−0.0122 to −0.0078</small>"), "\(table)")
        #expect(rows[0].contains("<td>2.0<small>−0.5 to 4.5</small>"), "\(table)")
    }

    /// Two k, each with its own rows: the trial's k is another at each value.
    @Test func valuesOfKAreHeldAgainstEachOther() throws {
        let written = try WrittenSweep(over: ["train.k=8,16"], seeds: 2)
        for (index, score) in [0.5, 0.6, 0.7, 0.9].enumerated() {
            try written.finish(index, carried: 1, scores: [("dmsae", "distilled", score)])
        }
        let table = try SweepTable(folder: written.path)
        let found = table.differences(in: .score, betweenValuesOf: 0, from: "8", isAlongK: true)
        #expect(found.count == 1 && found[0].value == "16" && found[0].reference == "8")
        for (own, wanted) in zip(found[0].bySeed, [0.2, 0.3]) { #expect(abs(own - wanted) < 1e-12) }
    }

    @Test func withTwoSeedsOrOneNothingIsClaimed() throws {
        let two = try page(seeds: 2)
        #expect(two.contains("Two seeds: an interval takes three") && !two.contains("is better than"))
        #expect(section("Differences", of: two).contains("<td>2</td><td>") && count("class=\"whisker\"", in: two) == 0)
        let one = try page(seeds: 1)
        #expect(one.contains("One seed: without an interval") && section("Differences", of: one).isEmpty)
    }

    @Test func seedsAloneAreLookedAtAsOne() throws {
        let html = try page(over: [])
        #expect(html.contains("<h2>All points</h2>"))
        #expect(
            html.contains("CE loss score: dmsae is better than random by 0.0100 [0.0098, 0.0102]."),
            "\(html.prefix(9000))")
    }

    /// A core that collapses ends its run: how it came to that is the point of the sweep.
    @Test func cyclesOfAPointThatFailedAreShown() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.9,0.5"], seeds: 1)
        try written.finish(0, carried: 2, scores: [("dmsae", "distilled", 0.9)])
        try written.finish(1, carried: 0, scores: nil)
        let html = try SweepReport(folder: written.path).html()
        #expect(html.contains("1 of 2 points are done, 1 failed.") && html.contains("it failed"))
        let sizes = section("Cycle by cycle", of: html).split(separator: "<figure>").dropFirst().first ?? ""
        #expect(count("<polyline", in: String(sizes)) == 2)
    }

    /// Two settings of another key: those of a seed are averaged first, and a seed without one of them is left out.
    @Test func differencesAreOverSeedsAndNotOverPoints() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.5", "train.k=8,16"], seeds: 3)
        for (index, difference) in [0.01, 0.02, 0.03, 0.03, 0.04].enumerated() {
            try written.finish(
                index, carried: 1, scores: [("dmsae", "distilled", 0.5), ("random", "random", 0.5 + difference)])
        }
        let table = try SweepTable(folder: written.path)
        let found = table.differences(in: .score, over: 0)
        #expect(found.count == 1 && found[0].bySeed.count == 2)
        for (own, wanted) in zip(found[0].bySeed, [0.02, 0.03]) { #expect(abs(own - wanted) < 1e-12) }
        #expect(table.csv.contains(",random,dmsae,1,done\n") && table.csv.contains(",distilled,,1,done\n"))
    }

    /// A difference that hangs on a second key must not pass for one of the first alone.
    @Test func aClaimSaysWhatItIsAMeanOver() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.5,0.9", "train.k=8,16"], seeds: 3)
        for index in 0..<12 {
            try written.finish(
                index, carried: 1, scores: [("dmsae", "distilled", 0.5), ("random", "random", 0.4)])
        }
        let html = try SweepReport(folder: written.path).html()
        #expect(html.contains("CE loss score over distill.tau, means over train.k: dmsae is "))
        #expect(html.contains("CE loss score over train.k, means over distill.tau: dmsae is "))
    }
}
