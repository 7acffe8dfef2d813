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
        let html = String(decoding: contents(of: page), as: UTF8.self)
        #expect(html.contains("Latent 9"))
        for context in contexts {
            let words = try #require(context["tokens"] as? [String]), peak = try #require(context["peak"] as? Int)
            #expect(text.contains("[\(words[peak].replacing("\n", with: "⏎"))]"))
        }
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
