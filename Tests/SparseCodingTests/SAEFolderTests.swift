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
        sae.threshold = 0.1234567
        var provenance = SAEProvenance()
        provenance.model = "SmolLM2-135M"
        provenance.layer = 15
        provenance.contextLength = 256
        provenance.seed = (1 << 53) - 1
        provenance.inputScale = 173.0000001
        provenance.rule = "batchtopk 1.0.0"
        provenance.steps = 1000
        provenance.plan = try TrainingPlan(
            TrainingSettings(k: 7, batchSize: 64, steps: 1000), dIn: 12, layout: sae.layout)
        let read = try roundTrip(sae, provenance)
        #expect(read.threshold == sae.threshold && read.latentThresholds == nil)
        #expect(try fileThresholds() == [Float](repeating: 0.1234567, count: 64))
    }

    @Test(arguments: [0, 5]) func anUnsetThresholdStaysUnset(_ core: Int) throws {
        let sae = try smallSAE(dIn: 12, groups: [8, 16, 40], core: core)
        let read = try roundTrip(sae)
        #expect(read.threshold == nil && read.latentThresholds == nil)
        #expect(try fileThresholds() == [Float](repeating: -1, count: 64))
        #expect(throws: SparseCodingError.thresholdUnset) { try read.inferenceThresholds() }
    }

    @Test(arguments: [true, false]) func onlyTheLatentsOfADenseCoreHaveThresholdZero(_ isDense: Bool) throws {
        let sae = try smallSAE(dIn: 12, groups: [8, 16, 40], core: 5, coreIsDense: isDense)
        sae.threshold = 0.5
        let read = try roundTrip(sae)
        #expect(read.threshold == 0.5 && read.coreIsDense == isDense)
        let expected = [Float](repeating: isDense ? 0 : 0.5, count: 5) + [Float](repeating: 0.5, count: 59)
        #expect(try fileThresholds() == expected)
        #expect(try read.inferenceThresholds().values == expected)
    }

    @Test func thresholdsPerLatentComeBackOneByOne() throws {
        let sae = try smallSAE(dIn: 12, groups: [64])
        sae.latentThresholds = randomMatrix(1, 64, seed: 4, from: 0, to: 2)
        // How a latent that is switched off is written.
        sae.latentThresholds?[3] = .infinity
        sae.subtractsDecoderBias = false
        let read = try roundTrip(sae)
        #expect(read.latentThresholds?.values == sae.latentThresholds?.values && read.threshold == nil)
    }

    // MARK: SAELens

    /// 1e-5 absolute, as SAELens's own float32 differs from a float64 run by about a tenth of that; which latents fire
    /// is exact.
    @Test(arguments: ["from_matryoshka_training", "jumprelu_sub_b_dec", "jumprelu_no_sub", "topk"])
    func whatSAELensExportsEncodesAndDecodesAlike(_ name: String) throws {
        let golden = try Golden("saelens/\(name)/io.safetensors")
        let (sae, provenance) = try SAEFolder.read(fixture("saelens/\(name)"))
        #expect(provenance == SAEProvenance())
        #expect(sae.subtractsDecoderBias == (name != "jumprelu_no_sub"))
        #expect(
            sae.layout.prefixes == (name == "from_matryoshka_training" ? [8, 32, 64, 128] : [128]))
        let codes = SparseCodes()
        try EncodingPass().encode(try golden.matrix("x"), with: sae, into: codes)
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
        try EncodingPass().encode(try golden.matrix("x"), with: read, into: codes)
        #expect(largestDifference(codes.dense().values, try golden.expected("encode")) <= 1e-5)
    }

    @Test(arguments: ["standard"]) func otherArchitecturesAreRefusedByName(_ name: String) {
        let path = fixture("saelens/\(name)")
        #expect(
            message { _ = try SAEFolder.read(path) }
                == "\(path) is not an SAE this program reads: its architecture is \(name); "
                + "export it from SAELens for inference (jumprelu or topk)")
    }

    // MARK: Broken folders

    /// A folder of a small SAE with one thing changed.
    private func broken(
        configuration: ((String) -> String)? = nil, tensors: ((inout [String: Matrix]) -> Void)? = nil
    ) throws -> String {
        let sae = try smallSAE(dIn: 3, groups: [2, 4])
        sae.threshold = 0.5
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
                + "normalize_activations is layer_norm; fold the normalisation into the weights first")
    }

    @Test func groupsThatContradictTheWeightsAreRefused() throws {
        #expect(
            try broken(configuration: replacing("\"core\" : 0", "\"core\" : 6"))
                == "a core of 6 latents leaves none of 6 to train; widen the SAE or lower τ")
        #expect(
            try broken(configuration: replacing("\"core\" : 0", "\"core\" : -2"))
                == "core is -2; it must be 0 or more latents")
        let huge = "9223372036854775807"
        let text = try broken(configuration: {
            let at = $0.firstRange(of: "\"groups\" : [")!
            return $0[..<at.upperBound] + huge + ", " + $0[at.upperBound...]
        })
        #expect(text.hasSuffix("not to the width 6; change --groups or --width"), "\(text)")
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
            text != "nothing failed" && text.contains("it must be between 1 and") || text.contains("no latent"),
            "\(text)")
    }

    @Test(arguments: ["", "{", "[]", "{\"architecture\": 3}", "{}"]) func otherJSONIsRefused(_ text: String) throws {
        let found = try broken(configuration: { _ in text })
        #expect(found.contains(folder.path), "\(found)")
    }
}
