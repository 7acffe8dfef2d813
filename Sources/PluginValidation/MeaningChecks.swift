import Attribution
import LinearAlgebra
import SparseCoding

// What a score means. The headers promise its sign (DMSAE-SCORER-04) and that rankings and cores are made from it
// (DMSAE-OUTPUT-02), not its size: a factor, or a factor for each latent such as 1/‖w‖, is legal, and so is another
// function of the same effect. So decoder rows have norm 1 here, where gradient × activation, integrated gradients and
// ablation, to zero or to a mean, are one and the same to first order: the removal's effect on the loss, which is known
// exactly. Signs must agree with it, ranks must follow it, and latents that do the same must get the same.
//
// Not found: a size that is wrong in the same way for every latent, as without the activation or with its square.

/// What removing each entry alone does to the loss: -a⟨g, w⟩ + ½a²‖w‖².
private func removalEffects(_ batch: ScoringBatch) -> [Double] {
    (0..<batch.codes.rows).flatMap { t in
        batch.codes.entries(ofRow: t).map { e in
            let w = batch.decoder.row(Int(batch.codes.columnIndices[e])), g = batch.gradient.row(t)
            let a = Double(batch.codes.values[e])
            return (0..<batch.decoder.columns).reduce(0) {
                $0 - a * Double(g[$1]) * Double(w[$1]) + 0.5 * a * a * Double(w[$1]) * Double(w[$1])
            }
        }
    }
}

extension PluginCheck.Subject {
    /// A model in which effects are of first order and every direction counts alike.
    fileprivate func firstOrder() -> QuadraticModel {
        QuadraticModel(
            seed: seed, sequences: 8, latents: 60, dimensions: 16, perToken: 6, activations: 1e-3, hasUnitRows: true)
    }

    /// It reads the gradient, or asks for losses or gradients; one that asks for means or the head's rows only, as direct logit
    /// attribution does, has its sign from something else than the loss of this model.
    fileprivate func looksAtLoss() throws {
        if has("needs-gradient") { return }
        let model = QuadraticModel(seed: seed)
        if has("needs-evaluation") { _ = try MainCall(plugin.scorer(), on: model).run() }
        try applies(model.asked > 0, "it does not look at the loss")
    }

    /// Its scores of a model, and the exact effects they stand for: of entries, or of latents where
    /// it scores no tokens.
    fileprivate func scoresAndEffects(_ model: QuadraticModel) throws -> ([Double], [Double]) {
        let effects = removalEffects(model.batch)
        let scorer = try plugin.scorer()
        if scorer.scoresTokens { return (try scorer.scores(model.asking).map(Double.init), effects) }
        var totals = [Double](repeating: 0, count: model.batch.codes.columns)
        for (e, effect) in effects.enumerated() { totals[Int(model.batch.codes.columnIndices[e])] += effect }
        let scores = try accumulated(SequencePass(model))[0][0]
        let known = scores.indices.filter { !scores[$0].isNaN }
        return (known.map { scores[$0] }, known.map { totals[$0] })
    }

    /// On a model in which every latent has one sign, wherever it fires: exact for totals and samples too.
    fileprivate func hasSigns(_ model: QuadraticModel, _ signs: [Double]) throws {
        func judge(_ what: String, _ scores: [Double], _ latent: (Int) -> Int) throws {
            // Less than a thousandth of the largest is rounding.
            let least = 1e-3 * scores.reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
            for (i, score) in scores.enumerated() where abs(score) > least && (score > 0) != (signs[latent(i)] > 0) {
                throw PluginCheck.Broken(
                    reason: "\(what) \(i), of latent \(latent(i)), is \(score), and wherever it fires its removal "
                        + "\(signs[latent(i)] > 0 ? "raises" : "lowers") the loss; positive means that the latent helps"
                )
            }
        }
        let scorer = try plugin.scorer()
        if scorer.scoresTokens {
            let latents = model.batch.codes.columnIndices
            try judge("score", try scorer.scores(model.asking).map(Double.init)) { Int(latents[$0]) }
        }
        guard let score = scorer.accumulation else { return }
        let pass = SequencePass(model)
        let results = try accumulated(pass, by: score, shards: [0..<pass.count])[0]
        for (output, values) in zip(score.outputs, results) {
            // The score, and what it is the mean of; others are in units of their own.
            guard output == score.outputs[0] && !scorer.scoresTokens || output.role == .terms else { continue }
            let width = output.shape == .latent ? 1 : pass.count
            try judge("\(output.name)", values) { $0 / width }
        }
    }
}

extension PluginCheck {
    static let meaningChecks = [
        PluginCheck(
            id: "sign", rules: ["DMSAE-SCORER-04", "DMSAE-SCORER-02", "DMSAE-OUTPUT-02"],
            promise: "a score is positive where removing the latent raises the loss, negative where it lowers it"
        ) { subject in
            try subject.looksAtLoss()
            // Activations as small as allow no second order beside them, and as large as any model has.
            for activations: Float in [1e-3, 1, 1e3] {
                let (model, signs) = QuadraticModel.ofOneMind(seed: subject.seed, activations: activations)
                try subject.hasSigns(model, signs)
            }
            guard subject.scoresTokens else { return }
            let (scores, effects) = try subject.scoresAndEffects(subject.firstOrder())
            let mean = effects.reduce(0) { $0 + abs($1) } / Double(effects.count)
            let clear = effects.indices.filter { abs(effects[$0]) > 0.1 * mean }
            let wrong = clear.filter { scores[$0] != 0 && (scores[$0] > 0) != (effects[$0] > 0) }
            // A few may differ for a scorer that looks at more than its own token.
            try expect(
                wrong.count * 20 <= clear.count,
                "\(wrong.count) of \(clear.count) scores have the other sign than what removal does to the loss; "
                    + "positive means that the latent helps")
        },
        PluginCheck(
            id: "rank", rules: ["DMSAE-SCORER-04", "DMSAE-OUTPUT-02"],
            promise: "larger scores go with larger effects of removal on the loss", after: ["sign"]
        ) { subject in
            try subject.looksAtLoss()
            let (scores, effects) = try subject.scoresAndEffects(subject.firstOrder())
            try expect(scores.count > 2, "it has a score for \(scores.count) latents only, and each of them fired")
            let correlation = spearmanCorrelation(scores, effects)
            // Nearly 1 for all that is first order, 0.87 if a score were its sign alone. A total may be an
            // estimate from two draws a latent, which was 0.35 at the least; chance alone reaches 0.2 in one of
            // 16, and the other sign never.
            let least = subject.scoresTokens ? 0.8 : 0.2
            try expect(
                correlation >= least, "the rank correlation with the exact effect of removal is \(correlation)")
        },
        PluginCheck(
            id: "alike", rules: ["DMSAE-SCORER-04"],
            promise: "latents that trade their numbers trade their scores: what a latent does counts, not which it is",
            after: ["terms", "counts", "standard-errors", "sign", "rank"]
        ) { subject in
            try subject.looksAtLoss()
            guard subject.scoresTokens else { return try subject.treatsLatentsAlike() }
            let scorer = try subject.perToken()
            for model in [subject.firstOrder(), QuadraticModel.ofOneMind(seed: subject.seed).model] {
                let (other, entries, _) = model.renumbered()
                let first = try scorer.scores(model.asking), second = try scorer.scores(other.asking)
                // Sums over latents are made in another order.
                let most = 1e-4 * first.reduce(0) { max($0, abs($1)) }
                for e in first.indices {
                    let (a, b) = (first[e], second[entries[e]])
                    try expect(
                        abs(a - b) <= most, "score \(e) is \(a), and \(b) when the latents are in another order")
                }
            }
        },
        PluginCheck(
            id: "many-latents", rules: ["DMSAE-SCORER-04"],
            promise: "a latent with a number above 65535 scores what it scores with a small one",
            after: ["state-moves", "merge", "terms", "counts", "standard-errors", "sign", "alike"]
        ) { subject in
            try subject.looksAtLoss()
            let count = 70_000
            // Few dimensions, since each batch brings all rows.
            let (model, signs) = QuadraticModel.ofOneMind(seed: subject.seed, latents: 24)
            let high = model.placed(from: count - signs.count, of: count)
            try subject.hasSigns(high, [Double](repeating: 0, count: count - signs.count) + signs)
            guard subject.scoresTokens else { return try subject.treatsHighLatentsAlike(model, count) }
            let scorer = try subject.perToken()
            let low = model.placed(from: 0, of: count)
            let first = try scorer.scores(low.asking), second = try scorer.scores(high.asking)
            let most = 1e-4 * first.reduce(0) { max($0, abs($1)) }
            for (e, (a, b)) in zip(first, second).enumerated() {
                try expect(
                    abs(a - b) <= most,
                    "score \(e) is \(a), and \(b) when its latent has the number \(high.batch.codes.columnIndices[e])")
            }
        },
    ]
}
