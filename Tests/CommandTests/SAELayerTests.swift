import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Which layer an SAE is applied after, and what is said when it is not its own.
@Suite struct SAELayerTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private var sae: String { folder.file("sae") }

    init() throws {
        tiny = try TinyModel()
        try write(ids: (0..<64).map { $0 * 4 }, shape: [2, 32], to: tiny.folder.file("ids"))
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: tiny.folder.file("sae"))
    }

    /// Every command that takes an SAE with a model.
    private func commands(_ more: String...) -> [[String]] {
        let scored = ["--model", tiny.model, "--sae", sae, "--tokens", folder.file("ids")] + more
        let read =
            ["--model", tiny.model, "--sae", sae, "--text", tiny.text, "--context", "32", "--tokens", "256"] + more
        return [
            ["score"] + scored + ["--out", folder.file("scores")],
            ["compare"] + scored + [
                "--out", folder.file("comparison"), "--scorer", "gxa", "--scorer", "random", "--draws", "20",
            ],
            ["eval"] + read, ["latents"] + read,
        ]
    }

    private func renameHook(to name: String) throws {
        let path = sae + "/cfg.json"
        let text = String(decoding: contents(of: path), as: UTF8.self)
        try AtomicFile.write(text.replacing("blocks.1.hook_resid_post", with: name), to: path)
    }

    @Test(arguments: ["blocks.1.attn.hook_z", "blocks.1.hook_mlp_in", "blocks.1.hook_resid_mid"])
    func anSAEOfAnotherPlaceIsRefusedByEveryCommand(_ hook: String) throws {
        try renameHook(to: hook)
        for arguments in commands() + commands("--layer", "1") {
            try fail(
                arguments,
                saying:
                    "metadata.hook_name is \"\(hook)\"; supported are blocks.L.hook_resid_pre, blocks.L.hook_attn_out, "
                    + "blocks.L.hook_mlp_out, blocks.L.hook_resid_post")
        }
    }

    @Test func theLayerOfTheHookIsUsedWithoutAWord() throws {
        for arguments in commands() {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(result.status == 0 && !result.errors.contains("is applied after"), "\(arguments): \(result.errors)")
        }
    }

    @Test func theHookOfAnotherPlaceIsUsedWithoutAWordAndAnotherIsWarnedOf() throws {
        try train(on: nil, hook: HookPoint(block: 1, .mlpOut))
        // Of this SAE no candidate fires often enough there to be scored.
        for arguments in commands()[2...] + commands("--hook", "blocks.1.hook_mlp_out")[2...] {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(result.status == 0 && !result.errors.contains("is applied"), "\(arguments): \(result.errors)")
        }
        for (more, place) in [
            (["--layer", "1"], "after layer 1"), (["--hook", "blocks.1.hook_attn_out"], "at blocks.1.hook_attn_out"),
        ] {
            let result = try run(builtProgram, commands()[2] + more + ["--quiet"])
            #expect(
                result.errors.hasPrefix(
                    "warning: \(sae) was trained on blocks.1.hook_mlp_out and is applied \(place)\n"),
                "\(result.errors)")
        }
        // What enters a block is what the one before hands on.
        try train(on: nil, hook: HookPoint(block: 2, .residPre))
        let result = try run(builtProgram, commands("--layer", "1")[2] + ["--quiet"])
        #expect(result.status == 0 && !result.errors.contains("is applied"), "\(result.errors)")
    }

    @Test func layerAndHookMustBeOnePlaceAndAHookMustBeKnown() throws {
        for arguments in commands("--layer", "1", "--hook", "blocks.1.hook_mlp_out") {
            try fail(
                arguments, status: 64,
                saying: "--layer 1 is blocks.1.hook_resid_post, and --hook is blocks.1.hook_mlp_out; give one of them")
        }
        for arguments in commands("--hook", "blocks.1.attn.hook_z") {
            try fail(
                arguments, status: 64,
                saying:
                    "The value 'blocks.1.attn.hook_z' is invalid for '--hook <NAME>': that is no place that can be read and "
                    + "replaced; supported are blocks.L.hook_resid_pre")
        }
    }

    @Test func anotherLayerIsWarnedOfByName() throws {
        for arguments in commands("--layer", "2") {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(result.status == 0, "\(arguments): \(result.errors)")
            #expect(
                result.errors.hasPrefix("warning: \(sae) was trained on layer 1 and is applied after layer 2\n"),
                "\(arguments): \(result.errors)")
        }
    }

    /// An SAE with this in its record, as one that was trained on a store has.
    private func train(on model: String?, hook: HookPoint = .residPost(1)) throws {
        var (sae, provenance) = try SAEFolder.read(sae)
        provenance.model = "other.gguf"
        provenance.hookPoint = hook
        provenance.hashes = model.map { ["model": $0] }
        try SAEFolder.write(sae, provenance, to: self.sae)
    }

    @Test func anotherModelIsWarnedOfByNameAndTheSameIsNot() throws {
        try train(on: "00")
        for arguments in commands() {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(result.status == 0, "\(arguments): \(result.errors)")
            #expect(
                result.errors.hasPrefix(
                    "warning: \(sae) was trained on another model than \(tiny.model) (other.gguf): their SHA-256 differ\n"
                ),
                "\(arguments): \(result.errors)")
        }
        let harvest = [
            "harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--context", "32", "--tokens",
            "2048",
            "--out", folder.file("store"), "--quiet",
        ]
        try succeed(harvest)
        let words = ["--width", "128", "--k", "8", "--batch", "64", "--steps", "2", "--quiet"]
        try succeed(["train", "--activations", folder.file("store"), "--out", folder.file("own")] + words)
        for arguments in commands() {
            let own = arguments.map { $0 == sae ? folder.file("own") : $0 }
            let result = try run(builtProgram, own + ["--quiet"])
            #expect(!result.errors.contains("another model"), "\(own): \(result.errors)")
        }
    }

    @Test func aTrainingSaysWhenItsCoreOrStartIsOfAnotherLayerOrModel() throws {
        let (store, core) = (folder.file("store"), folder.file("core"))
        try succeed([
            "score", "--model", tiny.model, "--sae", sae, "--tokens", folder.file("ids"), "--out", folder.file("s"),
        ])
        try succeed(["select", "--scores", folder.file("s"), "--tau", "0.3", "--sae", sae, "--out", core])
        let harvest = [
            "harvest", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--tokens", "2048", "--quiet",
        ]
        try succeed(harvest + ["--layer", "1", "--out", store])
        try succeed(harvest + ["--layer", "2", "--out", store + "2"])
        let words = ["--k", "30", "--batch", "64", "--steps", "2", "--quiet", "--out", folder.file("trained")]
        func warnings(_ more: String...) throws -> String {
            let result = try run(builtProgram, ["train"] + words + more)
            #expect(result.status == 0, "\(result.errors)")
            return result.errors
        }
        let groups = ["--groups", "8,24,32,64"]
        for file in ["core.json", "core.safetensors"] {
            let path = core + "/" + file
            #expect(!(try warnings("--activations", store, "--core", path, groups[0], groups[1])).contains("is of"))
            #expect(
                try warnings("--activations", store + "2", "--core", path, groups[0], groups[1]).contains(
                    "warning: \(path) is of layer 1, and the activations are of layer 2\n"))
        }
        // Of another model: its record says so, and where nothing is said, nothing is known.
        try train(on: "00")
        #expect(
            try warnings("--activations", store + "2", "--init", sae).hasPrefix(
                "warning: \(sae) is of layer 1, and the activations are of layer 2\n"
                    + "warning: \(sae) is of another model (other.gguf) than the activations (tiny): their SHA-256 differ\n"
            ))
        try train(on: nil)
        #expect(!(try warnings("--activations", store, "--init", sae)).contains("is of"))
        let list = core + "/core.json"
        let text = String(decoding: contents(of: list), as: UTF8.self)
        let hash = try Regex("\"scores.model.sha256\" : \"[0-9a-f]+\"")
        try AtomicFile.write(text.replacing(hash, with: "\"scores.model.sha256\" : \"00\""), to: list)
        #expect(
            try warnings("--activations", store, "--core", list, groups[0], groups[1]).contains(
                "warning: \(list) is of another model than the activations (tiny): their SHA-256 differ\n"))
    }

    @Test func whatTheFileSaysOfItsTextIsWarnedOfByEveryCommand() throws {
        let path = sae + "/cfg.json"
        let text = String(decoding: contents(of: path), as: UTF8.self)
        try AtomicFile.write(text.replacing("\"prepend_bos\" : false", with: "\"prepend_bos\" : true"), to: path)
        for arguments in commands() {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(
                result.errors.hasPrefix("warning: \(sae): metadata.prepend_bos is true: it was trained on sequences"),
                "\(arguments): \(result.errors)")
        }
    }

    @Test func explainingLessThanNothingIsWarnedOfWithTheLayerItWasTrainedOn() throws {
        // A decoder that points the other way.
        let path = sae + "/sae_weights.safetensors"
        let file = try SafetensorsFile(path: path)
        var writer = SafetensorsWriter()
        for (name, tensor) in file.tensors {
            let matrix = try file.matrix(name)
            if name == "W_dec" { for i in 0..<matrix.count { matrix[i] *= -3 } }
            writer.add(name, matrix, shape: tensor.shape)
        }
        try writer.write(to: path)
        for arguments in commands().dropLast() {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(
                result.errors.hasPrefix("warning: \(sae) explains less than nothing of layer 1 (explained variance -")
                    && result.errors.contains(
                        "): it was trained on layer 1; check that SAE, model and layer belong together\n"),
                "\(arguments): \(result.errors)")
        }
    }
}
