import LinearAlgebra
import SparseCoding
import TensorFiles

/// A folder of dictionary_learning (and of SAEBench's baselines): `ae.pt`, a state dict
/// of torch.save, and `config.json`.
///
/// | `dict_class` | encoder | at inference |
/// |---|---|---|
/// | MatryoshkaBatchTopKSAE, and MatroyshkaBatchTopKSAE before 2025-01-16 | of x − b_dec | p > threshold |
/// | BatchTopKSAE | of x − b_dec | p > threshold |
/// | AutoEncoderTopK | of x − b_dec | the k largest |
/// | JumpReluAutoEncoder | of x | p > threshold of the latent |
/// | AutoEncoder | of x − bias | p > 0 |
/// | AutoEncoderNew | of x | p > 0 |
/// | GatedAutoEncoder | of x − decoder_bias | p > θ of the latent, see `GatedEncoder` |
///
/// Tensors have their own types and strides: b_dec of SAEBench's Matryoshka SAEs is in
/// bfloat16, W_enc is stored transposed.
package struct DictionaryLearning: SAEFolderFormat {
    package let name = "dictionary_learning"
    package static let weightsName = "ae.pt"
    package static let configurationName = "config.json"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    // MARK: Reading

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let folder = folder(path)
        let configuration = try DictionaryConfiguration(folder + "/" + Self.configurationName, folder: folder)
        let file = try TorchFile(path: folder + "/" + Self.weightsName)
        let parts = try DictionaryParts(file, configuration, folder: folder)
        let sae = SparseAutoencoder(dIn: parts.dIn, layout: try parts.layout(), coreIsDense: false)
        sae.encoder.assign(parts.encoder)
        sae.encoderBias.assign(parts.encoderBias)
        sae.decoder.assign(parts.decoder)
        sae.decoderBias.assign(parts.decoderBias)
        sae.subtractsDecoderBias = configuration.kind.subtractsDecoderBias
        try parts.setInference(of: sae)
        var provenance = SAEProvenance()
        provenance.model = configuration.model
        provenance.layer = configuration.layer
        provenance.contextLength = configuration.contextLength
        provenance.seed = configuration.seed
        provenance.k = configuration.k.map(Double.init)
        return (sae, provenance)
    }

    // MARK: Writing

    /// Writes the class that computes the same: a MatryoshkaBatchTopKSAE with one threshold, an AutoEncoderTopK, a
    /// JumpReluAutoEncoder without subtraction of b_dec, a ReLU AutoEncoder.
    package func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws {
        let kind = try DictionaryKind(of: sae, format: name)
        let layer = try provenance.streamLayer(for: name)
        var k: Int?
        switch kind {
        case .topK: k = sae.rowTopK
        case .matryoshkaBatchTopK: k = try wholeK(provenance)
        default: break
        }
        let folder = folder(path)
        try createFolder(folder)
        let names = kind.names
        var writer = TorchWriter()
        let (rows, columns) = ([sae.dSAE, sae.dIn], [sae.dIn, sae.dSAE])
        writer.add(
            names.encoder, names.isLinear ? sae.encoder : sae.encoder.transposed(),
            shape: names.isLinear ? rows : columns)
        writer.add(names.encoderBias, sae.encoderBias, shape: [sae.dSAE])
        writer.add(
            names.decoder, names.isLinear ? sae.decoder.transposed() : sae.decoder,
            shape: names.isLinear ? columns : rows)
        writer.add(names.decoderBias, sae.decoderBias, shape: [sae.dIn])
        if let k { writer.add("k", [Int32(k)], shape: []) }
        switch kind {
        case .topK: writer.add("threshold", Matrix(vector: [-1]), shape: [])
        case .matryoshkaBatchTopK:
            writer.add("threshold", Matrix(vector: [sae.commonThreshold ?? 0]), shape: [])
            writer.add("group_sizes", sae.layout.groups.map(Int64.init), shape: [sae.layout.groups.count])
        case .jumpReLU: writer.add("threshold", try sae.inferenceThresholds(), shape: [sae.dSAE])
        default: break
        }
        let weights = try writer.file(at: folder + "/" + Self.weightsName)
        let configuration = try JSONRecord.file(
            WrittenDictionary(sae, provenance, kind, k: k, layer: layer), at: folder + "/" + Self.configurationName)
        try weights.commit(syncingFolder: false)
        try configuration.commit()
    }

    /// The number of latents that an SAE was trained for, which the format takes as a whole number.
    private func wholeK(_ provenance: SAEProvenance) throws -> Int {
        guard let k = provenance.plan?.k ?? provenance.k, k == k.rounded(), k >= 1, k <= Double(Int32.max) else {
            throw SAEFormatError.cannotHold(
                format: name, reason: "the number of latents that it was trained for is not known or not whole",
                next: "write it as saelens")
        }
        return Int(k)
    }
}
