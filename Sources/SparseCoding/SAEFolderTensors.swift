import Glibc
import LinearAlgebra
import TensorFiles

/// The tensors of an SAELens folder, checked against each other and against `cfg.json`.
struct SAEFolderTensors {
    let dIn: Int
    let dSAE: Int
    private let folder: String
    private let file: SafetensorsFile
    private let configuration: SAEConfiguration
    private let shapes: [String: [Int]]

    /// - Throws: `TensorFileError` for a broken file and for a tensor that is missing or has another shape,
    ///   `SparseCodingError.badFolder` for one that no SAE of this architecture has.
    init(_ folder: String, _ configuration: SAEConfiguration) throws {
        (self.folder, self.configuration) = (folder, configuration)
        file = try SafetensorsFile(path: SAEFolder.weights(in: folder))
        let shape = try file.require("W_dec", shape: [nil, nil]).shape
        (dSAE, dIn) = (shape[0], shape[1])
        let hasLogarithms = file.tensors["log_threshold"] != nil && file.tensors["threshold"] == nil
        shapes = configuration.architecture.tensors(dIn: dIn, dSAE: dSAE, hasLogarithms: hasLogarithms)
        guard dSAE > 0, dIn > 0 else { throw fails("W_dec is \(dSAE) × \(dIn)", "write it again") }
        try configuration.requireWidths(dIn: dIn, dSAE: dSAE, folder: folder)
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) { _ = try file.require(name, shape: shape) }
        try refuseOthers()
    }

    /// SAELens once wrote factors of 1 that it did not use.
    private func refuseOthers() throws {
        for name in file.tensors.keys.sorted() where shapes[name] == nil {
            if name == "scaling_factor", try file.matrix(name).values.allSatisfy({ $0 == 1 }) { continue }
            throw fails(
                "the weights hold a tensor \"\(name)\", which no \(configuration.architecture.name) SAE has",
                "fold what it does into the others, or leave it out if it does nothing")
        }
    }

    func fails(_ reason: String, _ advice: String) -> SparseCodingError {
        .badFolder(path: folder, reason: reason, advice: advice)
    }

    private func finite(_ name: String) throws -> Matrix {
        let part = try file.matrix(name)
        guard part.isFinite else {
            throw fails("\(name) holds NaN or infinity", "train it again or use another checkpoint")
        }
        return part
    }

    /// Encoder, decoder, and the form of inference, but for the thresholds of a jumprelu SAE.
    func assign(to sae: SparseAutoencoder) throws {
        sae.encoder.assign(try finite("W_enc").transposed())
        if shapes["b_enc"] != nil { sae.encoderBias.assign(try finite("b_enc")) }
        sae.decoder.assign(try finite("W_dec"))
        sae.decoderBias.assign(try finite("b_dec"))
        switch configuration.architecture {
        case .standard: sae.inference = .thresholds([Float](repeating: 0, count: dSAE))
        case .jumpReLU: break
        case .topK(let k):
            guard k <= dSAE else { throw fails("its k is \(k), and it has \(dSAE) latents", "correct cfg.json") }
            sae.inference = .rowTopK(k)
        case .gated:
            let gated = GatedEncoder(
                gateBias: try finite("b_gate"), magnitudeBias: try finite("b_mag"), logarithms: try finite("r_mag"))
            try gated.apply(to: sae) { fails($0, "choose another checkpoint") }
        case .batchTopK:
            let threshold = try finite("topk_threshold")[0]
            sae.inference = .threshold(threshold)
        }
    }

    /// θ of a jumprelu SAE, [1, F]. An infinite threshold switches a latent off; NaN would do so without
    /// anyone having meant it.
    func thresholds() throws -> Matrix {
        let name = shapes["threshold"] == nil ? "log_threshold" : "threshold"
        let stored = try file.matrix(name)
        guard !stored.values.contains(where: \.isNaN) else {
            throw fails("\(name) holds NaN", "train it again or use another checkpoint")
        }
        return name == "threshold" ? stored : Matrix(vector: stored.values.map(exp))
    }

    /// What inputs are multiplied by before they are encoded, and reconstructions divided by.
    func inputFactor() throws -> Double {
        let path = folder + "/" + SAEFolder.scalerName
        guard exists(path) else {
            throw fails(
                "normalize_activations is \"expected_average_only_in\", and the factor is not in the folder",
                "put the \(SAEFolder.scalerName) of its training there, or save it with SAELens's save_inference_model")
        }
        let members = try SAEMembers(
            folder: folder, file: SAEFolder.scalerName, name: "", value: try JSONValue(contentsOf: path))
        try members.refuseOthers(than: ["scaling_factor", "has_whitening"])
        if try members.truth("has_whitening") == true {
            throw members.refused("has_whitening", "save it with SAELens's save_inference_model, which folds that")
        }
        guard let factor = try members.number("scaling_factor"), factor > 0, Float(factor).isNormal else {
            throw members.refused("scaling_factor", "write what inputs are multiplied by")
        }
        return factor
    }
}
