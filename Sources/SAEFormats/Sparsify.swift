import LinearAlgebra
import SparseCoding
import TensorFiles

/// A folder of EleutherAI's sparsify, one for each hook: `cfg.json` and `sae.safetensors` with encoder.weight [F, D],
/// encoder.bias, W_dec [F, D] and b_dec. The k largest of ReLU((x − b_dec) W_enc + b_enc).
///
/// Its folder's name is the hook: `layers.10` is the residual stream after that block. `multi_topk`,
/// `normalize_decoder` and `expansion_factor` say how it was trained.
package struct Sparsify: SAEFolderFormat {
    package let name = "sparsify"
    package static let weightsName = "sae.safetensors"
    package static let configurationName = "cfg.json"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    // MARK: Reading

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let folder = folder(path)
        let configuration = try SAEMembers(
            folder: folder, file: Self.configurationName, name: "",
            value: try JSONValue(contentsOf: folder + "/" + Self.configurationName))
        let k = try k(configuration)
        let file = try SafetensorsFile(path: folder + "/" + Self.weightsName)
        let shape = try file.require("W_dec", shape: [nil, nil]).shape
        let (dSAE, dIn) = (shape[0], shape[1])
        guard dSAE > 0, dIn > 0 else { throw configuration.fails("W_dec is \(dSAE) × \(dIn)", "fetch it again") }
        try requireWidths(configuration, dIn: dIn, dSAE: dSAE)
        guard k <= dSAE else {
            throw configuration.fails("its k is \(k), and it has \(dSAE) latents", "correct cfg.json")
        }
        let shapes = ["encoder.weight": shape, "encoder.bias": [dSAE], "W_dec": shape, "b_dec": [dIn]]
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) { try file.require(name, shape: shape) }
        if let other = file.tensors.keys.sorted().first(where: { shapes[$0] == nil }) {
            throw configuration.fails(
                "it holds a tensor \"\(other)\", which no SAE of sparsify has", "leave it out if it does nothing")
        }
        let sae = try SparseAutoencoder.made(
            encoder: ("encoder.weight", try file.matrix("encoder.weight")),
            encoderBias: ("encoder.bias", try file.matrix("encoder.bias")),
            decoder: ("W_dec", try file.matrix("W_dec")),
            decoderBias: ("b_dec", try file.matrix("b_dec")), configuration.fails)
        sae.inference = .rowTopK(k)
        var provenance = SAEProvenance()
        provenance.layer = try layer(Substring(folder), configuration)
        return (sae, provenance)
    }

    private func k(_ configuration: SAEMembers) throws -> Int {
        try configuration.require(
            "activation", "topk",
            "of groupmax each group of latents keeps its largest, which is no selection that is known here")
        for (key, advice) in [
            ("signed", "it keeps latents by the size of negative values too, and here no latent is negative"),
            ("transcode", "a transcoder rebuilds another place than it reads, which is not supported"),
            ("skip_connection", "what the skip connection adds to the reconstruction has no place here"),
        ] where try configuration.truth(key) == true {
            throw configuration.refused(key, advice)
        }
        try configuration.refuseOthers(than: [
            "activation", "signed", "transcode", "skip_connection", "d_in", "k", "num_latents", "expansion_factor",
            "normalize_decoder", "multi_topk",
        ])
        guard let k = try configuration.integer("k"), k >= 1 else {
            throw configuration.refused("k", "write how many latents fire")
        }
        return k
    }

    private func requireWidths(_ configuration: SAEMembers, dIn: Int, dSAE: Int) throws {
        guard try configuration.integer("d_in") == dIn else {
            throw configuration.refused("d_in", "the weights have \(dIn); put the files of one SAE together")
        }
        // 0 stands for a multiple of d_in.
        let (latents, factor) = (
            try configuration.integer("num_latents") ?? 0, try configuration.integer("expansion_factor")
        )
        let (product, overflows) = dIn.multipliedReportingOverflow(by: factor ?? 0)
        guard latents == dSAE || (latents == 0 && !overflows && product == dSAE) else {
            throw configuration.refused("num_latents", "the weights have \(dSAE); put the files of one SAE together")
        }
    }

    /// The number in `layers.10`, `h.10`, and SAELens' `layers_10`; nil for a folder that was named otherwise.
    private func layer(_ path: Substring, _ configuration: SAEMembers) throws -> Int? {
        let hook = path.split(separator: "/").last ?? ""
        let parts = hook.split(whereSeparator: { $0 == "." || $0 == "_" })
        guard parts.count >= 2, parts[0] == "layers" || parts[0] == "h", let layer = Int(parts[1]) else { return nil }
        guard parts.count == 2 else {
            throw configuration.fails(
                "its hook is \(hook)", "only the residual stream after a block, as layers.\(layer), is supported")
        }
        return layer
    }

    // MARK: Writing

    private struct Configuration: Codable {
        var activation = "topk"
        var expansion_factor: Int
        var normalize_decoder: Bool
        var num_latents: Int
        var k: Int
        var multi_topk = false
        var skip_connection = false
        var transcode = false
        var d_in: Int
    }

    /// Writes an SAE that keeps the k largest. The weights are there before `cfg.json`, without which there is no SAE.
    package func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws {
        guard case .rowTopK(let k) = sae.inference else {
            throw SAEFormatError.cannotHold(
                format: name, reason: "it selects by thresholds, and sparsify keeps the k largest of each input",
                next: "write it as saelens or dictionary_learning")
        }
        guard sae.subtractsDecoderBias else {
            throw SAEFormatError.cannotHold(
                format: name, reason: "it does not subtract b_dec from its input", next: "write it as saelens")
        }
        _ = try provenance.streamLayer(for: name)
        let folder = folder(path)
        try createFolder(folder)
        var writer = SafetensorsWriter()
        writer.add("encoder.weight", sae.encoder)
        writer.add("encoder.bias", sae.encoderBias, shape: [sae.dSAE])
        writer.add("W_dec", sae.decoder)
        writer.add("b_dec", sae.decoderBias, shape: [sae.dIn])
        let weights = try writer.file(at: folder + "/" + Self.weightsName)
        let configuration = try JSONRecord.file(
            Configuration(
                expansion_factor: max(1, sae.dSAE / sae.dIn), normalize_decoder: sae.decoderNorms == nil,
                num_latents: sae.dSAE, k: k, d_in: sae.dIn), at: folder + "/" + Self.configurationName)
        try weights.commit(syncingFolder: false)
        try configuration.commit()
    }
}
