import Attribution
import LinearAlgebra
import PluginHost
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
            promise: "the same batch gives the same bits, in another process too"
        ) { subject in
            try applies(subject.has("deterministic"), "it does not say that it is deterministic")
            let batch = QuadraticModel(seed: subject.seed).asking
            let first = try subject.perToken().scores(batch), second = try subject.perToken().scores(batch)
            try expect(first == second, subject.firstDifference(first, second))
        },
        PluginCheck(
            id: "no-memory", rules: ["DMSAE-SCORER-05"], promise: "a score does not depend on earlier calls"
        ) { subject in
            let scorer = try subject.perToken()
            let batch = QuadraticModel(seed: subject.seed).asking
            let first = try scorer.scores(batch)
            for other in 1..<4 { _ = try scorer.scores(QuadraticModel(seed: subject.seed &+ UInt64(other)).asking) }
            let again = try scorer.scores(batch)
            try expect(first == again, subject.firstDifference(first, again))
        },
        PluginCheck(
            id: "any-cut", rules: ["DMSAE-SCORER-05"],
            promise: "sequences score alone what they score together, bit for bit"
        ) { subject in
            let scorer = try subject.perToken()
            try applies(!subject.has("needs-evaluation"), "what it asks the host rounds otherwise with other company")
            let batch = QuadraticModel(seed: subject.seed, sequences: 3).batch
            let together = try scorer.scores(batch)
            let apart = try (0..<3).flatMap { try scorer.scores(batch.sequence($0)) }
            try expect(together == apart, subject.firstDifference(together, apart))
        },
        PluginCheck(
            id: "scale", rules: ["DMSAE-ENTRY-02"],
            promise: "twice the activations with half the decoder rows give the same scores"
        ) { subject in
            try applies(subject.has("scale-invariant"), "it does not say that it is scale invariant")
            let scorer = try subject.perToken()
            let batch = QuadraticModel(seed: subject.seed).asking
            let first = try scorer.scores(batch)
            for i in 0..<batch.decoder.count { batch.decoder[i] /= 2 }
            for e in 0..<batch.codes.count { batch.codes.values[e] *= 2 }
            let second = try scorer.scores(batch)
            // Factors of two are exact, sums of products may only round where something else did.
            let largest = first.reduce(0) { max($0, abs($1)) }
            for (e, (a, b)) in zip(first, second).enumerated() {
                try expect(abs(a - b) <= 1e-5 * largest, "score \(e) is \(a) and then \(b)")
            }
        },
        PluginCheck(
            id: "defaults", rules: ["DMSAE-PARAM-02", "DMSAE-PARAM-03", "DMSAE-PARAM-04"],
            promise: "its defaults written out, and nothing given on an older host, give the same scores"
        ) { subject in
            let defaults = (subject.plugin.plugin.parameters ?? []).filter {
                $0.default != nil && !subject.plugin.isSet($0.key)
            }
            try applies(!defaults.isEmpty, "it has no defaults")
            let expected = try subject.perToken().scores(QuadraticModel(seed: subject.seed).asking)
            let older = try subject.plugin.scorer(isUnchecked: true).scores(QuadraticModel(seed: subject.seed).asking)
            try expect(expected == older, "without settings, " + subject.firstDifference(expected, older))
            let written = try subject.plugin.scorer(extra: defaults.map { ($0.key, $0.default ?? "") })
                .scores(QuadraticModel(seed: subject.seed).asking)
            try expect(expected == written, "with defaults written out, " + subject.firstDifference(expected, written))
        },
    ]
}
