import Distillation
import Foundation
import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// Runs of several seeds: cycles and trials of each, from one harvest.
@Suite struct SeedTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    private func recipe(seeds: Int) -> Recipe {
        var recipe = Recipe()
        (recipe.seed, recipe.seeds, recipe.layer, recipe.context) = (4, seeds, 1, 16)
        (recipe.harvestTokens, recipe.scoreTokens, recipe.evaluationTokens) = (2048, 512, 256)
        (recipe.width, recipe.groups, recipe.k, recipe.batch) = (128, [48, 80], 12, 128)
        (recipe.steps, recipe.learningRate, recipe.aggregate, recipe.tau, recipe.cycles) = (20, 3e-3, "mean", 0.4, 1)
        var other = Trial("other", core: .random)
        other.seed = 9
        recipe.trials = TrialList([Trial(core: .distilled), Trial(core: .none), other])
        return recipe
    }

    private func distillation(
        _ name: String, seeds: Int, stop: StopRequest = StopRequest()
    ) throws -> Distillation {
        let parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [1, 2],
            text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) }, evaluationText: nil,
            rule: NaiveBatchTopK(), scorer: NaiveGradientTimesActivation(), version: "test")
        return try Distillation(
            recipe(seeds: seeds), parts: parts, folder: folder.file(name), progress: SilentProgress(), stop: stop)
    }

    /// All files that are a function of the recipe, by name.
    private func files(_ name: String) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        for file in try FileManager.default.subpathsOfDirectory(atPath: folder.file(name))
        where file.hasSuffix(".json") || file.hasSuffix(".safetensors") {
            result[file] = contents(of: folder.file(name + "/" + file))
        }
        return result
    }

    @Test func theFirstSeedIsWhatARunOfItAloneIs() throws {
        let both = try distillation("both", seeds: 2).distill(resuming: false)
        let alone = try distillation("alone", seeds: 1).distillOnce(resuming: false)
        #expect(both.count == 2 && both[0] == alone && both[1] != alone)
        let (one, two) = (try files("alone"), try files("both"))
        for (name, bytes) in one where name.hasSuffix(".safetensors") || name.hasSuffix("core.json") {
            expectSame(two[name.hasPrefix("store") ? name : "seed-4/" + name] ?? [], bytes, name)
        }
        #expect(two.keys.allSatisfy { $0.hasPrefix("seed-4/") || $0.hasPrefix("seed-5/") || !$0.contains("cycle") })
        #expect(two.keys.filter { $0.hasSuffix("store.json") } == ["store/store.json"])
        // A trial's own seed moves on with the others.
        #expect(both.map { $0.trials.map(\.trial.seed) } == [[4, 4, 9], [5, 5, 10]])
        let record = try JSONRecord.read(RepeatedRecord.self, from: folder.file("both/result.json"))
        #expect(record == RepeatedRecord(firstSeed: 4, both) && record.seeds == [4, 5] && record.runs == both)
        let scores = both.map { $0.trials.map(\.sae.evaluation.ce_loss_score) }
        #expect(record.trials[1].differences == scores.map { $0[1] - $0[0] } && record.trials[1].interval == nil)
        #expect(record.trials[0].ce_loss_score.low == min(scores[0][0], scores[1][0]))
        #expect(
            record.cycles.map(\.coreSize.high) == (0...1).map { t in both.map { Double($0.cycles[t].coreSize) }.max() })
    }

    @Test func aRunThatIsCutShortInItsSecondSeedEndsWithTheSameBytes() throws {
        let whole = try distillation("whole", seeds: 2).distill(resuming: false)
        let stop = StopRequest()
        var seen = 0
        #expect(throws: DistillationError.interrupted) {
            try distillation("cut", seeds: 2, stop: stop).distill(resuming: false) { _, _ in
                seen += 1
                if seen == 3 { stop.raise() }
            }
        }
        #expect(
            exists(folder.file("cut/seed-5/cycle-0/done.json")) && !exists(folder.file("cut/seed-5/cycle-1/done.json")))
        #expect(try distillation("cut", seeds: 2).distill(resuming: true) == whole)
        let (found, wanted) = (try files("cut"), try files("whole"))
        #expect(found.keys.sorted() == wanted.keys.sorted())
        for (name, bytes) in wanted { expectSame(found[name] ?? [], bytes, name) }

        #expect(
            message { _ = try distillation("cut", seeds: 3).distill(resuming: true) }
                == "the run in \(folder.file("cut")) was started with seeds = 2, now it is 3; resume it with its own recipe or "
                + "choose another --out")
        // Nor is a finished step of another seed taken for this one's.
        let step = folder.file("cut/seed-5/cycle-0")
        try AtomicFile.write(contents(of: folder.file("cut/seed-4/cycle-0/metrics.json")), to: step + "/metrics.json")
        #expect(
            message { _ = try distillation("cut", seeds: 2).distill(resuming: true) }
                == "\(step) cannot be read back: \(step)/metrics.json is not as the run wrote it. Delete \(step) and resume: it is "
                + "made again")
    }
}
