import LinearAlgebra
import SparseCoding
import TensorFiles

/// Makes the cores that trials ask for out of a run whose cycles are done, each once.
final class TrialCores {
    /// What a trial freezes.
    struct Chosen {
        var vectors: CoreVectors
        /// Where its latents are some of cycle 0's: which, and how they were scored.
        var core: Core?
    }

    private let run: RunFolder
    private let recipe: Recipe
    private let distilled: CoreVectors
    private let rank: (CoreSource, SparseAutoencoder) throws -> [Double]
    private var made: [String: Chosen] = [:]
    private var rankings: [CoreSource: [Double]] = [:]
    private var first: SparseAutoencoder?

    /// - Parameter rank: scores of cycle 0's candidates by the scorer of a source.
    init(
        of run: RunFolder, _ recipe: Recipe, distilled: CoreVectors,
        rank: @escaping (CoreSource, SparseAutoencoder) throws -> [Double]
    ) {
        (self.run, self.recipe, self.distilled, self.rank) = (run, recipe, distilled, rank)
    }

    /// The core of a source, drawn with this seed where it is drawn; nil for none.
    ///
    /// - Throws: what reading the run, or what is outside of it, throws, and what scoring throws.
    func core(_ source: CoreSource, seed: Int) throws -> Chosen? {
        guard source != .none else { return nil }
        let key = "\(seed) \(source.text)"
        if let known = made[key] { return known }
        let chosen = try make(source, seed: UInt64(seed))
        made[key] = chosen
        return chosen
    }

    private func make(_ source: CoreSource, seed: UInt64) throws -> Chosen {
        switch source {
        case .none: preconditionFailure("no core is no core")
        case .distilled: return Chosen(vectors: distilled)
        case .cycle(let cycle):
            return Chosen(
                vectors: try CoreVectors(
                    at: run.path + "/cycle-\(cycle)/core.json", dIn: distilled.encoder.columns, recipe.coreBias))
        case .random: return try ofCycle0(try drawn(seed: seed), scores: nil, source)
        case .directions: return Chosen(vectors: directions(seed: seed))
        case .frequency, .meanActivation, .reconstruction:
            let scores = try rankings[source] ?? rank(source, try firstSAE())
            rankings[source] = scores
            let order = scores.indices.sorted { (-scores[$0], $0) < (-scores[$1], $1) }
            return try ofCycle0(Array(order.prefix(count)), scores: scores, source)
        case .run, .file, .pooled:
            return Chosen(vectors: try source.vectors(dIn: distilled.encoder.columns, count: count, recipe.coreBias))
        }
    }

    private var count: Int { distilled.encoder.rows }

    /// Cycle 0's, read once.
    private func firstSAE() throws -> SparseAutoencoder {
        let sae = try first ?? SAEFolder.read(run.path + "/cycle-0/sae").sae
        first = sae
        return sae
    }

    /// Lets go of cycle 0's SAE, which takes as much memory as one in training.
    func forgetSAE() { first = nil }

    private func ofCycle0(_ latents: [Int], scores: [Double]?, _ source: CoreSource) throws -> Chosen {
        let sae = try firstSAE()
        var core = Core(of: latents, scores: scores ?? [], candidates: sae.layout.innermost)
        core.origin = ["SAE": "cycle-0/sae", "chosen": source.text]
        return Chosen(vectors: CoreVectors(latents, of: sae), core: core)
    }

    /// Of the latents that cycle 0 did not select, from the candidates as far as they last, then from the others.
    private func drawn(seed: UInt64) throws -> [Int] {
        let selected = Set(
            try Core.read(run.path + "/cycle-0/core.json", width: recipe.width).latents.map(\.index))
        let sae = try firstSAE()
        let order = CounterRandom(seed: seed, purpose: .randomCore).permutation(sae.dSAE).map { Int($0) }
        let innermost = recipe.candidates == .all ? sae.dSAE : sae.layout.innermost
        return Array(
            (order.filter { $0 < innermost } + order.filter { $0 >= innermost })
                .filter { !selected.contains($0) }.prefix(count))
    }

    private func directions(seed: UInt64) -> CoreVectors {
        let own = distilled.encoder
        let drawn = Directions.random(own.rows, dIn: own.columns, seed: seed).rows
        let rows = Matrix(rows: own.rows, columns: own.columns)
        for i in 0..<own.rows {
            let norm = (0..<own.columns).reduce(0.0) { $0 + Double(own[i, $1]) * Double(own[i, $1]) }.squareRoot()
            for c in 0..<own.columns { rows[i, c] = Float(norm * Double(drawn[i, c])) }
        }
        return CoreVectors(encoder: rows, biases: distilled.biases)
    }
}

extension Core {
    /// Latents of cycle 0 that were chosen in another way than the cycles choose.
    ///
    /// - Parameter scores: of all candidates; none for latents that were drawn.
    fileprivate init(of latents: [Int], scores: [Double], candidates: Int) {
        (cycle, previousSize, self.candidates) = (0, 0, candidates)
        let all = scores.reduce(0) { $0 + max(0, $1) }
        let own = latents.reduce(0) { $0 + ($1 < scores.count ? max(0, scores[$1]) : 0) }
        coverage = all > 0 ? own / all : 0
        self.latents = latents.map {
            CoreLatent(
                index: $0, previousIndex: nil, born: 0, selectedIn: [], score: $0 < scores.count ? scores[$0] : 0)
        }
    }
}

extension CoreSource {
    /// The core of a source outside of the run.
    ///
    /// - Parameter count: latents of the distilled core, as many as are taken of SAEs; all candidates for nil.
    /// - Throws: `TensorFileError` and `DistillationError` for what is not there, is none or is of another width.
    func vectors(dIn: Int, count: Int?, _ start: CoreBiasStart) throws -> CoreVectors {
        switch self {
        case .run(let folder):
            let path = folder + "/final/core.json"
            guard exists(path) else {
                throw TensorFileError.unusable(
                    file: folder, what: "it holds no final/core.json of a distillation",
                    next: "give the folder of a run that has its final core, or a core by file:PATH")
            }
            return try CoreVectors(at: path, dIn: dIn, start)
        case .file(let path): return try CoreVectors(at: path, dIn: dIn, start)
        case .pooled(let folders): return try Self.pooled(folders, dIn: dIn, count: count)
        default: preconditionFailure("\(text) is made of the run")
        }
    }

    /// Latents of the first SAE's innermost prefix, those first whose largest cosine with a latent of another is largest in the SAE
    /// where it is smallest: what reappears in all of them.
    private static func pooled(_ folders: [String], dIn: Int, count: Int?) throws -> CoreVectors {
        let saes = try folders.map { folder in
            let sae = try SAEFolder.read(folder).sae
            guard sae.dIn == dIn else {
                throw TensorFileError.unusable(
                    file: folder, what: "it reads \(sae.dIn) numbers, and the model's residual stream has \(dIn)",
                    next: "pool SAEs of one model")
            }
            return sae
        }
        let own = Directions(saes[0].encoder.copy(rows: 0..<saes[0].layout.innermost))
        guard !own.latents.isEmpty else {
            throw TensorFileError.unusable(
                file: folders[0], what: "its encoder vectors are all 0", next: "check how it was made")
        }
        var least = [Float](repeating: 1, count: own.latents.count)
        for (folder, sae) in zip(folders, saes).dropFirst() {
            let others = Directions(sae.encoder)
            guard !others.latents.isEmpty else {
                throw TensorFileError.unusable(
                    file: folder, what: "its encoder vectors are all 0", next: "check how it was made")
            }
            for (i, best) in try DirectionMatch(own, others, assigning: false).best.enumerated() {
                least[i] = min(least[i], best.cosine)
            }
        }
        let order = least.indices.sorted { (-least[$0], $0) < (-least[$1], $1) }
        return CoreVectors(order.prefix(count ?? order.count).map { own.latents[$0] }, of: saes[0])
    }

    /// SHA-256 of what it is made of outside of the run, by what it is.
    ///
    /// - Throws: `TensorFileError.unreadable`.
    func hashes() throws -> [String: String] {
        switch self {
        case .run(let folder): ["core": try SHA256.hexadecimal(ofFile: folder + "/final/core.safetensors")]
        case .file(let path): ["core": try SHA256.hexadecimal(ofFile: Core.encoderFile(at: path))]
        case .pooled(let folders):
            try Dictionary(
                uniqueKeysWithValues: folders.enumerated().map {
                    ("SAE \($0)", try SHA256.hexadecimal(ofFile: SAEFolder.weights(in: $1)))
                })
        default: [:]
        }
    }
}
