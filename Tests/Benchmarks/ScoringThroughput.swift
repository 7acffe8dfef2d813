import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra
import PluginHost
import SparseCoding

/// What scoring costs beside the language model it cannot do without: gradient × activation beside one forward and
/// backward, latent ablation beside the positions that an edit can change at all.
///
/// The SAE is random, F = 4096, with thresholds under which the latents fire as unevenly as trained ones do: densities
/// from 0.0005 to 0.085, 66 latents a token.
struct ScoringThroughput {
    let path: String
    let layer: Int

    func run() throws {
        let model = try loadLanguageModel(path: path)
        let tokens = TokenBatch(
            ids: (0..<2048).map { Int32($0 * 7919 % model.configuration.vocabularySize) }, sequenceCount: 8,
            length: 256)
        let x = try model.residual(of: tokens, at: .residPost(layer))
        let sae = try Self.sae(x)
        try gradientTimesActivation(model, sae, tokens, x)
        // All 512 candidates on two sequences: a round of eight would take minutes.
        try ablation(model, sae, tokens, x)
    }

    private let policy = SplicePolicy()
    private let services = PluginServices(log: { print("\($0.plugin): \($0.text)") })

    private func gradientTimesActivation(
        _ model: any LanguageModel, _ sae: SparseAutoencoder, _ tokens: TokenBatch, _ x: Matrix
    ) throws {
        var settings = ScoringSettings()
        settings.prefix = sae.dSAE
        let pass = try ScoringPass(
            model: model, hook: .residPost(layer), sae: sae,
            scorer: try PluginCatalog().scorer("gxa", services: services),
            settings: settings)
        let total = ScoreAccumulator(latents: pass.candidateCount, tokens: 100 * tokens.tokenCount)
        var rounds = Rounds()
        var entries = 0
        for _ in 0..<6 {
            try rounds.time("forward") { _ = try model.residual(of: tokens, at: .residPost(layer)) }
            try rounds.time("gradient") {
                _ = try model.lossesAndGradient(of: tokens, residual: x, at: .residPost(layer))
            }
            var sample: SpliceSample?
            try rounds.time("sample") {
                sample = try SpliceSample(tokens, model: model, hook: .residPost(layer), policy: policy)
            }
            try rounds.time("score") {
                let scores = try pass.score(sample!)
                scores.add(to: total)
                entries = scores.codes.count
            }
        }
        let active = number(Double(entries) / 2048, 0)
        print("\nscoring, layer \(layer), 8 × 256 tokens, \(active) of \(sae.dSAE) latents active")
        let (forward, gradient) = (rounds.median("forward"), rounds.median("gradient"))
        let (sample, score) = (rounds.median("sample"), rounds.median("score"))
        printRow(
            "model: forward, forward and backward", milliseconds(forward + gradient),
            "\(number(2048 / (forward + gradient), 0)) tok/s")
        printRow(
            "gxa: all of a pass", milliseconds(sample + score), "\(number(2048 / (sample + score), 0)) tok/s",
            "\(number((sample + score) / (forward + gradient), 3)) ×")
        printRow("of it from the layer on", milliseconds(score), "", "\(number(score / gradient, 3)) ×")
    }

    private func ablation(
        _ model: any LanguageModel, _ sae: SparseAutoencoder, _ tokens: TokenBatch, _ x: Matrix
    ) throws {
        let sample = try SpliceSample(tokens.sequences(0..<2), model: model, hook: .residPost(layer), policy: policy)
        let budget = EvaluationBudget()
        let pass = ScoringPass(
            try SplicedModel(model: model, hook: .residPost(layer), sae: sae),
            scorer: try PluginCatalog().scorer("ablation", services: services), budget: budget)
        try pass.begin(sequences: 2, tokens: sample.tokenCount)
        var rounds = Rounds()
        var scores: ScoringPass.Scores?
        for part in ["before", "after"] {
            for _ in 0..<3 {
                try rounds.time("plain") { _ = try model.losses(of: tokens, residual: x, at: .residPost(layer)) }
            }
            if part == "after" { break }
            try rounds.time("ablation") { scores = try pass.score(sample) }
        }
        let (edits, fewest) = Self.causalMinimum(scores!.codes, length: tokens.length)
        precondition(edits == budget.spent, "\(budget.spent) edits of \(edits)")
        let plain = 2048 / rounds.median("plain")
        // One forward and backward for the batch's own losses, which ablation needs to start from, is in the time.
        let seconds = rounds.median("ablation"), replayed = Double(budget.replayedTokens)
        print("\nablation, layer \(layer), \(pass.candidateCount) latents on 2 × 256 tokens")
        printRow("plain forward to the losses", "", "\(number(plain, 0)) tok/s")
        printRow(
            "ablation: \(edits) edits", milliseconds(seconds), "\(number(replayed / seconds, 0)) tok/s",
            "\(number(replayed / seconds / plain, 3)) ×")
        printRow("edits a second", "\(number(Double(edits) / seconds, 1))")
        printRow(
            "positions computed / causal minimum", "", "\(Int(replayed)) / \(fewest)",
            "\(number(replayed / Double(fewest), 3)) ×")
        // Keys and values of the unedited sequences, made once.
        let prepared = Double(sample.tokenCount)
        printRow("with the run they share", "", "", "\(number((replayed + prepared) / Double(fewest), 3)) ×")
    }

    /// Pairs of a latent and a sequence where it fires, and Σ (T − first firing) over them.
    private static func causalMinimum(_ codes: SparseCodes, length: Int) -> (pairs: Int, positions: Int) {
        var first: [Int: Int] = [:]
        for t in 0..<codes.rows {
            for e in codes.entries(ofRow: t) {
                let pair = t / length * codes.columns + Int(codes.columnIndices[e])
                if first[pair] == nil { first[pair] = t % length }
            }
        }
        return (first.count, first.values.reduce(0) { $0 + length - $1 })
    }

    /// Random directions, and for latent j the threshold that a share density(j) of the tokens `x` exceeds.
    private static func sae(_ x: Matrix) throws -> SparseAutoencoder {
        let sae = SparseAutoencoder(dIn: x.columns, layout: try PrefixLayout(groups: [512, 3584]))
        sae.initialize(seed: 1)
        for c in 0..<x.columns {
            sae.decoderBias[c] = Float((0..<x.rows).reduce(0.0) { $0 + Double(x[$1, c]) } / Double(x.rows))
        }
        let centered = Matrix(rows: x.rows, columns: x.columns)
        try SparseEncoder().center(x, for: sae, into: centered)
        let p = Matrix(rows: sae.dSAE, columns: x.rows)
        Lanes.shared.multiply(sae.encoder.view, centered.view.transposed, into: p.mutableView)
        let thresholds = Matrix(rows: 1, columns: sae.dSAE)
        for j in 0..<sae.dSAE {
            let place = Double(j * 1237 % sae.dSAE) / Double(sae.dSAE)
            let density = 0.0005 * pow(170, place)
            let sorted = UnsafeBufferPointer(start: p.row(j), count: x.rows).sorted(by: >)
            thresholds[j] = sorted[max(1, Int(density * Double(x.rows)))]
        }
        sae.inference = .thresholds(thresholds.values)
        return sae
    }
}
