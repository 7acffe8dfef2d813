import Distillation
import LinearAlgebra
import SparseCoding
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// A clock that is a second later each time it is read.
final class TickingClock: Sendable {
    private let seconds = Atomic<Int>(0)
    func read() -> Double { Double(seconds.add(1, ordering: .relaxed).newValue) }
}

/// Keeps what it is warned of.
final class Warnings: ProgressSink {
    let texts = Mutex<[String]>([])
    func begin(_ task: String, total: Int, unit: String) {}
    func advance(by count: Int, detail: String) {}
    func end() {}
    func note(_ text: String) {}
    func warn(_ text: String) { texts.withLock { $0.append(text) } }
}

/// A training that was cut short and goes on from a checkpoint ends in the bits of one that was not.
@Suite struct TrainingCheckpointTests {
    private let folder = TemporaryFolder()
    private let warnings = Warnings()
    private var kept: String { TrainingCheckpoints.place(in: folder.path) }

    private func settings(_ change: (inout TrainingSettings) -> Void) -> TrainingSettings {
        var settings = TrainingSettings(k: 4, batchSize: 64, steps: 40)
        settings.learningRate = 2e-3
        settings.thresholdStart = 8
        settings.thresholdBeta = 0.75
        settings.deadAfterTokens = 128
        settings.warmupSteps = 2
        change(&settings)
        return settings
    }

    /// What a training came to.
    private struct Outcome: Equatable {
        var bits: [UInt32]
        var inference: InferenceForm?
        var log: String
    }

    /// Trains in the folder, from its checkpoint if there is one, and raises the stop in the batch of step `cut`.
    private func train(
        until cut: Int? = nil, every seconds: Double = 1e9, by clock: TickingClock? = nil,
        _ change: (inout TrainingSettings) -> Void = { _ in }
    ) throws -> Outcome {
        let sae = try smallSAE(dIn: 20, groups: [16, 32, 80], core: 5)
        let plan = try TrainingPlan(settings(change), dIn: 20, layout: sae.layout)
        var provenance = SAEProvenance()
        (provenance.plan, provenance.steps, provenance.seed) = (plan, plan.steps, 1)
        let lock = try OutputLock.folder(folder.path)
        let log = try EventLog(replacing: folder.file("events.jsonl"))
        let stop = StopRequest()
        var run = TrainingRun(name: "test", steps: plan.steps, progress: warnings, stop: stop, lock: lock)
        run.logEvery = 3
        let checkpoints = try TrainingCheckpoints(
            of: provenance, into: folder.path, version: "test",
            policy: CheckpointPolicy(seconds: seconds) { clock?.read() ?? 0 }, lock: lock)
        run.checkpoints = checkpoints
        var state = TrainerState(sae, rule: NaiveBatchTopK())
        _ = try checkpoints.restore(&state, log: log, warn: warnings.warn)
        let trainer = try Trainer(state, plan: plan, rule: NaiveBatchTopK(), on: Lanes(count: 2))
        _ = try run.train(
            trainer,
            from: { step, x in
                if step == cut { stop.raise() }
                x.assign(randomMatrix(64, 20, seed: 200 + UInt64(step)))
            }, log: log, inputScale: 1)
        try log.replacement?.commit()
        checkpoints.clear()
        let bits = [sae.encoder, sae.encoderBias, sae.decoder, sae.decoderBias].flatMap { $0.values.map(\.bitPattern) }
        return Outcome(
            bits: bits, inference: sae.inference,
            log: String(decoding: contents(of: folder.file("events.jsonl")), as: UTF8.self))
    }

    private func cut(at step: Int, every seconds: Double = 1e9, by clock: TickingClock? = nil) throws {
        #expect(throws: DistillationError.interrupted) { try train(until: step, every: seconds, by: clock) }
        #expect(TrainingCheckpoints.newestStep(in: kept) == step + 1)
    }

    @Test(arguments: [0, 6, 17, 38]) func aTrainingThatIsStoppedGoesOnToTheSameBits(_ step: Int) throws {
        let whole = try train()
        try cut(at: step)
        #expect(try train() == whole)
        #expect(!exists(kept) && warnings.texts.withLock { $0 } == [])
    }

    @Test func ofTheCheckpointsThatTimeBringsTheLastTwoAreKept() throws {
        let whole = try train()
        // A second a step: every third one.
        try cut(at: 23, every: 3, by: TickingClock())
        let names = try namesInFolder(kept).sorted()
        #expect(names == ["step-21.json", "step-21.safetensors", "step-24.json", "step-24.safetensors"])
        #expect(try train() == whole)
    }

    private enum Damage: CaseIterable { case flipped, cut, gone, record, recordCut, recordGone }

    private func damage(_ step: Int, _ damage: Damage) throws {
        let weights = "\(kept)/step-\(step).safetensors", record = "\(kept)/step-\(step).json"
        let path = [.flipped, .cut, .gone].contains(damage) ? weights : record
        var bytes = contents(of: path)
        switch damage {
        case .flipped: bytes[bytes.count / 2] ^= 1
        case .cut, .recordCut: bytes.removeLast(bytes.count / 3)
        // The hash's first digit.
        case .record:
            let start = try #require(String(decoding: bytes, as: UTF8.self).firstRange(of: #""sha256" : ""#)).upperBound
            let at = start.utf16Offset(in: String(decoding: bytes, as: UTF8.self))
            bytes[at] = bytes[at] == UInt8(ascii: "0") ? UInt8(ascii: "1") : UInt8(ascii: "0")
        case .gone, .recordGone: bytes = []
        }
        try AtomicFile.write(bytes, to: path)
    }

    @Test func aCheckpointThatIsNotAsItWasWrittenIsPassedOver() throws {
        let whole = try train()
        for kind in Damage.allCases {
            try cut(at: 23, every: 3, by: TickingClock())
            try damage(24, kind)
            #expect(try train() == whole, "\(kind)")
            let said = warnings.texts.withLock { texts in
                defer { texts = [] }
                return texts
            }
            #expect(
                said == ["\(kept)/step-24.json or .safetensors is not as it was written; going on from before it"])
        }
        // Neither of them: from the start.
        try cut(at: 23, every: 3, by: TickingClock())
        for step in [21, 24] { try damage(step, .flipped) }
        #expect(try train() == whole)
        #expect(warnings.texts.withLock { $0.count } == 2)
    }

    @Test func onlyMoreStepsAtAConstantRateMayBeAskedForOnTheWay() throws {
        let longer = try train {
            $0.steps = 60
            $0.decayStart = .never
        }
        #expect(throws: DistillationError.interrupted) { try train(until: 17) { $0.decayStart = .never } }
        let refusal = message { _ = try train { ($0.decayStart, $0.learningRate) = (.never, 1e-3) } }
        #expect(
            refusal
                == "the training into \(folder.path) was started with plan.learningRate = 0.002, now it is 0.001; resume it "
                + "with what it was started with, or choose another --out")
        #expect(
            message { _ = try train { ($0.decayStart, $0.steps) = (.never, 18) } }.contains(
                "was started with steps = more than the 18 that are done, now it is 18"))
        let resumed = try train { ($0.decayStart, $0.steps) = (.never, 60) }
        #expect(resumed.bits == longer.bits && resumed.inference == longer.inference)
        // With a decay, each step's rate depends on their number.
        try cut(at: 17)
        #expect(
            message { _ = try train { $0.steps = 60 } }.contains("was started with plan.decayStart = 32, now it is 48"))
    }
}
