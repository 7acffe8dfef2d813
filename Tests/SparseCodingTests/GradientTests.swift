import LinearAlgebra
import TestSupport
import Testing

import SparseCoding

/// Every gradient of a training step against central differences of the loss in Double.
///
/// Tolerance 2e-5 of the largest element of a parameter's gradient: the step is in single precision, sums of up to
/// 12 · 9 terms. 20 columns are two panels on two lanes, one of them of four columns.
@Suite struct GradientTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var core = 0
        var coreIsDense = true
        var budget = BudgetScope.nonCore
        var weights: [Double]?
        /// Every second latent has been silent for long.
        var hasDead = false
        /// All others too, but they fire.
        var allSilent = false
        var deadLimit: Int?
        /// Of what rows keep beyond k_aux.
        var margin = 64
        var lanes = 2
    }

    private let dIn = 20

    static let cases = [
        Case(testDescription: "plain"),
        Case(testDescription: "one lane", lanes: 1),
        Case(testDescription: "weights of their own", weights: [0.5, 0, 0.3, 0.2]),
        Case(testDescription: "dead latents", hasDead: true),
        Case(testDescription: "fewer revived than dead", hasDead: true, deadLimit: 2, lanes: 3),
        // What fires is larger than what is dead and all that a row keeps: the batch is encoded again.
        Case(testDescription: "short rows", hasDead: true, allSilent: true, deadLimit: 1, margin: 0),
        Case(testDescription: "dense core", core: 4),
        Case(testDescription: "dense core, total budget, dead latents", core: 4, budget: .total, hasDead: true),
        Case(testDescription: "sparse core, dead latents", core: 4, coreIsDense: false, hasDead: true),
    ]

    @Test(arguments: cases) func closedFormEqualsCentralDifferences(_ c: Case) throws {
        let sae = try smallSAE(dIn: dIn, groups: [4, 6, 8, 10], core: c.core, coreIsDense: c.coreIsDense)
        let x = randomMatrix(12, dIn, seed: 9, from: -1.5, to: 1.5)
        var settings = TrainingSettings(k: 5, batchSize: 12, steps: 100)
        settings.groupWeights = c.weights
        settings.budget = c.budget
        settings.deadAfterTokens = 1000
        settings.auxiliaryCount = c.deadLimit
        // A larger share than 1/32, so that an error in it would show.
        settings.auxiliaryWeight = 0.7
        let plan = try TrainingPlan(settings, dIn: dIn, layout: sae.layout)
        let silent = (0..<28).map { c.allSilent || c.hasDead && $0 % 2 == 1 ? 5000 : 0 }
        if c.hasDead {
            // Barely above 0 for every input, so that no selection wants them and the auxiliary loss does.
            for j in stride(from: 1, to: 28, by: 2) where j >= sae.exemptCore.count {
                for i in 0..<dIn { sae.encoder[j, i] *= 0.01 }
                sae.encoderBias[j] = 0.02
            }
        }
        let trainer = try Trainer(
            sae, plan: plan, rule: NaiveBatchTopK(), tokensSinceFired: silent, on: Lanes(count: c.lanes))
        trainer.lanes.auxiliary.candidates.margin = c.margin
        let record = try trainer.computeGradients(x, projecting: false)
        #expect((record.deadCount > 0) == c.hasDead)
        #expect((trainer.lanes.auxiliary.candidates.repeatCount > 0) == c.allSilent)
        let naive = NaiveLoss(
            sae, x: x, plan: plan, active: trainer.lanes.codes,
            revived: c.hasDead ? trainer.lanes.auxiliary.codes : SparseCodes())
        #expect(abs(record.loss - naive.value) <= 1e-5 * naive.value)
        if c.hasDead { #expect(record.auxiliaryLoss > 0 && naive.revived.contains { !$0.isEmpty }) }

        func rows(_ row: (Int) -> UnsafePointer<Float>, from first: Int) -> [Float] {
            (first..<28).flatMap { j in (0..<dIn).map { row(j)[$0] } }
        }
        func slopes(_ parameter: WritableKeyPath<NaiveLoss, [Double]>, _ range: Range<Int>) -> [Double] {
            range.map { naive.slope(parameter, $0) }
        }
        let g = trainer.lanes.gradients
        // The core's encoder rows are frozen: they have no gradient to compare.
        let frozen = trainer.frozenCount
        #expect(frozen == c.core)
        let parts = [
            ("W_enc", rows(g.encoderRow, from: frozen), slopes(\.encoder, (frozen * dIn)..<(28 * dIn))),
            ("W_dec", (0..<28).flatMap(g.decoderRow), slopes(\.decoder, 0..<(28 * dIn))),
            ("b_enc", g.encoderBias.values, slopes(\.encoderBias, 0..<28)),
            ("b_dec", g.decoderBias.values, slopes(\.decoderBias, 0..<dIn)),
        ]
        var square = 0.0
        for (name, found, expected) in parts {
            checkClose(found, expected, tolerance: 2e-5, name)
            square += expected.reduce(0) { $0 + $1 * $1 }
        }
        #expect(abs(record.gradientNorm - square.squareRoot()) <= 2e-5 * square.squareRoot())
    }

    /// 150 columns: panels of 64, 64 and 22 for one lane, of 64 and 16 and of 64 and 6 for two. Every column has its element
    /// of b_dec, and every latent's dot products run over all of them.
    @Test(arguments: [1, 2]) func panelsOfColumnsAddUp(lanes: Int) throws {
        let sae = try smallSAE(dIn: 150, groups: [4, 6, 8, 10])
        let x = randomMatrix(12, 150, seed: 9, from: -1.5, to: 1.5)
        var settings = TrainingSettings(k: 5, batchSize: 12, steps: 10)
        settings.deadAfterTokens = 1000
        let plan = try TrainingPlan(settings, dIn: 150, layout: sae.layout)
        let trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: lanes))
        _ = try trainer.computeGradients(x, projecting: false)
        let naive = NaiveLoss(sae, x: x, plan: plan, active: trainer.lanes.codes, revived: SparseCodes())
        let g = trainer.lanes.gradients
        checkClose(
            g.encoderBias.values, (0..<28).map { naive.slope(\.encoderBias, $0) }, tolerance: 2e-5, "b_enc")
        checkClose(
            g.decoderBias.values, (0..<150).map { naive.slope(\.decoderBias, $0) }, tolerance: 2e-5, "b_dec")
        checkClose(
            g.decoderRow(3), (0..<150).map { naive.slope(\.decoder, 3 * 150 + $0) }, tolerance: 2e-5, "W_dec")
        checkClose(
            (0..<150).map { g.encoderRow(3)[$0] }, (0..<150).map { naive.slope(\.encoder, 3 * 150 + $0) },
            tolerance: 2e-5, "W_enc")
    }

    /// Batches of other sizes on one trainer: panels of 64, 32 and 16 columns in memory made for others. The decoder's and
    /// the encoder's biases see every column and every token. Of 4200 rows a panel is so large that several lanes add to it by halves.
    @Test(arguments: [1, 2, 3]) func batchesOfOtherSizesAreCutOtherwise(lanes: Int) throws {
        let sae = try smallSAE(dIn: dIn, groups: [4, 6, 8, 10])
        var settings = TrainingSettings(k: 5, batchSize: 12, steps: 10)
        settings.deadAfterTokens = 1_000_000
        let plan = try TrainingPlan(settings, dIn: dIn, layout: sae.layout)
        let trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: lanes))
        for rows in [12, 2100, 4200, 12] {
            let x = randomMatrix(rows, dIn, seed: 9, from: -1.5, to: 1.5)
            _ = try trainer.computeGradients(x, projecting: false)
            let naive = NaiveLoss(sae, x: x, plan: plan, active: trainer.lanes.codes, revived: SparseCodes())
            let (latents, columns) = ([0, 9, 27], [0, 7, 15, 16, 19])
            checkClose(
                latents.map { trainer.lanes.gradients.encoderBias[$0] }, latents.map { naive.slope(\.encoderBias, $0) },
                tolerance: 2e-5, "b_enc of \(rows)")
            checkClose(
                columns.map { trainer.lanes.gradients.decoderBias[$0] }, columns.map { naive.slope(\.decoderBias, $0) },
                tolerance: 2e-5, "b_dec of \(rows)")
        }
    }

    @Test func aTrainerMakesDecoderRowsUnitRows() throws {
        let sae = try smallSAE(dIn: dIn, groups: [4, 6, 8, 10])
        for c in 0..<dIn { sae.decoder[3, c] *= 3 }
        let plan = try TrainingPlan(TrainingSettings(k: 5, batchSize: 12, steps: 10), dIn: dIn, layout: sae.layout)
        _ = try Trainer(sae, plan: plan, rule: NaiveBatchTopK())
        for j in 0..<28 {
            let square = (0..<dIn).reduce(0.0) { $0 + Double(sae.decoder[j, $1]) * Double(sae.decoder[j, $1]) }
            #expect(abs(square - 1) < 1e-6)
        }
    }

    @Test func aProjectedDecoderGradientHasNoPartAlongItsRow() throws {
        let sae = try smallSAE(dIn: dIn, groups: [4, 6, 8, 10])
        let plan = try TrainingPlan(TrainingSettings(k: 5, batchSize: 12, steps: 10), dIn: dIn, layout: sae.layout)
        let x = randomMatrix(12, dIn, seed: 9)
        func gradients(projecting: Bool) throws -> [[Double]] {
            let trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK())
            _ = try trainer.computeGradients(x, projecting: projecting)
            return (0..<28).map { trainer.lanes.gradients.decoderRow($0).map(Double.init) }
        }
        let (raw, projected) = (try gradients(projecting: false), try gradients(projecting: true))
        for j in 0..<28 {
            let row = (0..<dIn).map { Double(sae.decoder[j, $0]) }
            let along = zip(raw[j], row).reduce(0) { $0 + $1.0 * $1.1 }
            let size = raw[j].reduce(0) { $0 + abs($1) }
            for i in 0..<dIn {
                // Rows have norm 1; the ε of 1e-6 in the norm leaves 2e-6 of the parallel part.
                #expect(abs(projected[j][i] - (raw[j][i] - along * row[i])) <= 3e-6 * size)
            }
        }
    }
}
