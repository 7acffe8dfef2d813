import TensorFiles
import TestSupport
import Testing

/// Cores that shipped scorers choose, against what `score` says of the same SAE and text.
@Suite struct TrialTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws { tiny = try TinyModel() }

    @Test func aCoreByAShippedScorerIsTheTopOfItsScores() throws {
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
        let table = try succeed([
            "distill", folder.file("tiny.yaml"), "--out", folder.file("run"), "--quiet", "--set",
            "final.trials=[dmsae, frequency, mean-activation, reconstruction]",
        ])
        let size = try #require(try JSONValue(contentsOf: folder.file("run/result.json"))["coreSize"]?.integer)
        #expect(table.contains("\(size) mean-activation") && table.contains("Δ CE"), "\(table)")
        // The 16 rows after the 4000 tokens that were harvested.
        try succeed([
            "lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--skip", "4000", "--rows",
            "16",
            "--out", folder.file("ids.safetensors"),
        ])
        for (name, scorer, tensor) in [
            ("frequency", "frequency", "scores"), ("mean-activation", "frequency", "mean_activation"),
            ("reconstruction", "reconstruction", "scores"),
        ] {
            let scores = folder.file(name + ".safetensors")
            try succeed(
                [
                    "score", "--model", tiny.model, "--sae", folder.file("run/cycle-0/sae"), "--tokens",
                    folder.file("ids.safetensors"), "--scorer", scorer, "--tau", "1", "--out", scores, "--quiet",
                ] + (scorer == "reconstruction" ? ["--aggregate", "mean", "--signed"] : []))
            let values = try SafetensorsFile(path: scores).doubles(tensor)
            let wanted = values.indices.sorted { (-values[$0], $0) < (-values[$1], $1) }.prefix(size)
            let core = try JSONValue(contentsOf: folder.file("run/final/k-8/\(name)/core.json"))
            let found = try #require(core["latents"]?.array).map { $0["index"]?.integer }
            #expect(found == wanted.map { $0 }, "\(name)")
            // What `score` writes is rounded to single precision.
            #expect((core["latents"]?.array?.first?["score"]?.double).map { Float($0) } == Float(values[wanted[0]]))
        }
    }

    /// Whatever three seeds come to is said with an interval, in the table and on the page.
    @Test func severalSeedsGiveRangesAndIntervals() throws {
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
        let words = [
            "distill", folder.file("tiny.yaml"), "--out", folder.file("run"), "--quiet", "--set", "seeds=3", "--set",
            "final.trials=[dmsae, baseline]",
        ]
        let table = try succeed(words)
        let cycles = table.split(separator: "\n").prefix { !$0.hasPrefix("final core") }.map {
            $0.split(separator: " ")
        }
        #expect(
            cycles.first?.first == "seed"
                && cycles.dropFirst().map { $0[0] } == ["3", "3", "3", "4", "4", "4", "5", "5", "5"])
        for part in ["(\(folder.file("run"))/seed-*/final/core.json)", "of 3 seeds."] {
            #expect(table.contains(part), "\(table)")
        }
        let record = try JSONValue(contentsOf: folder.file("run/result.json"))
        let trial = try #require(record["trials"]?.array?.last), interval = try #require(trial["interval"])
        let (low, high) = (try #require(interval["low"]?.double), try #require(interval["high"]?.double))
        let verdict =
            low > 0
            ? "is worse than baseline" : high < 0 ? "is better than baseline" : "is not shown to be better or worse"
        #expect(table.contains("dmsae " + verdict) && table.contains("differences of 3 seeds"), "\(table)")
        try succeed(["report", folder.file("run")])
        let page = String(decoding: contents(of: folder.file("run/report.html")), as: UTF8.self)
        #expect(page.contains("Over 3 seeds the core is ") && page.contains("dmsae " + verdict))
        #expect(
            page.contains("bands from the least to the largest") && page.contains("<polygon")
                && page.contains("; means over seeds, bands from the least to the largest."))
        #expect(try JSONValue(parsing: succeed(words + ["--resume", "--json"])) == record)
        // An outcome that was edited is not shown.
        let text = String(decoding: contents(of: folder.file("run/result.json")), as: UTF8.self)
        let edited = text.replacing(try Regex("\"seeds\" : \\[\\s*3"), with: "\"seeds\" : [6")
        #expect(edited != text)
        try AtomicFile.write(edited, to: folder.file("run/result.json"))
        try fail(
            ["report", folder.file("run")], saying: "result.json is not what the finished steps of the run came to")
    }
}
