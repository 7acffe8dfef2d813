import LinearAlgebra
import SparseCoding
import TensorFiles

/// The tensors of an `ae.pt`, checked against each other and against `config.json`.
struct DictionaryParts {
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

    /// Without a form for a threshold that was never set, which the format writes as −1.
    func setInference(of sae: SparseAutoencoder) throws {
        guard configuration.kind == .gated else {
            sae.inference = try inference()
            return
        }
        let shape = [dSAE]
        let (gate, logarithms) = (try file.matrix("gate_bias", shape: shape), try file.matrix("r_mag", shape: shape))
        for (name, part) in [("gate_bias", gate), ("r_mag", logarithms)] where !part.isFinite {
            throw configuration.fails("\(name) holds NaN or infinity", "train it again or use another checkpoint")
        }
        try GatedEncoder(gateBias: gate, magnitudeBias: encoderBias, logarithms: logarithms).apply(to: sae) {
            configuration.fails($0, "choose another checkpoint")
        }
    }

    private func inference() throws -> InferenceForm? {
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
        case .gated: return nil
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
