import Foundation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// One function in two files: decoder rows of the second are longer or shorter, and activations make up for it. What ranks
/// latents must not tell them apart.
@Suite struct ScaleTests {
    private let folder = TemporaryFolder()
    private let golden: Golden
    private let input: [String]

    init() throws {
        golden = try Golden("gxa/gxa.safetensors")
        let folder = folder
        input = [
            "--model", fixture("models/llama"), "--tokens", folder.file("ids"), "--layer", "1", "--prefix", "32",
            "--keep-first", "0", "--keep-special", "no", "--sinks", "off", "--tau", "0.5",
        ]
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("unit"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
        let scale = try golden.matrix("nonunit.W_dec_scale").values
        let (sae, provenance) = try SAEFolder.read(folder.file("unit"))
        let thresholds = Matrix(rows: 1, columns: 128)
        for j in 0..<128 {
            for c in 0..<48 {
                sae.decoder[j, c] *= scale[j]
                sae.encoder[j, c] /= scale[j]
            }
            sae.encoderBias[j] /= scale[j]
            thresholds[j] = Float(try golden.number("threshold")) / scale[j]
        }
        sae.inference = .thresholds(thresholds.values)
        try SAEFolder.write(sae, provenance, to: folder.file("scaled"))
    }

    private func score(_ sae: String, _ scorer: String, _ more: [String] = []) throws -> SafetensorsFile {
        try succeed(
            ["score"] + input + ["--sae", folder.file(sae), "--scorer", scorer, "--out", folder.file("s-" + sae)] + more
        )
        return try SafetensorsFile(path: folder.file("s-" + sae))
    }

    /// Sums and means of single precision: 1e-5 of the largest; of ablation losses of 6 nats, each to 1e-5.
    @Test(arguments: [
        "gxa", "ig,steps=4", "ig,path=single,steps=2", "ablation", "ablation,draws=2", "ablation,baseline=mean",
        "reconstruction", "frequency", "random,seed=3", "relp", "logit", "expected-gradients,draws=2", "shapley",
        "mattr,steps=20", "norm",
    ]) func everyScorerGivesTheSameScoresAndCore(_ scorer: String) throws {
        let unit = try score("unit", scorer), scaled = try score("scaled", scorer)
        #expect(unit.metadata["decoder_norms"] == "unit" && scaled.metadata["decoder_norms"] == "folded")
        #expect(Set(unit.tensors.keys) == Set(scaled.tensors.keys) && unit.tensors.count > 1)
        for name in unit.tensors.keys where name != "core" {
            let (a, b) = (try unit.doubles(name), try scaled.doubles(name))
            let tolerance = scorer.hasPrefix("ablation") || scorer == "shapley" ? 1e-3 : 1e-5
            checkCloseWhereKnown(b, a, tolerance: tolerance, "\(scorer) \(name)")
        }
        #expect(try Set(unit.integers("core")) == Set(scaled.integers("core")), "\(scorer)")
    }

    @Test func noFoldKeepsTheScaleOfTheFile() throws {
        let own = try score("scaled", "gxa", ["--no-fold", "--per-token"])
        #expect(own.metadata["decoder_norms"] == "as in the file")
        try golden.check(
            "p32.nonunit.score", try own.matrix("per_token").values.map { $0 / 92 }, tolerance: 1e-4)
        // Of unit rows there is nothing to keep.
        #expect(try score("unit", "gxa", ["--no-fold"]).metadata["decoder_norms"] == "unit")
        let folded = try score("scaled", "gxa", ["--per-token"])
        try golden.check("p32.score", try folded.matrix("per_token").values.map { $0 / 92 }, tolerance: 1e-4)
    }

    @Test func aComparisonIsTheSameAndSaysWhatWasFolded() throws {
        var means: [[Double]] = []
        for sae in ["unit", "scaled"] {
            let out = folder.file("c-" + sae)
            try succeed(
                ["compare"] + input + [
                    "--sae", folder.file(sae), "--out", out, "--draws", "20", "--curve-sequences", "2",
                ]
                    + ["gxa", "frequency", "reconstruction"].flatMap { ["--scorer", $0] })
            means.append(
                try SafetensorsFile(path: out + "/comparison.safetensors").doubles("scores.frequency:mean_activation"))
            let record = try JSONValue(contentsOf: out + "/comparison.json")
            #expect(record["settings"]?["decoder_norms"]?.string == (sae == "unit" ? "unit" : "folded"))
        }
        #expect(means[0].contains { $0 > 0 })
        checkClose(means[1], means[0], tolerance: 1e-5, "mean activations")
        let result = try run(
            builtProgram,
            ["score"] + input + ["--sae", folder.file("scaled"), "--out", folder.file("said")])
        #expect(result.errors.contains("of the SAE's 128 latents have norms from"))
        #expect(result.errors.contains("they are folded into the latents (--no-fold leaves them)"))
    }

    @Test func aCoreHasTheEncoderVectorsOfTheScaleThatWasScored() throws {
        func vectors(_ sae: String, _ more: [String] = []) throws -> Matrix {
            _ = try score(sae, "gxa", more)
            try succeed([
                "select", "--scores", folder.file("s-" + sae), "--tau", "0.5", "--sae", folder.file(sae), "--out",
                folder.file("core"),
            ])
            return try SafetensorsFile(path: folder.file("core/core.safetensors")).matrix("W_enc")
        }
        let (unit, folded) = (try vectors("unit"), try vectors("scaled"))
        #expect(unit.columns == folded.columns && unit.columns > 2)
        #expect(largestDifference(folded.values, unit.values) <= 1e-6)
        let own = try vectors("scaled", ["--no-fold"])
        let core = try JSONValue(contentsOf: folder.file("core/core.json"))
        let first = try #require(core["latents"]?.array?.first?["index"]?.integer)
        let file = try SafetensorsFile(path: folder.file("scaled/sae_weights.safetensors")).matrix("W_enc")
        #expect((0..<48).allSatisfy { own[$0, 0] == file[$0, first] })
    }
}
