import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// `train` against the reference trainer's steps. Tolerances: losses 2e-5; parameters 1e-4 of the largest after ten
/// steps, 5e-5 after three (Adam divides by a gradient's own size and so magnifies rounding where an entry is near 0);
/// the threshold 1e-4.
@Suite struct TrainTests {
    private let folder = TemporaryFolder()

    /// Ten or three steps of 64 rows in the file's order, from the golden's initial parameters.
    private func train(_ golden: Golden, steps: Int, _ more: [String]) throws -> SafetensorsFile {
        try writeSAE(golden, prefix: "init.", to: folder.file("init"))
        try write("x", try golden.matrix("x"), shape: [steps * 64, 32], to: folder.file("x"))
        try succeed(
            ["train", "--activations", folder.file("x"), "--init", folder.file("init"), "--no-shuffle", "--k", "8"]
                + ["--groups", "8,24,32,64", "--batch", "64", "--steps", "\(steps)", "--input-scale", "none"]
                + ["--dead-after", "10000000", "--out", folder.file("sae"), "--quiet"] + more)
        return try SafetensorsFile(path: folder.file("sae/sae_weights.safetensors"))
    }

    private func check(_ sae: SafetensorsFile, _ golden: Golden, _ prefix: String, tolerance: Double) throws {
        for name in ["W_enc", "b_enc", "W_dec", "b_dec"] {
            try golden.check(prefix + name, try sae.matrix(name).values, tolerance: tolerance)
        }
    }

    /// A number of every step's event.
    private func events(_ key: String) throws -> [Double?] {
        let lines = contents(of: folder.file("sae/events.jsonl")).split(separator: UInt8(ascii: "\n"))
        return try lines.map { try JSONValue(parsing: String(decoding: $0, as: UTF8.self))["record"]?[key]?.double }
    }

    @Test func tenPlainStepsMatch() throws {
        let golden = try Golden("sae_train/a_plain.safetensors")
        let sae = try train(
            golden, steps: 10, ["--lr", "1e-3", "--warmup", "0", "--decay-start", "none", "--b-dec-init", "keep"])
        try check(sae, golden, "step10.", tolerance: 1e-4)
        try golden.check("loss_per_step", try events("loss").map { Float($0 ?? .nan) }, tolerance: 2e-5)
    }

    @Test func aScheduledRunWithWeightsAndThresholdMatches() throws {
        let golden = try Golden("sae_train/b_schedule.safetensors")
        let sae = try train(
            golden, steps: 10,
            ["--lr", "2e-3", "--warmup", "3", "--decay-start", "6", "--b-dec-init", "geometric-median"]
                + ["--group-weights", "0.4,0.3,0.2,0.1", "--threshold-start", "3", "--threshold-beta", "0.9"])
        try check(sae, golden, "after_step9.", tolerance: 1e-4)
        try golden.check("loss_per_step", try events("loss").map { Float($0 ?? .nan) }, tolerance: 2e-5)
        try golden.check("lr_per_step", try events("learningRate").map { Float($0 ?? .nan) }, tolerance: 1e-7)
        // −1 stands for unset in the golden, nothing in the log.
        for (step, (found, wanted)) in paired(
            try events("threshold"), try golden.expected("threshold_after_step")
        ).enumerated() {
            #expect(abs((found ?? -1) - wanted) <= 1e-4 * abs(wanted), "threshold after step \(step)")
        }
        // The folder applies that threshold.
        try write("x", try golden.matrix("x").copy(rows: 0..<64), to: folder.file("x0"))
        try succeed(["encode", "--sae", folder.file("sae"), "--input", folder.file("x0"), "--out", folder.file("f")])
        let codes = try SafetensorsFile(path: folder.file("f")).matrix("latents")
        try golden.check("final.encode_threshold", codes.values, tolerance: 1e-4)
    }

    @Test func stepsWithADenseCoreOutsideTheBudgetMatch() throws {
        let golden = try Golden("sae_train/e_core_dense_noncore.safetensors")
        let all = try golden.matrix("init.W_enc")
        let core = Matrix(rows: 32, columns: 6)
        for d in 0..<32 { for j in 0..<6 { core[d, j] = all[d, j] } }
        try write("W_enc", core, to: folder.file("core.safetensors"))
        let sae = try train(
            golden, steps: 3,
            ["--lr", "1e-3", "--warmup", "0", "--decay-start", "none", "--b-dec-init", "keep", "--budget", "non-core"]
                + ["--core", folder.file("core.safetensors"), "--threshold-start", "0", "--threshold-beta", "0.9"])
        try check(sae, golden, "step3.", tolerance: 5e-5)
        try golden.check("loss_per_step", try events("loss").map { Float($0 ?? .nan) }, tolerance: 2e-5)
        #expect(try events("meanActiveCore") == (try golden.expected("L0_core")))
        #expect(try events("meanActiveNonCore") == (try golden.expected("L0_noncore")))
        let kept = try sae.matrix("W_enc")
        for d in 0..<32 { for j in 0..<6 { #expect(kept[d, j] == core[d, j]) } }
        // At inference the core has no threshold, the rest has the last one.
        let threshold = try golden.expected("threshold_after_step")[2]
        let thresholds = try sae.doubles("threshold")
        #expect(thresholds.count == 128 && thresholds[..<6].allSatisfy { $0 == 0 })
        #expect(thresholds[6...].allSatisfy { abs($0 - threshold) <= 2e-5 * threshold })
        let prefixes = try JSONValue(contentsOf: folder.file("sae/cfg.json"))["metadata"]?["dmsae"]?["prefixes"]
        #expect(prefixes?.array?.compactMap(\.integer).map { Int64($0) } == (try golden.file.integers("prefixes")))
    }

    @Test func theSameSeedGivesTheSameBytesAndTheLogStartsAnew() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try write("x", try golden.matrix("x"), shape: [96, 48], to: folder.file("x"))
        func train(_ out: String, seed: Int) throws -> [UInt8] {
            try succeed([
                "train", "--activations", folder.file("x"), "--width", "128", "--k", "8", "--batch", "32", "--steps",
                "7", "--seed", "\(seed)", "--out", folder.file(out), "--quiet",
            ])
            return contents(of: folder.file(out + "/sae_weights.safetensors"))
        }
        let first = try train("a", seed: 5)
        let same = try train("b", seed: 5)
        #expect(first == same)
        let log = contents(of: folder.file("a/events.jsonl"))
        let other = try train("a", seed: 6)
        #expect(first != other)
        let newLog = contents(of: folder.file("a/events.jsonl"))
        #expect(newLog != log && newLog.count { $0 == UInt8(ascii: "\n") } == 7)
    }

    @Test func aStoreIsHarvestedTrainedOnAndTheSAEEvaluated() throws {
        let tiny = try TinyModel()
        let store = folder.file("store")
        let words = try succeed([
            "harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--tokens", "4000", "--context",
            "32",
            "--out", store, "--quiet",
        ])
        let record = try JSONValue(contentsOf: store + "/store.json")
        // 4000 tokens are 125 rows of 32, exactly. Each row's first position is left out.
        #expect(record["tokens"]?.integer == 4000 && record["layer"]?.integer == 1 && record["dIn"]?.integer == 48)
        let (rows, special) = (record["rows"]?.integer ?? 0, record["droppedSpecial"]?.integer ?? 0)
        #expect(special >= 125 && rows + special + (record["droppedSinks"]?.integer ?? 0) == 4000)
        #expect(words.hasPrefix("\(rows) rows of 48 from 4000 tokens (1 shard), RMS norm "), "\(words)")
        try SafetensorsFile(path: store + "/shard-00000.safetensors").require("x", shape: [rows, 48])
        try succeed([
            "train", "--activations", store, "--width", "128", "--k", "8", "--batch", "256", "--steps", "40", "--out",
            folder.file("sae"), "--quiet",
        ])
        // Layer, model and scale come from the store, so that eval needs no --layer.
        let text = try succeed([
            "eval", "--model", tiny.model, "--sae", folder.file("sae"), "--text", tiny.text, "--tokens", "512",
            "--context", "32", "--skip", "4096", "--json",
        ])
        let metrics = try JSONValue(parsing: text)
        let (without, with, zeroed) = (
            metrics["ce_loss_without_sae"]?.double ?? .nan, metrics["ce_loss_with_sae"]?.double ?? .nan,
            metrics["ce_loss_with_ablation"]?.double ?? .nan
        )
        let score = (zeroed - with) / (zeroed - without)
        #expect(abs((metrics["ce_loss_score"]?.double ?? .nan) - score) < 1e-9)
        #expect((metrics["explained_variance"]?.double ?? 0) > 0.3, "\(text)")
        #expect((metrics["l0"]?.double ?? 0) > 4 && (metrics["l0"]?.double ?? 99) < 16, "\(text)")
        try fail(
            ["harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--tokens", "64", "--out", store],
            saying: "already holds an activation store", "delete it, or choose another --out")
        try fail(
            ["train", "--activations", store, "--width", "128", "--k", "8", "--batch", "100", "--steps", "4", "--out"]
                + [folder.file("no")], saying: "a batch of 100", "a multiple of 64")
        #expect(!isThere(folder.file("no")))
    }
}
