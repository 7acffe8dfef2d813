import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Everything above its floor is kept. The gradient of its one tensor differs by latent and by step.
private final class LearningRule: SparsityRule, SparsityRuleLearning {
    let name = "learning", version = "0", scope = SelectionScope.all
    var learning: (any SparsityRuleLearning)? { self }
    let tensors = [
        LearnableTensor(
            name: "floor", description: "", initial: 0.3, minimum: 0.25, maximum: 0.31, learningRateMultiple: 2)
    ]

    static func gradient(_ step: Int, _ j: Int) -> Double { Double((step * 5 + j * 3) % 7) / 3 - Double(j % 3) }

    func upperCount(_ context: SelectionContext) -> Int { .max }

    func floors(_ context: SelectionContext, into floors: UnsafeMutableBufferPointer<Float>) {
        for j in floors.indices { floors[j] = context.learnables[0][j] }
    }

    func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) { selected.update(repeating: 1) }

    func backward(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, codeGradient: UnsafeBufferPointer<Float>,
        _ context: SelectionContext, preactivationGradient: UnsafeMutableBufferPointer<Float>,
        tensorGradients: [UnsafeMutableBufferPointer<Double>]
    ) -> Double {
        for e in codeGradient.indices { preactivationGradient[e] = codeGradient[e] }
        for j in tensorGradients[0].indices { tensorGradients[0][j] += Self.gradient(context.step, j) }
        return 0.5
    }

    func rescale(_ tensors: [Matrix], factor: Double) {}
}

/// What a trainer's state holds is all that decides how it goes on.
@Suite struct TrainerStateTests {
    private func batch(_ step: Int) -> Matrix { randomMatrix(64, 20, seed: 200 + UInt64(step)) }

    private func trainer(_ rule: any SparsityRule, _ change: (inout TrainingSettings) -> Void = { _ in }) throws
        -> Trainer
    {
        let sae = try smallSAE(dIn: 20, groups: [16, 32, 80], core: 5)
        // Below every floor and selection, and above 0: dead before long.
        for j in [40, 41] {
            for c in 0..<20 { sae.encoder[j, c] *= 0.01 }
            sae.encoderBias[j] = 0.02
        }
        var settings = TrainingSettings(k: 4, batchSize: 64, steps: 40)
        settings.learningRate = 2e-3
        settings.thresholdStart = 8
        settings.thresholdBeta = 0.75
        settings.deadAfterTokens = 128
        change(&settings)
        return try Trainer(
            sae, plan: try TrainingPlan(settings, dIn: 20, layout: sae.layout), rule: rule, on: Lanes(count: 2))
    }

    private func bits(_ trainer: Trainer) throws -> [UInt32] {
        let sae = try trainer.exportedState().sae
        return ([sae.encoder, sae.encoderBias, sae.decoder, sae.decoderBias] + trainer.learnables)
            .flatMap { $0.values.map(\.bitPattern) }
    }

    /// By way of a file, a state that is taken into that of a trainer which has gone elsewhere.
    private func stateInAFile(_ trainer: Trainer, _ rule: any SparsityRule) throws -> TrainerState {
        let folder = TemporaryFolder()
        try trainer.exportedState().file(at: folder.file("state"), metadata: [:]).commit()
        let other = try self.trainer(rule)
        for step in 0..<3 { _ = try other.update(batch(90 + step)) }
        var state = try other.exportedState()
        try state.restore(try SafetensorsFile(path: folder.file("state")))
        return state
    }

    @Test(arguments: [false, true], [false, true])
    func aTrainerThatGoesOnFromACopyTakesTheSameSteps(_ learns: Bool, inAFile: Bool) throws {
        let rule: any SparsityRule = learns ? LearningRule() : NaiveBatchTopK()
        let whole = try trainer(rule)
        for step in 0..<17 { _ = try whole.update(batch(step)) }
        let copy = inAFile ? try stateInAFile(whole, rule) : try whole.exportedState().copy()
        let rest = try (17..<40).map { try whole.update(batch($0)) }
        // The copy is not touched by what follows.
        let again = try Trainer(copy, plan: whole.plan, rule: rule, on: Lanes(count: 2))
        #expect(try again.step == 17 && bits(again) != bits(whole))
        #expect(try (17..<40).map { try again.update(batch($0)) } == rest)
        expectSame(try bits(again), try bits(whole), "parameters")
        #expect(again.tokensSinceFired == whole.tokensSinceFired && again.sae.inference == whole.sae.inference)
        #expect(rest.contains { $0.auxiliaryLoss > 0 }, "dead latents were there")
        #expect(learns ? rest.last?.penalty == 0.5 : rest.last?.threshold != nil)
    }

    @Test func aStateOfAnotherShapeIsRefused() throws {
        let folder = TemporaryFolder()
        let path = folder.file("state")
        try trainer(NaiveBatchTopK()).exportedState().file(at: path, metadata: [:]).commit()
        var state = TrainerState(try smallSAE(dIn: 20, groups: [16, 32]), rule: NaiveBatchTopK())
        #expect(message { try state.restore(try SafetensorsFile(path: path)) }.contains("sae.encoder"))
        var learning = try trainer(LearningRule()).state
        #expect(message { try learning.restore(try SafetensorsFile(path: path)) }.contains("learned.0"))
    }

    /// 25 starved steps on either side of the cut are fifty.
    @Test(arguments: [false, true]) func aStreakOfStarvedStepsGoesOn(inAFile: Bool) throws {
        func starving() throws -> Trainer {
            let trainer = try trainer(NaiveBatchTopK()) {
                $0.k = 2
                $0.budget = .total
                $0.steps = 100
            }
            for j in 0..<5 { trainer.sae.encoderBias[j] = 100 }
            return trainer
        }
        let first = try starving()
        for step in 0..<25 { _ = try first.update(batch(step)) }
        let state = inAFile ? try stateInAFile(first, NaiveBatchTopK()) : try first.exportedState().copy()
        let second = try Trainer(state, plan: first.plan, rule: NaiveBatchTopK(), on: Lanes(count: 2))
        for step in 25..<49 { _ = try second.update(batch(step)) }
        #expect(message { _ = try second.update(batch(49)) }.hasPrefix("step 49: the core of 5 latents used the whole"))
    }

    /// Adam (arXiv:1412.6980) in Double, with the tensor's own rate, then the clamp. Values are kept in single precision.
    @Test func whatARuleLearnsFollowsAdamAndIsClamped() throws {
        let trainer = try trainer(LearningRule()) { $0.learningRate = 4e-3 }
        let plan = trainer.plan
        var values = [Float](repeating: 0.3, count: 128)
        var (m, v) = ([Double](repeating: 0, count: 128), [Double](repeating: 0, count: 128))
        var bounds = Set<Float>()
        for step in 0..<20 {
            _ = try trainer.update(batch(step))
            for j in 0..<128 {
                let g = LearningRule.gradient(step, j), t = step + 1
                m[j] = 0.9 * m[j] + 0.1 * g
                v[j] = 0.999 * v[j] + 0.001 * g * g
                let (b1, b2) = ((0..<t).reduce(1.0) { b, _ in b * 0.9 }, (0..<t).reduce(1.0) { b, _ in b * 0.999 })
                let move = m[j] / (1 - b1) / ((v[j] / (1 - b2)).squareRoot() + 1e-8)
                values[j] = Float(
                    min(0.31, max(0.25, Double(values[j]) - 2 * plan.learningRate(at: step) * move)))
                if values[j] == 0.25 || values[j] == 0.31 { bounds.insert(values[j]) }
            }
            // Rounded to single precision after each step.
            checkClose(
                trainer.learnables[0].values, values.map(Double.init), tolerance: 4e-7, "the tensor after step \(step)")
        }
        #expect(bounds.count == 2 && values.contains { $0 > 0.25 && $0 < 0.31 }, "clamped below, above and not at all")
    }

    /// θ is unset up to `thresholdStart`, then what was selected least, then the average.
    @Test func theThresholdIsSetOnceAndThenAveraged() throws {
        let trainer = try trainer(NaiveBatchTopK())
        let records = try (0..<12).map { try trainer.update(batch($0)) }
        #expect(records[...8].allSatisfy { $0.threshold == nil })
        var expected = try #require(records[9].leastSelected)
        #expect(records[9].threshold == expected)
        for step in 10..<12 {
            expected = 0.75 * expected + 0.25 * (try #require(records[step].leastSelected))
            #expect(records[step].threshold == expected)
        }
    }

    /// A latent is dead at the token at which its silence reaches the limit, and one that fires is not.
    @Test func aLatentIsDeadFromTheLimitOn() throws {
        let sae = try smallSAE(dIn: 20, groups: [16, 32])
        // Barely above 0 for every input: never selected, and there for the auxiliary loss.
        for j in 0..<4 {
            for c in 0..<20 { sae.encoder[j, c] *= 0.01 }
            sae.encoderBias[j] = 0.02
        }
        var settings = TrainingSettings(k: 4, batchSize: 64, steps: 40)
        settings.deadAfterTokens = 1000
        let plan = try TrainingPlan(settings, dIn: 20, layout: sae.layout)
        let silent = [935, 936, 937, 0] + [Int](repeating: 0, count: 44)
        let trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK(), tokensSinceFired: silent)
        #expect(try trainer.computeGradients(batch(0), projecting: true).deadCount == 2)
        #expect(trainer.tokensSinceFired[..<4] == [999, 1000, 1001, 64])
        #expect(trainer.tokensSinceFired[4...].contains(0))
        // The one that only now is dead is looked at as well.
        let revived = trainer.lanes.auxiliary.codes
        #expect(Set((0..<revived.count).map { revived.columnIndices[$0] }) == [1, 2] && revived.count > 100)
    }

    @Test func memoryIsAskedForByTheFormula() throws {
        let layout = try PrefixLayout(groups: [256, 768])
        let need = TrainingPlan.memory(dIn: 96, layout: layout, k: 20, batch: 512, copies: 1, lanes: 3)
        let room = (224 + 512 + 15) / 16 * 16
        #expect(
            need.parts == [
                "parameters, gradients and moments": 44 * 1024 * 96 + (64 + 24 * 3) * 1024,
                "batches": 8 * 512 * 96 + 4 * 3 * 1024 * 512 + 4 * 3 * 5 * 512 * 64,
                "selected entries": (24 + 28 * 3) * 512 * 20 + 16 * 512 * 2,
                "dead latents": 16 * 512 * room + (16 + 4 * 3) * 512 * 48,
            ])
    }
}
