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

    @Test(arguments: ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"])
    func anSAEOfAnotherPlaceIsRefusedByEveryCommand(_ hook: String) throws {
        try renameHook(to: hook)
        for arguments in commands() + commands("--layer", "1") {
            try fail(
                arguments,
                saying: "metadata.hook_name is \"\(hook)\"; only the residual stream after a block, "
                    + "blocks.N.hook_resid_post, is supported")
        }
    }

    @Test func theLayerOfTheHookIsUsedWithoutAWord() throws {
        for arguments in commands() {
            let result = try run(builtProgram, arguments + ["--quiet"])
            #expect(result.status == 0 && !result.errors.contains("is applied after"), "\(arguments): \(result.errors)")
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
