import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// `score`, `select`, `encode`, `decode` on the attribution golden: 1e-4 of the largest score, 2e-5 forward, index
/// sets equal. Golden scores are of the mean loss over 92 positions, ours of the sum.
@Suite struct ScoreTests {
    private let folder = TemporaryFolder()
    private let golden: Golden
    private var sae: String { folder.file("sae") }

    init() throws {
        golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), to: sae)
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
        try write("x", try golden.matrix("x"), shape: [96, 48], to: folder.file("x"))
    }

    private func score(_ more: [String], layer: String? = "1", out: String = "scores") throws -> SafetensorsFile {
        try succeed(
            ["score", "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--out"]
                + [folder.file(out)] + (layer.map { ["--layer", $0] } ?? []) + more)
        return try SafetensorsFile(path: folder.file(out))
    }

    private let asInTheGolden = ["--keep-first", "0", "--keep-special", "no", "--sinks", "off"]

    @Test(arguments: [8, 32, 64, 128]) func scoresAndCoreMatchAtEveryPrefix(_ prefix: Int) throws {
        let scores = try score(asInTheGolden + ["--prefix", "\(prefix)", "--per-token", "--tau", "0.9"])
        #expect(Set(scores.tensors.keys) == ["scores", "core", "per_token"])
        try scores.require("scores", shape: [prefix])
        try scores.require("per_token", shape: [4, 24, prefix])
        let inMean = { (values: [Float]) in values.map { $0 / 92 } }
        try golden.check("p\(prefix).q99", inMean(try scores.matrix("scores").values), tolerance: 1e-4)
        try golden.check("p\(prefix).score", inMean(try scores.matrix("per_token").values), tolerance: 1e-4)
        #expect(try scores.integers("core") == (try golden.file.integers("f64.p\(prefix).select.q99")))
    }

    /// Of the losses that PyTorch records: differences of losses of 6 nats, each to 1e-5 of one.
    @Test(arguments: [[], ["--sequences", "1"]]) func whatRemovalDoesToEveryTokenIsAsPyTorchSays(_ more: [String])
        throws
    {
        let scores = try score(
            asInTheGolden + ["--scorer", "ablation", "--prefix", "32", "--per-token"] + more)
        #expect(scores.tensors["per_token"] == nil && scores.metadata["loss_delta.unit"] == "nats")
        try scores.require("loss_delta_per_token", shape: [32, 4, 23])
        let found = try scores.matrix("loss_delta_per_token").values
        let expected = try golden.expected("p32.ablation.delta_per_token")
        #expect(largestDifference(found, expected) < 1.2e-4)
        #expect(found.contains { abs($0) > 1e-2 } && found.contains { $0 == 0 })
        let sums = try scores.matrix("loss_delta").values
        for pair in 0..<128 {
            let own = found[pair * 23..<(pair + 1) * 23].reduce(0.0) { $0 + Double($1) }
            #expect(abs(own - Double(sums[pair])) < 1e-5, "latent \(pair / 4), sequence \(pair % 4)")
        }
        // Asking for it changes nothing else.
        let plain = try score(asInTheGolden + ["--scorer", "ablation", "--prefix", "32"] + more, out: "plain")
        #expect(plain.tensors.count > 2)
        for name in plain.tensors.keys where name != "core" {
            #expect(try plain.matrix(name).values.map(\.bitPattern) == scores.matrix(name).values.map(\.bitPattern))
        }
    }

    @Test(arguments: ["at=token", "baseline=mean", "at=token,baseline=mean"])
    func everyKindOfAblationAddsUpTokenByToken(_ kind: String) throws {
        let scores = try score(asInTheGolden + ["--scorer", "ablation,\(kind)", "--prefix", "32", "--per-token"])
        let found = try scores.matrix("loss_delta_per_token").values
        let whole = try score(
            asInTheGolden + ["--scorer", "ablation", "--prefix", "32", "--per-token"], out: "whole"
        ).matrix("loss_delta_per_token").values
        #expect(found != whole)
        let sums = try scores.matrix("loss_delta").values
        #expect(sums.count == 128)
        for (pair, sum) in sums.enumerated() {
            let own = found[pair * 23..<(pair + 1) * 23]
            // At one token after the other up to 24 changes are added in single precision.
            let size = own.reduce(0.0) { $0 + Double(abs($1)) }
            #expect(size.isFinite && abs(own.reduce(0.0) { $0 + Double($1) } - Double(sum)) <= 1e-4 * size + 1e-6)
        }
    }

    /// Drawn pairs have the numbers that all have, the others are not known; in a worker as in the program.
    @Test func drawnPairsHaveTheirTokensAndAWorkerIsAskedTheSame() throws {
        let library = folder.file("copy.so")
        try AtomicFile.write(
            contents(of: builtProgram.dropLast("dmsae".count) + "libdmsae-plugin-ablation.so"), to: library)
        func tokens(_ scorer: String, out: String) throws -> ([Float], [Float]) {
            let scores = try score(
                asInTheGolden + ["--scorer", scorer, "--prefix", "32", "--per-token", "--sequences", "1"], out: out)
            return (try scores.matrix("loss_delta_per_token").values, try scores.matrix("loss_delta").values)
        }
        let (all, _) = try tokens("ablation", out: "all")
        let (some, sums) = try tokens("ablation,draws=2", out: "some")
        var (drawn, missed) = (0, 0)
        for pair in 0..<128 {
            let own = some[pair * 23..<(pair + 1) * 23]
            if sums[pair].isNaN {
                missed += 1
                #expect(own.allSatisfy { $0.isNaN })
            } else {
                drawn += 1
                // Other company in a pass: losses of 6 nats to 1e-5.
                #expect(largestDifference(Array(own), Array(all[pair * 23..<(pair + 1) * 23])) < 1.2e-4)
            }
        }
        #expect(drawn > 20 && missed > 5, "\(drawn), \(missed)")
        let (there, _) = try tokens(library + ",draws=2", out: "there")
        #expect(there.map(\.bitPattern) == some.map(\.bitPattern))
    }

    @Test func perTokenIsRefusedWhereItSaysNothingTrueOrTooMuch() throws {
        let words = [
            "score", "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--layer", "1",
            "--out", folder.file("bad"), "--per-token",
        ]
        try fail(
            words + ["--scorer", "frequency"], status: 64, saying: "frequency gives totals and no scores of tokens")
        try fail(
            words + ["--scorer", "ablation,at=token,draws=3"], saying: "loss_delta of ablation is",
            "draws of single tokens stand for others")
        for scorer in ["gxa", "ablation"] {
            try fail(
                words + ["--scorer", scorer, "--prefix", "32", "--per-token-limit", "1e-5"], status: 64,
                saying: "32 latents × 96 tokens, 0.00 GiB", "raise --per-token-limit (0.00)")
        }
        try fail(
            words + ["--scorer", "ablation", "--checkpoint", folder.file("c")], status: 64,
            saying: "a checkpoint keeps no numbers of tokens")
        #expect(!isThere(folder.file("bad")) && !isThere(folder.file("c")))
    }

    @Test func theKeptFirstPositionAndTheMeanMatch() throws {
        let kept = try score(["--keep-special", "no", "--sinks", "off", "--prefix", "32"])
        try golden.check("p32.keep0.q99", try kept.matrix("scores").values.map { $0 / 92 }, tolerance: 1e-4)
        let mean = try score(asInTheGolden + ["--prefix", "32", "--aggregate", "mean", "--sequences", "1"])
        try golden.check("p32.mean_score", try mean.matrix("scores").values.map { $0 / 92 }, tolerance: 1e-4)
        #expect(try mean.integers("core") == (try golden.file.integers("f64.p32.select.mean_score")))
    }

    @Test func theDefaultsScoreTheInnermostPrefixAtTheSAEsOwnLayer() throws {
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        let scores = try score([], layer: nil)
        try scores.require("scores", shape: [8])
        // As far as there are no special tokens and no sinks here, the defaults keep just the first position.
        let same = try score(["--prefix", "8", "--keep-first", "1"], out: "same")
        #expect(try scores.doubles("scores") == (try same.doubles("scores")))
        let all = try score(["--candidates", "all", "--over", "active", "--signed"], out: "all")
        try all.require("scores", shape: [128])
    }

    @Test func jsonSaysWhatTheFileHolds() throws {
        let text = try succeed(
            ["score", "--model", fixture("models/llama"), "--sae", sae, "--layer", "1", "--tokens", folder.file("ids")]
                + ["--out", folder.file("s"), "--json", "--quiet"])
        let json = try JSONValue(parsing: text)
        let file = try SafetensorsFile(path: folder.file("s"))
        #expect(json["core"]?.array?.compactMap(\.integer).map { Int64($0) } == (try file.integers("core")))
        #expect(json["candidates"]?.integer == 8 && json["scored_tokens"]?.integer == 92)
        #expect((json["coverage"]?.double ?? 0) >= 0.9)
    }

    @Test func randomScoresAreTheSeedsAndATemplatePluginLoadsByPath() throws {
        let first = try score(["--scorer", "random,seed=1"], out: "r1").doubles("scores")
        #expect(first == (try score(["--scorer", "random,seed=1"], out: "r2").doubles("scores")))
        #expect(first != (try score(["--scorer", "random,seed=2"], out: "r3").doubles("scores")))
        let root = fixture("../..")
        let library = folder.file("template.so")
        let compiled = try run(
            "/usr/bin/env",
            [
                "cc", "-O2", "-shared", "-fPIC", "-I", "\(root)/Include", "\(root)/Plugins/Template/scorer.c", "-o",
                library,
            ])
        #expect(compiled.status == 0, "\(compiled.errors)")
        try score(["--scorer", library], out: "t").require("scores", shape: [8])
    }

    /// What an interrupted pass leaves is a checkpoint after some of its sequences, as a shard that starts at the first one
    /// is: copied to where the whole pass looks, it must lead to the same bits.
    @Test(arguments: [["frequency"], ["ablation,draws=2"], ["ablation", "--budget", "20"]])
    func aPassGoesOnFromItsCheckpoint(_ scorer: [String]) throws {
        // What a budget had left is taken up too.
        let how = asInTheGolden + ["--prefix", "32", "--sequences", "1", "--scorer"] + scorer
        let whole = try score(how, out: "whole")
        let checkpoint = ["--checkpoint", folder.file("state")]
        try succeed(
            ["score", "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--layer", "1"]
                + ["--out", folder.file("none"), "--shard", "1/2"] + how + checkpoint)
        #expect(!isThere(folder.file("none")))
        #expect(try SafetensorsFile(path: folder.file("state")).integers("sequences") == [0, 2])
        let resumed = try score(how + checkpoint, out: "resumed")
        #expect(try SafetensorsFile(path: folder.file("state")).integers("sequences") == [0, 4])
        // Done already: nothing is scored again.
        let again = try score(how + checkpoint, out: "again")
        #expect(whole.tensors.count > 1)
        for name in whole.tensors.keys where name != "core" {
            #expect(try whole.matrix(name).values.map(\.bitPattern) == resumed.matrix(name).values.map(\.bitPattern))
            #expect(try whole.matrix(name).values.map(\.bitPattern) == again.matrix(name).values.map(\.bitPattern))
        }
        #expect(try whole.integers("core") == (try resumed.integers("core")))
    }

    @Test(arguments: ["frequency", "ablation"]) func shardsMakeThePassTheyArePartsOf(_ scorer: String) throws {
        let how = asInTheGolden + ["--scorer", scorer, "--prefix", "32", "--sequences", "1"]
        let whole = try score(how, out: "whole")
        let words = [
            "score", "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--layer", "1",
        ]
        let names = (1...3).map { folder.file("shard\($0)") }
        for (i, name) in names.enumerated() {
            try succeed(words + ["--out", folder.file("none"), "--shard", "\(i + 1)/3", "--checkpoint", name] + how)
        }
        let merged = try score(how + names.flatMap { ["--merge", $0] }, out: "merged")
        #expect(whole.tensors.count > 1)
        // Sums of Doubles in another order, rounded to Float: a last bit at most.
        for name in whole.tensors.keys where name != "core" {
            for (a, b) in paired(try whole.matrix(name).values, try merged.matrix(name).values) {
                #expect(abs(a - b) <= 2 * a.ulp || a.isNaN && b.isNaN, "\(name)")
            }
        }
        #expect(try whole.integers("core") == (try merged.integers("core")))

        let out = ["--out", folder.file("bad")]
        try fail(
            words + out + how + ["--merge", names[0], "--merge", names[2]],
            saying: "shard3", "holds sequences 2..<4", "those from 1 on come next")
        try fail(words + out + how + ["--merge", names[0], "--merge", names[1]], saying: "end before sequence 2 of 4")
        try fail(
            words + out + how + ["--merge", names[0], "--error-term"], saying: "shard1",
            "is the state of another pass (error term false there, true here)")
        try fail(
            words + out + how + ["--merge", names[0], "--merge", names[0]],
            saying: "holds sequences 0..<1, and those from 1 on come next", "every shard of the pass, in order, once")
        try write(ids: try golden.file.integers("input_ids").reversed(), shape: [4, 24], to: folder.file("others"))
        try fail(
            words.map { $0 == folder.file("ids") ? folder.file("others") : $0 } + out + how + ["--merge", names[0]],
            saying: "is the state of another pass (other tokens)")
        try fail(words + out + how + ["--checkpoint", names[1]], saying: "shard2", "holds sequences 1..<2")
        try fail(
            words + out + asInTheGolden + ["--checkpoint", folder.file("c")], status: 64,
            saying: "gxa gives scores of tokens, which have no state to keep")
        try fail(words + out + ["--shard", "2/3"], status: 64, saying: "--shard needs --checkpoint")
        try fail(words + out + ["--shard", "4/3"], status: 64, saying: "4/3")
        for (shards, said) in [
            ("1/5", "--shard is 1/5, and there are 4 sequences; cut them into 4 shards or fewer"),
            ("9223372036854775807/9223372036854775807", "is invalid for '--shard <I/N>'"),
        ] {
            try fail(
                words + out + ["--scorer", scorer, "--shard", shards, "--checkpoint", folder.file("c")], status: 64,
                saying: said)
        }
        let bytes = contents(of: names[0])
        try AtomicFile.write(Array(bytes.dropLast(8)), to: names[0])
        try fail(words + out + how + ["--merge", names[0]], saying: "shard1")
        #expect(!isThere(folder.file("bad")))
    }

    @Test func scoresSayWhatTheyAreOf() throws {
        _ = try score(asInTheGolden + ["--prefix", "32", "--signed", "--over", "active", "--aggregate", "mean"])
        let metadata = try SafetensorsFile(path: folder.file("scores")).metadata
        for (name, value) in [
            ("layer", "1"), ("prefix", "32"), ("candidates", "32"), ("keep_first", "0"), ("keep_special", "no"),
            ("sinks", "off"), ("window", "none"), ("error_term", "false"), ("sequences", "8"), ("budget", "none"),
            ("aggregate", "mean"), ("over", "active"), ("signed", "true"), ("tau", "0.9"), ("scorer.id", "gxa"),
            ("decoder_norms", "unit"),
        ] {
            #expect(metadata[name] == value, "\(name)")
        }
        #expect(metadata["tokens.sha256"] == (try SHA256.hexadecimal(ofFile: folder.file("ids"))))
        #expect(metadata["SAE.sha256"] == (try SHA256.hexadecimal(ofFile: sae + "/sae_weights.safetensors")))
        #expect(metadata["model.sha256"]?.count == 64)
        let totals = try score(asInTheGolden + ["--scorer", "random,seed=4"]).metadata
        #expect(totals["scorer.settings"] == "seed=4")
    }

    @Test func selectRefusesScoresOfAnotherSAE() throws {
        _ = try score(asInTheGolden + ["--prefix", "32"])
        let (other, provenance) = try SAEFolder.read(sae)
        other.encoder[3, 3] += 1
        try SAEFolder.write(other, provenance, to: folder.file("other"))
        try fail(
            ["select", "--scores", folder.file("scores"), "--sae", folder.file("other"), "--out", folder.file("core")],
            saying: "its scores are of another SAE than \(folder.file("other"))", "give the SAE that was scored")
        #expect(!isThere(folder.file("core")))
    }

    @Test func totalsAreNotAggregatedAndThatIsSaid() throws {
        let words = [
            "score", "--model", fixture("models/llama"), "--sae", sae, "--tokens", folder.file("ids"), "--layer", "1",
            "--out", folder.file("s"),
        ]
        let result = try run(
            builtProgram, words + ["--scorer", "frequency", "--aggregate", "quantile:0.99", "--over", "active"])
        #expect(result.status == 0)
        #expect(
            result.errors.contains(
                "warning: scorer frequency gives each latent one number of its own, so --aggregate quantile:0.99 and --over "
                    + "active do nothing; they are for scorers of tokens, as gxa and ig are"))
        #expect(try SafetensorsFile(path: folder.file("s")).metadata["aggregate"] == "none: the scorer's totals")
        // No latent fires: the advice is not that of quantiles.
        let (dead, provenance) = try SAEFolder.read(sae)
        dead.inference = .threshold(1e30)
        try SAEFolder.write(dead, provenance, to: sae)
        try fail(
            words + ["--scorer", "frequency"], afterWarnings: true,
            saying: "has a positive frequency over 92 tokens", "score more sequences, or a wider --prefix")
        try fail(
            words, afterWarnings: true, saying: "a latent active on fewer than 1% of tokens has a 0.99 quantile of 0")
        try fail(
            words + ["--signed"], afterWarnings: true,
            saying: "aggregate absolute ones (without --signed, in a recipe score.signed)")
        try fail(words + ["--keep-first", "24"], saying: "all of 96 tokens are kept as the model's own")
    }

    @Test func selectGivesTheCoreThatTrainFreezes() throws {
        _ = try score(asInTheGolden + ["--prefix", "32"])
        let words = try succeed([
            "select", "--scores", folder.file("scores"), "--tau", "0.5", "--sae", sae, "--out", folder.file("core"),
        ])
        let core = try JSONValue(contentsOf: folder.file("core/core.json"))
        let indices = try #require(core["latents"]?.array).compactMap { $0["index"]?.integer }
        let expected = try golden.file.integers("f64.p32.select.q99").map { Int($0) }
        #expect(indices.count > 2 && indices == Array(expected.prefix(indices.count)))
        #expect(words.hasSuffix(indices.map(String.init).joined(separator: " ") + "\n"))
        let encoder = try SafetensorsFile(path: folder.file("core/core.safetensors"))
        try encoder.require("W_enc", shape: [48, indices.count])
        for name in ["core.json", "core.safetensors"] {
            try succeed([
                "train", "--activations", folder.file("x"), "--core", folder.file("core/" + name), "--groups",
                "32,32,64", "--k", "8", "--batch", "32", "--steps", "4", "--out", folder.file("frozen"), "--quiet",
            ])
            let trained = try SafetensorsFile(path: folder.file("frozen/sae_weights.safetensors"))
            let configuration = try JSONValue(contentsOf: folder.file("frozen/cfg.json"))
            #expect(configuration["metadata"]?["dmsae"]?["core"]?.integer == indices.count)
            // Frozen, bit for bit: the input scale is folded into the biases.
            let (given, kept) = (try encoder.matrix("W_enc"), try trained.matrix("W_enc"))
            for j in indices.indices { for d in 0..<48 { #expect(given[d, j] == kept[d, j]) } }
        }
    }

    @Test func codesMatchInBothModesAndDecodeToTheReconstruction() throws {
        func encode(_ more: String...) throws -> Matrix {
            try succeed(
                ["encode", "--sae", sae, "--input", folder.file("x"), "--out", folder.file("f")] + more)
            return try SafetensorsFile(path: folder.file("f")).matrix("latents")
        }
        func decode(_ more: String...) throws -> [Float] {
            try succeed(["decode", "--sae", sae, "--input", folder.file("f"), "--out", folder.file("y")] + more)
            let file = try SafetensorsFile(path: folder.file("y"))
            try file.require("x", shape: [96, 48])
            return try file.matrix("x").values
        }
        for (name, codes) in [
            ("acts_batchtopk8", try encode("--mode", "batch", "--k", "8")), ("acts", try encode()),
        ] {
            try golden.check(name, codes.values, tolerance: 2e-5)
            let expected = try golden.expected(name)
            #expect(paired(codes.values, expected).allSatisfy { ($0 > 0) == ($1 > 0) }, "\(name)")
        }
        try golden.check("p128.x_hat", try decode(), tolerance: 2e-5)
        for prefix in [8, 32, 64] {
            try golden.check("p\(prefix).x_hat", try decode("--prefix", "\(prefix)"), tolerance: 2e-5)
        }
    }
}
