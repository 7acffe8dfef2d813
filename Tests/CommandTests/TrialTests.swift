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
}
