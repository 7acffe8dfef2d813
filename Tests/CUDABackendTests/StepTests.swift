import CUDABackend
import LinearAlgebra
import PluginHost
import Ranks
import SparseCoding
import TestSupport
import Testing

/// A training step on a card against the reference trainer's vectors, and against lanes.
@Suite struct StepTests {
    @Test(arguments: TrainingGolden.cases, [true, false])
    func stepsMatchTheReferenceTrainer(_ c: TrainingGolden.Case, keepsLargest: Bool) throws {
        try TrainingGolden.check(c, on: try TestCard.device(), NaiveBatchTopK(keepsLargest: keepsLargest))
    }

    /// What a step has to get right, in one line a thing.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var dIn = 20
        var groups = [16, 32, 80]
        var core = 0
        var coreIsDense = true
        var budget = BudgetScope.nonCore
        var rows = 70
        var k = 4.0
        var rule = "largest"
        var weights: [Double]?
        /// Every so many-th latent is dead, none for 0.
        var deadEvery = 0
        var auxiliaryCount: Int?
        /// Whole numbers: sums are exact, and many are equal.
        var isWhole = false
        var subtractsDecoderBias = true
        var coreRate: Double?
    }

    static let cases = [
        Case(testDescription: "plain"),
        Case(testDescription: "the host's rule", rule: "host"),
        Case(testDescription: "rows padded from 18 to 20", dIn: 18),
        Case(testDescription: "rows of three numbers", dIn: 3, groups: [3, 4], k: 1),
        Case(testDescription: "two slabs of columns", dIn: 1100, groups: [5, 9], rows: 9, k: 2),
        Case(testDescription: "two tiles of latents", groups: [1000, 3103], rows: 21, k: 3),
        Case(testDescription: "one prefix", groups: [50]),
        Case(testDescription: "seven prefixes", groups: [1, 2, 3, 4, 5, 6, 7]),
        Case(testDescription: "weights of their own", weights: [0.7, 0, 0.3]),
        Case(testDescription: "ties", isWhole: true),
        Case(testDescription: "ties, the host's rule", rule: "host", isWhole: true),
        Case(testDescription: "ties, dead latents", deadEvery: 3, auxiliaryCount: 4, isWhole: true),
        Case(testDescription: "all that is positive", rows: 20, k: 128),
        Case(testDescription: "latents that fire on most tokens", groups: [4, 4], rows: 150, k: 3),
        Case(testDescription: "rows without an entry", rows: 100, k: 0.05),
        Case(testDescription: "nothing kept", rows: 10, k: 0.01),
        Case(testDescription: "dense core", core: 5),
        Case(testDescription: "dense core, total budget", core: 5, budget: .total),
        Case(testDescription: "dense core, total budget, the host's rule", core: 5, budget: .total, rule: "host"),
        Case(testDescription: "dense core that takes all", core: 12, budget: .total, k: 1),
        Case(testDescription: "dense core over two tiles", groups: [5000, 3000], core: 4200, rows: 9, k: 3),
        Case(testDescription: "sparse core", core: 5, coreIsDense: false),
        Case(testDescription: "dead latents", deadEvery: 2),
        Case(testDescription: "dead latents, few revived", deadEvery: 2, auxiliaryCount: 3),
        Case(testDescription: "dead latents, rows padded", dIn: 18, deadEvery: 3),
        Case(testDescription: "dead latents and a dense core", core: 5, deadEvery: 4),
        Case(testDescription: "dead latents and a sparse core", core: 5, coreIsDense: false, deadEvery: 2),
        Case(testDescription: "top k of each row", rule: "row"),
        Case(testDescription: "top k of each row and a dense core", core: 5, budget: .total, rule: "row"),
        Case(testDescription: "a threshold", rule: "all"),
        Case(testDescription: "jumprelu", rule: "jumprelu"),
        Case(testDescription: "jumprelu and a dense core", core: 5, rule: "jumprelu"),
        Case(testDescription: "jumprelu and dead latents", rule: "jumprelu", deadEvery: 3),
        Case(testDescription: "dense core at a rate", core: 5, coreRate: 0.2),
        Case(testDescription: "b_dec is not subtracted", subtractsDecoderBias: false),
    ]

    private func rule(_ name: String) throws -> any SparsityRule {
        switch name {
        case "largest": NaiveBatchTopK(keepsLargest: true)
        case "host": NaiveBatchTopK()
        case "row": NaiveTopK()
        case "all": FixedThreshold(0.4)
        default:
            try PluginCatalog().sparsityRule(
                "jumprelu,threshold=0.3,bandwidth=0.2", services: PluginServices(log: { _ in }))
        }
    }

    private func sae(_ c: Case) throws -> SparseAutoencoder {
        let sae = try smallSAE(dIn: c.dIn, groups: c.groups, core: c.core, coreIsDense: c.coreIsDense)
        sae.subtractsDecoderBias = c.subtractsDecoderBias
        if c.isWhole {
            sae.encoder.assign(wholeMatrix(sae.dSAE, c.dIn, seed: 3, bound: 2))
            sae.encoderBias.fill(1)
            sae.decoderBias.assign(wholeMatrix(1, c.dIn, seed: 4, bound: 1))
        }
        for j in 0..<sae.dSAE where isDead(j, c) {
            // Barely above 0 for every input: never selected, and there for the auxiliary loss.
            for i in 0..<c.dIn { sae.encoder[j, i] *= c.isWhole ? 0 : 0.01 }
            sae.encoderBias[j] = c.isWhole ? 1 : 0.02
        }
        return sae
    }

    private func isDead(_ j: Int, _ c: Case) -> Bool {
        c.deadEvery > 0 && j % c.deadEvery == 1 && j >= (c.coreIsDense ? c.core : 0)
    }

    private func trainer(_ c: Case, on device: any TrainingDevice) throws -> Trainer {
        let sae = try sae(c)
        var settings = TrainingSettings(k: c.k, batchSize: c.rows, steps: 100)
        settings.learningRate = 1e-3
        settings.warmupSteps = 0
        settings.budget = c.budget
        settings.groupWeights = c.weights
        settings.deadAfterTokens = 10_000
        settings.auxiliaryCount = c.auxiliaryCount
        settings.auxiliaryWeight = 0.7
        settings.decoderBiasStart = .keep
        settings.coreRate = c.coreRate
        let plan = try TrainingPlan(settings, dIn: c.dIn, layout: sae.layout)
        let silent = (0..<sae.dSAE).map { isDead($0, c) ? 20_000 : 0 }
        return try Trainer(sae, plan: plan, rule: try rule(c.rule), tokensSinceFired: silent, on: device)
    }

    private func batch(_ c: Case, _ step: Int) -> Matrix {
        c.isWhole
            ? wholeMatrix(c.rows, c.dIn, seed: UInt64(20 + step), bound: 3)
            : randomMatrix(c.rows, c.dIn, seed: UInt64(20 + step), from: -1.5, to: 1.5)
    }

    /// Index sets are equal; numbers to 2e-5 of the largest (single precision in another order of summation), parameters after
    /// three steps to 2e-4 of it, since Adam divides by a gradient's own size.
    @Test(arguments: cases) func aStepIsThatOfLanes(_ c: Case) throws {
        try checkGradients(c)
        let (lanes, card) = (try trainer(c, on: Lanes(count: 2)), try trainer(c, on: try TestCard.device()))
        for step in 0..<3 {
            let x = batch(c, step)
            try checkRecords(try card.update(x), try lanes.update(x), "step \(step)")
        }
        for trainer in [card, lanes] { try trainer.arithmetic.export(TrainerState.everything) }
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
            checkClose(
                card.sae[keyPath: part].values, lanes.sae[keyPath: part].values.map(Double.init), tolerance: 2e-4,
                "parameters")
        }
        #expect(card.tokensSinceFired == lanes.tokensSinceFired)
        #expect(try card.arithmetic.lastCentered().rows == c.rows)
    }

    /// What is kept and all gradients, before anything moves.
    private func checkGradients(_ c: Case) throws {
        let (lanes, card) = (try trainer(c, on: Lanes(count: 2)), try trainer(c, on: try TestCard.device()))
        let (x, projecting) = (batch(c, 0), c.groups.count != 1)
        let found = try card.computeGradients(x, projecting: projecting)
        try checkRecords(found, try lanes.computeGradients(x, projecting: projecting), "gradients")
        #expect((c.deadEvery > 0) == (found.deadCount > 0) && (found.auxiliaryLoss > 0) == (c.deadEvery > 0))
        let (a, b) = (try card.arithmetic.inspect(), try lanes.arithmetic.inspect())
        checkCodes(a.codes, b.codes, "codes")
        checkCodes(a.auxiliary, b.auxiliary, "codes of dead latents")
        let frozen = card.frozenCount * c.dIn
        for (name, part, from) in [
            ("W_enc", \SparseAutoencoder.encoder, frozen), ("W_dec", \.decoder, 0), ("b_enc", \.encoderBias, 0),
            ("b_dec", \.decoderBias, 0),
        ] {
            checkClose(
                Array(a.gradients[keyPath: part].values[from...]),
                b.gradients[keyPath: part].values[from...].map(Double.init), tolerance: 2e-5, "∂L/∂\(name)")
        }
    }

    private func checkRecords(_ found: StepRecord, _ expected: StepRecord, _ what: String) throws {
        checkClose(
            ([found.loss, found.auxiliaryLoss, found.gradientNorm] + found.prefixLosses).map(Float.init),
            [expected.loss, expected.auxiliaryLoss, expected.gradientNorm] + expected.prefixLosses, tolerance: 2e-5,
            "numbers of \(what)")
        #expect(
            found.meanActiveCore == expected.meanActiveCore && found.meanActiveNonCore == expected.meanActiveNonCore)
        #expect(found.deadCount == expected.deadCount)
        #expect((found.leastSelected == nil) == (expected.leastSelected == nil))
        // A sum of d terms, each as large as the largest pre-activations are.
        if let a = found.leastSelected, let b = expected.leastSelected {
            #expect(abs(a - b) <= 2e-5 * max(abs(b), 0.1))
        }
    }

    private func checkCodes(_ found: SparseCodes, _ expected: SparseCodes, _ what: String) {
        guard found.rows == expected.rows, found.count == expected.count else {
            Issue.record("\(found.rows) rows with \(found.count) \(what) where \(expected.rows) have \(expected.count)")
            return
        }
        #expect((0...found.rows).allSatisfy { found.rowOffsets[$0] == expected.rowOffsets[$0] }, "\(what)")
        #expect((0..<found.count).allSatisfy { found.columnIndices[$0] == expected.columnIndices[$0] }, "\(what)")
        guard found.count > 0 else { return }
        checkClose(
            (0..<found.count).map { found.values[$0] }, (0..<expected.count).map { Double(expected.values[$0]) },
            tolerance: 2e-5, "values of \(what)")
    }

    private func bits(_ c: Case, on device: any TrainingDevice) throws -> [UInt32] { try bits([c], on: device)[0] }

    /// Of trainings that take their steps in turns.
    private func bits(_ cases: [Case], on device: any TrainingDevice) throws -> [[UInt32]] {
        let trainers = try cases.map { try trainer($0, on: device) }
        // Two of them in memory of the card's, two not.
        let batches = try zip(cases, trainers).map { c, trainer in
            try (0..<4).map { step in
                let (x, made) = (batch(c, step), try trainer.makeBatch())
                made.assign(x)
                return step % 2 == 0 ? x : made
            }
        }
        let records = try (0..<4).map { step in
            try zip(trainers, batches).map { trainer, x in
                try trainer.update(x[step]) { step < 3 ? x[step + 1] : nil }
            }
        }
        return try trainers.enumerated().map { i, trainer in
            try trainer.arithmetic.export(TrainerState.everything)
            let sae = trainer.sae
            return [sae.encoder, sae.decoder, sae.encoderBias, sae.decoderBias].flatMap { $0.values.map(\.bitPattern) }
                + records.flatMap { [Float($0[i].loss).bitPattern, Float($0[i].gradientNorm).bitPattern] }
        }
    }

    /// Each has a batch under way when another's step begins; nothing of the card's is shared.
    @Test(arguments: [nil, "lazy=1", "order=1"])
    func trainingsInTurnsHaveTheBitsThatTheyHaveAlone(_ settings: String?) throws {
        guard !TestCard.isReal || settings == nil else { return }
        let cases = [
            Case(testDescription: "", core: 5, deadEvery: 4), Case(testDescription: "", dIn: 18, k: 9),
            Case(testDescription: "", groups: [4, 4], rows: 150, k: 3, rule: "jumprelu"),
        ]
        let found = try bits(cases, on: try TestCard.device(.fp32, settings))
        for (c, own) in zip(cases, found) { expectSame(own, try bits(c, on: try TestCard.device()), "\(c.groups)") }
    }

    /// Where the list's entries come to lie hangs on the order in which blocks run; nothing else may.
    @Test func theSameTwiceIsTheSameBits() throws {
        let c = Case(testDescription: "", core: 5, deadEvery: 4)
        expectSame(
            try bits(c, on: try TestCard.device()), try bits(c, on: try TestCard.device()),
            "parameters, losses and norms")
    }

    /// Blocks and threads in other orders, and work that waits until somebody waits for it.
    @Test(.disabled(if: TestCard.isReal), arguments: ["order=1", "order=2", "lazy=1"])
    func noOrderOfWorkChangesABit(_ settings: String) throws {
        for rule in ["largest", "jumprelu"] {
            let c = Case(testDescription: "", core: 5, rule: rule, deadEvery: 4)
            expectSame(
                try bits(c, on: try TestCard.device(.fp32, settings)), try bits(c, on: try TestCard.device()), settings)
        }
    }

    @Test(.disabled(if: TestCard.isReal)) func whatACardHasNoRoomForIsRefusedByTheFormula() throws {
        let c = Case(testDescription: "")
        let text = message { _ = try trainer(c, on: try TestCard.device(.fp32, "memory=20000000")) }
        #expect(
            text.hasPrefix("training 128 latents of 20 inputs on batches of 70 needs ")
                && text.hasSuffix("; lower --width or --batch, or use --device cpu")
                && text.contains("and emulated GPU has 19 MiB free of 19 MiB"), "\(text)")
    }

    @Test(
        .disabled(if: TestCard.isReal),
        arguments: [
            ("cuMemAlloc:9", "cuMemAlloc of "), ("cuLaunchKernel:3", "launch of "), ("cuLaunchKernel:40", "launch of "),
            ("cuMemcpyHtoDAsync:2", "cuMemcpyHtoDAsync failed"), ("cuModuleGetFunction:2", "cuModuleGetFunction of "),
            ("cublasLtMatmul:1", "cublasLtMatmul of "),
            ("cuStreamSynchronize:20", "a computation on emulated GPU failed"),
        ])
    func aCallThatFailsIsNamed(_ fault: String, _ words: String) throws {
        let c = Case(testDescription: "")
        let text = message { _ = try bits(c, on: try TestCard.device(.fp32, "fail=\(fault)")) }
        #expect(text.contains(words) && text.contains("`dmsae doctor` shows the card"), "\(text)")
    }

    /// Half of the steps, a state that was brought home, and the rest by another trainer.
    @Test func aStateThatWasExportedGoesOnToTheSameBits() throws {
        let c = Case(testDescription: "", deadEvery: 4)
        let whole = try trainer(c, on: try TestCard.device())
        for step in 0..<3 { _ = try whole.update(batch(c, step)) }
        try whole.arithmetic.export(TrainerState.everything)
        let again = try Trainer(
            whole.state.copy(), plan: whole.plan, rule: try rule(c.rule), on: try TestCard.device())
        for step in 3..<6 { #expect(try again.update(batch(c, step)) == whole.update(batch(c, step))) }
        for trainer in [whole, again] { try trainer.arithmetic.export(TrainerState.everything) }
        expectSame(again.sae.encoder.values, whole.sae.encoder.values, "W_enc")
        expectSame(again.sae.decoder.values, whole.sae.decoder.values, "W_dec")
    }

    /// A guess that is too high leaves too few, and one that is too low more than there is room for: both are noticed, and the
    /// selection is the same.
    @Test(arguments: [Float(1e9), 1e-30]) func aWrongGuessOfTheFloorIsMadeGood(_ floor: Float) throws {
        // 40,000 positive pre-activations and room for 65,536 entries, which the second case's 90,000 exceed.
        let c = Case(testDescription: "", groups: [1000, 3000], rows: floor > 1 ? 20 : 70, k: 2)
        let (right, wrong) = (try trainer(c, on: try TestCard.device()), try trainer(c, on: try TestCard.device()))
        let arithmetic = try #require(wrong.arithmetic as? CUDAArithmetic)
        arithmetic.forcedFloor = floor
        let x = batch(c, 0)
        #expect(try right.update(x) == wrong.update(x))
        #expect(arithmetic.repeatCount == 1)
        checkCodes(try wrong.arithmetic.inspect().codes, try right.arithmetic.inspect().codes, "codes")
    }

    @Test func anInfinitePreactivationIsNamed() throws {
        let c = Case(testDescription: "")
        for rule in ["largest", "host"] {
            var c = c
            c.rule = rule
            let trainer = try trainer(c, on: try TestCard.device())
            let x = batch(c, 0)
            for i in 0..<c.dIn { x[3, i] = 3e38 }
            #expect(message { _ = try trainer.update(x) }.hasPrefix("step 0: the pre-activation of latent "))
        }
    }

    @Test func aLossThatIsNoNumberStopsTheTraining() throws {
        let c = Case(testDescription: "")
        let trainer = try trainer(c, on: try TestCard.device())
        let x = batch(c, 0)
        x[3, 5] = .nan
        #expect(message { _ = try trainer.update(x) }.hasPrefix("step 0: the loss is nan"))
    }

    @Test func sizesThatKernelsDoNotHaveAreRefused() throws {
        let sae = SparseAutoencoder(dIn: 8200, layout: try PrefixLayout(groups: [2, 2]))
        sae.initialize(seed: 1)
        let plan = try TrainingPlan(
            TrainingSettings(k: 1, batchSize: 2, steps: 1), dIn: 8200, layout: sae.layout)
        #expect(
            message { _ = try Trainer(sae, plan: plan, rule: NaiveBatchTopK(), on: try TestCard.device()) }
                == "the width of the activations is 8200; on a CUDA device it can be 8192 at most; use --device cpu")
    }

    /// Factors are rounded to 2⁻¹¹ of their value, so a sum of d products of size 1 is off by about √d·2⁻¹¹: 2e-3 of the
    /// largest covers 20 of them.
    @Test func tf32IsNearSinglePrecision() throws {
        let c = Case(testDescription: "")
        let (exact, rounded) = (
            try trainer(c, on: try TestCard.device()), try trainer(c, on: try TestCard.device(.tf32))
        )
        let x = batch(c, 0)
        let (a, b) = (try exact.update(x), try rounded.update(x))
        #expect(a.loss != b.loss)
        #expect(abs(a.loss - b.loss) <= 2e-3 * a.loss)
    }

    // MARK: Among ranks

    /// Where the latents of each rank are computed with.
    enum RankDevice: String, CaseIterable {
        /// One card for all, through the hosts' memory; a card of each rank's own, from one to the other.
        case cards, ownCards, lazyCards, lanes

        func make() throws -> any TrainingDevice {
            switch self {
            case .cards: try TestCard.device()
            case .ownCards: try TestCard.device(.fp32, "")
            case .lazyCards: try TestCard.device(.fp32, "lazy=1")
            case .lanes: Lanes(count: 1)
            }
        }
    }

    private func onRanks<Value>(
        _ count: Int, of device: RankDevice, _ body: @escaping (any TrainingDevice, RankGroup) throws -> Value
    ) throws -> Value {
        try TestSupport.onRanks(
            count, serving: [LatentShare.kind: { try LatentShare.make($0, &$1, on: try device.make()) }]
        ) { group in try body(RankedTraining(group, on: try device.make()), group) }
    }

    struct Ranked: Sendable, CustomTestStringConvertible {
        let of: Case
        let count: Int
        let device: RankDevice
        var testDescription: String { "\(of.testDescription), on the \(device) of \(count) ranks" }
    }

    /// Every case on two cards, where each group has a latent for each; what is chosen among all on three.
    static let ranked = cases.filter { $0.groups.allSatisfy { $0 >= 3 } }.flatMap { c in
        [Ranked(of: c, count: 2, device: .cards)]
            + (c.deadEvery > 0 || c.isWhole ? [Ranked(of: c, count: 3, device: .cards)] : [])
            + (c.rule == "jumprelu" ? [Ranked(of: c, count: 2, device: .lanes)] : [])
    }

    /// What a training of three steps leaves, of all latents.
    private struct Outcome {
        var records: [StepRecord] = []
        let codes, auxiliary: SparseCodes
        let gradients: SparseAutoencoder
        let state: TrainerState
        let learnables: [[Float]]
    }

    private func outcome(_ c: Case, on device: any TrainingDevice) throws -> Outcome {
        let trainer = try trainer(c, on: device)
        let records = try (0..<3).map { try trainer.update(batch(c, $0)) }
        let left = try trainer.arithmetic.inspect()
        return Outcome(
            records: records, codes: left.codes, auxiliary: left.auxiliary, gradients: left.gradients,
            state: try trainer.exportedState().copy(), learnables: trainer.learnables.map(\.values))
    }

    /// Latents cut among the cards of two and three ranks against one card, at the tolerances of `aStepIsThatOfLanes`; and those of lanes
    /// where the rule learns, for which they have no test of their own. Gradients after three steps follow parameters that differ: 1e-3.
    @Test(arguments: ranked) func ranksAgreeWithOne(_ ranks: Ranked) throws {
        let c = ranks.of
        let one = try outcome(c, on: ranks.device == .cards ? try TestCard.device() : Lanes(count: 2))
        let found = try onRanks(ranks.count, of: ranks.device) { device, _ in try outcome(c, on: device) }
        for (step, (a, b)) in zip(found.records, one.records).enumerated() { try checkRecords(a, b, "step \(step)") }
        checkCodes(found.codes, one.codes, "codes")
        checkCodes(found.auxiliary, one.auxiliary, "codes of dead latents")
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
            checkClose(
                found.state.sae[keyPath: part].values, one.state.sae[keyPath: part].values.map(Double.init),
                tolerance: 2e-4, "parameters")
        }
        checkClose(
            found.gradients.decoder.values, one.gradients.decoder.values.map(Double.init), tolerance: 1e-3, "∂L/∂W_dec")
        #expect(one.learnables.isEmpty == (c.rule != "jumprelu"))
        for (a, b) in zip(found.learnables, one.learnables) {
            checkClose(a, b.map(Double.init), tolerance: 2e-4, "what the rule learns")
        }
        #expect(found.learnables.count == one.learnables.count)
    }

    @Test(arguments: ["largest", "jumprelu"]) func theSameCardsOfRanksGiveTheSameBits(_ rule: String) throws {
        let c = Case(testDescription: "", core: 5, rule: rule, deadEvery: 4)
        let twice = try (0..<2).map { _ in
            try onRanks(2, of: .cards) { device, _ in try outcome(c, on: device) }
        }
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
            expectSame(twice[0].state.sae[keyPath: part].values, twice[1].state.sae[keyPath: part].values, "parameters")
        }
        #expect(twice[0].records == twice[1].records)
    }

    /// Sums go from card to card where each rank has its own (NCCL), and are the same bits.
    @Test(.disabled(if: TestCard.isReal), arguments: [2, 3]) func cardsAddWhatTheirHostsWould(_ count: Int) throws {
        let c = Case(testDescription: "", dIn: 18, core: 5, deadEvery: 4)
        let host = try onRanks(count, of: .cards) { device, _ in try outcome(c, on: device) }
        for device in [RankDevice.ownCards, .lazyCards] {
            let (cards, sent) = try onRanks(count, of: device) { training, group in
                (try outcome(c, on: training), group.sentBytes)
            }
            for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias, \.decoderBias] {
                expectSame(cards.state.sae[keyPath: part].values, host.state.sae[keyPath: part].values, "parameters")
            }
            #expect(cards.records == host.records)
            // The reconstructions of three steps alone are more: the hosts have not sent them.
            #expect(sent < 3 * c.groups.count * c.rows * 20 * 4)
        }
    }

    @Test(
        .disabled(if: TestCard.isReal),
        arguments: [
            ("ncclSend:2", "ncclSend failed with 1 (NCCL 2.23.0: unhandled cuda error); NCCL_DEBUG=INFO says more, "),
            ("ncclCommInitRankScalable:1", "ncclCommInitRankScalable failed"),
            ("ncclGroupEnd:3", "ncclGroupEnd failed"),
        ])
    func whatNCCLRefusesIsNamed(_ fault: String, _ words: String) throws {
        let c = Case(testDescription: "")
        let text = message {
            _ = try TestSupport.onRanks(
                2,
                serving: [LatentShare.kind: { try LatentShare.make($0, &$1, on: try TestCard.device(.fp32, "wait=2")) }]
            ) { group in
                try outcome(c, on: RankedTraining(group, on: try TestCard.device(.fp32, "fail=\(fault)")))
            }
        }
        #expect(text.contains(words), "\(text)")
    }

    /// A guess that is too low for the room of one rank, and one that is too high for all: the ranks stay together.
    @Test(arguments: [Float(1e9), 1e-30]) func ranksMakeAWrongGuessGood(_ floor: Float) throws {
        let c = Case(testDescription: "", groups: [2000, 6000], rows: floor > 1 ? 20 : 70, k: 2)
        let right = try onRanks(2, of: .cards) { device, _ in try trainer(c, on: device).update(batch(c, 0)) }
        let wrong = try TestSupport.onRanks(
            2,
            serving: [
                LatentShare.kind: {
                    let share = try LatentShare.make($0, &$1, on: try TestCard.device())
                    (share.arithmetic as? CUDAArithmetic)?.forcedFloor = floor
                    return share
                }
            ]
        ) { group in
            let trainer = try trainer(c, on: RankedTraining(group, on: try TestCard.device()))
            let card = try #require((trainer.arithmetic as? RankedArithmetic)?.share.arithmetic as? CUDAArithmetic)
            card.forcedFloor = floor
            let record = try trainer.update(batch(c, 0))
            #expect(card.repeatCount == 1)
            return record
        }
        #expect(right == wrong)
    }
}
