import LinearAlgebra
import Ranks
import SparseCoding
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
        /// Of all latents, on rank 0.
        var sae: SparseAutoencoder?
        var silent: [Int] = []
        var sentBytes = 0
    }

    private func columns(_ codes: SparseCodes, _ places: [Int]? = nil) -> [[Int]] {
        (0..<codes.rows).map { r in
            codes.entries(ofRow: r).map { places?[Int(codes.columnIndices[$0])] ?? Int(codes.columnIndices[$0]) }
        }
    }

    private func train(_ c: Case, _ group: RankGroup? = nil, steps: Int = 5) throws -> Outcome {
        let all = try sae(c), plan = try plan(c, all.layout)
        var (sae, places, device, since) = (
            all, [Int]?.none, Lanes(count: 2) as any TrainingDevice, (0..<all.dSAE).map { isDead($0, c) ? 20_000 : 0 }
        )
        var peers: LatentPeers?
        if let group {
            let cut = try LatentCut(all.layout, rank: group.rank, of: group.count)
            sae = all.cut(cut)
            since = cut.places.map { since[$0] }
            let made = LatentPeers(group, cut, coreIsDense: c.coreIsDense)
            (places, device, peers) = (cut.places, RankedLanes(made, lanes: Lanes(count: 1)), made)
        }
        let trainer = try Trainer(sae, plan: plan, rule: rule(c.rule), tokensSinceFired: since, on: device)
        var result = Outcome()
        for step in 0..<steps { result.records.append(try trainer.update(batch(c, step))) }
        let left = try trainer.arithmetic.inspect()
        (result.codes, result.auxiliary) = (columns(left.codes, places), columns(left.auxiliary, places))
        result.silent = trainer.tokensSinceFired
        result.sentBytes = group?.sentBytes ?? 0
        result.sae = try peers.map { try $0.assembled(trainer.sae) } ?? trainer.sae
        return result
    }

    @Test(arguments: cases, [2, 3]) func ranksAgreeWithOne(_ c: Case, _ count: Int) throws {
        let one = try train(c), ranks = try onRanks(count) { try train(c, $0) }
        for (step, expected) in one.records.enumerated() {
            for rank in ranks {
                let found = rank.records[step]
                checkClose(
                    ([found.loss, found.auxiliaryLoss, found.gradientNorm] + found.prefixLosses).map(Float.init),
                    [expected.loss, expected.auxiliaryLoss, expected.gradientNorm] + expected.prefixLosses,
                    tolerance: 2e-5, "numbers of step \(step)")
                #expect(found.meanActiveCore == expected.meanActiveCore)
                #expect(found.meanActiveNonCore == expected.meanActiveNonCore)
                #expect(found.deadCount == expected.deadCount)
                #expect(
                    found.loss == ranks[0].records[step].loss && found.threshold == ranks[0].records[step].threshold)
            }
        }
        #expect((c.deadEvery > 0) == (one.records[0].deadCount > 0), "the case is what it says")
        for r in one.codes.indices {
            #expect(ranks.flatMap { $0.codes[r] }.sorted() == one.codes[r], "codes of row \(r)")
            if !one.auxiliary.isEmpty, c.deadEvery > 0 {
                #expect(ranks.flatMap { $0.auxiliary[r] }.sorted() == one.auxiliary[r], "dead latents of row \(r)")
            }
        }
        let (found, expected) = (try #require(ranks[0].sae), try #require(one.sae))
        #expect(ranks[1...].allSatisfy { $0.sae == nil })
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
            checkClose(
                found[keyPath: part].values, expected[keyPath: part].values.map(Double.init), tolerance: 2e-4,
                "parameters")
        }
        #expect(found.layout == expected.layout && found.coreIsDense == expected.coreIsDense)
        #expect(ranks.reduce(0) { $0 + $1.silent.count } == one.silent.count)
    }

    @Test func theSameNumberOfRanksGivesTheSameBits() throws {
        let c = Case(testDescription: "", core: 7, deadEvery: 4)
        let twice = try (0..<2).map { _ in try onRanks(3) { try train(c, $0) } }
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
            expectSame(twice[0][0].sae![keyPath: part].values, twice[1][0].sae![keyPath: part].values, "parameters")
        }
        #expect(twice[0].map(\.sentBytes) == twice[1].map(\.sentBytes))
    }

    /// A job of one process is none to the program; what is shared is right for one all the same, and sends nothing.
    @Test func aGroupOfOneAgreesToo() throws {
        let c = Case(testDescription: "", core: 7, deadEvery: 4)
        let alone = try train(c, steps: 3), one = try onRanks(1) { try train(c, $0, steps: 3) }[0]
        checkClose(one.sae!.encoder.values, alone.sae!.encoder.values.map(Double.init), tolerance: 2e-4, "encoder")
        #expect(one.sentBytes == 0)
    }

    /// A rank draws what all would have in its places.
    @Test func parametersAreDrawnInTheirPlaces() throws {
        let all = SparseAutoencoder(dIn: 7, layout: try PrefixLayout(groups: [5, 9, 20]))
        all.initialize(seed: 3)
        for rank in 0..<3 {
            let cut = try LatentCut(all.layout, rank: rank, of: 3)
            let own = SparseAutoencoder(dIn: 7, layout: cut.own)
            own.initialize(seed: 3, places: cut.places)
            expectSame(own.decoder.values, cut.rows(of: all.decoder).values, "decoder of rank \(rank)")
            expectSame(own.encoder.values, cut.rows(of: all.encoder).values, "encoder of rank \(rank)")
        }
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
