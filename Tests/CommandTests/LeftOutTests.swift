import TensorFiles
import TestSupport
import Testing

/// Positions that a training left out are kept where its SAE is used, unless others are asked for.
@Suite struct LeftOutTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private var corpus: [String] { ["--model", tiny.model, "--text", tiny.text, "--context", "32", "--quiet"] }

    init() throws { tiny = try TinyModel() }

    private func train(_ name: String, _ source: [String]) throws -> String {
        let sae = folder.file(name)
        try succeed(
            ["train"] + source + [
                "--width", "96", "--k", "8", "--batch", "64", "--steps", "12", "--threshold-start", "4",
            ]
                + ["--out", sae, "--quiet"])
        return sae
    }

    private func stored(_ more: [String]) throws -> String {
        let store = folder.file("store")
        try succeed(["harvest"] + corpus + ["--layer", "1", "--tokens", "2048", "--out", store] + more)
        return try train("sae", ["--activations", store])
    }

    private func settings(_ sae: String, _ more: [String] = []) throws -> (settings: JSONValue?, said: String) {
        let out = folder.file("core.json")
        let result = try run(
            builtProgram, ["eval", "core", "--sae", sae, "--tokens", "512", "--out", out] + corpus + more)
        #expect(result.status == 0, "\(result.errors)")
        return (try JSONValue(contentsOf: out)["eval_result_unstructured"]?["dmsae"]?["settings"], result.errors)
    }

    @Test func ofAStore() throws {
        let sae = try stored(["--keep-first", "3", "--sinks", "1.3"])
        let provenance = try JSONValue(contentsOf: sae + "/cfg.json")["metadata"]?["dmsae"]?["provenance"]
        #expect(provenance?["keepFirst"]?.integer == 3 && provenance?["sinks"]?.double == 1.3)
        let own = try settings(sae)
        #expect(own.settings?["keep_first"]?.string == "3" && own.settings?["sinks"]?.string == "1.3")
        #expect(own.said == "")
        let same = try settings(sae, ["--keep-first", "3", "--sinks", "1.3"])
        #expect(same.settings == own.settings && same.said == "")
        let other = try settings(sae, ["--keep-first", "1", "--sinks", "off"])
        #expect(other.settings?["keep_first"]?.string == "1" && other.settings?["sinks"]?.string == "off")
        #expect(
            other.said.contains("was trained with the first 3 of each sequence's positions left out; here it is 1"))
        #expect(
            other.said.contains(
                "was trained with positions above 1.3 times the median norm left out as attention sinks; here it is no positions"
            ))
    }

    @Test func ofATrainingWithThem() throws {
        let sae = try stored(["--sinks", "off"])
        #expect(try settings(sae).settings?["sinks"]?.string == "off")
        let said = try settings(sae, ["--sinks", "10"]).said
        #expect(
            said.contains(
                "was trained with no positions left out as attention sinks; here it is positions above 10.0 times"))
    }

    @Test func ofLiveActivations() throws {
        let sae = try train("live", corpus.dropLast() + ["--layer", "1", "--sinks", "1.5", "--buffer", "1024"])
        let found = try settings(sae)
        #expect(found.settings?["sinks"]?.string == "1.5" && found.settings?["keep_first"]?.string == "1")
    }

    /// Scores, latents and questions about them are of the same positions as evaluations, and say so.
    @Test func whereverAnSAEIsUsed() throws {
        let sae = try stored(["--keep-first", "3", "--sinks", "1.3"])
        try write(ids: (0..<64).map { $0 * 4 }, shape: [2, 32], to: folder.file("ids"))
        let scores = folder.file("scores")
        try succeed(
            ["score", "--model", tiny.model, "--sae", sae, "--tokens", folder.file("ids"), "--scorer", "random"]
                + ["--tau", "0.5", "--out", scores])
        let metadata = try SafetensorsFile(path: scores).metadata
        #expect(metadata["keep_first"] == "3" && metadata["sinks"] == "1.3")
        func latents(_ more: [String]) throws -> String {
            try succeed(["latents", "--sae", sae, "--tokens", "512", "--json"] + corpus + more)
        }
        let own = try latents([])
        #expect(try own == latents(["--keep-first", "3", "--sinks", "1.3"]))
        #expect(try own != latents(["--keep-first", "1", "--sinks", "off"]))
    }

    /// One of another program says nothing of it.
    @Test func whatDoesNotSayIsTakenAsUsual() throws {
        let golden = try Golden("gxa/gxa.safetensors"), sae = folder.file("plain")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        let found = try settings(sae)
        #expect(found.settings?["keep_first"]?.string == "1" && found.settings?["sinks"]?.string == "10.0")
        #expect(!found.said.contains("left out"))
    }

    /// A start's record is not that of rows which do not say where they are of, and other rows are warned of.
    @Test func aStartIsOfOtherRows() throws {
        let sae = try stored(["--keep-first", "3", "--sinks", "1.3"])
        try write("x", randomMatrix(256, 48, seed: 1), shape: [256, 48], to: folder.file("x"))
        func trained(_ name: String, _ rows: [String]) throws -> (provenance: JSONValue?, said: String) {
            let result = try run(
                builtProgram,
                [
                    "train", "--init", sae, "--k", "8", "--batch", "64", "--steps", "3", "--out", folder.file(name),
                    "--quiet",
                ]
                    + rows)
            #expect(result.status == 0, "\(result.errors)")
            return (
                try JSONValue(contentsOf: folder.file(name) + "/cfg.json")["metadata"]?["dmsae"]?["provenance"],
                result.errors
            )
        }
        let plain = try trained("plain", ["--activations", folder.file("x")])
        #expect(plain.provenance?["layer"]?.integer == 1)
        #expect(plain.provenance?["keepFirst"] == nil && plain.provenance?["sinks"] == nil)
        let live = try trained("other", corpus.dropLast() + ["--layer", "1", "--buffer", "1024"])
        #expect(live.provenance?["keepFirst"]?.integer == 1 && live.provenance?["sinks"]?.integer == 10)
        #expect(live.said.contains("the first 3 of each sequence's positions") && live.said.contains("above 1.3 times"))
    }
}
