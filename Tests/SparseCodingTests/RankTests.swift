import LinearAlgebra
import Ranks
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// A training whose latents are cut among ranks against the same on one. Index sets are equal; numbers to 2e-5 of the largest
/// (single precision in another order of summation), parameters after five steps to 2e-4 of it, since Adam divides by a gradient's
/// own size.
@Suite struct RankTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var groups = [16, 33, 79]
        var core = 0
        var coreIsDense = true
        var coreIsPrefix = false
        var budget = BudgetScope.nonCore
        var k = 4.0
        var rule = "largest"
        var weights: [Double]?
        var deadEvery = 0
        var auxiliaryCount: Int?
        var isWhole = false
        var coreRate: Double?
        var rows = 70
    }

    static let cases = [
        Case(testDescription: "plain"),
        Case(testDescription: "ties", isWhole: true),
        Case(testDescription: "weights of their own", weights: [0.7, 0, 0.3]),
        Case(testDescription: "all that is positive", k: 128, rows: 20),
        Case(testDescription: "nothing kept", k: 0.01, rows: 10),
        Case(testDescription: "dense core", core: 7),
        Case(testDescription: "dense core, total budget", core: 7, budget: .total),
        Case(testDescription: "dense core that takes all", core: 12, budget: .total, k: 1),
        Case(testDescription: "a core of one latent, a prefix", core: 1, coreIsPrefix: true),
        Case(testDescription: "dense core at a rate", core: 1, coreRate: 0.2),
        Case(testDescription: "sparse core", core: 7, coreIsDense: false),
        Case(testDescription: "dead latents", deadEvery: 2),
        Case(testDescription: "dead latents, few revived", deadEvery: 2, auxiliaryCount: 3),
        Case(testDescription: "dead latents, few revived, ties", deadEvery: 3, auxiliaryCount: 4, isWhole: true),
        Case(testDescription: "one dead latent", deadEvery: 127),
        Case(testDescription: "top k of each row and a dense core", core: 7, budget: .total, rule: "row"),
        Case(testDescription: "a threshold", rule: "all"),
    ]

    private func rule(_ name: String) -> any SparsityRule {
        switch name {
        case "row": NaiveTopK()
        case "all": FixedThreshold(0.4)
        default: NaiveBatchTopK()
        }
    }

    private func isDead(_ j: Int, _ c: Case) -> Bool {
        c.deadEvery > 0 && j % c.deadEvery == 1 && j >= (c.coreIsDense ? c.core : 0)
    }

    private static let dIn = 20

    /// All latents.
    private func sae(_ c: Case) throws -> SparseAutoencoder {
        let layout = try PrefixLayout(groups: c.groups, coreCount: c.core, coreIsPrefix: c.coreIsPrefix)
        let sae = try smallSAE(dIn: Self.dIn, groups: c.groups, core: c.core, coreIsDense: c.coreIsDense)
            .copy(layout: layout)
        if c.isWhole {
            sae.encoder.assign(wholeMatrix(sae.dSAE, Self.dIn, seed: 3, bound: 2))
            sae.encoderBias.fill(1)
            sae.decoderBias.assign(wholeMatrix(1, Self.dIn, seed: 4, bound: 1))
        }
        for j in 0..<sae.dSAE where isDead(j, c) {
            for i in 0..<Self.dIn { sae.encoder[j, i] *= c.isWhole ? 0 : 0.01 }
            sae.encoderBias[j] = c.isWhole ? 1 : 0.02
        }
        return sae
    }

    private func plan(_ c: Case, _ layout: PrefixLayout) throws -> TrainingPlan {
        var settings = TrainingSettings(k: c.k, batchSize: c.rows, steps: 100)
        settings.learningRate = 1e-3
        settings.warmupSteps = 0
        settings.budget = c.budget
        settings.groupWeights = c.weights
        settings.deadAfterTokens = 10_000
        settings.auxiliaryCount = c.auxiliaryCount
        settings.auxiliaryWeight = 0.7
        settings.decoderBiasStart = .geometricMedian
        settings.coreRate = c.coreRate
        return try TrainingPlan(settings, dIn: Self.dIn, layout: layout)
    }

    private func batch(_ c: Case, _ step: Int) -> Matrix {
        c.isWhole
            ? wholeMatrix(c.rows, Self.dIn, seed: UInt64(20 + step), bound: 3)
            : randomMatrix(c.rows, Self.dIn, seed: UInt64(20 + step), from: -1.5, to: 1.5)
    }

    /// What a training leaves.
    struct Outcome {
        var records: [StepRecord] = []
        /// Of the last step: [B, F] columns by row, of codes and of dead latents.
        var codes: [[Int]] = []
        var auxiliary: [[Int]] = []
        /// Of all latents.
        var state: TrainerState
        var gradients: SparseAutoencoder
        var sentBytes = 0
    }

    private func columns(_ codes: SparseCodes) -> [[Int]] {
        (0..<codes.rows).map { r in codes.entries(ofRow: r).map { Int(codes.columnIndices[$0]) } }
    }

    private func train(_ c: Case, on device: any TrainingDevice, steps: Int = 5) throws -> Outcome {
        let sae = try sae(c), plan = try plan(c, sae.layout)
        let trainer = try Trainer(
            sae, plan: plan, rule: rule(c.rule), tokensSinceFired: (0..<sae.dSAE).map { isDead($0, c) ? 20_000 : 0 },
            on: device)
        var records: [StepRecord] = []
        for step in 0..<steps { records.append(try trainer.update(batch(c, step))) }
        let left = try trainer.arithmetic.inspect()
        return Outcome(
            records: records, codes: columns(left.codes), auxiliary: columns(left.auxiliary),
            state: try trainer.exportedState().copy(), gradients: left.gradients)
    }

    private func train(_ c: Case, ranks count: Int, steps: Int = 5) throws -> Outcome {
        try servedBy(count) { group in
            var outcome = try train(c, on: RankedTraining(group, on: Lanes(count: 1)), steps: steps)
            outcome.sentBytes = group.sentBytes
            return outcome
        }
    }

    private func servedBy<Value>(_ count: Int, _ body: @escaping (RankGroup) throws -> Value) throws -> Value {
        try onRanks(
            count, serving: [LatentShare.kind: { try LatentShare.make($0, &$1, on: Lanes(count: 1)) }], body)
    }

    private static let parts = [
        \SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias,
    ]

    @Test(arguments: cases, [2, 3]) func ranksAgreeWithOne(_ c: Case, _ count: Int) throws {
        let one = try train(c, on: Lanes(count: 2)), ranks = try train(c, ranks: count)
        for (step, (expected, found)) in zip(one.records, ranks.records).enumerated() {
            checkClose(
                ([found.loss, found.auxiliaryLoss, found.gradientNorm] + found.prefixLosses).map(Float.init),
                [expected.loss, expected.auxiliaryLoss, expected.gradientNorm] + expected.prefixLosses,
                tolerance: 2e-5, "numbers of step \(step)")
            #expect(found.meanActiveCore == expected.meanActiveCore)
            #expect(found.meanActiveNonCore == expected.meanActiveNonCore)
            #expect(found.deadCount == expected.deadCount)
        }
        #expect((c.deadEvery > 0) == (one.records[0].deadCount > 0), "the case is what it says")
        #expect(ranks.codes == one.codes)
        #expect(ranks.auxiliary == one.auxiliary)
        for part in Self.parts {
            checkClose(
                ranks.state.sae[keyPath: part].values, one.state.sae[keyPath: part].values.map(Double.init),
                tolerance: 2e-4, "parameters")
            let (found, expected) = (ranks.state.moments.first, one.state.moments.first)
            checkClose(
                found[keyPath: part].values, expected[keyPath: part].values.map(Double.init), tolerance: 2e-5,
                "first moments")
        }
        for j in c.core..<one.gradients.dSAE {
            let (found, expected) = (ranks.gradients, one.gradients)
            checkClose(
                row(found.encoder, j) + row(found.decoder, j),
                (row(expected.encoder, j) + row(expected.decoder, j)).map(Double.init), tolerance: 1e-3,
                "gradients of latent \(j)")
        }
    }

    private func row(_ matrix: Matrix, _ j: Int) -> [Float] {
        Array(UnsafeBufferPointer(start: matrix.row(j), count: matrix.columns))
    }

    @Test func theSameNumberOfRanksGivesTheSameBits() throws {
        let c = Case(testDescription: "", core: 7, deadEvery: 4)
        let twice = try (0..<2).map { _ in try train(c, ranks: 3) }
        for part in Self.parts {
            expectSame(
                twice[0].state.sae[keyPath: part].values, twice[1].state.sae[keyPath: part].values, "parameters")
        }
        #expect(twice[0].sentBytes == twice[1].sentBytes)
    }

    /// A job of one process is none to the program; what is shared is right for one all the same, and sends nothing.
    @Test func aGroupOfOneAgreesToo() throws {
        let c = Case(testDescription: "", core: 7, deadEvery: 4)
        let alone = try train(c, on: Lanes(count: 2), steps: 3), one = try train(c, ranks: 1, steps: 3)
        checkClose(
            one.state.sae.encoder.values, alone.state.sae.encoder.values.map(Double.init), tolerance: 2e-4, "encoder")
        #expect(one.sentBytes == 0)
    }

    /// A checkpoint is of all latents: as many ranks go on from it to the same bits, others to those of their own number.
    @Test func ranksGoOnFromACheckpoint() throws {
        let c = Case(testDescription: "", core: 7, deadEvery: 4)
        let (sae, folder) = (try sae(c), TemporaryFolder())
        let plan = try plan(c, sae.layout), path = folder.file("state")
        func trainer(_ state: TrainerState, _ group: RankGroup) throws -> Trainer {
            try Trainer(
                state, plan: plan, rule: rule(c.rule), on: RankedTraining(group, on: Lanes(count: 1)))
        }
        func state() -> TrainerState {
            TrainerState(
                sae.copy(), rule: rule(c.rule), tokensSinceFired: (0..<sae.dSAE).map { isDead($0, c) ? 20_000 : 0 })
        }
        let whole = try servedBy(3) { group in
            let trainer = try trainer(state(), group)
            for step in 0..<5 {
                if step == 2 { try trainer.file(at: path, metadata: [:]).commit() }
                _ = try trainer.update(batch(c, step))
            }
            return try trainer.exportedState().copy()
        }
        func resumed(_ count: Int) throws -> TrainerState {
            try servedBy(count) { group in
                var state = state()
                try state.restore(SafetensorsFile(path: path))
                let trainer = try trainer(state, group)
                #expect(trainer.step == 2)
                for step in 2..<5 { _ = try trainer.update(batch(c, step)) }
                return try trainer.exportedState().copy()
            }
        }
        let (same, other) = (try resumed(3), try resumed(2))
        for part in Self.parts {
            let expected = whole.sae[keyPath: part].values
            expectSame(same.sae[keyPath: part].values, expected, "parameters")
            checkClose(other.sae[keyPath: part].values, expected.map(Double.init), tolerance: 2e-4, "parameters")
        }
    }

    /// Nobody knows what the others wait for after a failure in the middle.
    @Test func ranksDoNothingMoreAfterAFailure() throws {
        final class Failing: SparsityRule {
            let (name, version, scope) = ("failing", "1", SelectionScope.batch)
            func upperCount(_ context: SelectionContext) throws -> Int { throw TestFailure() }
            func select(
                from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
            ) {}
        }
        struct TestFailure: Error, CustomStringConvertible { let description = "the rule is tired" }
        let c = Case(testDescription: "")
        let sae = try sae(c), plan = try plan(c, sae.layout)
        let words: [String] = try servedBy(2) { group in
            let trainer = try Trainer(
                sae, plan: plan, rule: Failing(), on: RankedTraining(group, on: Lanes(count: 1)))
            return (0..<2).map { step in message { _ = try trainer.update(batch(c, step)) } }
        }
        #expect(words[0] == "the rule is tired")
        #expect(words[1].hasPrefix("the ranks cannot go on after what failed while they were at it together: the rule"))
    }

    @Test func latentsAreCutEvenlyInEveryPrefix() throws {
        let layout = try PrefixLayout(groups: [10, 21, 33], coreCount: 5, coreIsPrefix: true)
        let cuts = try (0..<3).map { try LatentCut(layout, rank: $0, of: 3) }
        #expect(cuts.flatMap(\.places).sorted() == Array(0..<64))
        for cut in cuts {
            #expect(cut.places == cut.places.sorted() && cut.own.latentCount == cut.places.count)
            // Of each prefix of all, those of the rank are its prefix.
            #expect(
                zip(layout.prefixes, cut.own.prefixes).allSatisfy { all, own in
                    cut.places.count { $0 < all } == own && abs(own - all / 3) <= layout.prefixes.count
                })
        }
        #expect(message { _ = try LatentCut(layout, rank: 0, of: 20) }.contains("at most as many as each group has"))
    }

    /// Sums in the order of the ranks, bytes of any size, and a rank that was started otherwise.
    @Test(arguments: [1, 2, 3, 5]) func whatRanksDoTogether(_ count: Int) throws {
        for n in [0, 1, 15, 16, 17, 100, 1000] {
            let sums = try onRanks(count) { group in
                var values = randomMatrix(1, max(n, 1), seed: UInt64(group.rank), from: -1, to: 1).values
                values.removeLast(values.count - n)
                try values.withUnsafeMutableBufferPointer { try group.sum($0) }
                return values
            }
            let parts = (0..<count).map { randomMatrix(1, max(n, 1), seed: UInt64($0), from: -1, to: 1).values }
            for i in 0..<n {
                let expected = (1..<count).reduce(parts[0][i]) { $0 + parts[$1][i] }
                #expect(sums.allSatisfy { $0[i] == expected })
            }
        }
        for n in [1, 16, 100, 1000] {
            let expected = randomMatrix(1, n, seed: 9, from: -1, to: 1).values
            let found = try onRanks(count) { group in
                var values = group.rank == 0 ? expected : [Float](repeating: .nan, count: n)
                try values.withUnsafeMutableBufferPointer { try group.share($0) }
                return values
            }
            #expect(found.allSatisfy { $0 == expected }, "\(n) of rank 0 on all ranks")
        }
        let gathered = try onRanks(count) { try $0.gather([UInt8](repeating: UInt8($0.rank + 1), count: 3 * $0.rank)) }
        #expect(gathered[0] == (0..<count).map { [UInt8](repeating: UInt8($0 + 1), count: 3 * $0) })
        let answers = try onRanks(count) { group in
            try group.scatter(
                group.rank == 0 ? (0..<count).map { [UInt8](repeating: UInt8($0), count: $0) } : [], count: group.rank)
        }
        #expect(answers == (0..<count).map { [UInt8](repeating: UInt8($0), count: $0) })
        #expect(
            try onRanks(count) { try $0.sum([Double($0.rank), 1]) }.allSatisfy {
                $0 == [Double(count * (count - 1) / 2), Double(count)]
            })
        guard count > 1 else { return }
        let words = message {
            _ = try onRanks(count) { try $0.requireSame("recipe", $0.rank == count - 1 ? "other" : "this") }
        }
        #expect(
            words
                == "rank \(count - 1) was started with another recipe: other, and rank 0 with this; start all ranks alike"
        )
    }
}
