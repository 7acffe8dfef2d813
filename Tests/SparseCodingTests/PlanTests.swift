import TestSupport
import Testing

import SparseCoding

@Suite struct PrefixLayoutTests {
    @Test func prefixesEndWhereTheirGroupsDo() throws {
        let layout = try PrefixLayout(groups: [8, 24, 32, 64])
        #expect(layout.prefixes == [8, 32, 64, 128] && layout.innermost == 8 && layout.latentCount == 128)
    }

    @Test func aCoreComesFirstAndShrinksTheGroupsInProportion() throws {
        // ⌊g·(128 − 6)/128⌋ = 7, 22, 30, 61; the remaining 2 go to the last group.
        let layout = try PrefixLayout(groups: [8, 24, 32, 64], coreCount: 6)
        #expect(layout.prefixes == [13, 35, 65, 128])
        #expect(layout.coreCount == 6 && layout.groups == [8, 24, 32, 64])
    }

    @Test func standardGroupsAreTheReferenceFractions() {
        #expect(PrefixLayout.standardGroups(width: 65_536) == [2048, 4096, 8192, 16_384, 34_816])
        for width in [33, 100, 4095] {
            #expect(PrefixLayout.standardGroups(width: width).reduce(0, +) == width)
        }
    }

    @Test func badLayoutsSayWhatIsWrongWithThem() {
        #expect(
            message { _ = try PrefixLayout(groups: [8, 16], width: 32) }
                == "groups 8, 16 sum to 24, not to the width 32; change --groups or --width")
        #expect(
            message { _ = try PrefixLayout(groups: [4, 60, 64], coreCount: 100) }
                == "a core of 100 latents leaves group 1 of 4, 60, 64 empty; make the group larger or lower τ")
        #expect(
            message { _ = try PrefixLayout(groups: [4, 60], coreCount: 64) }
                == "a core of 64 latents leaves none of 64 to train; widen the SAE or lower τ")
        #expect(
            message { _ = try PrefixLayout(groups: [4, 0, 60]) }
                == "group 2 of 4, 0, 60 has no latent; every group needs at least one")
        #expect(
            message { _ = try PrefixLayout(groups: [36, -4], width: 32) }
                == "group 2 of 36, -4 has no latent; every group needs at least one")
        #expect(message { _ = try PrefixLayout(groups: []) } == "groups is empty; it must be a list of sizes")
        #expect(
            message { _ = try PrefixLayout(groups: [8], coreCount: -1) } == "core is -1; it must be 0 or more latents")
    }

    @Test func sizesThatOverflowAreRefusedAndNotComputedWith() {
        #expect(
            message { _ = try PrefixLayout(groups: [.max, .max], width: 32) }
                == "groups \(Int.max), \(Int.max) sum to \(Int.max), not to the width 32; change --groups or --width")
    }
}

@Suite struct TrainingPlanTests {
    private func plan(_ settings: TrainingSettings, width: Int = 4096) throws -> TrainingPlan {
        try TrainingPlan(
            settings, dIn: 576, layout: try PrefixLayout(groups: PrefixLayout.standardGroups(width: width)))
    }

    @Test func aLongRunHasTheReferenceConstants() throws {
        let plan = try plan(TrainingSettings(k: 160, batchSize: 2048, steps: 244_141), width: 65_536)
        #expect(plan.warmupSteps == 1000 && plan.thresholdStart == 1000 && plan.thresholdBeta == 0.999)
        #expect(plan.deadAfterTokens == 10_000_000 && plan.decayStart == 195_312)
        #expect(plan.learningRate == 1e-4, "2e-4/√(65,536/2¹⁴)")
        #expect(plan.auxiliaryWeight == 1.0 / 32 && plan.auxiliaryCount == 288)
        #expect(plan.groupWeights == [0.2, 0.2, 0.2, 0.2, 0.2])
        #expect([plan.beta1, plan.beta2, plan.epsilon, plan.clipNorm] == [0.9, 0.999, 1e-8, 1])
        #expect(plan.budget == .nonCore && plan.decoderBiasStart == .geometricMedian && !plan.allowsStarvation)
    }

    @Test func aShortRunLeavesItsWarmUp() throws {
        let plan = try plan(TrainingSettings(k: 64, batchSize: 1024, steps: 1000))
        #expect(plan.warmupSteps == 50, "S/20")
        #expect(plan.thresholdStart == 250, "S/4")
        #expect(plan.thresholdBeta == 0.99, "1 − 10/S")
        #expect(plan.deadAfterTokens == 102_400, "S·B/10")
        #expect(plan.decayStart == 800, "80% of S")
        #expect(plan.learningRate == 4e-4, "2e-4/√(4096/2¹⁴)")
    }

    @Test func evenOneStepHasAPlan() throws {
        let plan = try plan(TrainingSettings(k: 1, batchSize: 1, steps: 1))
        #expect(plan.warmupSteps == 0 && plan.thresholdBeta == 0 && plan.deadAfterTokens == 1)
        #expect(plan.learningRate(at: 0) == plan.learningRate)
    }

    @Test func theRateRisesStaysAndFallsToZero() throws {
        var settings = TrainingSettings(k: 4, batchSize: 8, steps: 100)
        settings.learningRate = 1
        settings.warmupSteps = 10
        settings.decayStart = .step(80)
        let plan = try plan(settings)
        let rates = [0, 5, 10, 79, 80, 90, 99].map { plan.learningRate(at: $0) }
        #expect(rates == [0, 0.5, 1, 1, 1, 0.5, 0.05])
        settings.decayStart = DecayStart.never
        #expect(try self.plan(settings).learningRate(at: 99) == 1)
    }

    @Test func settingsOutOfRangeAreNamed() {
        func text(_ change: (inout TrainingSettings) -> Void) -> String {
            message {
                var settings = TrainingSettings(k: 64, batchSize: 1024, steps: 1000)
                change(&settings)
                _ = try plan(settings)
            }
        }
        #expect(text { _ in } == "nothing failed")
        #expect(text { $0.k = 4097 } == "k = 4097 exceeds the 4096 latents there are; lower --k")
        #expect(text { $0.k = 0 } == "k is 0.0; it must be positive")
        #expect(text { $0.k = .nan } == "k is nan; it must be positive")
        #expect(text { $0.steps = 0 } == "steps is 0; it must be at least 1")
        #expect(text { $0.batchSize = 0 } == "batch is 0; it must be at least 1")
        #expect(text { $0.learningRate = -1 } == "lr is -1.0; it must be positive")
        #expect(text { $0.warmupSteps = -1 } == "warmup is -1; it must be 0 or more steps")
        for step in [1000, 5000, Int.max] {
            #expect(
                text { $0.decayStart = .step(step) }
                    == "decay-start is \(step); it must be one of the 1000 steps, counted from 0, or none")
        }
        #expect(text { $0.decayStart = .step(999) } == "nothing failed")
        #expect(
            text {
                $0.decayStart = .never
                $0.warmupSteps = 1001
            } == "warmup is 1001; it must be at most the 1000 steps there are")
        #expect(text { $0.decayStart = .step(20) } == "decay-start is 20; it must be a step after the warm-up of 50")
        #expect(
            text { $0.groupWeights = [1, 1] }
                == "group-weights is [1.0, 1.0]; it must be 5 weights, none negative")
        #expect(text { $0.groupWeights = [1, 1, -1, 1, 1] }.hasSuffix("it must be 5 weights, none negative"))
        #expect(text { $0.thresholdBeta = 1 } == "threshold-beta is 1.0; it must be in [0, 1)")
        #expect(text { $0.deadAfterTokens = 0 } == "dead-after is 0; it must be at least 1 token")
        #expect(text { $0.auxiliaryWeight = .nan } == "aux-weight is nan; it must be 0 or more")
        #expect(text { $0.auxiliaryCount = -1 } == "aux-count is -1; it must be 0 or more latents")
    }
}
