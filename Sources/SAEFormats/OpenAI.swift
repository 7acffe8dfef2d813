import LinearAlgebra
import SparseCoding
import TensorFiles

/// A `.pt` file of openai/sparse_autoencoder: pre_bias, latent_bias, encoder.weight [F, D], decoder.weight [D, F], what
/// the latents did in training, and by name the activation. ReLU((x − pre_bias) W_enc + latent_bias).
///
/// TopK, which the library applies to inputs that are normalised one by one, is refused: f and x̂ are then no functions
/// that weights can hold.
package struct OpenAI: ReadOnlySAEFormat {
    package let name = "openai"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    package func recognizes(_ path: String) -> Bool {
        path.hasSuffix(".pt") && !DictionaryLearning().recognizes(path) && exists(path)
    }

    package func files(_ path: String) -> [String] { [path] }

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        func fails(_ reason: String, _ advice: String) -> SparseCodingError {
            .badFolder(path: path, reason: reason, advice: advice)
        }
        let file = try TorchFile(path: path)
        try requirePlainReLU(file, fails)
        let known: Set = [
            "pre_bias", "latent_bias", "encoder.weight", "decoder.weight", "stats_last_nonzero",
            "latents_activation_frequency", "latents_mean_square", "activation", "activation_state_dict",
        ]
        if let other = (Array(file.tensors.keys) + file.others.keys).sorted().first(where: { !known.contains($0) }) {
            throw fails(
                "it holds \"\(other)\", which no SAE of sparse_autoencoder has", "leave it out if it does nothing")
        }
        guard let shape = file.tensors["encoder.weight"]?.shape, shape.count == 2, shape.allSatisfy({ $0 > 0 }) else {
            throw fails("it has no matrix \"encoder.weight\"", "give the file of an SAE of sparse_autoencoder")
        }
        let (dSAE, dIn) = (shape[0], shape[1])
        let sae = try SparseAutoencoder.made(
            encoder: ("encoder.weight", try file.matrix("encoder.weight")),
            encoderBias: ("latent_bias", try file.matrix("latent_bias", shape: [dSAE])),
            decoder: ("decoder.weight", try file.matrix("decoder.weight", shape: [dIn, dSAE]).transposed()),
            decoderBias: ("pre_bias", try file.matrix("pre_bias", shape: [dIn])), fails)
        sae.inference = .thresholds([Float](repeating: 0, count: dSAE))
        var provenance = SAEProvenance()
        provenance.hookPoint = try hook(path, fails)
        return (sae, provenance)
    }

    /// The library takes ReLU where no activation is named, and inputs as they are unless it is TopK.
    private func requirePlainReLU(_ file: TorchFile, _ fails: (String, String) -> SparseCodingError) throws {
        switch file.others["activation"] {
        case nil, .some(.text("ReLU")): return
        case .some(.text("TopK")):
            throw fails(
                "its activation is TopK, with which the library normalises every input by its own mean and deviation",
                "weights cannot hold that; choose an SAE whose activation is ReLU")
        case .some(.text(let other)):
            throw fails("its activation is \"\(other)\"", "choose an SAE whose activation is ReLU")
        case .some:
            throw fails("its activation is no text", "choose an SAE whose activation is ReLU")
        }
    }

    /// The 6 of `resid_post_mlp_v5_32k/autoencoders/6.pt` and the place that the folder names; nil for a file that lies elsewhere.
    private func hook(_ path: String, _ fails: (String, String) -> SparseCodingError) throws -> HookPoint? {
        let parts = path.split(separator: "/")
        guard parts.count >= 3, parts[parts.count - 2] == "autoencoders" else { return nil }
        let place = parts[parts.count - 3]
        for other in ["mlp_post_act", "resid_post_attn"] where place.hasPrefix(other) {
            throw fails(
                "by where it lies it reads \(other)", "supported are resid_post_mlp, resid_delta_mlp, resid_delta_attn")
        }
        let kinds: [(String, HookPoint.Kind)] = [
            ("resid_post_mlp", .residPost), ("resid_delta_mlp", .mlpOut), ("resid_delta_attn", .attnOut),
        ]
        guard let kind = kinds.first(where: { place.hasPrefix($0.0) })?.1,
            let layer = Int(parts[parts.count - 1].dropLast(".pt".count))
        else { return nil }
        return HookPoint(block: layer, kind)
    }
}
