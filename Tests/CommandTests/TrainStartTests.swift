import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// `train --init`: an SAE goes on in the form in which it is used, or is refused.
@Suite struct TrainStartTests {
    private let folder = TemporaryFolder()
    private let golden: Golden

    init() throws {
        golden = try Golden("gxa/gxa.safetensors")
        try write("x", try golden.matrix("x"), shape: [96, 48], to: folder.file("x"))
    }

    /// The golden's SAE with a change, as "init".
    private func start(core: Int = 0, coreIsDense: Bool = true, _ change: (SparseAutoencoder) -> Void) throws {
        let decoder = try golden.matrix("W_dec")
        let sae = SparseAutoencoder(
            dIn: decoder.columns, layout: try PrefixLayout(groups: [8, 24, 32, 64], coreCount: core),
            coreIsDense: coreIsDense)
        sae.encoder.assign(try golden.matrix("W_enc").transposed())
        sae.encoderBias.assign(try golden.matrix("b_enc"))
        sae.decoder.assign(decoder)
        sae.decoderBias.assign(try golden.matrix("b_dec"))
        change(sae)
        try SAEFolder.write(sae, SAEProvenance(), to: folder.file("init"))
    }

    private func train(_ rule: String, _ more: String...) -> [String] {
        [
            "train", "--activations", folder.file("x"), "--init", folder.file("init"), "--k", "8", "--batch", "32",
            "--steps", "2", "--lr", "1e-12", "--sparsity", rule, "--out", folder.file("out"), "--quiet",
        ] + more
    }

    private func trained() throws -> SparseAutoencoder { try SAEFolder.read(folder.file("out")).sae }

    private func thresholds(_ value: (Int) -> Float) -> [Float] { (0..<128).map(value) }

    /// θ_j of an SAE that has them.
    private func ownThresholds(_ sae: SparseAutoencoder) throws -> [Float] {
        guard case .thresholds(let own) = sae.inference else {
            Issue.record("\(String(describing: sae.inference))")
            return []
        }
        return own
    }

    @Test func thresholdsOfLatentsGoOnWithTheRuleThatLearnsThem() throws {
        let own = thresholds { 0.5 + Float($0) / 64 }
        try start { $0.inference = .thresholds(own) }
        try succeed(train("jumprelu"))
        let found = try ownThresholds(try trained())
        for (j, (a, b)) in paired(found, own).enumerated() { #expect(abs(a - b) <= 1e-5 * b, "latent \(j)") }
        for rule in ["batchtopk", "topk"] {
            try fail(
                train(rule),
                saying: "the SAE to start from has a threshold of its own for each latent, which a training with the "
                    + "sparsity rule \(rule) would lose; use --sparsity jumprelu, or start without --init")
        }
        // Nothing was touched by those.
        #expect(try trained().inference == .thresholds(found))
    }

    /// Training makes unit rows of decoder rows: it goes on with the function of the file all the same.
    @Test func decoderRowsOfAnyNormGoOnAsTheSameFunction() throws {
        try start { $0.inference = .thresholds(thresholds { 0.5 + Float($0) / 64 }) }
        try succeed(train("jumprelu"))
        let expected = try trained()
        // Powers of two: no rounding.
        try start { sae in
            var own = thresholds { 0.5 + Float($0) / 64 }
            for j in 0..<128 {
                let norm: Float = j % 2 == 0 ? 4 : 0.5
                for c in 0..<sae.dIn {
                    sae.decoder[j, c] *= norm
                    sae.encoder[j, c] /= norm
                }
                sae.encoderBias[j] /= norm
                own[j] /= norm
            }
            sae.inference = .thresholds(own)
        }
        try succeed(train("jumprelu"))
        let found = try trained()
        // Norms are of single precision's rows, so they are powers of two to some 1e-7 only.
        checkClose(found.encoder.values, expected.encoder.values.map(Double.init), tolerance: 1e-5, "W_enc")
        checkClose(found.decoder.values, expected.decoder.values.map(Double.init), tolerance: 1e-5, "W_dec")
        checkClose(
            try ownThresholds(found), try ownThresholds(expected).map(Double.init),
            tolerance: 1e-5, "θ")
    }

    @Test func thresholdsThatTheRuleCannotHaveAreRefusedByName() throws {
        try start { $0.inference = .thresholds(thresholds { $0 == 5 ? .infinity : 1 }) }
        try fail(train("jumprelu"), saying: "has a threshold of inf for latent 5")
        #expect(!exists(folder.file("out/cfg.json")))
    }

    @Test(arguments: ["batchtopk", "jumprelu"]) func oneThresholdForAllGoesOn(_ rule: String) throws {
        for isPerLatent in [false, true] {
            try start { sae in
                sae.inference = isPerLatent ? .thresholds(thresholds { _ in 1.25 }) : .threshold(1.25)
            }
            try succeed(train(rule, "--threshold-start", "5"))
            let found = try trained().inferenceThresholds()
            for j in 0..<128 { #expect(abs(found[j] - 1.25) <= 1e-5, "latent \(j)") }
        }
        try fail(train("topk"), saying: "has a threshold", "use --sparsity batchtopk or jumprelu")
    }

    @Test func theLargestOfEachRowGoOnWithTopK() throws {
        try start { $0.inference = .rowTopK(8) }
        try succeed(train("topk"))
        #expect(try trained().inference == .rowTopK(8))
        for rule in ["batchtopk", "jumprelu"] {
            try fail(
                train(rule),
                saying:
                    "the SAE to start from keeps the 8 largest of each row, which a training with the sparsity rule "
                    + "\(rule) would lose; use --sparsity topk")
        }
    }

    @Test func aSparseCoreAndAnInputThatIsNotCentredStayWhatTheyAre() throws {
        try start(core: 4, coreIsDense: false) {
            $0.inference = .threshold(1)
            $0.subtractsDecoderBias = false
        }
        try succeed(train("batchtopk"))
        let found = try trained()
        #expect(found.layout.coreCount == 4 && !found.coreIsDense && !found.subtractsDecoderBias)
        try start(core: 4) { $0.inference = .threshold(1) }
        try succeed(train("batchtopk"))
        #expect(try trained().coreIsDense && trained().subtractsDecoderBias)
    }

    @Test func theNumberOfARowIsTheRulesAndNotTheCommands() throws {
        try start { $0.inference = .rowTopK(5) }
        try succeed(train("topk,k=5"))
        let metadata = try JSONValue(contentsOf: folder.file("out/cfg.json"))["metadata"]
        #expect(metadata?["training_architecture_details"]?["k"]?.double == 5)
        // As in training is as the rule had it, too.
        let words = ["encode", "--sae", folder.file("out"), "--input", folder.file("x"), "--mode", "batch", "--out"]
        #expect(try succeed(words + [folder.file("f"), "--json"]).contains("\"l0\" : 5"))
        let own = try SafetensorsFile(path: folder.file("f")).metadata
        #expect(own["mode"] == "batch" && own["k"] == "5.0" && own["x.sha256"]?.count == 64)
        #expect(own["SAE cfg.json.sha256"] == (try SHA256.hexadecimal(ofFile: folder.file("out/cfg.json"))))
        let back = ["decode", "--sae", folder.file("out"), "--input", folder.file("f"), "--out", folder.file("y")]
        try succeed(back + ["--prefix", "32"])
        let decoded = try SafetensorsFile(path: folder.file("y")).metadata
        let hash = try SHA256.hexadecimal(ofFile: folder.file("f"))
        #expect(decoded["prefix"] == "32" && decoded["latents.sha256"] == hash)
    }

    @Test func everySettingIsInTheRecord() throws {
        try start { sae in
            sae.inference = .threshold(1)
            for c in 0..<sae.dIn { sae.decoder[3, c] *= 2 }
        }
        try succeed(train("jumprelu,bandwidth=0.03", "--no-shuffle", "--input-scale", "none"))
        let own = try SAEFolder.read(folder.file("out")).provenance
        #expect(own.rule == "jumprelu 1.0.0")
        #expect(
            own.ruleSettings == [
                "bandwidth": "0.03", "threshold": "0.1", "lambda": "0.1", "warmup": "0.1", "rate": "1.0",
            ])
        #expect(own.settings?["order"] == "as in the file" && own.settings?["input scale"] == "none")
        #expect(own.settings?["decoder norms of the start"] == "folded")
        #expect(own.hashes?["activations"] == (try SHA256.hexadecimal(ofFile: folder.file("x"))))
        #expect(own.hashes?["start cfg.json"] == (try SHA256.hexadecimal(ofFile: folder.file("init/cfg.json"))))
        #expect(own.hashes?["sparsity rule"]?.count == 64)
    }
}
