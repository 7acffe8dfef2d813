import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Folders that dictionary_learning wrote, against what its classes computed of them.
@Suite struct DictionaryLearningTests {
    private let folder = TemporaryFolder()

    private func codes(_ sae: SparseAutoencoder, _ x: Matrix) throws -> SparseCodes {
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        return codes
    }

    @Test(arguments: [
        ("matryoshka_batchtopk", "encode.threshold"), ("batchtopk", "encode.threshold"), ("topk", "encode.topk"),
        ("jumprelu", "encode"), ("gated", "encode"), ("standard", "encode"),
    ])
    func `encodings and reconstructions are those of the library`(_ name: String, _ encoding: String) throws {
        let path = fixture("dictionary_learning/\(name)")
        #expect(SAEFormats.format(of: path).name == "dictionary_learning")
        let (sae, provenance) = try SAEFormats.read(path)
        let io = try SafetensorsFile(path: path + "/io.safetensors")
        let found = try codes(sae, try io.matrix("x"))
        let wanted = try io.matrix(encoding)
        // The recorded tolerance, 1e-5 absolute; which latents are active must agree exactly.
        let dense = found.dense()
        #expect((0..<dense.count).allSatisfy { (dense[$0] > 0) == (wanted[$0] > 0) })
        checkClose(dense.values, wanted.values, tolerance: 1e-5, encoding)
        checkClose(sae.decode(found).values, try io.matrix("decode").values, tolerance: 1e-5, "decode")
        #expect(provenance.layer == 15 && provenance.model == "HuggingFaceTB/SmolLM2-135M-Instruct")
        // The file itself means its folder.
        #expect(try SAEFormats.read(path + "/ae.pt").sae.encoder.values == sae.encoder.values)
    }

    @Test func `prefixes of a Matryoshka SAE are its own`() throws {
        let path = fixture("dictionary_learning/matryoshka_batchtopk")
        let sae = try SAEFormats.read(path).sae
        #expect(sae.layout.prefixes == [8, 32, 64, 128] && sae.exemptCore.isEmpty)
        let io = try SafetensorsFile(path: path + "/io.safetensors")
        let codes = try codes(sae, try io.matrix("x"))
        for prefix in sae.layout.prefixes {
            checkClose(
                sae.decode(codes, prefix: prefix).values, try io.matrix("decode.prefix\(prefix)").values,
                tolerance: 1e-5, "prefix \(prefix)")
        }
    }

    @Test func `what is written is read again, as the same SAE`() throws {
        var (sae, provenance) = try SAEFormats.read(fixture("dictionary_learning/matryoshka_batchtopk"))
        var settings = TrainingSettings(k: 8, batchSize: 64, steps: 10)
        settings.learningRate = 1e-3
        provenance.plan = try TrainingPlan(settings, dIn: sae.dIn, layout: sae.layout)
        try DictionaryLearning().write(sae, provenance, to: folder.file("sae"))
        let (again, from) = try SAEFormats.read(folder.file("sae"))
        #expect(again.encoder.values == sae.encoder.values && again.decoder.values == sae.decoder.values)
        #expect(
            again.encoderBias.values == sae.encoderBias.values && again.decoderBias.values == sae.decoderBias.values)
        #expect(again.inference == sae.inference && again.layout == sae.layout && again.subtractsDecoderBias)
        #expect(from.layer == 15 && from.model == provenance.model)
    }

    @Test func `a place that the format cannot name is refused, and one by another name is not`() throws {
        var (sae, provenance) = try SAEFormats.read(fixture("dictionary_learning/matryoshka_batchtopk"))
        provenance.hookPoint = HookPoint(block: 3, .mlpOut)
        for format in [DictionaryLearning() as any SAEFormat, Sparsify()] {
            if format.name == "sparsify" { sae = try SAEFormats.read(fixture("dictionary_learning/topk")).sae }
            #expect(
                throws: SAEFormatError.cannotHold(
                    format: format.name,
                    reason:
                        "it is of blocks.3.hook_mlp_out, and the format names no place but the residual stream after a block",
                    next: "write it as saelens")
            ) { try format.write(sae, provenance, to: folder.file("sae")) }
            #expect(!exists(folder.file("sae")))
        }
        provenance.hookPoint = HookPoint(block: 3, .residPre)
        try DictionaryLearning().write(
            try SAEFormats.read(fixture("dictionary_learning/topk")).sae, provenance, to: folder.file("sae"))
        #expect(try SAEFormats.read(folder.file("sae")).provenance.hookPoint == .residPost(2))
    }

    /// Each is written as the class that computes the same, and read again as it was.
    @Test(arguments: [
        ("dictionary_learning/topk", "AutoEncoderTopK"), ("dictionary_learning/jumprelu", "JumpReluAutoEncoder"),
        ("dictionary_learning/standard", "AutoEncoder"), ("dictionary_learning/batchtopk", "MatryoshkaBatchTopKSAE"),
        ("saelens/from_matryoshka_training", "MatryoshkaBatchTopKSAE"), ("saelens/topk", "AutoEncoderTopK"),
    ]) func `every class that is written is read again, as the same SAE`(_ source: String, _ className: String) throws {
        let (sae, provenance) = try SAEFormats.read(fixture(source))
        try DictionaryLearning().write(sae, provenance, to: folder.file("sae"))
        let trainer = try JSONValue(contentsOf: folder.file("sae/config.json"))["trainer"]
        #expect(trainer?["dict_class"]?.string == className)
        let again = try SAEFormats.read(folder.file("sae")).sae
        #expect(again.encoder.values == sae.encoder.values && again.decoder.values == sae.decoder.values)
        #expect(
            again.encoderBias.values == sae.encoderBias.values && again.decoderBias.values == sae.decoderBias.values)
        #expect(again.subtractsDecoderBias == sae.subtractsDecoderBias && again.layout == sae.layout)
        if sae.rowTopK == nil {
            #expect(try again.inferenceThresholds().values == sae.inferenceThresholds().values)
        } else {
            #expect(again.inference == sae.inference)
        }
    }

    @Test func `a ReLU SAE that subtracts nothing is written as the class that subtracts nothing`() throws {
        let (sae, provenance) = try SAEFormats.read(fixture("saelens/standard"))
        sae.subtractsDecoderBias = false
        try DictionaryLearning().write(sae, provenance, to: folder.file("sae"))
        let trainer = try JSONValue(contentsOf: folder.file("sae/config.json"))["trainer"]
        #expect(trainer?["dict_class"]?.string == "AutoEncoderNew")
        let again = try SAEFormats.read(folder.file("sae")).sae
        #expect(again.decoderBias.values == sae.decoderBias.values && !again.subtractsDecoderBias)
        #expect(again.inference == sae.inference)
    }

    private func says(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "nothing"
        } catch { return "\(error)".replacing(folder.path + "/", with: "") }
    }

    @Test func `what the format cannot hold is refused with the reason`() throws {
        let (sae, provenance) = try SAEFormats.read(fixture("dictionary_learning/jumprelu"))
        sae.subtractsDecoderBias = true
        #expect(
            says { try DictionaryLearning().write(sae, provenance, to: folder.file("sae")) }
                == "dictionary_learning cannot hold this SAE: it has no threshold that all latents share; write it as saelens"
        )
        let (shared, _) = try SAEFormats.read(fixture("dictionary_learning/batchtopk"))
        #expect(
            says { try DictionaryLearning().write(shared, SAEProvenance(), to: folder.file("sae")) }
                == "dictionary_learning cannot hold this SAE: the number of latents that it was trained for is not known or not "
                + "whole; write it as saelens")
        #expect(!exists(folder.file("sae")))
    }

    private func message(_ change: (String) -> String, of name: String = "matryoshka_batchtopk") throws -> String {
        let source = fixture("dictionary_learning/\(name)")
        let text = String(decoding: contents(of: source + "/config.json"), as: UTF8.self)
        try AtomicFile.write(contents(of: source + "/ae.pt"), to: folder.file("ae.pt"))
        try AtomicFile.write(change(text), to: folder.file("config.json"))
        return says { _ = try SAEFormats.read(folder.path) }.replacing(folder.path, with: "FOLDER")
    }

    @Test(arguments: [
        (
            "\"MatryoshkaBatchTopKSAE\"", "\"GatedAutoEncoder\"",
            "has no vectors mag_bias and decoder_bias, which a GatedAutoEncoder has"
        ),
        (
            "\"MatryoshkaBatchTopKSAE\"", "\"CrossCoder\"",
            "trainer.dict_class is \"CrossCoder\"; supported are AutoEncoder, "
        ),
        (
            "\"activation_dim\": 32", "\"activation_dim\": 31",
            "activation_dim is 31 in config.json, and the weights have 32"
        ),
        (
            "\"dict_size\": 128", "\"dict_size\": 128.0",
            "trainer.dict_size is 128.0; write a whole number in config.json"
        ),
        (
            "\"submodule_name\": null", "\"submodule_name\": \"mlp_out_layer_15\"",
            "trainer.submodule_name is \"mlp_out_layer_15\"; only"
        ),
        ("\"io\": \"out\"", "\"io\": \"in\"", "buffer.io is \"in\"; only SAEs of what a block hands on"),
        (
            "\"device\": \"cpu\",\n        \"layer\"", "\"normalize\": true,\n        \"layer\"",
            "trainer.normalize is true; this key is not known here"
        ),
        (
            "64\n        ],\n        \"k\"", "63\n        ],\n        \"k\"",
            "group_sizes are [8, 24, 32, 64] in ae.pt and [8, 24, 32, 63]"
        ),
        ("\"MatryoshkaBatchTopKSAE\"", "\"BatchTopKSAE\"", "has no vectors encoder.bias and b_dec"),
    ])
    func `files that contradict each other, and what is not known, are refused by name`(
        _ old: String, _ new: String, _ says: String
    ) throws {
        #expect(try message { $0 } == "nothing")
        let found = try message { text in
            #expect(text.contains(old), "\(old)")
            return text.replacing(old, with: new)
        }
        #expect(found.contains(says), "\(found)")
    }

    @Test func `the older spelling of the class is the same class`() throws {
        #expect(try message { $0.replacing("MatryoshkaBatchTopKSAE", with: "MatroyshkaBatchTopKSAE") } == "nothing")
    }
}
