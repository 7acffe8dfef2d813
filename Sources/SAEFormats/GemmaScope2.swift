import LinearAlgebra
import SparseCoding
import TensorFiles

/// Gemma Scope 2, of Gemma 3: `params.safetensors` with w_enc, b_enc, w_dec, b_dec and threshold, and `config.json`.
/// JumpReLU without subtraction of b_dec.
///
/// A folder or the file of the weights. Transcoders, which rebuild another place than they read, are refused by the
/// hook that they name.
package struct GemmaScope2: SAEFolderFormat, ReadOnlySAEFormat {
    package let name = "gemma_scope_2"
    package static let weightsName = "params.safetensors"
    package static let configurationName = "config.json"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let folder = folder(path)
        let configuration = try SAEMembers(
            folder: folder, file: Self.configurationName, name: "",
            value: try JSONValue(contentsOf: folder + "/" + Self.configurationName))
        let provenance = try provenance(configuration)
        let file = try SafetensorsFile(path: folder + "/" + Self.weightsName)
        let shape = try file.require("w_dec", shape: [nil, nil]).shape
        let (dSAE, dIn) = (shape[0], shape[1])
        guard dSAE > 0, dIn > 0 else { throw configuration.fails("w_dec is \(dSAE) × \(dIn)", "fetch it again") }
        if let width = try configuration.integer("width"), width != dSAE {
            throw configuration.refused("width", "the weights have \(dSAE) latents; put the files of one SAE together")
        }
        let shapes = ["w_enc": [dIn, dSAE], "b_enc": [dSAE], "b_dec": [dIn], "threshold": [dSAE], "w_dec": shape]
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) { try file.require(name, shape: shape) }
        if let other = file.tensors.keys.sorted().first(where: { shapes[$0] == nil }) {
            throw configuration.fails(
                "it holds a tensor \"\(other)\", which no SAE of Gemma Scope 2 has", "leave it out if it does nothing")
        }
        let sae = try SparseAutoencoder.made(
            encoder: ("w_enc", try file.matrix("w_enc").transposed()),
            encoderBias: ("b_enc", try file.matrix("b_enc")), decoder: ("w_dec", try file.matrix("w_dec")),
            decoderBias: ("b_dec", try file.matrix("b_dec")), configuration.fails)
        let thresholds = try file.matrix("threshold").values
        guard !thresholds.contains(where: \.isNaN) else {
            throw configuration.fails("threshold holds NaN", "fetch it again")
        }
        sae.inference = .thresholds(thresholds)
        sae.subtractsDecoderBias = false
        return (sae, provenance)
    }

    private func provenance(_ configuration: SAEMembers) throws -> SAEProvenance {
        try configuration.require("architecture", "jump_relu", "only jump_relu is known of Gemma Scope 2")
        try configuration.require("type", "sae", "only SAEs are read, which rebuild what they read")
        if try configuration.truth("affine_connection") == true {
            throw configuration.refused("affine_connection", "only SAEs without one are read")
        }
        guard let name = try configuration.text("hf_hook_point_in"), let hook = HookPoint(transformers: name) else {
            throw configuration.refused(
                "hf_hook_point_in",
                "supported are the residual stream after a block, model.layers.N.output, and what its perceptron adds, "
                    + "model.layers.N.post_feedforward_layernorm.output")
        }
        if let out = try configuration.text("hf_hook_point_out", orNull: true), out != name {
            throw configuration.refused("hf_hook_point_out", "only SAEs that rebuild what they read are supported")
        }
        try configuration.refuseOthers(than: [
            "architecture", "type", "affine_connection", "hf_hook_point_in", "hf_hook_point_out", "width", "l0",
            "model_name",
        ])
        var provenance = SAEProvenance()
        provenance.model = try configuration.text("model_name", orNull: true)
        provenance.hookPoint = hook
        return provenance
    }
}
