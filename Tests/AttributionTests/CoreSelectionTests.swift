import Attribution
import TestSupport
import Testing

@Suite struct CoreSelectionTests {
    @Test func theSmallestSetThatReachesTheFractionIsSelected() throws {
        let scores = [1.0, 5, 0, 3, 1]
        for (fraction, latents) in [(0.01, [1]), (0.5, [1]), (0.51, [1, 3]), (0.8, [1, 3]), (0.85, [1, 3, 0])] {
            let core = try CoreSelection(scores, fraction: fraction)
            #expect(core.latents == latents, "τ = \(fraction)")
            #expect(core.coverage == latents.reduce(0) { $0 + scores[$1] } / 10)
            #expect(core.coverage >= fraction)
        }
    }

    @Test func aFractionOfOneSelectsExactlyThePositiveScores() throws {
        // 1e-20 is lost in any sum: only an exact rule keeps it.
        let core = try CoreSelection([1, 0, 1e-20, 2, 0, -1, 1e-300], fraction: 1)
        #expect(core.latents == [3, 0, 2, 6] && core.coverage == 1)
        // Just below one, the sum decides.
        #expect(try CoreSelection([1, 0, 1e-20, 2], fraction: 1.nextDown).latents == [3, 0])
    }

    @Test func tiesGoToTheLowerIndex() throws {
        #expect(try CoreSelection([2, 7, 2, 7, 2], fraction: 0.8).latents == [1, 3, 0])
        #expect(try CoreSelection([Double](repeating: 1, count: 10), fraction: 0.5).latents == [0, 1, 2, 3, 4])
    }

    @Test func negativeScoresCountAsNothing() throws {
        let core = try CoreSelection([-100, 3, 1, -2], fraction: 0.7)
        #expect(core.latents == [1] && core.coverage == 0.75)
    }

    @Test func noAttributionIsAnErrorThatSaysWhatToDo() {
        for scores in [[], [0, 0, 0], [0, -1, 0], [Double.nan, 0, 0]] {
            #expect(
                message { _ = try CoreSelection(scores, fraction: 0.9, tokens: 2048) }
                    == "none of \(scores.count) candidate latents has a positive quantile:0.99 over 2048 tokens, so "
                    + "there is no core to select; a latent active on fewer than 1% of tokens has a 0.99 quantile of "
                    + "0: score more tokens, aggregate over active tokens (--over active, in a recipe score.over), or "
                    + "train longer")
        }
    }

    @Test(arguments: [0, -0.5, 1.0001, .nan, .infinity]) func fractionsOutOfRangeAreRefused(_ fraction: Double) {
        #expect(
            message { _ = try CoreSelection([1], fraction: fraction) }
                == "τ is \(fraction); the fraction to explain must be above 0 and at most 1")
    }

    @Test func jaccardIsTheSharedPart() {
        #expect(jaccard([1, 2, 3], [2, 3, 4]) == 0.5)
        #expect(jaccard([], []) == 1 && jaccard([1], []) == 0 && jaccard([1], [1]) == 1)
    }
}
