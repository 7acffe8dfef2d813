import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import SparseCoding
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// Activations that a model makes as trainings need them, against rows made one by one.
@Suite struct LiveActivationsTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel
    private let warnings = Warnings()
    /// Keeps the first position, ids 3 and 4, and sinks; the model's norms differ little, so the ratio is low.
    private let policy = SplicePolicy(keepFirst: 1, specialTokens: [3, 4], sinkRatio: 1.2)

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    /// Batches of a text that were read, and those that the model was run on.
    private final class Count: Sendable {
        let opened = Atomic<Int>(0)
        let read = Atomic<Int>(0)
    }

    /// A text of so many batches of 4 sequences of 20 tokens, in blocks of 240 tokens.
    private func live(
        batches: Int = 10, tokens: Int = 240, count: Count = Count(), stop: StopRequest = StopRequest(),
        onBatch: @escaping (Int) throws -> Void = { _ in }
    ) throws -> LiveActivations {
        let origin = ActivationOrigin(
            model: "llama", hookPoint: .residPost(1), contextLength: 20, policy: policy,
            hashes: ["model": "m", "text": "t"])
        return try LiveActivations(
            of: {
                count.opened.add(1, ordering: .relaxed)
                let source = randomTokens(sequences: 4, length: 20, count: batches)
                return {
                    try onBatch(count.read.add(1, ordering: .relaxed).newValue)
                    return try source()
                }
            }, model: model, origin: origin,
            blocks: LiveBlocks(tokens: tokens, sequences: 4, context: 20), others: [:], progress: warnings, stop: stop)
    }

    /// The rows of a block of the same text, in its order: made from the model's activations and the policy's marks.
    private func rows(ofBatches range: Range<Int>) throws -> [[Float]] {
        let source = randomTokens(sequences: 4, length: 20, from: range.lowerBound)
        return try range.flatMap { _ in
            let batch = try #require(try source())
            let x = try model.residual(of: batch, at: .residPost(1))
            let replaced = policy.replaced(batch, residual: x)
            return (0..<80).filter { replaced[$0] != 0 }.map { r in (0..<48).map { x[r, $0] } }
        }
    }

    private func shuffled(_ rows: [[Float]], block: Int, seed: UInt64) -> [[Float]] {
        CounterRandom(seed: seed, purpose: .liveShuffle, step: UInt32(block)).permutation(rows.count).map {
            rows[Int($0)]
        }
    }

    private func read(_ rows: TrainingRows, _ steps: Range<Int>, batch: Int = 64) throws -> [[Float]] {
        let x = Matrix(rows: batch, columns: 48)
        return try steps.flatMap { step in
            try rows.read(step, x)
            return (0..<batch).map { r in (0..<48).map { x[r, $0] } }
        }
    }

    /// Ten batches are three blocks of three batches and one of the one that is left.
    @Test func everyRowIsUsedOnceAnEpochInTheOrderOfSeedAndBlock() throws {
        let live = try live()
        try live.measureScale()
        let blocks = try [0..<3, 3..<6, 6..<9, 9..<10].map(rows)
        let epoch = blocks.map(\.count).reduce(0, +)
        #expect(blocks.allSatisfy { $0.count > 40 } && epoch < 760)
        let second = blocks.enumerated().flatMap { shuffled($1, block: $0 + 4, seed: 7) }
        let expected = blocks.enumerated().flatMap { shuffled($1, block: $0, seed: 7) } + second
        let steps = (epoch + 200) / 64
        let found = try read(TrainingRows(live, seed: 7, isScaled: false), 0..<steps)
        #expect(found == Array(expected.prefix(64 * steps)))
        #expect(
            warnings.texts.withLock { $0 } == [
                "all 800 tokens of the text have been used; the training goes on with them from their start, give more text to train "
                    + "on each once"
            ])
        // Another training of the same activations begins at the start again, in an order of its own.
        let other = try read(TrainingRows(live, seed: 8, isScaled: false), 0..<1)
        #expect(other == Array(shuffled(blocks[0], block: 0, seed: 8).prefix(64)))
    }

    @Test func theRowsAreThoseOfAHarvestAndTheScaleIsThatOfTheFirstBlock() throws {
        let settings = HarvestSettings(tokens: 240, seed: 1, modelName: "llama")
        let store = try Harvest(model: model, hook: .residPost(1), policy: policy, settings: settings).run(
            next: randomTokens(sequences: 4, length: 20), to: folder.path, progress: SilentProgress(),
            stop: StopRequest())
        let live = try live()
        try live.measureScale()
        #expect(live.inputScale == store.record.inputScale)
        let x = try SafetensorsFile(path: folder.file("shard-00000.safetensors")).matrix("x")
        let order = CounterRandom(seed: 1, purpose: .storeShuffle).permutation(x.rows)
        let stored = Dictionary(uniqueKeysWithValues: order.enumerated().map { (Int($1), $0) })
        let harvested = (0..<x.rows).map { r in (0..<48).map { x[stored[r]!, $0] } }
        #expect(
            try read(TrainingRows(live, seed: 3, isScaled: false), 0..<1, batch: x.rows)
                == shuffled(harvested, block: 0, seed: 3))
        let scale = 1 / Float(store.record.inputScale)
        let scaled = try read(TrainingRows(live, seed: 3, isScaled: true), 0..<1, batch: x.rows)
        #expect(scaled == shuffled(harvested, block: 0, seed: 3).map { $0.map { $0 * scale } })
    }

    /// From within a block, from its first row, and from a batch that goes on in the next one; before and after the text's end.
    @Test func aPlaceIsGoneOnFromByMakingItsBlockAlone() throws {
        let whole = try live()
        try whole.measureScale()
        let rows = TrainingRows(whole, seed: 7, isScaled: true)
        let batches = try #require(rows.batches)
        var (places, found): ([String?], [[[Float]]]) = ([], [])
        for step in 0..<24 {
            places.append(try batches.place(of: step))
            found.append(try read(rows, step..<step + 1))
        }
        for step in [1, 3, 7, 12, 20] {
            let count = Count()
            let again = try live(count: count)
            try again.measureScale(known: whole.inputScale)
            let rest = TrainingRows(again, seed: 7, isScaled: true)
            #expect(rest.batches?.goOn(at: step, from: places[step]) == true)
            #expect(try rest.batches?.place(of: step) == places[step])
            #expect(try read(rest, step..<step + 1) == found[step])
            #expect(count.opened.load(ordering: .relaxed) <= 2)
            for later in step + 1..<24 { #expect(try read(rest, later..<later + 1) == found[later]) }
        }
        // Of another scale, or none, a place is not one.
        let other = try live()
        try other.measureScale(known: 2)
        let there = TrainingRows(other, seed: 7, isScaled: true).batches
        #expect(there?.goOn(at: 3, from: places[3]) == false && there?.goOn(at: 3, from: nil) == false)
        #expect(there?.goOn(at: 3, from: "{}") == false)
    }

    @Test func whatAStepPreparedAheadReadIsNotWhereTheStepBeforeItWas() throws {
        let live = try live()
        try live.measureScale()
        let rows = TrainingRows(live, seed: 7, isScaled: true)
        let batches = try #require(rows.batches)
        _ = try read(rows, 0..<5)
        let before = try batches.place(of: 5)
        let found = try read(rows, 5..<6)
        #expect(try batches.place(of: 5) == before)
        #expect(batches.goOn(at: 5, from: before))
        #expect(try read(rows, 5..<6) == found)
    }

    // MARK: Trainings

    private func train(
        _ live: LiveActivations, in folder: TemporaryFolder, stop: StopRequest = StopRequest()
    ) throws -> [UInt32] {
        let sae = try smallSAE(dIn: 48, groups: [16, 32, 48])
        var settings = TrainingSettings(k: 4, batchSize: 64, steps: 24)
        settings.learningRate = 2e-3
        settings.thresholdStart = 4
        let plan = try TrainingPlan(settings, dIn: 48, layout: sae.layout)
        let rows = TrainingRows(live, seed: 7, isScaled: true)
        var provenance = SAEProvenance()
        (provenance.plan, provenance.seed) = (plan, 1)
        let lock = try OutputLock.folder(folder.path)
        var run = TrainingRun(name: "test", steps: plan.steps, progress: warnings, stop: stop, lock: lock)
        let checkpoints = try TrainingCheckpoints(
            of: provenance, into: folder.path, version: "test", policy: CheckpointPolicy(), lock: lock)
        checkpoints.batches = rows.batches
        run.checkpoints = checkpoints
        var state = TrainerState(sae, rule: NaiveBatchTopK())
        _ = try checkpoints.restore(&state, log: nil, warn: warnings.warn)
        let trainer = try Trainer(state, plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: 2))
        _ = try run.train(trainer, from: rows.read, log: nil, inputScale: 1)
        checkpoints.clear()
        return [sae.encoder, sae.encoderBias, sae.decoder, sae.decoderBias].flatMap { $0.values.map(\.bitPattern) }
    }

    /// The request to stop comes while a block is made: what has been trained until then is kept.
    @Test(arguments: [5, 8, 14]) func aTrainingThatIsStoppedWhileABlockIsMadeGoesOnToTheSameBits(_ cut: Int) throws {
        let whole = try live()
        try whole.measureScale()
        let bits = try train(whole, in: TemporaryFolder())
        let stop = StopRequest()
        let stopped = try live(stop: stop) { if $0 == cut { stop.raise() } }
        try stopped.measureScale()
        #expect(throws: DistillationError.interrupted) { try train(stopped, in: folder, stop: stop) }
        let kept = TrainingCheckpoints.place(in: folder.path)
        #expect(TrainingCheckpoints.newestStep(in: kept) ?? 0 > 0)
        let scale = TrainingCheckpoints.inputScale(in: kept)
        #expect(scale == whole.inputScale)
        let resumed = try live()
        try resumed.measureScale(known: scale)
        #expect(try train(resumed, in: folder) == bits)
        #expect(!exists(kept))
    }

    // MARK: What cannot be

    @Test func blocksThatCannotBeShuffledAndTextsWithoutARowAreRefused() throws {
        #expect(
            message { _ = try live(tokens: 1 << 31) }
                == "a block of 2147483680 tokens is too large to be shuffled; lower --buffer, --sequences or --context (in a recipe "
                + "harvest.buffer, sequences, context) to 2147483647 tokens at most")
        let none = try live(batches: 0)
        #expect(
            message { try none.measureScale() }
                == "the text has 0 of the 20 tokens wanted for training; give more text or ask for fewer tokens")
    }

    @Test func aPlaceThatTheTextDoesNotHaveIsAnErrorThatSaysSo() throws {
        let whole = try live()
        try whole.measureScale()
        let rows = TrainingRows(whole, seed: 7, isScaled: true)
        _ = try read(rows, 0..<8)
        let place = try rows.batches?.place(of: 8)
        let shorter = try live(batches: 3)
        try shorter.measureScale(known: whole.inputScale)
        let rest = TrainingRows(shorter, seed: 7, isScaled: true)
        #expect(rest.batches?.goOn(at: 8, from: place) == true)
        #expect(
            message { _ = try read(rest, 8..<9) }
                == "the training was 480 tokens into the text when it was kept, and no sequence begins there now; give the text that it "
                + "was started with")
    }
}
