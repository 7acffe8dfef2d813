import LinearAlgebra
import SparseCoding
import TensorFiles

/// A folder of dictionary_learning (and of SAEBench's baselines): `ae.pt`, a state dict of torch.save, and `config.json`.
///
/// | `dict_class` | encoder | at inference |
/// |---|---|---|
/// | MatryoshkaBatchTopKSAE, and MatroyshkaBatchTopKSAE before 2025-01-16 | of x − b_dec | p > threshold |
/// | BatchTopKSAE | of x − b_dec | p > threshold |
/// | AutoEncoderTopK | of x − b_dec | the k largest |
/// | JumpReluAutoEncoder | of x | p > threshold of the latent |
/// | AutoEncoder | of x − bias | p > 0 |
/// | AutoEncoderNew | of x | p > 0 |
///
/// A gated SAE has two encoders and is refused. Tensors have their own types and strides: b_dec of SAEBench's Matryoshka SAEs is in
/// bfloat16, W_enc is stored transposed.
package struct DictionaryLearning: SAEFormat {
    package let name = "dictionary_learning"
    static let weightsName = "ae.pt"
    static let configurationName = "config.json"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    /// A path to `ae.pt` itself means its folder.
    private func folder(_ path: String) -> String {
        guard path == Self.weightsName || path.hasSuffix("/" + Self.weightsName) else { return path }
        return path == Self.weightsName ? "." : String(path.dropLast(Self.weightsName.count + 1))
    }

    package func recognizes(_ path: String) -> Bool { exists(folder(path) + "/" + Self.weightsName) }

    package func files(_ path: String) -> [String] {
        [Self.configurationName, Self.weightsName].map { folder(path) + "/" + $0 }
    }

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
        sae.inference = try parts.inference()
        var provenance = SAEProvenance()
        provenance.model = configuration.model
        provenance.layer = configuration.layer
        provenance.contextLength = configuration.contextLength
        provenance.seed = configuration.seed
        return (sae, provenance)
    }

    // MARK: Writing

    /// Writes a MatryoshkaBatchTopKSAE: one threshold, no dense core.
    package func write(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, to path: String) throws {
        func cannot(_ reason: String, _ next: String) -> SAEFormatError {
            .cannotHold(format: name, reason: reason, next: next)
        }
        guard case .threshold(let threshold) = sae.inference else {
            throw cannot("it has no threshold that all latents share", "write it as saelens")
        }
        guard sae.exemptCore.isEmpty else {
            throw cannot(
                "the \(sae.exemptCore.count) latents of its dense core have no threshold, and the format has one for all",
                "write it as saelens")
        }
        guard sae.subtractsDecoderBias else {
            throw cannot("it does not subtract b_dec from its input", "write it as saelens")
        }
        guard let k = provenance.plan?.k, k == k.rounded(), k >= 1, k <= Double(Int32.max) else {
            throw cannot(
                "the number of latents that it was trained for is not known or not whole", "write it as saelens")
        }
        let folder = folder(path)
        try createFolder(folder)
        var writer = TorchWriter()
        writer.add("W_enc", sae.encoder.transposed(), shape: [sae.dIn, sae.dSAE])
        writer.add("b_enc", sae.encoderBias, shape: [sae.dSAE])
        writer.add("W_dec", sae.decoder, shape: [sae.dSAE, sae.dIn])
        writer.add("b_dec", sae.decoderBias, shape: [sae.dIn])
        writer.add("k", [Int32(k)], shape: [])
        writer.add("threshold", Matrix(vector: [threshold]), shape: [])
        writer.add("group_sizes", sae.layout.groups.map(Int64.init), shape: [sae.layout.groups.count])
        let weights = try writer.file(at: folder + "/" + Self.weightsName)
        let configuration = try JSONRecord.file(
            WrittenDictionary(sae, provenance, k: Int(k)), at: folder + "/" + Self.configurationName)
        try weights.commit(syncingFolder: false)
        try configuration.commit()
    }
}

/// What a `dict_class` computes.
enum DictionaryKind {
    case matryoshkaBatchTopK, batchTopK, topK, jumpReLU, standard, standardWithOwnBias

    static let classes: [String: DictionaryKind] = [
        "MatryoshkaBatchTopKSAE": .matryoshkaBatchTopK, "MatroyshkaBatchTopKSAE": .matryoshkaBatchTopK,
        "BatchTopKSAE": .batchTopK, "AutoEncoderTopK": .topK, "JumpReluAutoEncoder": .jumpReLU,
        "AutoEncoder": .standard, "AutoEncoderNew": .standardWithOwnBias,
    ]

    /// Names of W_enc, b_enc, W_dec, b_dec, and whether the matrices are `[out, in]`, as `torch.nn.Linear` has them.
    var names: (encoder: String, encoderBias: String, decoder: String, decoderBias: String, isLinear: Bool) {
        switch self {
        case .matryoshkaBatchTopK, .jumpReLU: ("W_enc", "b_enc", "W_dec", "b_dec", false)
        case .batchTopK, .topK: ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", true)
        case .standard: ("encoder.weight", "encoder.bias", "decoder.weight", "bias", true)
        case .standardWithOwnBias: ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", true)
        }
    }

    /// Tensors beside those four.
    var others: Set<String> {
        switch self {
        case .matryoshkaBatchTopK: ["k", "threshold", "group_sizes"]
        case .batchTopK, .topK: ["k", "threshold"]
        case .jumpReLU: ["threshold"]
        case .standard, .standardWithOwnBias: []
        }
    }

    var subtractsDecoderBias: Bool { self != .jumpReLU && self != .standardWithOwnBias }
}

/// The tensors of an `ae.pt`, checked against each other and against `config.json`.
private struct DictionaryParts {
    let dIn: Int
    let dSAE: Int
    /// W_encᵀ `[F, D]`.
    let encoder: Matrix
    let encoderBias: Matrix
    /// W_dec `[F, D]`.
    let decoder: Matrix
    let decoderBias: Matrix
    private let file: TorchFile
    private let configuration: DictionaryConfiguration
    private let folder: String

    init(_ file: TorchFile, _ configuration: DictionaryConfiguration, folder: String) throws {
        (self.file, self.configuration, self.folder) = (file, configuration, folder)
        let names = configuration.kind.names
        guard let shape = file.tensors[names.encoderBias]?.shape, shape.count == 1, shape[0] > 0,
            let width = file.tensors[names.decoderBias]?.shape, width.count == 1, width[0] > 0
        else {
            throw configuration.fails(
                "\(file.path) has no vectors \(names.encoderBias) and \(names.decoderBias), which a "
                    + "\(configuration.className) has", "put the files of one SAE together")
        }
        (dSAE, dIn) = (shape[0], width[0])
        let encoderShape = names.isLinear ? [dSAE, dIn] : [dIn, dSAE]
        let decoderShape = names.isLinear ? [dIn, dSAE] : [dSAE, dIn]
        let stored = try file.matrix(names.encoder, shape: encoderShape)
        encoder = names.isLinear ? stored : stored.transposed()
        let rows = try file.matrix(names.decoder, shape: decoderShape)
        decoder = names.isLinear ? rows.transposed() : rows
        encoderBias = try file.matrix(names.encoderBias)
        decoderBias = try file.matrix(names.decoderBias)
        for (name, part) in [
            (names.encoder, encoder), (names.encoderBias, encoderBias), (names.decoder, decoder),
            (names.decoderBias, decoderBias),
        ] where !part.isFinite {
            throw configuration.fails("\(name) holds NaN or infinity", "train it again or use another checkpoint")
        }
        let known = configuration.kind.others.union([
            names.encoder, names.encoderBias, names.decoder, names.decoderBias,
        ])
        if let other = (Array(file.tensors.keys) + file.others.keys).sorted().first(where: { !known.contains($0) }) {
            throw configuration.fails(
                "ae.pt holds \"\(other)\", which no \(configuration.className) has",
                "fold what it does into the others, or leave it out if it does nothing")
        }
        try configuration.requireWidths(dIn: dIn, dSAE: dSAE)
    }

    func layout() throws -> PrefixLayout {
        guard configuration.kind == .matryoshkaBatchTopK else { return try PrefixLayout(groups: [dSAE]) }
        let stored = file.tensors["group_sizes"] == nil ? nil : try file.integers("group_sizes")
        guard let groups = stored ?? configuration.groups else {
            throw configuration.fails("it says nothing of its groups", "give it a tensor group_sizes")
        }
        if let said = configuration.groups, said != groups {
            throw configuration.fails(
                "group_sizes are \(groups) in ae.pt and \(said) in config.json", "put the files of one SAE together")
        }
        guard groups.allSatisfy({ $0 > 0 && $0 <= dSAE }), groups.reduce(0, +) == dSAE else {
            throw configuration.fails("group_sizes \(groups) do not make its \(dSAE) latents", "correct them")
        }
        return try PrefixLayout(groups: groups, width: dSAE)
    }

    /// nil for a threshold that was never set, which the format writes as −1.
    func inference() throws -> InferenceForm? {
        switch configuration.kind {
        case .matryoshkaBatchTopK, .batchTopK:
            guard let threshold = try number("threshold"), threshold >= 0 else { return nil }
            return .threshold(threshold)
        case .topK:
            guard let k = try number("k"), k >= 1, k == k.rounded(), k <= Float(dSAE) else {
                throw configuration.fails("its k is no number from 1 to \(dSAE)", "write how many latents fire")
            }
            if let said = configuration.k, Float(said) != k {
                throw configuration.fails(
                    "k is \(k) in ae.pt and \(said) in config.json", "put the files of one SAE together")
            }
            return .rowTopK(Int(k))
        case .jumpReLU:
            let thresholds = try file.matrix("threshold", shape: [dSAE])
            guard !thresholds.values.contains(where: \.isNaN) else {
                throw configuration.fails("threshold holds NaN", "train it again or use another checkpoint")
            }
            return .thresholds(thresholds.values)
        case .standard, .standardWithOwnBias: return .thresholds([Float](repeating: 0, count: dSAE))
        }
    }

    private func number(_ name: String) throws -> Float? {
        guard let tensor = file.tensors[name] else { return nil }
        guard tensor.count == 1 else {
            throw TensorFileError.wrongShape(file: file.path, name: name, found: tensor.shape, wanted: [])
        }
        let value = try file.matrix(name)[0]
        guard !value.isNaN else {
            throw configuration.fails("\(name) is NaN", "train it again or use another checkpoint")
        }
        return value
    }
}
