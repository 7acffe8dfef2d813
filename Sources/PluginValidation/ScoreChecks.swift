import Attribution
import LinearAlgebra
import SparseCoding

extension PluginCheck {
    /// What every scorer of tokens does, whatever it scores.
    static let scoreChecks = [
        PluginCheck(
            id: "scores", rules: ["DMSAE-SCORER-03", "DMSAE-TENSOR-01"],
            promise: "it writes every score, each finite, and nothing else, whatever the sizes"
        ) { subject in
            let scorer = try subject.perToken()
            for (S, T, m, d, k) in [
                (2, 12, 24, 8, 5), (1, 2, 1, 1, 1), (1, 40, 300, 3, 40), (5, 3, 7, 17, 1), (1, 5, 64, 576, 64),
            ] {
                let model = QuadraticModel(
                    seed: subject.seed, sequences: S, length: T, latents: m, dimensions: d, perToken: k)
                _ = try scorer.scores(model.asking)
                // As in a later cycle, with a core of one latent before the others.
                var batch = model.asking
                batch.coreCount = 1
                _ = try scorer.scores(batch)
            }
        },
        PluginCheck(
            id: "extremes", rules: ["DMSAE-SCORER-03"],
            promise: "scores stay finite where activations are tiny or large, decoder rows or gradients zero"
        ) { subject in
            let scorer = try subject.perToken()
            for activations: Float in [1e-38, 1e-20, 1e6, 1e15] {
                _ = try scorer.scores(QuadraticModel(seed: subject.seed, activations: activations).asking)
            }
            let model = QuadraticModel(seed: subject.seed)
            model.batch.decoder.fill(0)
            _ = try scorer.scores(model.asking)
            let still = QuadraticModel(seed: subject.seed)
            still.batch.gradient.fill(0)
            _ = try scorer.scores(still.asking)
        },
        PluginCheck(
            id: "deterministic", rules: ["DMSAE-SCORER-05"],
            promise: "the same batch gives the same bits, in another process and at another time too"
        ) { subject in
            try applies(subject.has("deterministic"), "it does not say that it is deterministic")
            let batch = QuadraticModel(seed: subject.seed).asking
            let first = try subject.perToken().scores(batch)
            waitForNextSecond()
            let second = try subject.perToken().scores(batch)
            try expect(first == second, subject.firstDifference(first, second))
        },
        PluginCheck(
            id: "no-memory", rules: ["DMSAE-SCORER-05"],
            promise: "a score does not depend on earlier calls, nor on where a batch of them lay"
        ) { subject in
            let scorer = try subject.perToken()
            let batch = QuadraticModel(seed: subject.seed).asking
            let first = try scorer.scores(batch)
            // As large as the first, so that they lie where it lay.
            let others = (1..<4).map { QuadraticModel(seed: subject.seed &+ UInt64($0)).asking }
            let found = try others.map { try scorer.scores($0) }
            let again = try scorer.scores(batch)
            try expect(first == again, subject.firstDifference(first, again))
            for (other, scores) in zip(others, found) {
                let alone = try subject.perToken().scores(other)
                try expect(
                    alone == scores, subject.firstDifference(alone, scores) + ", in a process that scored another batch"
                )
            }
        },
        PluginCheck(
            id: "any-cut", rules: ["DMSAE-SCORER-05"],
            promise: "sequences score alone what they score together, bit for bit", after: ["no-memory"]
        ) { subject in
            let scorer = try subject.perToken()
            try applies(!subject.has("needs-evaluation"), "what it asks the host rounds otherwise with other company")
            let batch = QuadraticModel(seed: subject.seed, sequences: 3).batch
            let together = try scorer.scores(batch)
            let apart = try (0..<3).flatMap { try scorer.scores(batch.sequence($0)) }
            try expect(together == apart, subject.firstDifference(together, apart))
            // More tokens than 16 bits count; the last ones come after that.
            let large = QuadraticModel(seed: subject.seed, sequences: 6000, dimensions: 2, perToken: 1).batch
            let all = try scorer.scores(large)
            for s in [0, 5461, 5999] {
                let rows = Int(large.sequenceOffsets[s])..<Int(large.sequenceOffsets[s + 1])
                let own = Int(large.codes.rowOffsets[rows.lowerBound])..<Int(large.codes.rowOffsets[rows.upperBound])
                let among = Array(all[own]), alone = try scorer.scores(large.sequence(s))
                try expect(among == alone, "of sequence \(s) of 6000 " + subject.firstDifference(among, alone))
            }
        },
        PluginCheck(
            id: "scale", rules: ["DMSAE-ENTRY-02"],
            promise:
                "with activations times a factor and decoder rows divided by it, of all latents or of each its own, "
                + "the scores are the same", after: ["no-memory"]
        ) { subject in
            try applies(subject.has("scale-invariant"), "it does not say that it is scale invariant")
            let model = QuadraticModel(seed: subject.seed, sequences: 4)
            let first = try subject.scores(model)
            let largest = first.reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
            // Factors of two are exact, sums of products may only round where something else did.
            let factors: [(String, Double, (Int) -> Float)] = [
                ("2", 1e-5, { _ in 2 }), ("1/1024", 1e-5, { _ in 1 / 1024 }), ("3", 1e-3, { _ in 3 }),
                ("one of its own for each latent", 1e-5, { [0.25, 0.5, 1, 2, 4][$0 % 5] }),
            ]
            for (name, most, factor) in factors {
                let second = try subject.scores(model.scaled(by: factor))
                for (e, (a, b)) in zip(first, second).enumerated() where !(a.isNaN && b.isNaN) {
                    try expect(
                        abs(a - b) <= most * largest, "score \(e) is \(a), and \(b) when activations are times \(name)")
                }
            }
        },
        PluginCheck(
            id: "undeclared-gradient", rules: ["DMSAE-SCORER-02"],
            promise: "it does not read a gradient that it does not ask for: a host may not have made one",
            after: ["no-memory"]
        ) { subject in
            try applies(!subject.has("needs-gradient"), "it says that it needs the gradient")
            let model = QuadraticModel(seed: subject.seed)
            let first = try subject.scores(model.withGradient(of: 0)),
                second = try subject.scores(model.withGradient(of: 3))
            let differ = zip(first, second).enumerated().first {
                $0.element.0 != $0.element.1 && !($0.element.0.isNaN && $0.element.1.isNaN)
            }
            try expect(
                differ == nil,
                "score \(differ?.offset ?? 0) changes with the gradient; declare DMSAE_PLUGIN_NEEDS_GRADIENT")
        },
    ]
}

extension PluginCheck.Subject {
    /// Scores of tokens, or totals where there are none.
    fileprivate func scores(_ model: QuadraticModel) throws -> [Double] {
        if scoresTokens { return try perToken().scores(model.asking).map(Double.init) }
        return try accumulated(SequencePass(model))[0][0]
    }
}
