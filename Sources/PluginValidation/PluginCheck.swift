import Attribution
import LinearAlgebra
import PluginHost
import SparseCoding
import Synchronization

/// One promise of the headers, and how it is put to the test.
public struct PluginCheck: Sendable {
    /// What users name it by.
    public let id: String
    /// Rules of the headers it is about.
    public let rules: [String]
    /// What a plugin that passes does.
    public let promise: String
    let body: @Sendable (Subject) throws -> Void

    /// What it was run on.
    struct Subject: Sendable {
        let plugin: PluginUnderTest
        let seed: UInt64

        func has(_ flag: String) -> Bool { plugin.plugin.flags?.contains(flag) == true }
        func has(table id: String) -> Bool { plugin.plugin.extensions?.contains(id) == true }
    }

    /// The plugin broke the promise.
    struct Broken: Error {
        let reason: String
    }

    /// The promise is not one that this plugin makes.
    struct NotApplicable: Error {
        let reason: String
    }

    /// All checks, in the order in which they are run.
    public static let all = settingsChecks + scoreChecks + accumulationChecks + ruleChecks
}

func expect(_ condition: Bool, _ reason: @autoclosure () -> String) throws {
    if !condition { throw PluginCheck.Broken(reason: reason()) }
}

func applies(_ condition: Bool, _ reason: String) throws {
    if !condition { throw PluginCheck.NotApplicable(reason: reason) }
}

extension AttributionScorer {
    func scores(_ batch: ScoringBatch) throws -> [Float] {
        var scores = [Float](repeating: 0, count: batch.codes.count)
        try scores.withUnsafeMutableBufferPointer { try score(batch, into: $0) }
        return scores
    }
}

extension PluginCheck.Subject {
    func perToken() throws -> any AttributionScorer {
        try applies(!plugin.isRule, "a sparsity rule")
        let scorer = try plugin.scorer()
        try applies(scorer.scoresTokens, "it gives no scores of tokens")
        return scorer
    }

    func firstDifference(_ a: [Float], _ b: [Float]) -> String {
        guard
            let e = zip(a, b).enumerated().first(where: { $0.element.0.bitPattern != $0.element.1.bitPattern })?.offset
        else {
            return "other lengths, \(a.count) and \(b.count)"
        }
        return "score \(e) is \(a[e]) and then \(b[e])"
    }
}

extension PluginCheck {
    static let settingsChecks = [
        PluginCheck(
            id: "create", rules: ["DMSAE-ENTRY-02", "DMSAE-OUTPUT-01", "DMSAE-OUTPUT-02"],
            promise: "it is created with its defaults, and its tables and outputs are well described"
        ) { subject in
            if subject.plugin.isRule { _ = try rule(subject) } else { _ = try subject.plugin.scorer() }
        },
        PluginCheck(
            id: "unknown-setting", rules: ["DMSAE-ENTRY-07"],
            promise: "create refuses a setting that it does not know and names it, on hosts that check nothing too"
        ) { subject in
            let key = "no-such-setting"
            do {
                if subject.plugin.isRule {
                    _ = try subject.plugin.rule(extra: [(key, "1")], isUnchecked: true)
                } else {
                    _ = try subject.plugin.scorer(extra: [(key, "1")], isUnchecked: true)
                }
            } catch PluginError.reported(let text) {
                return try expect(text.contains(key), "its error does not name '\(key)': \(text)")
            }
            throw Broken(reason: "create accepted the setting '\(key)'")
        },
        PluginCheck(
            id: "bad-setting", rules: ["DMSAE-ENTRY-07", "DMSAE-PARAM-02"],
            promise: "create refuses a value that cannot be read, on hosts that check nothing too"
        ) { subject in
            let checked = (subject.plugin.plugin.parameters ?? []).filter {
                $0.type != "text" && $0.type != "path" && !subject.plugin.isSet($0.key)
            }
            try applies(!checked.isEmpty, "it has no setting whose values could be bad")
            for parameter in checked {
                do {
                    if subject.plugin.isRule {
                        _ = try subject.plugin.rule(extra: [(parameter.key, "½?")], isUnchecked: true)
                    } else {
                        _ = try subject.plugin.scorer(extra: [(parameter.key, "½?")], isUnchecked: true)
                    }
                } catch PluginError.reported { continue }
                throw Broken(reason: "create accepted \(parameter.key)=½?")
            }
        },
        PluginCheck(
            id: "defaults", rules: ["DMSAE-PARAM-03", "DMSAE-PARAM-04"],
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
            id: "sign", rules: ["DMSAE-SCORER-04"],
            promise: "where the gradient is the whole truth, scores rise with the loss that removal adds"
        ) { subject in
            try applies(
                subject.has("needs-gradient") || subject.has("needs-evaluation"), "it does not look at the loss")
            let scorer = try subject.perToken()
            // Small activations: removal is first order.
            let batch = QuadraticModel(seed: subject.seed, sequences: 4, activations: 1e-2).asking
            let scores = try scorer.scores(batch)
            var (sum, total) = (0.0, 0.0)
            for t in 0..<batch.codes.rows {
                for e in batch.codes.entries(ofRow: t) {
                    let w = batch.decoder.row(Int(batch.codes.columnIndices[e])), g = batch.gradient.row(t)
                    var dot = 0.0
                    for i in 0..<batch.decoder.columns { dot += Double(g[i]) * Double(w[i]) }
                    let truth = -Double(batch.codes.values[e]) * dot
                    sum += truth * Double(scores[e])
                    total += abs(truth * Double(scores[e]))
                }
            }
            try expect(
                sum > -0.2 * total,
                "its scores go against what removal does to the loss (agreement \(Int(100 * sum / total))%); positive means "
                    + "that the latent helps")
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
            id: "cancel", rules: ["DMSAE-HOST-03", "DMSAE-STATUS-01"],
            promise: "asked to stop, a call ends soon, and the next one is as before"
        ) { subject in
            try applies(!subject.plugin.isRule, "a sparsity rule")
            let stop = Stop()
            let scorer = try subject.plugin.scorer(
                services: PluginServices(log: { _ in }, isCancelled: { stop.isRaised }))
            try applies(scorer.scoresTokens, "it gives no scores of tokens")
            let batch = QuadraticModel(
                seed: subject.seed, sequences: 8, length: 64, latents: 200, dimensions: 64, perToken: 32
            )
            .asking
            stop.raise()
            do { _ = try scorer.scores(batch) } catch PluginError.cancelled {}
        },
    ]

    /// A flag that a service reads and a check raises.
    private final class Stop: Sendable {
        private let raised = Atomic<Bool>(false)
        var isRaised: Bool { raised.load(ordering: .relaxed) }
        func raise() { raised.store(true, ordering: .relaxed) }
    }
}
