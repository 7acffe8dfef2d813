import Glibc
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

import SparseCoding

@Suite struct SAEFolderTests {
    private let folder = TemporaryFolder()

    /// Written, read and compared bit for bit, thresholds apart.
    @discardableResult
    private func roundTrip(_ sae: SparseAutoencoder, _ provenance: SAEProvenance = SAEProvenance()) throws
        -> SparseAutoencoder
    {
        try SAEFolder.write(sae, provenance, to: folder.path)
        #expect(folder.names == ["cfg.json", "sae_weights.safetensors"], "nothing temporary is left")
        let (read, readProvenance) = try SAEFolder.read(folder.path)
        for (a, b) in [
            (sae.encoder, read.encoder), (sae.encoderBias, read.encoderBias), (sae.decoder, read.decoder),
            (sae.decoderBias, read.decoderBias),
        ] {
            expectSame(b.values.map(\.bitPattern), a.values.map(\.bitPattern), "parameters")
        }
        #expect(read.layout == sae.layout && read.coreIsDense == sae.coreIsDense)
        #expect(read.subtractsDecoderBias == sae.subtractsDecoderBias)
        #expect(readProvenance == provenance)
        return read
    }

    private func fileThresholds() throws -> [Float] {
        try SafetensorsFile(path: folder.file("sae_weights.safetensors")).matrix("threshold").values
    }

    @Test func everythingComesBackAsItWas() throws {
        let sae = try smallSAE(dIn: 12, groups: [8, 16, 40])
        sae.inference = .threshold(0.1234567)
        var provenance = SAEProvenance()
        provenance.model = "SmolLM2-135M"
        provenance.layer = 15
        provenance.contextLength = 256
        (provenance.keepFirst, provenance.sinks) = (2, 5)
        provenance.seed = (1 << 53) - 1
        provenance.inputScale = 173.0000001
        provenance.rule = "batchtopk 1.0.0"
        provenance.steps = 1000
        provenance.plan = try TrainingPlan(
            TrainingSettings(k: 7, batchSize: 64, steps: 1000), dIn: 12, layout: sae.layout)
        let read = try roundTrip(sae, provenance)
        #expect(read.inference == .threshold(0.1234567))
        #expect(try fileThresholds() == [Float](repeating: 0.1234567, count: 64))
    }

    @Test(arguments: [0, 5]) func anUnsetThresholdStaysUnset(_ core: Int) throws {
        let sae = try smallSAE(dIn: 12, groups: [8, 16, 40], core: core)
        let read = try roundTrip(sae)
        #expect(read.inference == nil)
        #expect(try fileThresholds() == [Float](repeating: -1, count: 64))
        #expect(throws: SparseCodingError.thresholdUnset) { try read.inferenceThresholds() }
    }

    @Test(arguments: [true, false]) func onlyTheLatentsOfADenseCoreHaveThresholdZero(_ isDense: Bool) throws {
        let sae = try smallSAE(dIn: 12, groups: [8, 16, 40], core: 5, coreIsDense: isDense)
        sae.inference = .threshold(0.5)
        let read = try roundTrip(sae)
        #expect(read.inference == .threshold(0.5) && read.coreIsDense == isDense)
        let expected = [Float](repeating: isDense ? 0 : 0.5, count: 5) + [Float](repeating: 0.5, count: 59)
        #expect(try fileThresholds() == expected)
        #expect(try read.inferenceThresholds().values == expected)
    }

    @Test func thresholdsPerLatentComeBackOneByOne() throws {
        let sae = try smallSAE(dIn: 12, groups: [64])
        var thresholds = randomMatrix(1, 64, seed: 4, from: 0, to: 2).values
        // How a latent that is switched off is written.
        thresholds[3] = .infinity
        sae.inference = .thresholds(thresholds)
        sae.subtractsDecoderBias = false
        let read = try roundTrip(sae)
        #expect(read.inference == .thresholds(thresholds))
    }

    // MARK: SAELens

    /// 1e-5 absolute, as SAELens's own float32 differs from a float64 run by about a tenth of that; which latents fire
    /// is exact.
    @Test(arguments: [
        "from_matryoshka_training", "jumprelu_sub_b_dec", "jumprelu_no_sub", "topk", "standard", "gated",
        "topk_rescaled", "matryoshka_training",
    ])
    func whatSAELensExportsEncodesAndDecodesAlike(_ name: String) throws {
        let golden = try Golden("saelens/\(name)/io.safetensors")
        let read = try SAEFolder.read(fixture("saelens/\(name)"))
        let sae = read.sae
        var provenance = read.provenance
        let saysText = !["gated", "topk_rescaled", "matryoshka_training"].contains(name)
        #expect(
            provenance.remarks.map { $0.prefix { $0 != ":" } } == (saysText ? ["metadata.prepend_bos is true"] : []))
        provenance.remarks = []
        var expected = SAEProvenance()
        expected.layer = 15
        expected.k = name.contains("matryoshka") || name.contains("topk") ? 8 : nil
        expected.inputScale = name == "matryoshka_training" ? 1 / 1.625 : nil
        #expect(provenance == expected)
        #expect(sae.subtractsDecoderBias == (name != "jumprelu_no_sub"))
        #expect(sae.layout.prefixes == (name.contains("matryoshka") ? [8, 32, 64, 128] : [128]))
        let codes = SparseCodes()
        try SparseEncoder().encode(try golden.matrix("x"), with: sae, into: codes)
        for (found, name) in [(codes.dense(), "encode"), (sae.decode(codes), "decode")] {
            let expected = try golden.expected(name)
            #expect(found.count == expected.count)
            for i in expected.indices {
                #expect(abs(Double(found[i]) - expected[i]) <= 1e-5, "\(name), element \(i)")
                if name == "encode" { #expect((found[i] > 0) == (expected[i] > 0), "element \(i)") }
            }
        }
        #expect(codes.count > 50, "something fires")
    }

    @Test func ourFolderOfASAELensModelEncodesAlike() throws {
        let golden = try Golden("saelens/jumprelu_no_sub/io.safetensors")
        let read = try roundTrip(try SAEFolder.read(fixture("saelens/jumprelu_no_sub")).sae)
        let codes = SparseCodes()
        try SparseEncoder().encode(try golden.matrix("x"), with: read, into: codes)
        #expect(largestDifference(codes.dense().values, try golden.expected("encode")) <= 1e-5)
    }

    @Test(arguments: [
        ("abstopk", "it keeps latents by the size of negative values too, and here no latent is negative"),
        (
            "jumprelu_skip_transcoder", "a transcoder rebuilds another place than it reads, which is not supported"
        ),
        ("JumpReLU", "SAELens writes standard, jumprelu, topk or gated; correct cfg.json if that is what it is"),
        ("temporal", "choose an SAE that is standard, jumprelu, topk, gated or batchtopk"),
    ]) func otherArchitecturesAreRefusedWithWhatHelps(_ name: String, _ advice: String) throws {
        #expect(
            try broken(configuration: replacing("\"jumprelu\"", "\"\(name)\"")) == notOurs
                + "its architecture is \(name); \(advice)")
    }

    @Test func theTensorsAreThoseOfTheArchitecture() throws {
        #expect(
            try broken(configuration: replacing("\"jumprelu\"", "\"standard\"")) == notOurs
                + "the weights hold a tensor \"threshold\", which no standard SAE has; "
                + "fold what it does into the others, or leave it out if it does nothing")
        #expect(
            try broken(configuration: replacing("\"jumprelu\"", "\"gated\""))
                == "\(weights): no tensor \"b_gate\"; it holds W_dec, W_enc, b_dec, b_enc, threshold")
        // What is ours says more of a jumprelu SAE than another has.
        let found = try broken(
            configuration: replacing("\"jumprelu\"", "\"standard\""), tensors: { $0["threshold"] = nil })
        #expect(found.hasPrefix(notOurs + "metadata.dmsae belongs to jumprelu and topk SAEs, and this is standard; "))
    }

    /// Weights of a fixture under another `cfg.json`, and what SAELens made of them there.
    private func sameWeights(_ name: String, _ configuration: String) throws {
        let source = fixture("saelens/\(name)")
        try AtomicFile.write(contents(of: source + "/sae_weights.safetensors"), to: weights)
        try AtomicFile.write(configuration, to: folder.file("cfg.json"))
        let (sae, _) = try SAEFolder.read(folder.path)
        let (same, _) = try SAEFolder.read(source)
        #expect(sae.inference == same.inference && sae.encoder.values == same.encoder.values)
        #expect(sae.subtractsDecoderBias == same.subtractsDecoderBias)
    }

    @Test func whatVersionFiveWroteIsReadAsVersionSixReadsIt() throws {
        let rest = """
            "d_in": 32, "d_sae": 128, "finetuning_scaling_factor": false, "context_size": 128, "model_name": "SmolLM2-135M",
            "hook_name": "blocks.15.hook_resid_post", "hook_layer": 15, "hook_head_index": null, "prepend_bos": true,
            "dataset_path": "c4", "dataset_trust_remote_code": true, "dtype": "torch.float32", "device": "cpu",
            "sae_lens_training_version": "5.11.0", "neuronpedia_id": null, "seqpos_slice": [null]
            """
        try sameWeights(
            "topk",
            """
            {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 8}, "normalize_activations": "none", \(rest)}
            """)
        // Versions 2 and before had one architecture, true and false for the normalisation, and wrote the whole run.
        try sameWeights(
            "standard",
            """
            {"activation_fn": "relu", "normalize_activations": false, "hook_point": "blocks.15.hook_resid_post",
             "hook_point_layer": 15, "l1_coefficient": 8e-5, "lr": 4e-4, "use_ghost_grads": false, "d_in": 32, "d_sae": 128,
             "dtype": "torch.float32", "device": "mps", "expansion_factor": 4, "log_to_wandb": true}
            """)
        let (old, says) = (
            "\"d_in\": 32, \"sae_lens_version\": \"5.0.0\"", "normalize_activations is \"expected_average_only_in\""
        )
        try AtomicFile.write("{\"normalize_activations\": true, \(old)}", to: folder.file("cfg.json"))
        #expect(message { _ = try SAEFolder.read(folder.path) }.hasPrefix(notOurs + says))
        try AtomicFile.write(
            "{\"activation_fn\": \"topk\", \"activation_fn_kwargs\": {\"k\": 8, \"signed\": true}, \(old)}",
            to: folder.file("cfg.json"))
        #expect(
            message { _ = try SAEFolder.read(folder.path) }.hasPrefix(
                notOurs + "activation_fn_kwargs.signed is true; this key is not known here"))
    }

    @Test func thresholdsThatAreStoredAsLogarithmsAreRead() throws {
        let logarithms = try broken(tensors: {
            $0["log_threshold"] = Matrix(vector: [-2, -1, 0, 0.5, 1, 2])
            $0["threshold"] = nil
        })
        #expect(logarithms.contains("the threshold of latent 0 is "), "\(logarithms)")
        try AtomicFile.write("{\"architecture\": \"jumprelu\"}", to: folder.file("cfg.json"))
        guard case .thresholds(let own) = try SAEFolder.read(folder.path).sae.inference else {
            Issue.record("no thresholds")
            return
        }
        checkClose(own, [-2, -1, 0, 0.5, 1, 2].map { Float(exp($0)) }, tolerance: 1e-6, "e^log_threshold")
    }

    @Test func factorsOfOneThatSAELensOnceWroteDoNothing() throws {
        let ones = Matrix(rows: 1, columns: 6)
        ones.fill(1)
        #expect(try broken(tensors: { $0["scaling_factor"] = ones }) == "nothing failed")
    }

    /// The Matryoshka folder with another scaler beside it, or none.
    private func scaler(_ text: String?) throws -> String {
        let source = fixture("saelens/matryoshka_training")
        for name in ["cfg.json", "sae_weights.safetensors"] {
            try AtomicFile.write(contents(of: source + "/" + name), to: folder.file(name))
        }
        if let text { try AtomicFile.write(text, to: folder.file("activation_scaler.json")) }
        return message { _ = try SAEFolder.read(folder.path) }
    }

    @Test func withoutWhatItsInputsWereMultipliedByAnSAEIsRefused() throws {
        #expect(
            try scaler(nil) == notOurs
                + "normalize_activations is \"expected_average_only_in\", and the factor is not in the folder; put the "
                + "activation_scaler.json of its training there, or save it with SAELens's save_inference_model")
        for (text, says) in [
            (
                "{\"scaling_factor\": null, \"has_whitening\": false}",
                "scaling_factor is null; write what inputs are multiplied by"
            ),
            ("{\"scaling_factor\": 0}", "scaling_factor is 0; write what inputs are multiplied by"),
            ("{\"scaling_factor\": 1e300}", "scaling_factor is 1e+300; write what inputs are multiplied by"),
            (
                "{\"scaling_factor\": 2, \"has_whitening\": true}",
                "has_whitening is true; save it with SAELens's save_inference_model"
            ),
            ("{\"scaling_factor\": 2, \"mean\": 1}", "mean is 1; this key is not known here"),
        ] {
            let found = try scaler(text)
            #expect(found.hasPrefix(notOurs + says), "\(found)")
        }
    }

    /// f of s x, and x̂ of it divided by s: 1e-5 of the largest, some roundings of products of twelve.
    @Test(arguments: [true, false]) func whatInputsWereMultipliedByIsFolded(_ subtracts: Bool) throws {
        let sae = try smallSAE(dIn: 12, groups: [40])
        sae.inference = .thresholds(randomMatrix(1, 40, seed: 4, from: 0, to: 0.3).values)
        sae.subtractsDecoderBias = subtracts
        try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
        try AtomicFile.write(
            """
            {"architecture": "jumprelu", "apply_b_dec_to_input": \(subtracts), "normalize_activations": "expected_average_only_in"}
            """, to: folder.file("cfg.json"))
        try AtomicFile.write(
            "{\"scaling_factor\": 0.375, \"has_whitening\": false}", to: folder.file("activation_scaler.json"))
        let (folded, provenance) = try SAEFolder.read(folder.path)
        #expect(provenance.inputScale == 1 / 0.375)
        let (x, scaled) = (
            randomMatrix(32, 12, seed: 5, from: -3, to: 3), randomMatrix(32, 12, seed: 5, from: -3, to: 3)
        )
        for i in 0..<scaled.count { scaled[i] *= 0.375 }
        let (own, other) = (SparseCodes(), SparseCodes())
        try SparseEncoder().encode(scaled, with: sae, into: own)
        try SparseEncoder().encode(x, with: folded, into: other)
        let wanted = sae.decode(own)
        for i in 0..<wanted.count { wanted[i] /= 0.375 }
        #expect(own.count > 100)
        checkClose(other.dense().values, own.dense().values, tolerance: 1e-5, "f")
        checkClose(folded.decode(other).values, wanted.values, tolerance: 1e-5, "x̂")
        let configuration = contents(of: folder.file("cfg.json"))
        sae.decoder[0] = 100
        try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
        try AtomicFile.write(configuration, to: folder.file("cfg.json"))
        try AtomicFile.write("{\"scaling_factor\": 2e-38}", to: folder.file("activation_scaler.json"))
        let found = message { _ = try SAEFolder.read(folder.path) }
        #expect(
            found.hasPrefix(
                notOurs + "what it is scaled by cannot be folded into its weights: a decoder row would be infinite"),
            "\(found)")
    }

    @Test func aMagnitudeThatSinglePrecisionCannotHoldIsRefused() throws {
        let source = fixture("saelens/gated")
        let file = try SafetensorsFile(path: source + "/sae_weights.safetensors")
        for (r, says): (Float, String) in [
            (100, "latent 3 has a magnitude e^100.0, which single precision cannot hold; choose another checkpoint"),
            (-100, "latent 3 has a magnitude e^-100.0, which"),
            (88.7, "latent 3 is multiplied by e^88.7, which makes it infinite"),
        ] {
            var writer = SafetensorsWriter()
            for (name, tensor) in file.tensors.sorted(by: { $0.key < $1.key }) {
                let part = try file.matrix(name)
                if name == "r_mag" { part[3] = r }
                if name == "W_enc" { part[3] = 100 }
                writer.add(name, part, shape: tensor.shape)
            }
            try writer.write(to: weights)
            try AtomicFile.write(contents(of: source + "/cfg.json"), to: folder.file("cfg.json"))
            let found = message { _ = try SAEFolder.read(folder.path) }
            #expect(found.hasPrefix(notOurs + says), "\(found)")
        }
    }

    // MARK: Broken folders

    /// A folder of a small SAE with one thing changed.
    private func broken(
        configuration: ((String) -> String)? = nil, tensors: ((inout [String: Matrix]) -> Void)? = nil
    ) throws -> String {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.inference = .threshold(0.5)
        try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
        if let configuration {
            let path = folder.file("cfg.json")
            try AtomicFile.write(configuration(String(decoding: contents(of: path), as: UTF8.self)), to: path)
        }
        if let tensors {
            let path = folder.file("sae_weights.safetensors")
            let file = try SafetensorsFile(path: path)
            var parts: [String: Matrix] = [:]
            for name in file.tensors.keys { parts[name] = try file.matrix(name) }
            tensors(&parts)
            var writer = SafetensorsWriter()
            for (name, part) in parts.sorted(by: { $0.key < $1.key }) {
                writer.add(name, part, shape: part.rows == 1 ? [part.columns] : [part.rows, part.columns])
            }
            try writer.write(to: path)
        }
        return message { _ = try SAEFolder.read(folder.path) }
    }

    private var notOurs: String { "\(folder.path) is not an SAE this program reads: " }
    private var weights: String { folder.file("sae_weights.safetensors") }

    @Test func anUnchangedFolderReads() throws { #expect(try broken() == "nothing failed") }

    @Test(arguments: ["W_enc", "b_enc", "W_dec", "b_dec"]) func nanIsRefusedByTheNameOfItsTensor(_ name: String) throws
    {
        for bad: Float in [.nan, -.infinity] {
            #expect(
                try broken(tensors: { $0[name]?[1] = bad }) == notOurs
                    + "\(name) holds NaN or infinity; train it again or use another checkpoint")
        }
    }

    @Test func aThresholdThatIsNaNIsRefused() throws {
        #expect(
            try broken(tensors: { $0["threshold"]?[5] = .nan }) == notOurs
                + "threshold holds NaN; train it again or use another checkpoint")
    }

    @Test func wrongShapesAreNamed() throws {
        let advice = "; check that the file belongs with the others given"
        #expect(
            try broken(tensors: { $0["W_enc"] = $0["W_enc"]?.transposed() })
                == "\(weights): tensor \"W_enc\" has shape [6, 3], wanted [3, 6]\(advice)")
        #expect(
            try broken(tensors: { $0["b_enc"] = Matrix(rows: 1, columns: 5) })
                == "\(weights): tensor \"b_enc\" has shape [5], wanted [6]\(advice)")
        #expect(
            try broken(tensors: { $0["threshold"] = Matrix(rows: 1, columns: 1) })
                == "\(weights): tensor \"threshold\" has shape [1], wanted [6]\(advice)")
        #expect(
            try broken(tensors: { $0["W_dec"] = Matrix(rows: 1, columns: 18) })
                == "\(weights): tensor \"W_dec\" has shape [18], wanted [any, any]\(advice)")
    }

    @Test func aMissingTensorIsNamed() throws {
        #expect(
            try broken(tensors: { $0["threshold"] = nil })
                == "\(weights): no tensor \"threshold\"; it holds W_dec, W_enc, b_dec, b_enc")
    }

    @Test(arguments: [0, 7, 100, 400]) func truncatedWeightsAreRefused(_ length: Int) throws {
        _ = try broken()
        #expect(truncate(weights, length) == 0)
        let text = message { _ = try SAEFolder.read(folder.path) }
        #expect(text.contains(weights) && text.contains("; "), "\(text)")
    }

    @Test func missingFilesAreNamed() throws {
        _ = try broken()
        #expect(remove(weights) == 0)
        #expect(message { _ = try SAEFolder.read(folder.path) }.hasPrefix("cannot read \(weights): "))
        #expect(remove(folder.file("cfg.json")) == 0)
        #expect(message { _ = try SAEFolder.read(folder.path) }.hasPrefix("cannot read \(folder.file("cfg.json")): "))
    }

    private func replacing(_ old: String, _ new: String) -> (String) -> String {
        { text in
            guard let at = text.firstRange(of: old) else { fatalError("no \(old) in \(text)") }
            return text[..<at.lowerBound] + new + text[at.upperBound...]
        }
    }

    @Test func normalisedActivationsAreRefused() throws {
        #expect(
            try broken(
                configuration: replacing(
                    "\"normalize_activations\" : \"none\"", "\"normalize_activations\" : \"layer_norm\"")) == notOurs
                + "normalize_activations is \"layer_norm\"; each input is normalised by numbers of its own, which weights cannot hold; "
                + "choose another SAE")
        #expect(
            try broken(
                configuration: replacing(
                    "\"normalize_activations\" : \"none\"", "\"normalize_activations\" : \"covariance_whitening\""))
                == notOurs
                + "normalize_activations is \"covariance_whitening\"; save it with SAELens's save_inference_model, which "
                + "folds the whitening into the weights")
    }

    /// A member of cfg.json that is written otherwise, or put in before it, and what is said.
    @Test(arguments: [
        ("apply_b_dec_to_input", "0", "apply_b_dec_to_input is 0; write true or false in cfg.json"),
        ("apply_b_dec_to_input", "\"False\"", "apply_b_dec_to_input is \"False\"; write true or false in cfg.json"),
        ("apply_b_dec_to_input", "null", "apply_b_dec_to_input is null; write true or false in cfg.json"),
        (
            "normalize_activations", "true",
            "normalize_activations is true; fold the normalisation into the weights first"
        ),
        (
            "normalize_activations", "null",
            "normalize_activations is null; fold the normalisation into the weights first"
        ),
        ("reshape_activations", "\"hook_z\"", "reshape_activations is \"hook_z\"; only SAEs of whole vectors are read"),
        ("d_sae", "7", "d_sae is 7 in cfg.json, and the weights have 6; put the files of one SAE together"),
        ("d_in", "4", "d_in is 4 in cfg.json, and the weights have 3; put the files of one SAE together"),
        ("d_sae", "6.0", "d_sae is 6.0; write a whole number in cfg.json"),
        ("d_sae", "\"6\"", "d_sae is \"6\"; write a whole number in cfg.json"),
        ("dtype", "\"int8\"", "dtype is \"int8\"; weights are read as float64, float32, float16, bfloat16"),
        ("k", "3", "k is 3; a jumprelu SAE has none; write topk if it selects by number"),
        (
            "rescale_acts_by_decoder_norm", "true",
            "rescale_acts_by_decoder_norm is true; only topk and batchtopk SAEs have that; correct cfg.json"
        ),
        (
            "finetuning_scaling_factor", "true",
            "finetuning_scaling_factor is true; use the SAE as it was before the fine-tuning"
        ),
        (
            "activation_fn", "\"gelu\"",
            "activation_fn is \"gelu\"; only ReLU and TopK are read"
        ),
        (
            "input_scale", "2.5",
            "input_scale is 2.5; this key is not known here, and what it changes would be missed; remove it from cfg.json if that "
                + "is nothing"
        ),
        ("metadata", "5", "metadata is 5, not an object; correct cfg.json"),
    ]) func aKeyThatChangesTheFunctionIsRefusedByNameAndValue(_ key: String, _ value: String, _ says: String) throws {
        let text = try broken(configuration: { old in
            let pattern = "\"\(key)\" : "
            guard let at = old.firstRange(of: pattern) else { return "{\"\(key)\" : \(value)," + old.dropFirst() }
            // Up to the end of the line, or of the whole object for the last one.
            let end = key == "metadata" ? old.endIndex : old[at.upperBound...].firstIndex { $0 == "," || $0 == "\n" }!
            return old[..<at.upperBound] + value + (key == "metadata" ? "}" : String(old[end...]))
        })
        #expect(text == notOurs + says)
    }

    @Test(arguments: ["scaling_factor", "r_mag", "W_skip", "topk_threshold"]) func aTensorThatNobodyReadsIsRefused(
        _ name: String
    ) throws {
        #expect(
            try broken(tensors: { $0[name] = Matrix(rows: 1, columns: 6) }) == notOurs
                + "the weights hold a tensor \"\(name)\", which no jumprelu SAE has; "
                + "fold what it does into the others, or leave it out if it does nothing")
    }

    @Test func ourOwnMetadataIsReadAsStrictlyAsAStrangers() throws {
        for (old, new, says) in [
            ("\"format\" : 1", "\"format\" : 2", "metadata.dmsae.format is 2; this program knows format 1"),
            (
                "\"threshold_set\" : true", "\"threshold_set\" : 1",
                "metadata.dmsae.threshold_set is 1; write true or false"
            ),
            (
                "\"core_mode\" : \"dense\"", "\"core_mode\" : \"wide\"",
                "metadata.dmsae.core_mode is \"wide\"; write dense or sparse"
            ),
            ("\"core\" : 0", "\"core\" : 0.0", "metadata.dmsae.core is 0.0; write a whole number"),
            ("\"core\" : 0", "\"core\" : 0, \"scale\" : 2", "metadata.dmsae.scale is 2; this key is not known here"),
            (
                "\"threshold_set\" : true", "\"threshold_set\" : false",
                "the threshold of latent 0 is 0.5, and by metadata.dmsae it is -1.0"
            ),
            // A core of one latent leaves these prefixes as they are, and its threshold would be 0.
            ("\"core\" : 0", "\"core\" : 1", "the threshold of latent 0 is 0.5, and by metadata.dmsae it is 0.0"),
            ("\"core\" : 0", "\"core\" : 3", "prefixes is [2, 6], and by groups and core it is [4, 6]"),
        ] {
            let text = try broken(configuration: replacing(old, new))
            #expect(text.hasPrefix(notOurs + says), "\(text)")
        }
        let text = try broken(tensors: { $0["threshold"]?[2] = 0.25 })
        #expect(
            text == notOurs + "the threshold of latent 2 is 0.25, and by metadata.dmsae it is 0.5; "
                + "remove metadata.dmsae if the thresholds were changed on purpose")
    }

    @Test func ourOwnProvenanceIsReadAsStrictlyAsTheRest() throws {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.inference = .threshold(0.5)
        var provenance = SAEProvenance()
        provenance.layer = 3
        (provenance.keepFirst, provenance.sinks) = (1, 0)
        provenance.inputScale = 2
        provenance.plan = try TrainingPlan(
            TrainingSettings(k: 2, batchSize: 64, steps: 100), dIn: 3, layout: sae.layout)
        try SAEFolder.write(sae, provenance, to: folder.path)
        let text = String(decoding: contents(of: folder.file("cfg.json")), as: UTF8.self)
        let own = "metadata.dmsae.provenance."
        for (old, new, says) in [
            ("\"layer\" : 3", "\"layer\" : 3.0", own + "layer is 3.0; write a whole number in cfg.json"),
            ("\"steps\" : 100", "\"steps\" : 1e2", own + "plan.steps is 100.0; write a whole number in cfg.json"),
            ("\"keepFirst\" : 1", "\"keepFirst\" : -1", own + "keepFirst is -1; write how many first positions"),
            (
                "\"sinks\" : 0", "\"sinks\" : 0.5",
                own + "sinks is 0.5; write a multiple of the median norm above 1, or 0"
            ),
            ("\"sinks\" : 0", "\"sinks\" : -2", own + "sinks is -2; write a multiple of the median norm above 1, or 0"),
            ("\"layer\" : 3", "\"layer\" : 3, \"scale\" : 2", own + "scale is not known here; remove it from cfg.json"),
            ("\"batchSize\" : 64", "\"batchSize\" : 64, \"beta3\" : 1", own + "plan.beta3 is not known here"),
        ] {
            try AtomicFile.write(replacing(old, new)(text), to: folder.file("cfg.json"))
            let found = message { _ = try SAEFolder.read(folder.path) }
            #expect(found.hasPrefix(notOurs + says), "\(found)")
        }
        // A number with a fraction may have none.
        try AtomicFile.write(replacing("\"inputScale\" : 2", "\"inputScale\" : 2.0")(text), to: folder.file("cfg.json"))
        #expect(try SAEFolder.read(folder.path).provenance == provenance)
    }

    /// Values of keys about the text of the training, at both places where SAELens had them, and what is otherwise here.
    @Test(
        arguments: [
            ("prepend_bos", "false", nil), ("prepend_bos", "null", nil),
            (
                "prepend_bos", "true",
                "prepend_bos is true: it was trained on sequences that begin with a beginning-of-text"
            ),
            ("prepend_bos", "1", "prepend_bos is 1: "), ("seqpos_slice", "null", nil), ("seqpos_slice", "[null]", nil),
            ("seqpos_slice", "[null, null]", nil), ("seqpos_slice", "[0, null, 1]", nil),
            ("seqpos_slice", "[1, null]", nil),
            ("seqpos_slice", "[10]", "seqpos_slice is [10]: it was trained on those positions"),
            ("seqpos_slice", "[1]", "seqpos_slice is [1]: "),
            ("seqpos_slice", "[5, null]", "seqpos_slice is [5, null]: "),
            ("seqpos_slice", "[null, -1]", "seqpos_slice is [null, -1]: "),
            ("seqpos_slice", "[null, null, 2]", "seqpos_slice is [null, null, 2]: "),
            ("model_from_pretrained_kwargs", "{}", nil), ("model_from_pretrained_kwargs", "null", nil),
            ("model_from_pretrained_kwargs", "{\"center_writing_weights\": false, \"dtype\": \"bfloat16\"}", nil),
            (
                "model_from_pretrained_kwargs", "{\"revision\": \"step3000\"}",
                "model_from_pretrained_kwargs.revision is \"step3000\": its model was loaded in a way that is not known here"
            ),
            ("model_from_pretrained_kwargs", "3", "model_from_pretrained_kwargs is 3: "),
        ] as [(String, String, String?)]) func whatATrainingsTextWasIsRemarkedWhereItIsOtherwise(
            _ key: String, _ value: String, _ remark: String?
        ) throws
    {
        for (place, text) in [
            ("", "{\"architecture\": \"jumprelu\", \"\(key)\": \(value)}"),
            ("metadata.", "{\"architecture\": \"jumprelu\", \"metadata\": {\"\(key)\": \(value)}}"),
        ] {
            let sae = try smallSAE(dIn: 3, groups: [2, 4])
            sae.inference = .threshold(0.5)
            try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
            try AtomicFile.write(text, to: folder.file("cfg.json"))
            let remarks = try SAEFolder.read(folder.path).provenance.remarks
            #expect(remarks.count == (remark == nil ? 0 : 1), "\(remarks)")
            if let remark { #expect(remarks.first?.hasPrefix(place + remark) == true, "\(remarks)") }
        }
    }

    // MARK: Hooks

    private func hook(_ members: String) throws -> (layer: Int?, point: HookPoint?, message: String) {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.inference = .threshold(0.5)
        try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
        try AtomicFile.write(
            "{\"architecture\": \"jumprelu\", \"metadata\": {\(members)}}", to: folder.file("cfg.json"))
        var provenance = SAEProvenance()
        let text = message { provenance = try SAEFolder.read(folder.path).provenance }
        return (provenance.layer, provenance.hookPoint, text)
    }

    @Test func theHookGivesTheLayer() throws {
        #expect(try hook("\"hook_name\": \"blocks.15.hook_resid_post\"").layer == 15)
        #expect(
            try hook("\"hook_name\": \"blocks.0.hook_resid_post\", \"hook_layer\": 0, \"hook_head_index\": null").layer
                == 0)
        #expect(try hook("\"hook_layer\": 4, \"hf_hook_name\": \"model.layers.4\"").layer == 4)
        for kind in HookPoint.Kind.allCases {
            let point = HookPoint(block: 8, kind)
            #expect(try hook("\"hook_name\": \"\(point.name)\", \"hook_layer\": 8").point == point)
        }
        #expect(
            try hook(
                "\"hook_name\": \"blocks.4.hook_mlp_out\", \"hf_hook_name\": \"model.layers.4.post_feedforward_layernorm.output\""
            ).point == HookPoint(block: 4, .mlpOut))
        // What is rebuilt may be named too, where it is what is read.
        #expect(
            try hook("\"hook_name\": \"blocks.4.hook_mlp_out\", \"hook_name_out\": \"blocks.4.hook_mlp_out\"").layer
                == 4)
        let none = try hook("\"hook_name\": null")
        #expect(none.layer == nil && none.message == "nothing failed")
    }

    @Test(arguments: [
        "blocks.3.attn.hook_z", "blocks.3.hook_mlp_in", "blocks.3.hook_resid_mid", "hook_embed",
        "blocks.x.hook_resid_post", "blocks.-1.hook_resid_post", "blocks.03.hook_resid_post",
        "blocks.3.hook_resid_post.x",
        "model.layers.3", "",
    ]) func anotherPlaceInTheModelIsRefused(_ name: String) throws {
        #expect(
            try hook("\"hook_name\": \"\(name)\"").message == notOurs + "metadata.hook_name is \"\(name)\"; "
                + "supported are blocks.L.hook_resid_pre, blocks.L.hook_attn_out, blocks.L.hook_mlp_out, "
                + "blocks.L.hook_resid_post")
    }

    @Test func anotherPlaceByTheNameOfTransformersIsRefused() throws {
        for name in ["transformer.h.4", "gpt_neox.layers.4.output", "model.layers.4.output"] {
            #expect(try hook("\"hf_hook_name\": \"\(name)\"").layer == 4)
        }
        for name in ["model.layers.1.mlp", "transformer.h.1.attn", "model.layers.1.self_attn"] {
            #expect(
                try hook("\"hook_name\": \"blocks.1.hook_resid_post\", \"hf_hook_name\": \"\(name)\"").message
                    == notOurs
                    + "metadata.hf_hook_name is \"\(name)\"; only the output of a whole block is supported")
        }
        #expect(try hook("\"hook_name_in\": \"blocks.0.hook_mlp_out\"").message.contains("metadata.hook_name_in is"))
    }

    @Test func hooksThatContradictEachOtherAreRefused() throws {
        #expect(
            try hook("\"hook_name\": \"blocks.3.hook_resid_post\", \"hook_layer\": 4").message == notOurs
                + "metadata.hook_name names layer 3 and metadata.hook_layer layer 4; correct cfg.json")
        #expect(
            try hook(
                "\"hook_name\": \"blocks.4.hook_resid_post\", \"hf_hook_name\": \"model.layers.4.post_feedforward_layernorm.output\""
            ).message == notOurs
                + "it is of blocks.4.hook_resid_post, and by metadata.hf_hook_name of blocks.4.hook_mlp_out; correct cfg.json"
        )
        let whole = "only SAEs that read and rebuild one whole place of the model are supported"
        #expect(
            try hook("\"hook_name\": \"blocks.3.hook_resid_post\", \"hook_head_index\": 2").message == notOurs
                + "metadata.hook_head_index is 2; " + whole)
        #expect(
            try hook("\"hook_name\": \"blocks.3.hook_mlp_out\", \"hook_name_out\": \"blocks.4.hook_mlp_out\"").message
                == notOurs + "metadata.hook_name_out is \"blocks.4.hook_mlp_out\"; " + whole)
        #expect(try hook("\"hook_name\": 5").message == notOurs + "metadata.hook_name is 5; write a text in cfg.json")
        #expect(
            try hook("\"hook_layer\": \"3\"").message == notOurs
                + "metadata.hook_layer is \"3\"; write a whole number in cfg.json")
    }

    @Test func ourOwnLayerMustBeTheHooks() throws {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.inference = .threshold(0.5)
        var provenance = SAEProvenance()
        provenance.layer = 3
        try SAEFolder.write(sae, provenance, to: folder.path)
        let path = folder.file("cfg.json")
        let text = String(decoding: contents(of: path), as: UTF8.self)
        try AtomicFile.write(replacing("blocks.3.", "blocks.4.")(text), to: path)
        #expect(
            message { _ = try SAEFolder.read(folder.path) } == notOurs
                + "metadata.dmsae.provenance is of layer 3, and the hook is that of layer 4; correct cfg.json")
    }

    @Test func ourOwnHookComesBackAndMustBeTheFilesToo() throws {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.inference = .threshold(0.5)
        var provenance = SAEProvenance()
        for kind in HookPoint.Kind.allCases {
            provenance.hookPoint = HookPoint(block: 3, kind)
            try SAEFolder.write(sae, provenance, to: folder.path)
            #expect(try SAEFolder.read(folder.path).provenance == provenance)
        }
        provenance.hookPoint = HookPoint(block: 3, .mlpOut)
        try SAEFolder.write(sae, provenance, to: folder.path)
        let path = folder.file("cfg.json")
        let text = String(decoding: contents(of: path), as: UTF8.self)
        #expect(text.contains("\"hook_name\" : \"blocks.3.hook_mlp_out\""))
        try AtomicFile.write(replacing("blocks.3.hook_mlp_out", "blocks.3.hook_attn_out")(text), to: path)
        #expect(
            message { _ = try SAEFolder.read(folder.path) } == notOurs
                + "metadata.dmsae.provenance is of blocks.3.hook_mlp_out, and the hook is that of blocks.3.hook_attn_out; "
                + "correct cfg.json")
    }

    @Test func groupsThatContradictTheWeightsAreRefused() throws {
        let advice = "; correct metadata.dmsae in cfg.json, or write the SAE again"
        #expect(
            try broken(configuration: replacing("\"core\" : 0", "\"core\" : 6"))
                == notOurs + "a core of 6 latents leaves none of 6 to train" + advice)
        #expect(
            try broken(configuration: replacing("\"core\" : 0", "\"core\" : -2")) == notOurs + "core is -2" + advice)
        let huge = "9223372036854775807"
        let text = try broken(configuration: {
            let at = $0.firstRange(of: "\"groups\" : [")!
            return $0[..<at.upperBound] + huge + ", " + $0[at.upperBound...]
        })
        #expect(text.hasPrefix(notOurs + "groups 9") && text.hasSuffix("not to the width 6" + advice), "\(text)")
    }

    @Test(arguments: ["[4, 2]", "[0, 6]", "[-9223372036854775808, 6]", "[2, 9]"])
    func prefixesOfSAELensThatAreNotNestedAreRefused(_ widths: String) throws {
        _ = try broken(configuration: { _ in
            """
            {"architecture": "jumprelu", "metadata": {"training_architecture_details": {"matryoshka_widths": \(widths)}}}
            """
        })
        let text = message { _ = try SAEFolder.read(folder.path) }
        #expect(
            text.hasPrefix(notOurs) && (text.contains("beyond 1 to d_sae, 6") || text.contains("no latent"))
                && text.hasSuffix("; correct matryoshka_widths in cfg.json, or write the SAE again"), "\(text)")
    }

    @Test(arguments: ["", "{", "[]", "{\"architecture\": 3}", "{}"]) func otherJSONIsRefused(_ text: String) throws {
        let found = try broken(configuration: { _ in text })
        #expect(found.contains(folder.path), "\(found)")
    }
}
