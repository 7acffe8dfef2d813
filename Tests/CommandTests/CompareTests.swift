import Foundation
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// `compare` and `report` on the attribution golden: the numbers are those that `score` gives, whatever was interrupted.
@Suite struct CompareTests {
    private let folder = TemporaryFolder()
    private let golden: Golden
    private var sae: String { folder.file("sae") }
    private let scorers = ["gxa", "ablation", "ig,steps=2", "frequency", "random"]

    init() throws {
        golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), to: sae)
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
    }

    /// Words of `score` and `compare` alike.
    private var input: [String] {
        [
            "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--layer", "1",
            "--prefix",
            "32", "--sequences", "1", "--keep-first", "0", "--keep-special", "no", "--sinks", "off",
        ]
    }

    private func compare(_ scorers: [String], _ more: [String] = [], out: String) -> [String] {
        ["compare"] + input + scorers.flatMap { ["--scorer", $0] }
            + ["--tau", "0.5", "--draws", "20", "--out", folder.file(out)] + more
    }

    private func record(_ name: String) throws -> [String: Any] {
        let data = Data(contents(of: folder.file(name + "/comparison.json")))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    private func methods(_ record: [String: Any]) throws -> [String: [String: Any]] {
        let list = try #require(record["methods"] as? [[String: Any]])
        return Dictionary(uniqueKeysWithValues: list.map { ($0["name"] as? String ?? "", $0) })
    }

    @Test func scoresCoresAndOverlapsAreThoseOfScore() throws {
        let text = try succeed(compare(scorers, out: "c"))
        #expect(text.contains("Removing the top latents by") && text.hasSuffix("/report.html\n"))
        let record = try record("c"), methods = try methods(record)
        let written = try #require(JSONValue(contentsOf: folder.file("c/comparison.json"))["methods"]?.array)
        #expect(Set(methods.keys) == Set(scorers + ["ablation:first_order", "frequency:mean_activation"]))
        let file = try SafetensorsFile(path: folder.file("c/comparison.safetensors"))
        var cores: [String: Set<Int64>] = [:]
        for scorer in scorers {
            try succeed(
                ["score"] + input + ["--scorer", scorer, "--tau", "0.5", "--out", folder.file("scores-" + scorer)])
            let alone = try SafetensorsFile(path: folder.file("scores-" + scorer))
            let compared = try file.doubles("scores." + scorer)
            let scored = try alone.doubles("scores")
            // `score` writes floats.
            checkClose(compared, scored, tolerance: 1e-7, scorer)
            // Read by our own parser: Foundation's is off by several of the last bits.
            let inRecord = written.first { $0["name"]?.string == scorer }?["scores"]?.array?.compactMap(\.double)
            expectSame(try #require(inRecord), compared, scorer)
            cores[scorer] = Set(try alone.integers("core"))
        }
        let pairs = try #require(record["pairs"] as? [[String: Any]])
        #expect(pairs.count == 7 * 6 / 2)
        let own = pairs.compactMap { pair in
            cores[pair["first"] as? String ?? ""].flatMap { a in
                cores[pair["second"] as? String ?? ""].map { (pair, a, $0) }
            }
        }
        #expect(own.count == 5 * 4 / 2, "pairs of what `score` gives a core of")
        for (pair, a, b) in own {
            let jaccard = Double(a.intersection(b).count) / Double(a.union(b).count)
            let found = try #require((pair["jaccard"] as? [String: Any])?["value"] as? Double)
            #expect(abs(found - jaccard) < 1e-12)
            #expect(abs(try #require((pair["jaccards"] as? [Double])?[0]) - jaccard) < 1e-12)
        }
        // The score is the mean of loss_delta over the sequences, so on one footing with its first-order estimate.
        let footing = try #require((record["footings"] as? [[String: Any]])?.first)
        #expect(footing["estimate"] as? String == "ablation:first_order")
        #expect((footing["pearson"] as? Double ?? 0) > 0.3)
    }

    @Test func whatWasInterruptedGoesOnToTheSameNumbers() throws {
        try succeed(compare(scorers, out: "whole"))
        try succeed(compare(scorers, out: "cut"))
        // What a kill after the second sequence leaves, and after the first method's curves.
        for name in ["scores-2.safetensors", "scores-3.safetensors", "curves-1.json", "curves-2.json"] {
            try FileManager.default.removeItem(atPath: folder.file("cut/parts/" + name))
        }
        for name in ["comparison.json", "comparison.safetensors", "report.html"] {
            try FileManager.default.removeItem(atPath: folder.file("cut/" + name))
        }
        try succeed(compare(scorers, out: "cut"))
        #expect(
            contents(of: folder.file("cut/comparison.safetensors"))
                == contents(of: folder.file("whole/comparison.safetensors")))
        func methods(_ name: String) throws -> [JSONValue] {
            let record = try JSONValue(contentsOf: folder.file(name + "/comparison.json"))
            return try #require(record["methods"]?.array)
        }
        for (a, b) in paired(try methods("whole"), try methods("cut")) {
            let (method, again) = (try #require(a.object), try #require(b.object))
            #expect(Set(method.keys) == Set(again.keys) && method.count > 4, "\(method.keys)")
            for key in method.keys where key != "cost" { #expect(method[key] == again[key], "\(key)") }
        }
        // Parts of one comparison are not taken for another's, and what is another is said.
        for (more, what) in [
            (["--error-term"], "error term false there, true here"),
            (["--keep-first", "1"], "keep first 0 there, 1 here"),
            (["--sequences", "2"], "sequences 1 there, 2 here"), (["--layer", "0"], "layer 1 there, 0 here"),
            (["--budget", "99999"], "budget none there, 99999 here"), (["--sinks", "5"], "sinks off there, 5.0 here"),
            (["--window", "12"], "window none there, 12 here"),
        ] {
            let names = Set(more.filter { $0.hasPrefix("--") })
            var words = compare(scorers, out: "cut")
            for name in names { while let i = words.firstIndex(of: name) { words.removeSubrange(i...i + 1) } }
            try fail(words + more, saying: "scores-0.safetensors is the state of another pass", what)
        }
        // The same paths, other bytes.
        let ids = contents(of: folder.file("ids"))
        try write(
            ids: Array(try golden.file.integers("input_ids").reversed()), shape: [4, 24], to: folder.file("ids"))
        try fail(compare(scorers, out: "cut"), saying: "the state of another pass (other tokens)")
        try AtomicFile.write(ids, to: folder.file("ids"))
        try writeSAE(golden, threshold: Float(try golden.number("threshold")) * 1.01, to: sae)
        try fail(compare(scorers, out: "cut"), saying: "the state of another pass (other SAE)")
    }

    @Test func aScorerThatLooksAtAllInOrderHasItsScoresAndCurvesButNoIntervals() throws {
        let mask = "mattr,steps=10", scorers = ["gxa", mask]
        try succeed(compare(scorers, out: "c"))
        try succeed(["score"] + input + ["--scorer", mask, "--tau", "0.5", "--out", folder.file("s")])
        let scores = try SafetensorsFile(path: folder.file("s")).doubles("scores")
        let file = try SafetensorsFile(path: folder.file("c/comparison.safetensors"))
        // `score` writes floats.
        checkClose(try file.doubles("scores." + mask), scores, tolerance: 1e-7, mask)
        #expect(scores.contains { $0 > 0 } && scores.contains { $0 < 0 })
        let method = try #require(try methods(record("c"))[mask])
        #expect(method["halves"] == nil && method["faithfulness"] != nil)
        // Ten steps on four sequences; nothing else was asked.
        #expect((method["cost"] as? [String: Any])?["evaluations"] as? Int == 10)
        // Cut short before its last sequence it looks at all again, and comes to the same.
        let made = contents(of: folder.file("c/comparison.safetensors"))
        for name in ["parts/scores-3.safetensors", "comparison.json", "comparison.safetensors"] {
            try FileManager.default.removeItem(atPath: folder.file("c/" + name))
        }
        try succeed(compare(scorers, out: "c"))
        #expect(contents(of: folder.file("c/comparison.safetensors")) == made)
        // Kept parts are taken up as they are.
        try FileManager.default.removeItem(atPath: folder.file("c/comparison.safetensors"))
        try succeed(compare(scorers, out: "c"))
        #expect(contents(of: folder.file("c/comparison.safetensors")) == made)
    }

    @Test func whatIsLeftOfTwoIsNoComparison() throws {
        let odd = try scorer("strcpy(call->error, \"two is too many\"); return DMSAE_ERR_FAILED;")
        try fail(
            compare(["gxa", odd], out: "c"),
            saying: "only gxa is left, and a comparison needs two: \(odd) is left out (", "two is too many",
            "into another folder")
        #expect(!isThere(folder.file("c/comparison.json")))
    }

    /// Its core would be empty, and its curves those of latents in the order of their numbers.
    @Test func aMethodWithoutAPositiveScoreIsLeftOutAndSaysWhy() throws {
        let none = try scorer("", scores: "0")
        let why =
            "none of 32 candidate latents has a positive quantile:0.99 over 96 tokens, so there is no core to select"
        let result = try run(builtProgram, compare(["gxa", none, "frequency"], out: "c"))
        #expect(
            result.status == 0 && result.errors.contains("warning: \(none) is left out: \(why)"), "\(result.errors)")
        let record = try record("c")
        #expect(try methods(record)[none] == nil)
        #expect((record["summary"] as? [String])?.contains { $0.hasPrefix("\(none) is left out: \(why)") } == true)
        let page = String(decoding: contents(of: folder.file("c/report.html")), as: UTF8.self)
        #expect(page.contains("is left out: none of 32 candidate latents"))
        try fail(
            compare(["gxa", none], out: "d"),
            saying: "only gxa is left, and a comparison needs two: \(none) is left out (",
            why)
    }

    @Test func nothingScoredOrAveragedIsAnError() throws {
        var words = compare(["gxa", "frequency"], out: "c")
        let first = try #require(words.firstIndex(of: "--keep-first"))
        words[first + 1] = "24"
        try fail(words, saying: "all of 96 tokens are kept as the model's own", "relax --keep-first")
        // The last position of each sequence is scored, and predicts nothing.
        var last = compare(["gxa", "frequency"], out: "e")
        last[first + 1] = "23"
        let nothing = "no loss that is averaged depends on a reconstruction: in all sequences of 96 tokens"
        try fail(last, saying: nothing)
        #expect(!isThere(folder.file("e/comparison.json")))
        // Nor does it in shorter sequences of the curves.
        try write(ids: (0..<42).map { $0 + 3 }, shape: [2, 21], to: folder.file("short"))
        last = compare(["gxa", "frequency"], ["--curve-tokens", folder.file("short")], out: "f")
        last[first + 1] = "20"
        try fail(last, afterWarnings: true, saying: nothing.replacing("96", with: "42"))
        for scorer in ["gxa", "frequency"] {
            try fail(
                ["score"] + input.map { $0 == "0" ? "23" : $0 } + ["--scorer", scorer, "--out", folder.file("s")],
                afterWarnings: true, saying: nothing)
        }
        // Nor by parts of the pass.
        let parts =
            ["score"] + input.map { $0 == "0" ? "23" : $0 } + ["--scorer", "frequency", "--out", folder.file("s")]
        for i in 1...2 { try succeed(parts + ["--shard", "\(i)/2", "--checkpoint", folder.file("part\(i)")]) }
        try fail(parts + ["--merge", folder.file("part1"), "--merge", folder.file("part2")], saying: nothing)
        #expect(!isThere(folder.file("c/comparison.json")))
        // 0 is a special token of the model: of curves over nothing but it no loss is averaged.
        let configuration = try JSONValue(contentsOf: fixture("models/llama/config.json"))
        let special = Int64(
            try #require(configuration["eos_token_id"]?.integer ?? configuration["bos_token_id"]?.integer))
        try write(ids: [Int64](repeating: special, count: 48), shape: [2, 24], to: folder.file("special"))
        var kept = compare(["gxa", "frequency"], ["--curve-tokens", folder.file("special")], out: "d")
        let choice = try #require(kept.firstIndex(of: "--keep-special"))
        kept[choice + 1] = "yes"
        try fail(
            kept, saying: "no loss of the curves' 48 tokens enters an average", "--curve-sequences 0 for no curves")
    }

    @Test func aRecordHoldsEverySettingAndNoTextForANumber() throws {
        try succeed(compare(["gxa", "random,seed=3"], ["--seed", "7", "--over", "active"], out: "c"))
        let text = String(decoding: contents(of: folder.file("c/comparison.json")), as: UTF8.self)
        #expect(!text.contains("\"nan\"") && !text.contains("inf\"") && !text.contains("NaN"))
        let settings = try #require(try record("c")["settings"] as? [String: String])
        for (name, value) in [
            ("layer", "1"), ("prefix", "32"), ("keep_first", "0"), ("keep_special", "no"), ("sinks", "off"),
            ("seed", "7"),
            ("over", "active"), ("aggregate", "quantile:0.99"), ("signed", "false"), ("tau", "0.5"), ("draws", "20"),
            ("error_term", "false"), ("window", "none"), ("sequences", "1"), ("decoder_norms", "unit"),
            ("budget", "none"),
        ] {
            #expect(settings[name] == value, "\(name)")
        }
        #expect(settings["tokens.sha256"] == (try SHA256.hexadecimal(ofFile: folder.file("ids"))))
        #expect(settings["scorers"]?.contains("random") == true && settings["scorers"]?.contains("seed=3") == true)
    }

    @Test func cellsOfTheTableKeepAGap() throws {
        let library = folder.file("点数の名前がとても長いファイル名のプラグイン.so")
        _ = try scorer("")
        try FileManager.default.moveItem(atPath: folder.file("odd.so"), toPath: library)
        let result = try run(
            builtProgram, compare([library, "frequency", "gxa"], ["--curve-sequences", "0"], out: "c"))
        #expect(result.status == 0, "\(result.errors)")
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
        let head = try #require(lines.firstIndex { $0.hasPrefix("method") })
        // "core" stands in the second column, two blanks after the longest name at least; heads and cells end below each other.
        #expect(lines[head].contains("  core  ") && lines[head].contains("  ρ with \(library)  "))
        let rows = lines[(head + 1)...].prefix(4)
        #expect(rows.count == 4)
        for line in rows {
            #expect(line.split(separator: " ", omittingEmptySubsequences: true).count >= 9, "\(line)")
        }
    }

    /// A scorer that does `what` at the third sequence of the pass.
    private func scorer(_ what: String, scores: String = "batch->codes->values[e]") throws -> String {
        let path = folder.file("odd.c"), library = folder.file("odd.so")
        try AtomicFile.write(
            """
            #include <stdlib.h>
            #include <string.h>
            #include "dmsae/single_scorer.h"
            static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
                if (batch->first_sequence == 2) { \(what) }
                for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = \(scores);
                return DMSAE_OK;
            }
            DMSAE_SINGLE_SCORER("odd", "1", "MIT", "goes wrong", 0, score)
            """, to: path)
        let compiled = try run(
            "/usr/bin/env",
            ["cc", "-shared", "-fPIC", "-fvisibility=hidden", "-I", fixture("../../Include"), path, "-o", library])
        #expect(compiled.status == 0, "\(compiled.errors)")
        return library
    }

    @Test(arguments: [
        ("strcpy(call->error, \"two is too many\"); return DMSAE_ERR_FAILED;", "two is too many"),
        ("abort();", "SIGABRT"),
    ]) func aScorerThatFailsIsReportedAndTheOthersFinish(_ what: String, _ word: String) throws {
        let result = try run(builtProgram, compare(["gxa", try scorer(what), "frequency"], out: "c"))
        #expect(result.status == 0 && result.errors.contains("is left out: ") && result.errors.contains(word))
        let record = try record("c")
        #expect(Set(try methods(record).keys) == ["gxa", "frequency", "frequency:mean_activation"])
        let failures = try #require(record["failures"] as? [[String: Any]])
        #expect(failures.count == 1 && "\(failures)".contains(word))
        #expect((record["summary"] as? [String])?.contains { $0.contains("odd.so is left out: ") } == true)
    }

    @Test func whatACrashLeftOutIsOnRecord() throws {
        let words = ["score"] + input + ["--scorer", try scorer("abort();"), "--tau", "0.5", "--out", folder.file("s")]
        try fail(words, saying: "SIGABRT")
        let library = folder.file("odd.so")
        let result = try run(builtProgram, words + ["--on-plugin-crash", "skip", "--json"])
        #expect(result.status == 0 && result.errors.contains("sequences 2 to 2 are left out"))
        let json = try JSONValue(parsing: result.output)
        #expect(json["left_out_sequences"]?.array?.compactMap(\.integer) == [2])
        #expect(json["scored_tokens"]?.integer == 72)
        let metadata = try SafetensorsFile(path: folder.file("s")).metadata
        #expect(metadata["left_out_sequences"] == "[2]" && metadata["scorer.id"] == "odd")
        #expect(metadata["scorer.sha256"] == (try SHA256.hexadecimal(ofFile: library)))
    }

    @Test func aBudgetIsKeptToAndHasErrors() throws {
        try succeed(compare(["gxa", "ablation"], ["--budget", "90"], out: "c"))
        let ablation = try #require(try methods(try record("c"))["ablation"])
        let cost = try #require(ablation["cost"] as? [String: Any])
        #expect((40...90).contains(cost["evaluations"] as? Int ?? 0))
        #expect(ablation["relative_standard_error"] as? Double != nil)
        // A time becomes a number, which a second start takes up.
        try succeed(compare(["gxa", "ablation"], ["--budget", "2s"], out: "t"))
        let kept = contents(of: folder.file("t/parts/budget.json"))
        try succeed(compare(["gxa", "ablation"], ["--budget", "2s"], out: "t"))
        #expect(contents(of: folder.file("t/parts/budget.json")) == kept)
        for bad in ["0", "-3", "soon", "0min", "min", "infs"] {
            try fail(compare(["gxa", "ablation"], ["--budget", bad], out: "b"), status: 64, saying: "budget")
        }
    }

    @Test func windowsAreSequencesOfTheirOwn() throws {
        try succeed(compare(["gxa", "ablation"], ["--window", "10"], out: "c"))
        // Two windows of ten tokens in each sequence of 24.
        let record = try record("c")
        #expect(record["sequences"] as? Int == 8 && record["length"] as? Int == 10)
        let ids = try golden.file.integers("input_ids")
        let windows = (0..<4).flatMap { s in Array(ids[s * 24..<s * 24 + 20]) }
        try write(ids: windows, shape: [8, 10], to: folder.file("windows"))
        let words = input.map { $0 == folder.file("ids") ? folder.file("windows") : $0 }
        try succeed(["score"] + words + ["--scorer", "ablation", "--tau", "0.5", "--out", folder.file("s")])
        let largest = try SafetensorsFile(path: folder.file("s")).doubles("scores")
        let compared = try SafetensorsFile(path: folder.file("c/comparison.safetensors")).doubles("scores.ablation")
        #expect(largestDifference(compared, largest) < 1e-6)
        try fail(
            compare(["gxa", "ablation"], ["--window", "25"], out: "b"), status: 64, saying: "25", "have 24 tokens")
        try fail(compare(["gxa", "ablation"], ["--window", "1"], out: "b"), status: 64, saying: "at least 2")
    }

    @Test func theReportIsMadeAgainFromTheRecord() throws {
        try succeed(compare(["gxa", "frequency"], ["--curve-sequences", "2"], out: "c"))
        let made = contents(of: folder.file("c/report.html"))
        let text = String(decoding: made, as: UTF8.self)
        for id in [
            "methods", "agreement", "coverage", "faithfulness", "ranks", "cost", "sensitivity", "latents",
        ] {
            #expect(text.contains("id=\"\(id)\""), "\(id)")
        }
        try succeed(["report", folder.file("c"), "--out", folder.file("again.html")])
        #expect(contents(of: folder.file("again.html")) == made)
        try fail(["report", folder.path], saying: "neither run.json")
        try AtomicFile.write("{", to: folder.file("c/comparison.json"))
        try fail(["report", folder.file("c")], saying: "comparison.json")
    }

    @Test func whatCannotBeComparedIsRefusedAtOnce() throws {
        try fail(compare(["gxa"], out: "b"), status: 64, saying: "two scorers or more")
        try fail(compare(["gxa", "gxa"], out: "b"), status: 64, saying: "scorer gxa is given twice")
        try fail(
            compare(["gxa", "random", "random,seed=00"], out: "b"), status: 64,
            saying: "scorers random and random,seed=00 are one: random, with the same settings (seed=0)")
        let shipped = String(builtProgram.dropLast("dmsae".count) + "libdmsae-plugin-gxa.so")
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("other.so"), withDestinationPath: shipped)
        try fail(
            compare([shipped, "frequency", folder.file("other.so")], out: "b"), status: 64,
            saying: "\(shipped) and \(folder.file("other.so")) are one: gxa, with the same settings; give each once")
        try fail(compare(["gxa", "gxb"], out: "b"), saying: "gxb")
        try fail(
            compare(["gxa", "random"], ["--aggregate", "median"], out: "b"), saying: "\"median\" is no aggregate")
        try fail(compare(["gxa", "random"], ["--tau", "0"], out: "b"), saying: "τ is 0.0")
        for (few, message) in [
            (["--draws", "0"], "--draws is 0; it must be at least 20"),
            (["--draws", "19"], "--draws is 19; it must be at least 20"),
            (["--curve-sequences", "1"], "--curve-sequences is 1; it must be 0, or 2 or more for an interval"),
        ] {
            try fail(compare(["gxa", "random"], few, out: "b"), status: 64, saying: message)
        }
        // An interval of one sequence has no width, and would find every difference.
        try write(
            ids: Array(try golden.file.integers("input_ids").prefix(24)), shape: [1, 24], to: folder.file("one"))
        for few in ["--tokens", "--curve-tokens"] {
            try fail(
                compare(["gxa", "random"], [few, folder.file("one")], out: "b"), status: 64,
                saying: "one holds one sequence", "give two or more")
        }
        try fail(
            compare(["gxa", "random"], ["--curve-tokens", folder.file("none")], out: "b"), saying: "none")
    }
}
