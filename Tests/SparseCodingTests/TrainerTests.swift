import LinearAlgebra
import TestSupport
import Testing

import SparseCoding

@Suite struct TrainerTests {
    private func plan(
        _ sae: SparseAutoencoder, k: Double = 4, steps: Int = 60, _ change: (inout TrainingSettings) -> Void = { _ in }
    )
        throws -> TrainingPlan
    {
        var settings = TrainingSettings(k: k, batchSize: 64, steps: steps)
        settings.learningRate = 1e-3
        change(&settings)
        return try TrainingPlan(settings, dIn: sae.dIn, layout: sae.layout)
    }

    private func batch(_ step: Int, _ dIn: Int = 20) -> Matrix {
        randomMatrix(64, dIn, seed: 100 + UInt64(step))
    }

    private func train(_ lanes: Lanes, seed: UInt64 = 3) throws -> (SparseAutoencoder, [StepRecord]) {
        let sae = SparseAutoencoder(dIn: 20, layout: try PrefixLayout(groups: [16, 32, 80], coreCount: 5))
        sae.initialize(seed: seed, core: randomMatrix(5, 20, seed: 50))
        let trainer = try Trainer(
            sae, plan: try plan(sae) { $0.deadAfterTokens = 128 }, rule: NaiveBatchTopK(), on: lanes)
        let records = try (0..<60).map { try trainer.update(batch($0)) }
        try trainer.bringBack()
        return (sae, records)
    }

    private func bits(_ sae: SparseAutoencoder) -> [UInt32] {
        [sae.encoder, sae.encoderBias, sae.decoder, sae.decoderBias].flatMap { $0.values.map(\.bitPattern) }
    }

    @Test(arguments: [1, 2, 3]) func theSameSeedAndLaneCountGiveTheSameBits(_ count: Int) throws {
        let (first, records) = try train(Lanes(count: count))
        let (second, again) = try train(Lanes(count: count))
        expectSame(bits(first), bits(second), "parameters")
        #expect(records == again && first.threshold == second.threshold)
        #expect(first.threshold != nil && records.contains { $0.deadCount > 0 }, "the run had all there is")
        let (other, _) = try train(Lanes(count: count), seed: 4)
        let isOther = bits(first) != bits(other)
        #expect(isOther)
    }

    @Test func trainingLowersTheLossOfALearnableInput() throws {
        // Every input is a sum of two of 24 fixed directions: what a sparse autoencoder is for.
        let sae = SparseAutoencoder(dIn: 16, layout: try PrefixLayout(groups: [16, 48]))
        sae.initialize(seed: 1)
        let directions = randomMatrix(24, 16, seed: 60)
        let random = CounterRandom(seed: 61, purpose: .test)
        let trainer = try Trainer(
            sae, plan: try plan(sae, k: 3, steps: 400) { $0.learningRate = 5e-3 }, rule: NaiveBatchTopK())
        var losses: [Double] = []
        for step in 0..<400 {
            let x = Matrix(rows: 64, columns: 16)
            for b in 0..<64 {
                let draw = random.block(UInt64(step * 64 + b))
                for j in [draw.x % 24, draw.y % 24] {
                    for c in 0..<16 { x[b, c] += directions[Int(j), c] }
                }
            }
            losses.append(try trainer.update(x).loss)
        }
        try trainer.bringBack()
        let (first, last) = (losses.prefix(10).reduce(0, +), losses.suffix(10).reduce(0, +))
        #expect(last < 0.5 * first)
        for j in 0..<64 {
            let square = (0..<16).reduce(0.0) { $0 + Double(sae.decoder[j, $1]) * Double(sae.decoder[j, $1]) }
            #expect(abs(square - 1) < 1e-5, "decoder rows keep unit norm")
        }
    }

    /// An SAE whose dense core fires everywhere: 10 latents with large biases against k = 2.
    private func starving() throws -> SparseAutoencoder {
        let sae = try smallSAE(dIn: 20, groups: [16, 48], core: 10)
        for j in 0..<10 { sae.encoderBias[j] = 100 }
        return sae
    }

    @Test func aStarvedTrainingStopsAfterFiftySteps() throws {
        let sae = try starving()
        let trainer = try Trainer(
            sae, plan: try plan(sae, k: 2) { $0.budget = .total }, rule: NaiveBatchTopK())
        for step in 0..<49 {
            let record = try trainer.update(batch(step))
            #expect(record.meanActiveCore == 10 && record.meanActiveNonCore == 0 && record.leastSelected == nil)
        }
        #expect(
            message { _ = try trainer.update(batch(49)) }
                == "step 49: the core of 10 latents used the whole budget for 50 steps in a row "
                + "(k = 2, L0 of the core 10), so nothing else learns; "
                + "raise k, lower τ, use the budget non-core, or let `train` go on with --allow-starvation")
    }

    @Test func aStarvedTrainingGoesOnWhereItMay() throws {
        let sae = try starving()
        let trainer = try Trainer(
            sae,
            plan: try plan(sae, k: 2) {
                $0.budget = .total
                $0.allowsStarvation = true
            }, rule: NaiveBatchTopK())
        for step in 0..<60 { #expect(try trainer.update(batch(step)).meanActiveNonCore == 0) }
        #expect(trainer.step == 60 && sae.threshold == nil, "a batch in which nothing is selected sets no threshold")
    }

    /// b ← b + ‖w‖/√D · (r − n/B) exactly, whatever Adam made of b.
    @Test func aStepMovesABiasOfTheCoreByWhatIsMissingOfItsRate() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48], core: 10)
        let trainer = try Trainer(
            sae,
            plan: try plan(sae) {
                $0.coreRate = 0.25
                $0.warmupSteps = 0
            }, rule: NaiveBatchTopK())
        let (before, other) = (sae.encoderBias.values, sae.encoderBias[20]), x = batch(0)
        let centered = Matrix(rows: 64, columns: 20)
        // b_dec begins at the first batch's median, so what fires is known after the step alone.
        _ = try trainer.update(x)
        let began = sae.copy()
        began.decoderBias.assign(geometricMedian(of: x))
        try SparseEncoder().center(x, for: began, into: centered)
        for j in 0..<10 {
            let w = (0..<20).map { Double(sae.encoder[j, $0]) }
            let firing = (0..<64).count { r in
                zip(w, 0..<20).reduce(Double(before[j])) { $0 + $1.0 * Double(centered[r, $1.1]) } > 0
            }
            let gain = (w.reduce(0) { $0 + $1 * $1 } / 20).squareRoot()
            let expected = Double(before[j]) + gain * (0.25 - Double(firing) / 64)
            // One rounding to single precision.
            #expect(abs(Double(sae.encoderBias[j]) - expected) < 1e-6, "latent \(j)")
        }
        #expect(sae.encoderBias[20] != other, "the others' are Adam's")
    }

    @Test func aCoreIsHeldAtItsRateHoweverItBegins() throws {
        for bias: Float in [-3, 0, 3] {
            let sae = try smallSAE(dIn: 20, groups: [16, 48], core: 10)
            for j in 0..<10 { sae.encoderBias[j] = bias }
            let trainer = try Trainer(
                sae, plan: try plan(sae, steps: 300) { $0.coreRate = 0.1 }, rule: NaiveBatchTopK())
            for step in 0..<250 { _ = try trainer.update(batch(step)) }
            let rates = try (250..<300).map { try trainer.update(batch($0)).meanActiveCore / 10 }
            // Fifty batches of 64 rows on ten latents: a standard error of .002, and the bias follows each batch.
            #expect(abs(rates.reduce(0, +) / 50 - 0.1) < 0.01, "from \(bias)")
        }
    }

    @Test func aRateIsHeldAcrossACheckpointToTheBit() throws {
        func trained(_ cut: Int?) throws -> SparseAutoencoder {
            let sae = try smallSAE(dIn: 20, groups: [16, 48], core: 10)
            let plan = try plan(sae) { $0.coreRate = 0.2 }
            var trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: 2))
            for step in 0..<30 {
                if step == cut {
                    trainer = try Trainer(
                        try trainer.exportedState(), plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: 2))
                }
                _ = try trainer.update(batch(step))
            }
            try trainer.bringBack()
            return sae
        }
        expectSame(bits(try trained(11)), bits(try trained(nil)), "parameters")
    }

    @Test func aRateNeedsADenseCore() throws {
        for sae in [
            try smallSAE(dIn: 20, groups: [16, 48]),
            try smallSAE(dIn: 20, groups: [16, 48], core: 4, coreIsDense: false),
        ] {
            let plan = try plan(sae) { $0.coreRate = 0.2 }
            #expect(
                message { _ = try Trainer(sae, plan: plan, rule: NaiveBatchTopK()) }.contains(
                    "left out where there is no dense core"))
        }
        #expect(
            message { _ = try plan(try smallSAE(dIn: 20, groups: [16])) { $0.coreRate = 1 } }.contains(
                "between 0 and 1"))
    }

    @Test func latentsOutsideOfTheCoreGoOnAsThoseThatWereNotSelected() throws {
        let last = try smallSAE(dIn: 20, groups: [16, 48], seed: 5)
        let next = SparseAutoencoder(dIn: 20, layout: try PrefixLayout(groups: [16, 48], coreCount: 3))
        next.initialize(seed: 9, core: randomMatrix(3, 20, seed: 50))
        let fresh = next.copy()
        next.continueNonCore(of: last, except: [40, 2, 17], inputScale: 4)
        let left = (0..<64).filter { ![2, 17, 40].contains($0) }
        for j in 0..<3 {
            #expect(next.encoder.copy(rows: j..<j + 1).values == fresh.encoder.copy(rows: j..<j + 1).values)
            #expect(next.decoder.copy(rows: j..<j + 1).values == fresh.decoder.copy(rows: j..<j + 1).values)
        }
        for (j, source) in zip(3..<64, left) {
            #expect(next.encoder.copy(rows: j..<j + 1).values == last.encoder.copy(rows: source..<source + 1).values)
            #expect(next.decoder.copy(rows: j..<j + 1).values == last.decoder.copy(rows: source..<source + 1).values)
            #expect(next.encoderBias[j] == last.encoderBias[source] / 4)
        }
        #expect(next.decoderBias.values == last.decoderBias.values.map { $0 / 4 })
        #expect(next.encoderBias[0] == 0)
    }

    @Test func aBudgetOfNothingStarvesNobodyWhereThereIsNoCore() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48])
        let trainer = try Trainer(sae, plan: try plan(sae, k: 0.01), rule: NaiveBatchTopK())
        for step in 0..<60 { #expect(try trainer.update(batch(step)).leastSelected == nil) }
    }

    /// r = 0 has no variance to be explained: L_aux is 0 / 0 there, and counts as 0.
    @Test func whereNothingIsLeftOverThereIsNoAuxiliaryLoss() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48])
        sae.decoderBias.fill(0)
        sae.encoderBias.fill(0.1)
        let trainer = try Trainer(
            sae, plan: try plan(sae, k: 0.01) { $0.decoderBiasStart = .keep }, rule: NaiveBatchTopK(),
            tokensSinceFired: [Int](repeating: 1 << 40, count: 64))
        let record = try trainer.update(Matrix(rows: 64, columns: 20))
        #expect(record.deadCount == 64 && trainer.lanes.auxiliary.codes.count > 0)
        #expect(record.auxiliaryLoss == 0 && record.loss == 0 && record.gradientNorm == 0)
    }

    @Test func oneStepWithRoomEndsAStreakOfStarvedOnes() throws {
        let sae = try starving()
        let trainer = try Trainer(sae, plan: try plan(sae, k: 2) { $0.budget = .total }, rule: NaiveBatchTopK())
        for step in 0..<49 { _ = try trainer.update(batch(step)) }
        for j in 0..<10 { sae.encoderBias[j] = -100 }
        #expect(try trainer.update(batch(49)).meanActiveNonCore > 0)
        for j in 0..<10 { sae.encoderBias[j] = 100 }
        for step in 50..<60 { _ = try trainer.update(batch(step)) }
    }

    @Test(
        arguments: [
            (Float.nan, "step 3: the loss is nan; lower the learning rate, or look for NaN in the activations"),
            (
                .infinity,
                "step 3: the pre-activation of latent 0 is infinite; lower the learning rate, or look for huge numbers "
                    + "in the activations"
            ),
        ])
    func aNumberThatIsNoneStopsTheTraining(_ bad: Float, _ expected: String) throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48])
        let trainer = try Trainer(sae, plan: try plan(sae), rule: NaiveBatchTopK())
        for step in 0..<3 { _ = try trainer.update(batch(step)) }
        let x = batch(3)
        x[7, 3] = bad
        #expect(message { _ = try trainer.update(x) } == expected)
    }

    @Test func gradientsBeyondSinglePrecisionStopTheTraining() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48])
        let trainer = try Trainer(sae, plan: try plan(sae) { $0.decoderBiasStart = .keep }, rule: NaiveBatchTopK())
        // Pre-activations and residuals near 1e17 and their squares are finite; a gradient is a product of two, and its
        // square is not. A clip by an infinite norm would be a step of 0, for ever.
        let x = batch(0)
        for i in 0..<x.count { x[i] *= 1e17 }
        #expect(throws: SparseCodingError.gradientDiverged(step: 0, norm: .infinity)) { _ = try trainer.update(x) }
        #expect(
            "\(SparseCodingError.gradientDiverged(step: 0, norm: .infinity))"
                == "step 0: the gradients' norm is inf; lower the learning rate, or look for huge numbers in the "
                + "activations")
    }

    @Test func aBatchOfAnotherWidthIsRefused() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48])
        let trainer = try Trainer(sae, plan: try plan(sae) { $0.decoderBiasStart = .keep }, rule: NaiveBatchTopK())
        #expect(throws: SparseCodingError.inputWidth(found: 19, wanted: 20)) { _ = try trainer.update(batch(0, 19)) }
        // The first step would take b_dec from the batch before it looks at anything else.
        let second = try Trainer(sae, plan: try plan(sae), rule: NaiveBatchTopK())
        #expect(throws: SparseCodingError.inputWidth(found: 19, wanted: 20)) { _ = try second.update(batch(0, 19)) }
    }

    /// f(s·x) = s·f(x) after folding s; thresholds included, in both forms they have.
    @Test(arguments: [false, true]) func foldingTheInputScaleIsExactUpToRounding(_ perLatent: Bool) throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 48], core: 6)
        let form: InferenceForm =
            perLatent ? .thresholds(randomMatrix(1, 64, seed: 5, from: 0, to: 0.8).values) : .threshold(0.4)
        sae.inference = form
        let x = randomMatrix(50, 20, seed: 6)
        let (before, after) = (SparseCodes(), SparseCodes())
        try SparseEncoder().encode(x, with: sae, into: before)
        let reconstruction = sae.decode(before)
        // A power of two rounds nothing, so that equality is exact.
        for (s, tolerance) in [(Float(8), 0.0), (17.3, 1e-5)] {
            let folded = sae.copy()
            folded.fold(inputScale: s)
            let scaled = Matrix(rows: 50, columns: 20, x.values.map { $0 * s })
            try SparseEncoder().encode(scaled, with: folded, into: after)
            #expect(after.dense().values.map { $0 > 0 } == before.dense().values.map { $0 > 0 })
            checkClose(
                after.dense().values, before.dense().values.map { Double($0 * s) }, tolerance: tolerance, "f")
            checkClose(
                folded.decode(after).values, reconstruction.values.map { Double($0 * s) }, tolerance: tolerance, "x̂")
        }
        #expect(sae.inference == form, "a copy is separate")
    }

    @Test func aNewSAEIsTiedUnitAndUnset() throws {
        let core = randomMatrix(5, 20, seed: 8)
        let sae = SparseAutoencoder(dIn: 20, layout: try PrefixLayout(groups: [16, 48], coreCount: 5))
        sae.inference = .threshold(3)
        sae.initialize(seed: 7, core: core)
        #expect(sae.inference == nil)
        #expect(sae.encoder.copy(rows: 0..<5).values == core.values, "the core's encoder is taken as it is")
        #expect(sae.encoder.copy(rows: 5..<64).values == sae.decoder.copy(rows: 5..<64).values)
        #expect(sae.encoder.copy(rows: 0..<5).values != sae.decoder.copy(rows: 0..<5).values)
        for j in 0..<64 {
            let square = (0..<20).reduce(0.0) { $0 + Double(sae.decoder[j, $1]) * Double(sae.decoder[j, $1]) }
            #expect(abs(square - 1) < 2e-6)
        }
        // The core's decoder rows can start along its encoder vectors.
        let along = SparseAutoencoder(dIn: 20, layout: sae.layout)
        along.initialize(seed: 7, core: core, coreDecoder: .encoder)
        #expect(along.decoder.copy(rows: 5..<64).values == sae.decoder.copy(rows: 5..<64).values)
        for j in 0..<5 {
            let norm = (0..<20).reduce(0.0) { $0 + Double(core[j, $1]) * Double(core[j, $1]) }.squareRoot()
            checkClose(
                (0..<20).map { along.decoder[j, $0] }, (0..<20).map { Double(core[j, $0]) / norm }, tolerance: 1e-6,
                "decoder row \(j)")
        }
    }
}
