import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// A folder under the keys of the published files, against what SAELens, which reads them, makes of sixteen inputs.
@Suite struct GemmaScope2Tests {
    private let folder = TemporaryFolder()
    private let source = fixture("gemma_scope_2/resid_post/layer_15_width_128_l0_small")

    @Test func `encodings and reconstructions are those of SAELens`() throws {
        #expect(SAEFormats.format(of: source).name == "gemma_scope_2")
        let (sae, provenance) = try SAEFormats.read(source)
        #expect(!sae.subtractsDecoderBias && provenance.layer == 15 && provenance.model == "gemma-v3-270m-pt")
        try checkRecorded(sae, source + "/io.safetensors")
        #expect(try SAEFormats.read(source + "/params.safetensors").sae.encoder.values == sae.encoder.values)
    }

    @Test func `what the perceptron adds is read there, after the norm of it`() throws {
        let text = String(decoding: contents(of: source + "/config.json"), as: UTF8.self)
        try AtomicFile.write(contents(of: source + "/params.safetensors"), to: folder.file("params.safetensors"))
        try AtomicFile.write(
            text.replacing("model.layers.15.output", with: "model.layers.15.post_feedforward_layernorm.output"),
            to: folder.file("config.json"))
        #expect(try SAEFormats.read(folder.path).provenance.hookPoint == HookPoint(block: 15, .mlpOut))
    }

    @Test(arguments: [
        ("\"jump_relu\"", "\"topk\"", "architecture is \"topk\"; only jump_relu is known"),
        ("\"type\": \"sae\"", "\"type\": \"transcoder\"", "type is \"transcoder\"; only SAEs are read"),
        (
            "\"affine_connection\": false", "\"affine_connection\": true",
            "affine_connection is true; only SAEs without one"
        ),
        (
            "\"hf_hook_point_in\": \"model.layers.15.output\"",
            "\"hf_hook_point_in\": \"model.layers.15.self_attn.o_proj.input\"",
            "hf_hook_point_in is \"model.layers.15.self_attn.o_proj.input\"; supported are the residual stream after a block"
        ),
        (
            "\"hf_hook_point_out\": \"model.layers.15.output\"", "\"hf_hook_point_out\": \"model.layers.16.output\"",
            "hf_hook_point_out is \"model.layers.16.output\"; only SAEs that rebuild what they read"
        ),
        ("\"width\": 128", "\"width\": 64", "width is 64; the weights have 128 latents"),
        ("\"l0\": 10", "\"l0\": 10, \"scale\": 2", "scale is 2; this key is not known here"),
    ]) func `what makes another function, and files that contradict each other, are refused by name`(
        _ old: String, _ new: String, _ wanted: String
    ) throws {
        let text = String(decoding: contents(of: source + "/config.json"), as: UTF8.self)
        #expect(text.contains(old), "\(old)")
        try AtomicFile.write(contents(of: source + "/params.safetensors"), to: folder.file("params.safetensors"))
        try AtomicFile.write(text.replacing(old, with: new), to: folder.file("config.json"))
        do {
            _ = try SAEFormats.read(folder.path)
            Issue.record("\(new) was read")
        } catch { #expect("\(error)".contains(wanted), "\(error)") }
    }
}
