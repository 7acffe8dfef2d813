import Attribution
import Distillation
import Reports
import TensorFiles
import TestSupport
import Testing

/// Several runs on one page.
@Suite struct RunsReportTests {
    /// Runs of two seeds at two values of τ, written as points of a sweep.
    private func written() throws -> WrittenSweep {
        let written = try WrittenSweep(over: ["distill.tau=0.9,0.5"], seeds: 2)
        for (index, score) in [0.95, 0.951, 0.96, 0.961].enumerated() {
            try written.finish(
                index, carried: 4, scores: [("baseline", "none", 0.97), ("dmsae", "distilled", score)])
        }
        return written
    }

    @Test func whatDiffersComesFirst() throws {
        let written = try written()
        // The first seed at both values, of which the last differs in τ alone.
        let folders = try [written.run(0), written.run(2)]
        let html = try withExtendedLifetime(written) { try RunsReport(folders: folders).html() }
        #expect(html.contains("<p class=\"lead\">These runs differ in distill.tau.</p>"), "\(html.prefix(4000))")
        #expect(html.contains("<th scope=\"row\">distill.tau</th><td>0.9</td><td>0.5</td>"))
        #expect(html.contains("Runs are held against point-0000 seed by seed, of seed 1."))
        let sections = html.split(separator: "<section id=\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
        #expect(sections == ["differs", "axis-0", "table"])
        #expect(MarkUp(html).faults.isEmpty && !html.contains("http"))
        #expect(try RunsReport(folders: folders).html() == html)
    }

    @Test func runsWithoutACommonSeedAreNotPaired() throws {
        let written = try written()
        let folders = try [written.run(0), written.run(3)]
        let html = try withExtendedLifetime(written) { try RunsReport(folders: folders).html() }
        #expect(html.contains("No seed is in all runs"))
        #expect(!html.contains("Differences between values"))
    }

    @Test func aRunThatIsNotFinishedShowsWhatThereIs() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.9,0.5"], seeds: 1)
        try written.finish(0, carried: 4, scores: [("dmsae", "distilled", 0.95)])
        try written.finish(1, carried: 4, scores: nil)
        let html = try RunsReport(folders: [written.run(0), written.run(1)]).html()
        #expect(html.contains("Not finished: point-0001.") && html.contains("Cycle by cycle"))
    }

    @Test func runsAreCalledByTheShortestEndsThatTellThemApart() {
        #expect(RunsReport.names(of: ["runs/a", "runs/b/"]) == ["a", "b"])
        #expect(RunsReport.names(of: ["x/a/run", "x/b/run", "c/run"]) == ["a/run", "b/run", "c/run"])
        #expect(RunsReport.names(of: ["run", "x/run"]) == ["run", "x/run"])
    }

    /// A trial of three seeds in one run is held against the same seed's, here and in another run: naive differences.
    @Test func seedsOfOneRunArePairedWithTheirOwn() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.9,0.5"], seeds: 3)
        let scores = [[0.95, 0.93, 0.97], [0.96, 0.95, 0.975]], plain = [0.96, 0.99, 0.95]
        for point in 0..<6 {
            try written.finish(
                point, carried: 4,
                scores: [("dmsae", "distilled", scores[point / 3][point % 3]), ("baseline", "none", plain[point % 3])])
        }
        // As if each value of τ were one run of three seeds.
        let seeds = try (0..<6).map { try FinishedSteps(folder: written.run($0)) }
        let table = SweepTable(
            runs: [0, 3].map { first in
                (
                    "run \(first)",
                    FinishedSteps(run: seeds[first].run, seeds: (0..<3).flatMap { seeds[first + $0].seeds })
                )
            })
        let trials = table.differences(in: .score, over: 0)
        #expect(trials.map(\.bySeed.count) == [3, 3])
        for (run, difference) in trials.enumerated() {
            for (a, (b, c)) in zip(difference.bySeed, zip(plain, scores[run])) { #expect(abs(a - (b - c)) < 1e-15) }
        }
        let runs = table.differences(in: .score, betweenValuesOf: 0, from: "run 0", isAlongK: false)
            .filter { $0.trial == "dmsae" }
        #expect(runs.count == 1 && runs[0].bySeed.count == 3)
        for (a, (b, c)) in zip(runs[0].bySeed, zip(scores[1], scores[0])) { #expect(abs(a - (b - c)) < 1e-15) }
    }
}
