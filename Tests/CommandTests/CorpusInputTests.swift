import Distillation
import Foundation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Text and tokens as people bring them: packed, several files, ids instead of text, documents alone, tokens left out.
@Suite struct CorpusInputTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws { tiny = try TinyModel() }

    private func corpus(_ name: String) -> String { fixture("corpus/" + name) }

    private func tokenize(_ arguments: String...) throws -> JSONValue {
        try #require(
            try JSONValue(
                parsing: succeed(["lm", "tokenize", "--model", tiny.model, "--json", "--quiet"] + arguments))[
                    "input_ids"])
    }

    private func harvest(_ text: String, _ out: String, _ more: String...) throws -> ActivationStoreRecord {
        let printed = try succeed(
            ["harvest", "--model", tiny.model, "--layer", "1", "--text", text, "--context", "32", "--tokens", "640"]
                + ["--out", folder.file(out), "--json", "--quiet"] + more)
        return try JSONRecord.decode(ActivationStoreRecord.self, from: printed, in: out)
    }

    private func rows(_ out: String, _ more: String...) throws -> String {
        try succeed(
            ["lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--rows", "30", "--out"]
                + [folder.file(out), "--quiet"] + more)
        return folder.file(out)
    }

    @Test func packedTextHasTheTokensOfTheTextInIt() throws {
        let plain = try (0..<4).map { try tokenize("--text", try text("\($0).txt", "document \($0) is here")) }
        let joined = plain.map { $0.array ?? [] }.joined(separator: [.integer(0)])
        for name in ["members.jsonl.gz", "frames.jsonl.zst"] {
            #expect(try tokenize("--text", corpus(name)).array == Array(joined))
            #expect(try tokenize("--text", corpus(name), "--pack", "no").array == plain)
        }
        let lines = try succeed([
            "lm", "tokenize", "--model", tiny.model, "--text", corpus("members.jsonl.gz"), "--pack", "no",
        ])
        #expect(lines.split(separator: "\n").count == 4)
        let other = try tokenize("--text", corpus("members.jsonl.gz"), "--text-key", "body", "--pack", "no")
        #expect(other.array?[2] == (try tokenize("--text", try text("other.txt", "another text 2"))))
        try fail(
            ["lm", "tokenize", "--model", tiny.model, "--text", corpus("members.jsonl.gz"), "--text-key", "title"],
            saying:
                "members.jsonl.gz, line 1: there is no member \"title\" (--text-key, in a recipe text_key, names another)"
        )
        // Two texts, in the order given.
        let (first, second) = (folder.file("0.txt"), folder.file("1.txt"))
        #expect(
            try tokenize("--text", second, "--text", first).array
                == (plain[1].array ?? []) + [.integer(0)] + (plain[0].array ?? []))
        try AtomicFile.write(Array(contents(of: corpus("long.txt.gz")).dropLast(100)), to: folder.file("cut.txt.gz"))
        try fail(
            ["lm", "tokenize", "--model", tiny.model, "--text", folder.file("cut.txt.gz")],
            saying: "cut.txt.gz: it is cut short; check it with gzip -t, and fetch it again")
    }

    private func text(_ name: String, _ content: String) throws -> String {
        try AtomicFile.write(content, to: folder.file(name))
        return folder.file(name)
    }

    @Test func tokensInThePlaceOfTextAreTheSameStore() throws {
        let ofText = try harvest(tiny.text, "a"), ofRows = try harvest(try rows("rows.safetensors"), "b")
        #expect(ofText.shardHashes == ofRows.shardHashes && ofText.rows > 0)
        #expect(ofText.hashes["text"] != ofRows.hashes["text"])
        // A model that was made for ids has no tokenizer, and needs none.
        remove(tiny.model + "/tokenizer.json")
        remove(tiny.model + "/tokenizer_config.json")
        #expect(try harvest(folder.file("rows.safetensors"), "c", "--keep-special", "no").rows > 0)
        #expect(try harvest(corpus("ids.bin"), "d", "--token-type", "u16").tokens == 640)
        try fail(
            ["harvest", "--model", tiny.model, "--layer", "1", "--text", corpus("rows.npy"), "--context", "16"]
                + ["--tokens", "64", "--out", folder.file("e")],
            saying: "rows.npy holds rows of 32 tokens, and sequences are to have 16; give --context 32")
        try fail(
            ["harvest", "--model", tiny.model, "--layer", "1", "--text", corpus("ids.bin"), "--tokens", "64", "--out"]
                + [folder.file("e")],
            saying: "ids.bin: a .bin file does not say how wide its token ids are; give --token-type u16 or u32")
    }

    @Test func documentsAloneArePaddedAndPaddingIsCountedNowhere() throws {
        let rows = try rows("rows.safetensors", "--pack", "no")
        let file = try SafetensorsFile(path: rows)
        let marks = try file.integers("attention_mask")
        // Forty words and more are two rows or three of 32 tokens, the last of them padded.
        #expect(marks.contains(0) && marks.contains(1) && marks.count == 960)
        let ofText = try harvest(tiny.text, "a", "--pack", "no"), ofRows = try harvest(rows, "b")
        #expect(ofText.shardHashes == ofRows.shardHashes)
        let padding = marks[..<640].count { $0 == 0 }
        #expect(ofText.droppedPadding == padding && ofText.settings?["pack"] == "no")
        // 20 first positions, and whatever else is special or a sink.
        #expect(
            ofText.rows == 640 - padding - ofText.droppedSpecial - ofText.droppedSinks && ofText.droppedSpecial >= 20)
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        func eval(_ text: String, _ more: String...) throws -> String {
            try succeed(
                ["eval", "--model", tiny.model, "--sae", folder.file("sae"), "--text", text, "--tokens", "640"]
                    + ["--context", "32", "--json", "--quiet"] + more)
        }
        let alone = try eval(tiny.text, "--pack", "no")
        #expect(try alone == eval(rows))
        #expect(try alone != eval(tiny.text))
        #expect(try JSONValue(parsing: alone)["tokens"]?.integer == ofText.rows)
    }

    @Test func excludedTokensCountNowhereAndAreRecorded() throws {
        let the = try #require(try tokenize("--text", try text("the.txt", "x the")).array?.last?.integer)
        let plain = try harvest(tiny.text, "a")
        let without = try harvest(tiny.text, "b", "--exclude-tokens", "\(the)", "--exclude-tokens", "<|im_start|>")
        #expect(Set(without.specialTokens) == Set(plain.specialTokens).union([Int32(the), 1]))
        #expect(without.settings?["exclude_tokens"] == "1,\(the)" && plain.settings?["exclude_tokens"] == nil)
        let ids = try SafetensorsFile(path: try rows("rows.safetensors")).integers("input_ids")[..<640]
        let firsts = stride(from: 0, to: 640, by: 32).count { ids[$0] == the }
        let count = ids.count { $0 == the }
        #expect(count > firsts && without.droppedSpecial - plain.droppedSpecial == count - firsts)
        try fail(
            [
                "harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--tokens", "64", "--context",
                "32",
            ]
                + ["--exclude-tokens", "two words", "--out", folder.file("c")],
            saying: "no token \"two words\": it is ", " tokens (",
            "), not one; dmsae lm tokenize shows the ids of a text")
        // Not even a note where nobody asked.
        let shown = try run(
            builtProgram,
            ["lm", "tokenize", "--model", tiny.model, "--text", folder.file("the.txt"), "--exclude-tokens", "\(the),0"])
        #expect(
            shown.status == 0 && shown.errors.contains("excluded: 0 \"<|endoftext|>\", \(the) ")
                && shown.errors.contains("at 1 position\n"))
        // Scores know of it, and a checkpoint of other exclusions is not gone on from.
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        let score =
            ["score", "--model", tiny.model, "--sae", folder.file("sae"), "--tokens", folder.file("rows.safetensors")]
            + [
                "--scorer", "frequency", "--checkpoint", folder.file("state"), "--out", folder.file("scores"),
                "--quiet",
            ]
        try succeed(score + ["--exclude-tokens", "\(the)"])
        #expect(try SafetensorsFile(path: folder.file("scores")).metadata["exclude_tokens"] == "\(the)")
        try fail(score, saying: "state is the state of another pass (other exclude tokens)")
    }

    @Test func aDistillationOfTokensDocumentsAloneAndExclusions() throws {
        let recipe = folder.file("r.yaml"), run = folder.file("run")
        try tiny.writeRecipe(to: recipe)
        let rows = try succeed(
            ["lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--rows", "400", "--out"]
                + [folder.file("rows.safetensors"), "--pack", "no", "--quiet"])
        #expect(rows.contains("positions of padding"))
        let text = ["--set", "text=\(folder.file("rows.safetensors"))"]
        let settings = ["--set", "exclude_tokens=[5, \"<|im_start|>\"]", "--quiet"]
        try succeed(["distill", recipe, "--out", run] + text + settings)
        let store = try JSONRecord.read(ActivationStoreRecord.self, from: run + "/store/store.json")
        #expect(store.droppedPadding ?? 0 > 0 && store.specialTokens.contains(5))
        // The same from the text itself: the same rows.
        let again = folder.file("again")
        try succeed(["distill", recipe, "--out", again, "--set", "pack=false"] + settings)
        let other = try JSONRecord.read(ActivationStoreRecord.self, from: again + "/store/store.json")
        #expect(store.shardHashes == other.shardHashes)
        try fail(
            ["distill", recipe, "--out", again, "--set", "pack=false", "--resume", "--quiet"], saying: "exclude_tokens")
    }

    @Test func shardsOfOtherProgramsAreTrainedOnAndRecorded() throws {
        let pattern = corpus("x*.npy")
        let numbers = (0..<1600).map { (i: Int) -> Float in Float(i * 37 % 257 - 128) / 32 }
        try write("x", Matrix(rows: 200, columns: 8, numbers), to: folder.file("x"))
        func train(_ activations: String, _ out: String, _ more: String...) throws -> SafetensorsFile {
            try succeed(
                ["train", "--activations", activations, "--width", "32", "--k", "4", "--batch", "64", "--steps", "6"]
                    + ["--input-scale", "none", "--out", folder.file(out), "--quiet"] + more)
            return try SafetensorsFile(path: folder.file(out) + "/sae_weights.safetensors")
        }
        // In their order they are the rows of one file.
        let one = try train(folder.file("x"), "a", "--no-shuffle"), shards = try train(pattern, "b", "--no-shuffle")
        for name in ["W_enc", "W_dec", "b_enc", "b_dec"] {
            #expect(try one.matrix(name).values == shards.matrix(name).values)
        }
        let hashes = try SAEFolder.read(folder.file("b")).provenance.hashes ?? [:]
        for name in ["x0.npy", "x1.npy", "x2.npy"] {
            #expect(hashes["activations \(name)"] == (try SHA256.hexadecimal(ofFile: corpus(name))))
        }
        // Shuffled, the seed decides.
        let first = try train(pattern, "c").matrix("W_enc").values
        #expect(try train(pattern, "d").matrix("W_enc").values == first)
        #expect(try train(pattern, "e", "--seed", "2").matrix("W_enc").values != first)
        try fail(
            ["train", "--activations", folder.file("*.npy"), "--width", "32", "--k", "4", "--steps", "2", "--out"]
                + [folder.file("f")], saying: "*.npy: no .npy and no .safetensors file is there; give a store")
    }
}
