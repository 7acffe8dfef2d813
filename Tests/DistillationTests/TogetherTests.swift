import Distillation
import Foundation
import LanguageModeling
import LinearAlgebra
import SparseCoding
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// Live runs whose trainings are side by side: they end as those whose trainings come one after the other.
@Suite struct TogetherTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    /// Two cycles and five trials, one of them half as long, with each of two seeds; the batch is no part of a block of 256 tokens less
    /// first positions and sinks, and blocks are smaller than two batches.
    private var recipe: Recipe {
        var recipe = Recipe()
        (recipe.seed, recipe.seeds, recipe.layer, recipe.context, recipe.sequences) = (4, 2, 1, 16, 8)
        (recipe.isLive, recipe.buffer, recipe.scoreTokens, recipe.evaluationTokens) = (true, 256, 512, 256)
        (recipe.width, recipe.groups, recipe.k, recipe.batch) = (128, [48, 80], 12, 192)
        (recipe.steps, recipe.learningRate, recipe.aggregate, recipe.tau, recipe.cycles) = (12, 3e-3, "mean", 0.4, 1)
        var short = Trial("short", core: .random)
        (short.seed, short.k, short.tokens) = (9, 8, .count(6 * 192))
        recipe.trials = TrialList([Trial(core: .distilled), Trial(core: .none), short])
        recipe.finalK = [10, 20]
        return recipe
    }

    /// Batches of the text that the model was run on for trainings, and a thing to do at one of them.
    private final class Text: Sendable {
        let read = Atomic<Int>(0)
        let onBatch: @Sendable (Int) -> Void
        init(_ onBatch: @escaping @Sendable (Int) -> Void = { _ in }) { self.onBatch = onBatch }
    }

    private func distillation(
        _ name: String, together: Int?, text: Text = Text(), stop: StopRequest = StopRequest(),
        rule: any SparsityRule = NaiveBatchTopK(), progress: any ProgressSink = SilentProgress(),
        checkpoints: CheckpointPolicy = CheckpointPolicy()
    ) throws -> Distillation {
        var parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [1, 2],
            text: { skip, limit in
                let source = randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128)
                // What is scored and evaluated is asked for by the number of its tokens.
                guard limit == .max else { return source }
                return {
                    text.onBatch(text.read.add(1, ordering: .relaxed).newValue)
                    return try source()
                }
            }, evaluationText: nil, rule: rule, scorer: NaiveGradientTimesActivation(), version: "test")
        (parts.together, parts.checkpoints) = (together, checkpoints)
        return try Distillation(
            recipe, parts: parts, folder: folder.file(name), progress: progress, stop: stop)
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

    private func expectSame(_ found: String, _ wanted: String, _ comment: String) throws {
        let (a, b) = (try files(found), try files(wanted))
        #expect(a.keys.sorted() == b.keys.sorted(), "\(comment)")
        for (name, bytes) in b { TestSupport.expectSame(a[name] ?? [], bytes, comment + ": " + name) }
    }

    @Test func sideBySideTheyHaveTheSameBytesAndTheModelRunsLess() throws {
        let alone = Text(), pairs = Text(), all = Text()
        let whole = try distillation("whole", together: 1, text: alone).distill(resuming: false)
        #expect(whole.count == 2 && whole[0].trials.count == 5)
        let two = try distillation("two", together: 2, text: pairs).distill(resuming: false)
        let ten = try distillation("ten", together: 100, text: all).distill(resuming: false)
        #expect(two == whole && ten == whole)
        try expectSame("two", "whole", "two")
        try expectSame("ten", "whole", "ten")
        // Two SAEs of cycles and five trials with each of two seeds, a trial half as long: 13 passes over 12 batches of 192 rows. Of
        // those side by side one each: cycles of both seeds, and all trials.
        let counts = [alone, pairs, all].map { $0.read.load(ordering: .relaxed) }
        #expect(counts[2] * 4 < counts[0] && counts[1] < counts[0] * 2 / 3 && counts[2] < counts[1], "\(counts)")
    }

    /// Trainings in a folder that have a checkpoint.
    private func kept(_ name: String) throws -> Set<String> {
        Set(
            try FileManager.default.subpathsOfDirectory(atPath: folder.file(name)).filter {
                $0.contains("/checkpoint/step-") && $0.hasSuffix(".json")
            }.map { String($0.prefix(upTo: $0.firstRange(of: "/checkpoint/")!.lowerBound)) })
    }

    /// The wish comes while the model makes a block: of each of those that wait the steps are kept.
    @Test(arguments: [5, 16, 31, 44, 52], [1, 3, 100]) func aRunThatIsStoppedGoesOnWithAnyNumberSideBySide(
        _ batch: Int, _ other: Int
    ) throws {
        let whole = try distillation("whole", together: 1).distill(resuming: false)
        let stop = StopRequest()
        let text = Text { if $0 == batch { stop.raise() } }
        #expect(throws: DistillationError.interrupted) {
            try distillation("cut", together: 4, text: text, stop: stop).distill(resuming: false)
        }
        #expect(try kept("cut").count == (batch < 40 ? 2 : 4))
        #expect(try distillation("cut", together: other).distill(resuming: true) == whole)
        try expectSame("cut", "whole", "batch \(batch)")
    }

    /// Does something at its n-th selection.
    private final class Watched: SparsityRule {
        let inner = NaiveBatchTopK()
        let count = Atomic<Int>(0)
        let onSelection: @Sendable (Int, SelectionContext) throws -> Void
        init(_ onSelection: @escaping @Sendable (Int, SelectionContext) throws -> Void) {
            self.onSelection = onSelection
        }
        var name: String { inner.name }
        var version: String { inner.version }
        var scope: SelectionScope { inner.scope }
        func upperCount(_ context: SelectionContext) -> Int { inner.upperCount(context) }
        func select(
            from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
        ) throws {
            try onSelection(count.add(1, ordering: .relaxed).newValue, context)
            inner.select(from: candidates, context, selected: selected)
        }
    }

    /// The wish comes within a step, where some are before a block and others behind it, with checkpoints after every step.
    @Test(arguments: [9, 30, 61, 75], [1, 100]) func aRunThatIsStoppedWithinAStepGoesOn(_ step: Int, _ other: Int)
        throws
    {
        let whole = try distillation("whole", together: 1).distill(resuming: false)
        let stop = StopRequest()
        #expect(throws: DistillationError.interrupted) {
            try distillation(
                "cut", together: 10, stop: stop, rule: Watched { n, _ in if n == step { stop.raise() } },
                checkpoints: CheckpointPolicy(seconds: 0)
            ).distill(resuming: false)
        }
        #expect(try kept("cut").count >= 2)
        #expect(try distillation("cut", together: other).distill(resuming: true) == whole)
        try expectSame("cut", "whole", "step \(step)")
    }

    /// Looked at twice, it would be seen only after it was too late to keep anything.
    @Test func aWishThatComesWhileTheTimeIsLookedAtIsKeptFor() throws {
        let stop = StopRequest()
        let looks = Atomic<Int>(0)
        let policy = CheckpointPolicy(seconds: 1e9) {
            if looks.add(1, ordering: .relaxed).newValue == 9 { stop.raise() }
            return 0
        }
        #expect(throws: DistillationError.interrupted) {
            try distillation("cut", together: 1, stop: stop, checkpoints: policy).distill(resuming: false)
        }
        #expect(try kept("cut") == ["seed-4/cycle-0/sae"])
    }

    /// Those with k = 20 and k = 8 fail, which costs the others nothing: they are trained to their ends.
    @Test func whatOneFailsWithEndsTheRunAfterTheOthersAreDone() throws {
        let whole = try distillation("whole", together: 1).distill(resuming: false)
        let failing = Watched { _, context in
            if context.meanActive == 20, context.step == 7 { throw DistillationError.stepDiffers("no") }
            if context.meanActive == 8, context.step == 5 { throw DistillationError.stepDiffers("never") }
        }
        let warnings = Warnings()
        #expect(
            message {
                _ = try distillation("cut", together: 10, rule: failing, progress: warnings).distill(resuming: false)
            } == "never")
        let expected = ["seed-4", "seed-5"].flatMap { seed in
            ["k-20/baseline: no", "k-20/dmsae: no", "k-8/short: never"].map {
                "\(seed)/final/\($0); the SAEs that are trained beside it go on"
            }
        }
        #expect(warnings.texts.withLock { $0 }.filter { $0.contains("beside") }.sorted() == expected)
        let done = try files("cut").keys.filter { $0.contains("/final/k-") && $0.hasSuffix("/done.json") }
        #expect(Set(done.map { $0.split(separator: "/")[2] }) == ["k-10"] && done.count == 4, "\(done)")
        #expect(try distillation("cut", together: 10).distill(resuming: true) == whole)
        try expectSame("cut", "whole", "failed")
    }

    /// A run of which one has failed ends as it is asked to, not by what failed.
    @Test func aWishToStopAfterOneFailedIsWhatEndsTheRun() throws {
        let stop = StopRequest()
        let failing = Watched { _, context in
            if context.meanActive == 20, context.step == 7 { throw DistillationError.stepDiffers("no") }
            if context.meanActive == 10, context.step == 9 { stop.raise() }
        }
        #expect(throws: DistillationError.interrupted) {
            try distillation("cut", together: 10, stop: stop, rule: failing).distill(resuming: false)
        }
        #expect(try kept("cut").filter { $0.contains("/k-10/") }.count == 4)
    }

    /// Cycles that end after different numbers, latents that go on from the last cycle's, a text that is used up, its last batch of
    /// special tokens alone: a block without a row.
    @Test func aShortTextAndSeedsOfDifferentLengthsAreTheSameSideBySide() throws {
        var recipe = recipe
        (recipe.cycles, recipe.nonCore, recipe.stopAt, recipe.seeds) = (3, .warm, 0.38, 3)
        recipe.finalK = [10]
        var records: [[DistillationRecord]] = []
        for together in [1, 2, 100] {
            let parts = DistillationParts(
                model: model, modelName: "llama", specialTokens: [1, 2],
                text: { skip, _ in
                    let first = (skip + 127) / 128
                    let source = randomTokens(sequences: 8, length: 16, from: first, count: 14 - first)
                    var isOver = false
                    return {
                        if let batch = try source() { return batch }
                        defer { isOver = true }
                        return isOver
                            ? nil : TokenBatch(ids: [Int32](repeating: 1, count: 128), sequenceCount: 8, length: 16)
                    }
                }, evaluationText: nil, rule: NaiveBatchTopK(), scorer: NaiveGradientTimesActivation(), version: "test")
            var own = parts
            own.together = together
            records.append(
                try Distillation(
                    recipe, parts: own, folder: folder.file("\(together)"), progress: SilentProgress(),
                    stop: StopRequest()
                ).distill(resuming: false))
            try expectSame("\(together)", "1", "\(together) side by side")
        }
        #expect(Set(records[0].map(\.cycles.count)).count > 1, "\(records[0].map { $0.cycles.map(\.jaccard) })")
        #expect(records[1] == records[0] && records[2] == records[0])
    }

    @Test func howManyThereAreIsDecidedByMemoryAndNeverOfAStore() throws {
        var recipe = recipe
        let layout = try PrefixLayout(groups: recipe.resolvedGroups, width: recipe.width)
        func count(_ asked: Int?, available: Int = .max) -> Int {
            recipe.trainedTogether(
                asked, dIn: 48, layout, on: Lanes.shared, limit: MemoryLimit(available: available, reason: "test"))
        }
        #expect(count(nil) == 10 && count(3) == 3 && count(50) == 10)
        let three = recipe.memory(dIn: 48, layout, on: Lanes.shared, together: 3)
        #expect(count(nil, available: 2 * three.bytes) == 3 && count(nil, available: 2 * three.bytes - 2) == 2)
        #expect(count(nil, available: 0) == 1 && count(4, available: 0) == 4)
        let one = recipe.memory(dIn: 48, layout, on: Lanes.shared)
        // The block, and what is scored and evaluated, are there once.
        let shared = 4 * (256 + 512 + 256) * 48
        #expect(three.bytes - shared == 3 * (one.bytes - shared))
        #expect(three.description.hasPrefix("3 × training 128 latents of 48 inputs on batches of 192 needs "))
        #expect(
            three.advice == "lower --together, sae.width, train.batch, harvest.buffer, score.tokens or evaluate.tokens")
        recipe.isLive = false
        #expect(count(nil) == 1 && count(8) == 1)
    }
}
