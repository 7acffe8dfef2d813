import Foundation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// `latents` on the small Llama model with a tokenizer of its own.
@Suite struct LatentsTests {
    private let tiny: TinyModel
    private let folder = TemporaryFolder()
    private var sae: String { folder.file("sae") }

    init() throws {
        tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
    }

    private func latents(_ more: [String]) -> [String] {
        ["latents", "--model", tiny.model, "--sae", sae, "--text", tiny.text, "--tokens", "512", "--context", "32"]
            + more
    }

    private func records(_ more: [String]) throws -> [[String: Any]] {
        let text = try succeed(latents(more + ["--json"]))
        return try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
    }

    @Test func theListIsTheOneAskedFor() throws {
        #expect(try records(["--latents", "9,3,127"]).map { $0["latent"] as? Int } == [9, 3, 127])
        let often = try records(["--count", "5"])
        let frequencies = often.compactMap { $0["frequency"] as? Double }
        #expect(frequencies.count == 5 && frequencies == frequencies.sorted(by: >) && frequencies[4] > 0)
        // A core's latents, highest score first: from the tokens that `score` and `select` see.
        let tokens = folder.file("ids")
        try succeed(
            [
                "lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--rows", "8", "--out",
                tokens,
            ])
        try succeed(
            [
                "score", "--model", tiny.model, "--sae", sae, "--tokens", tokens, "--prefix", "32", "--out",
                folder.file("s"),
            ])
        try succeed([
            "select", "--scores", folder.file("s"), "--tau", "0.3", "--sae", sae, "--out", folder.file("core"),
        ])
        let core = try SafetensorsFile(path: folder.file("s")).doubles("scores")
        let order = core.indices.sorted { (core[$0], $1) > (core[$1], $0) }
        let shown = try records(["--core", folder.file("core/core.json"), "--count", "4"]).map { $0["latent"] as? Int }
        #expect(shown == order.prefix(4).map { $0 })
        // An index means nothing in another SAE.
        let (other, provenance) = try SAEFolder.read(sae)
        for j in 0..<128 { other.encoder[j, 0] += 1 }
        try SAEFolder.write(other, provenance, to: folder.file("other"))
        let words = latents(["--core", folder.file("core/core.json")])
            .map { $0 == sae ? folder.file("other") : $0 }
        try fail(words, saying: "core.json is of another SAE: the encoder vector of its latent", "selected from")
        try FileManager.default.removeItem(atPath: folder.file("core/core.safetensors"))
        let result = try run(builtProgram, latents(["--core", folder.file("core/core.json")]))
        #expect(result.status == 0 && result.errors.contains("nothing says that its latents are those of \(sae)"))
    }

    private func data(_ id: String, in html: String) throws -> JSONValue {
        let parts = html.components(separatedBy: "<script type=\"application/json\" id=\"\(id)\">")
        return try JSONValue(parsing: try #require(parts.last?.components(separatedBy: "</script>").first))
    }

    @Test func nothingToLookAtIsAnError() throws {
        try fail(latents(["--keep-first", "32"]), saying: "all of 512 tokens are kept as the model's own")
        let (dead, provenance) = try SAEFolder.read(sae)
        dead.inference = .threshold(1e30)
        try SAEFolder.write(dead, provenance, to: sae)
        try fail(latents([]), saying: "none of 128 latents fires on", "--layer that the SAE was trained on")
    }

    @Test func theTerminalAndThePageShowTheSameContexts() throws {
        let page = folder.file("latents.html")
        let text = try succeed(latents(["--latents", "9", "--contexts", "2", "--html", page]))
        let record = try #require(try records(["--latents", "9", "--contexts", "2"]).first)
        #expect(
            text.hasPrefix("latent 9: fires on ") && text.contains("  promotes    \"") && text.hasSuffix(page + "\n"))
        let contexts = try #require(record["contexts"] as? [[String: Any]])
        #expect(contexts.count == 2)
        // The page has them as data, which its script shows (`.ci/reports` looks at it).
        let html = String(decoding: contents(of: page), as: UTF8.self)
        let (details, index) = (try data("latents-0", in: html), try data("latents-index", in: html))
        let texts = details["texts"]?.array?.compactMap(\.string) ?? []
        let top = try #require(details["latents"]?.array?.first?["top"]?.array)
        #expect(top.count == 2 && index["latents"]?.array?.first?["j"]?.integer == 9)
        for (context, shown) in zip(contexts, top) {
            let words = try #require(context["tokens"] as? [String])
            let numbers = shown.array?.first?.array?.compactMap(\.integer) ?? []
            #expect(numbers.map { texts[$0] } == words.map { $0.replacing("\n", with: "⏎") })
            #expect(shown.array?[1].integer == context["peak"] as? Int)
        }
        for context in contexts {
            let words = try #require(context["tokens"] as? [String]), peak = try #require(context["peak"] as? Int)
            #expect(text.contains("[\(words[peak].replacing("\n", with: "⏎"))]"))
        }
    }

    /// The tools themselves are asked in `Tests/Peers/exports.py`.
    @Test(arguments: ["saedashboard", "neuronpedia", "delphi"])
    func latentsAreExportedWithWhatACoreAndMethodsSayOfThem(_ format: String) throws {
        let (tokens, scores, core, out) = (
            folder.file("ids"), folder.file("s"), folder.file("core"), folder.file("out")
        )
        try succeed([
            "lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--rows", "4", "--out",
            tokens,
        ])
        try succeed([
            "score", "--model", tiny.model, "--sae", sae, "--tokens", tokens, "--prefix", "32", "--out", scores,
        ])
        try succeed(["select", "--scores", scores, "--tau", "0.3", "--sae", sae, "--out", core])
        let said = try succeed(
            latents([
                "--core", core + "/core.json", "--all", "--scores", scores, "--export", format, "--out", out, "--about",
                "set=res", "--about", "title=a=b",
            ]))
        let record = try JSONValue(contentsOf: out + "/export.json")
        let count = try #require(record["latents"]?.integer)
        #expect(said.hasPrefix("\(count) of 128 latents on ") && said.contains("for \(format), in ") && count > 32)
        #expect(record["about"]?["SAE sae_weights.safetensors.sha256"]?.string?.count == 64)
        let marks = String(decoding: contents(of: out + "/dmsae.jsonl"), as: UTF8.self).split(separator: "\n")
            .compactMap { try? JSONValue(parsing: String($0)) }
        #expect(marks.count == count)
        let listed = try #require(try JSONValue(contentsOf: core + "/core.json")["latents"]?.array)
        let ranked = marks.filter { $0["core_rank"] != nil }.sorted {
            $0["core_rank"]!.integer! < $1["core_rank"]!.integer!
        }
        #expect(
            ranked.map { $0["latent"] } == listed.map { $0["index"] } && ranked.allSatisfy { $0["born"]?.integer == 0 })
        #expect(marks.count { $0["scores"]?["gxa"] != nil } == marks.count { ($0["latent"]?.integer ?? 99) < 32 })
        // The core alone, where all are not asked for; and no second export into the folder.
        let words = latents(["--core", core + "/core.json", "--export", format, "--out", folder.file("few")])
        #expect(try succeed(words).hasPrefix("\(listed.count) of 128 latents"))
        try fail(words, saying: "few is not empty", "choose another --out")
    }

    /// More latents than fit: details beside the page, a hundred a file, the numbers of their latents in order.
    @Test func aPageOfManyLatentsHasItsDetailsBesideIt() throws {
        let many = (0..<1001).map { "\($0 % 128)" }.joined(separator: ",")
        let said = try succeed(
            latents(["--latents", many, "--count", "1001", "--html", folder.file("many.html"), "--quiet"]))
        #expect(said.hasSuffix("\n" + folder.file("many.html") + "\n"))
        #expect(said.components(separatedBy: ": fires on ").count == 21, "the first twenty are printed too")
        let html = String(decoding: contents(of: folder.file("many.html")), as: UTF8.self)
        #expect(
            try data("latents-index", in: html)["folder"]?.string == "many-latents"
                && !html.contains("id=\"latents-0\""))
        #expect(try namesInFolder(folder.file("many-latents")).count == 11)
        let last = try JSONValue(contentsOf: folder.file("many-latents/10.json"))
        #expect(last["latents"]?.array?.map { $0["j"]?.integer } == [1000 % 128])
    }

    @Test func anExportIsAskedForInFull() throws {
        let out = folder.file("out")
        try fail(latents(["--export", "delphi"]), status: 64, saying: "--export and --out go together")
        try fail(latents(["--out", out]), status: 64, saying: "--export and --out go together")
        try fail(latents(["--about", "set=x"]), status: 64, saying: "--about is of an --export")
        let export = ["--export", "neuronpedia", "--out", out, "--about"]
        try fail(
            latents(export + ["sett=x"]), status: 64, saying: "--about sett=x is none of model=TEXT",
            "did you mean set?")
        try fail(latents(export + ["set=x", "--about", "set=y"]), status: 64, saying: "--about says set twice")
        try fail(latents(["--all", "--latents", "3"]), status: 64, saying: "give --all or --latents, not both")
        try fail(latents(export + ["set=../x"]), saying: "the set's name \"../x\" becomes a folder")
        #expect(try namesInFolder(out) == [])
        try fail(latents(export + ["set=x", "--scores", sae + "/sae_weights.safetensors"]), saying: "\"scores\"")
    }

    @Test func whatIsNotThereIsRefused() throws {
        try fail(latents(["--latents", "128"]), status: 64, saying: "latent 128", "128, 0 to 127")
        try fail(latents(["--latents", "1", "--core", "c"]), status: 64, saying: "not both")
        try fail(latents(["--count", "0"]), status: 64, saying: "--count")
        try fail(latents(["--core", folder.file("none.json")]), saying: "none.json")
        try writeSAE(try Golden("gxa/gxa.safetensors"), layer: 1, to: sae)
        try fail(latents([]), saying: "threshold")
    }
}
