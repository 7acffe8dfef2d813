import Attribution
import LinearAlgebra
import TestSupport
import Testing

import Autointerp

/// Windows, what is drawn of them and what is marked, against the definitions over dense activations.
@Suite struct ContextTests {
    private let text: SmallText

    init() throws { text = try SmallText() }

    /// [window] its activations, by definition; nil where there is padding.
    private func windows(_ latent: Int, floor: Double = 0) -> [[Float]?] {
        let dense = text.dense[latent], largest = dense.max()!
        return stride(from: 0, to: dense.count, by: 8).map { start in
            start + 8 > dense.count - 6
                ? nil : dense[start..<start + 8].map { Double($0) >= floor * Double(largest) ? $0 : 0 }
        }
    }

    @Test(arguments: [0, 0.3, 0.7]) func windowsAreThoseOfTheDefinition(_ floor: Double) throws {
        let found = try LatentWindows(text.inspection, length: 8, floor: floor)
        #expect(found.whole == Array(0..<119), "the last window is padded")
        let counts = found.activatingCounts()
        for latent in 0..<8 {
            let wanted = windows(latent, floor: floor)
            let firing = found.firing(of: latent)
            let peaks = wanted.map { $0?.max() ?? 0 }
            let activating = peaks.indices.filter { peaks[$0] > 0 }.sorted { (peaks[$0], $1) > (peaks[$1], $0) }
            #expect(firing.activating == activating, "latent \(latent)")
            #expect(firing.silent == peaks.indices.filter { wanted[$0] != nil && peaks[$0] == 0 })
            #expect(counts[latent] == activating.count && firing.largest == text.dense[latent].max()!)
            for window in found.whole { #expect(firing.activations(in: window, length: 8) == wanted[window]) }
        }
        #expect(counts[8...].allSatisfy { $0 == 0 })
        #expect(throws: AutointerpError.badWindow(length: 7, context: 24)) {
            try LatentWindows(text.inspection, length: 7)
        }
    }

    @Test func contextsComeInEqualNumbersFromEveryPartAndNoneTwice() throws {
        let windows = try LatentWindows(text.inspection, length: 8)
        var drawn = 0
        for latent in 0..<8 {
            let firing = windows.firing(of: latent)
            let shown = ShownContexts(latent, firing, windows, SmallText.numbers, seed: 3)
            guard firing.activating.count >= 20, firing.silent.count >= 12 else {
                #expect(shown == nil)
                continue
            }
            drawn += 1
            let found = try #require(shown)
            #expect(found.explain.count == 8 && found.activating.count == 12 && found.silent.count == 12)
            let size = firing.activating.count / 4
            func window(_ context: Context) -> Int { (context.sequence * 24 + context.position) / 8 }
            for (contexts, each) in [(found.explain, 2), (found.activating, 3)] {
                for quantile in 0..<4 {
                    let part = contexts.filter { $0.quantile == quantile }.map(window)
                    #expect(part.count == each)
                    #expect(Set(firing.activating[quantile * size..<(quantile + 1) * size]).isSuperset(of: part))
                }
            }
            #expect(found.silent.allSatisfy { Set(firing.silent).contains(window($0)) && !$0.isActivating })
            let all = (found.explain + found.activating + found.silent).map(window)
            #expect(Set(all).count == 32, "no context is both explained and tested")
            for context in found.explain + found.silent {
                let first = 8 * window(context)
                #expect(context.activations == Array(text.dense[latent][first..<first + 8]))
                #expect(context.tokens == (first..<first + 8).map { "\($0 % 320)" })
            }
            #expect(ShownContexts(latent, firing, windows, SmallText.numbers, seed: 3) == found)
            #expect(ShownContexts(latent, firing, windows, SmallText.numbers, seed: 4) != found)
        }
        #expect(drawn >= 4)
    }

    @Test func detectionAsksAboutBothHalvesAndFuzzingMarksThem() throws {
        let windows = try LatentWindows(text.inspection, length: 8)
        let shown = try #require(ShownContexts(2, windows.firing(of: 2), windows, SmallText.numbers, seed: 3))
        let detection = shown.questions(.detection, .silent, latent: 2, seed: 3)
        #expect(Set(detection.filter(\.truth).map(\.context.position)).isSubset(of: [0, 8, 16]))
        #expect(sorted(detection.filter(\.truth).map(\.context)) == sorted(shown.activating))
        #expect(sorted(detection.filter { !$0.truth }.map(\.context)) == sorted(shown.silent))
        #expect(detection.allSatisfy { $0.marked == nil && !$0.text.contains("<<") })
        #expect(detection.map(\.truth) != shown.questions(.detection, .silent, latent: 2, seed: 4).map(\.truth))

        let firing = shown.activating.reduce(0) { $0 + $1.activations.count { $0 > 0 } }
        // Rounded up.
        let count = (firing + 11) / 12
        for (contrast, wrong) in [(FuzzingContrast.silent, shown.silent), (.active, shown.activating)] {
            let fuzzing = shown.questions(.fuzzing, contrast, latent: 2, seed: 3)
            #expect(fuzzing.count { $0.truth } == 12)
            for question in fuzzing {
                let (own, largest) = (question.context.activations, question.context.activations.max()!)
                let strong = own.indices.filter { own[$0] > 0 && own[$0] >= 0.3 * largest }
                let marked = try #require(question.marked)
                if question.truth {
                    #expect(marked == strong)
                } else {
                    #expect(
                        wrong.contains(question.context)
                            && Set(marked).isDisjoint(with: own.indices.filter { own[$0] > 0.3 * largest }))
                    #expect(marked.count == min(count, own.indices.count { own[$0] <= 0.3 * largest }))
                    #expect(marked == marked.sorted())
                }
            }
        }
    }

    private func sorted(_ contexts: [Context]) -> [Int] { contexts.map { $0.sequence * 24 + $0.position }.sorted() }

    @Test func runsOfMarkedTokensStandBetweenOnePairOfMarks() {
        let context = Context(
            sequence: 0, position: 0, tokens: ["a", " b", "\n", " d"], activations: [1, 0, 0, 0], quantile: 0)
        #expect(context.text() == "a b⏎ d")
        #expect(context.text(marking: [0, 1, 3]) == "<<a b>>⏎<< d>>")
        #expect(context.text(marking: [2]) == "a b<<⏎>> d")
        #expect(context.text(marking: [0, 1, 2, 3]) == "<<a b⏎ d>>")
    }
}
