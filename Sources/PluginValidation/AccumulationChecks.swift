import Attribution
import LinearAlgebra
import SparseCoding

private func areSame(_ a: [[Double]], _ b: [[Double]]) -> Bool {
    zip(a, b).allSatisfy { $0.map(\.bitPattern) == $1.map(\.bitPattern) }
}

extension PluginCheck {
    static let accumulationChecks = [
        PluginCheck(
            id: "outputs",
            rules: ["DMSAE-SCORER-11", "DMSAE-SCORER-07", "DMSAE-SCORER-08", "DMSAE-SCORER-15", "DMSAE-STATE-02"],
            promise:
                "it writes every output, none infinite, twice the same, with its state moved between any two calls, "
                + "whatever the sizes"
        ) { subject in
            let model = QuadraticModel(seed: subject.seed, sequences: 4)
            let results = try subject.accumulated(SequencePass(model), finishes: 2)
            try expect(areSame(results[0], results[1]), "a second finish of the same state gives other numbers")
            let score = try subject.accumulation(), plan = SequencePass(model).plan
            let passes = try (0..<2).map { _ in try score.passCount(plan) }
            try expect(passes[0] == passes[1], "it wants \(passes[0]) passes, and \(passes[1]) when asked again")
            try expect(
                results[0][0].contains { !$0.isNaN } || score.outputs.contains { $0.role == .expansions },
                "its score is nan for every latent, and each of them fired")
            for activations: Float in [1e-38, 1e-20, 1e6] {
                _ = try subject.accumulated(SequencePass(QuadraticModel(seed: subject.seed, activations: activations)))
            }
            // One latent, many, none that fires: a batch without entries counts too.
            for (S, T, m, d, k) in [(1, 2, 1, 1, 1), (1, 40, 300, 3, 40), (5, 3, 7, 17, 1), (2, 5, 9, 4, 0)] {
                let model = QuadraticModel(
                    seed: subject.seed, sequences: S, length: T, latents: m, dimensions: d, perToken: k)
                _ = try subject.accumulated(SequencePass(model))
            }
        },
        PluginCheck(
            id: "state-moves", rules: ["DMSAE-STATE-02", "DMSAE-SCORER-07"],
            promise:
                "all it gathers is in its state: a pass begun in one process goes on in a second and ends in a third"
        ) { subject in
            let pass = SequencePass(QuadraticModel(seed: subject.seed, sequences: 4))
            let first = try subject.accumulation(), second = try subject.accumulation(),
                third = try subject.accumulation()
            let size = try subject.stateSize(first, pass.plan)
            _ = try first.stateSize(SequencePass(QuadraticModel(seed: subject.seed, sequences: 9, latents: 80)).plan)
            for score in [first, second] {
                let again = try score.stateSize(pass.plan)
                try expect(size == again, "it asks for a state of \(size) bytes, and of \(again) when asked again")
            }
            let state = State(size)
            try first.begin(pass.plan(first), state: state.bytes)
            try first.forEachPass(pass.plan) { plan in
                for s in 0..<2 { try first.accumulate(pass.batch(s), plan, state: state.bytes) }
                for s in 2..<4 { try second.accumulate(pass.batch(s), plan, state: state.bytes) }
            }
            let apart = try third.results(pass.plan, state), whole = try subject.accumulated(pass)[0]
            try subject.agree(whole, apart, exactly: subject.has("deterministic")) { i, j, x, y in
                "element \(j) of output \(i) is \(x) from one process and \(y) when the state moves to others"
            }
        },
        PluginCheck(
            id: "states", rules: ["DMSAE-STATE-06"], promise: "it goes on from states that its own version wrote"
        ) { subject in
            try applies(subject.has(table: "dmsae.state/1"), "it says nothing of other builds")
            let scorer = try subject.plugin.scorer()
            let score = try required(scorer.accumulation, "it scores token by token")
            // Of a version that is none of its own either answer is right, and the same each time.
            let strange = try (0..<2).map { _ in try score.accepts(stateOf: "no-such-version") }
            try expect(strange[0] == strange[1], "asked again about the same version it gives another answer")
            try expect(
                try score.accepts(stateOf: scorer.version) == true,
                "it refuses states of \(scorer.version), which is its own version")
        },
        PluginCheck(
            id: "merge", rules: ["DMSAE-SCORER-10"], promise: "shards that are merged give what the whole pass gives",
            after: ["state-moves"]
        ) { subject in
            try applies(!subject.has("sequential"), "its states are not merged")
            let pass = SequencePass(QuadraticModel(seed: subject.seed, sequences: 5))
            let whole = try subject.accumulated(pass)[0]
            for shards in [[0..<2, 2..<3, 3..<5], [0..<0, 0..<4, 4..<5]] {
                let parts = try subject.accumulated(pass, shards: shards)[0]
                try subject.agree(whole, parts, exactly: subject.has("merge-exact")) { i, j, x, y in
                    "element \(j) of output \(i) is \(x) in one pass and \(y) merged"
                }
            }
        },
        PluginCheck(
            id: "another-pass", rules: ["DMSAE-SCORER-09"],
            promise: "a second pass in another process and at another time gives the same bits"
        ) { subject in
            try applies(subject.has("deterministic"), "it does not say that it is deterministic")
            let pass = SequencePass(QuadraticModel(seed: subject.seed, sequences: 3))
            let score = try subject.accumulation()
            let first = try subject.accumulated(pass, by: score, shards: [0..<3])[0]
            waitForNextSecond()
            try expect(areSame(first, try subject.accumulated(pass)[0]), "the numbers differ")
            // What it did in between is another pass, which gives what it gives in a process of its own.
            let other = SequencePass(QuadraticModel(seed: subject.seed &+ 1, sequences: 3))
            let between = try subject.accumulated(other, by: score, shards: [0..<3])[0]
            try expect(
                areSame(between, try subject.accumulated(other)[0]), "after a pass the next one gives other numbers")
            let again = try subject.accumulated(pass, by: score, shards: [0..<3])[0]
            try expect(areSame(first, again), "after another pass in the same process the numbers differ")
        },
    ]
}

extension PluginCheck.Subject {
    /// Two results of the same pass: the same bits, or `exactly` false to rounding of sums.
    fileprivate func agree(
        _ first: [[Double]], _ second: [[Double]], exactly: Bool, _ reason: (Int, Int, Double, Double) -> String
    ) throws {
        for (i, (a, b)) in zip(first, second).enumerated() {
            let largest = a.reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
            for (j, (x, y)) in zip(a, b).enumerated() where !(x.isNaN && y.isNaN) {
                let close = exactly ? x.bitPattern == y.bitPattern : abs(x - y) <= 1e-9 * largest
                try expect(close, reason(i, j, x, y))
            }
        }
    }
}
