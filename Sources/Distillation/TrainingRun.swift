import Kernels
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One logged step of a training in `events.jsonl`.
public struct TrainingEvent: Encodable, Sendable {
    /// Tells it from the other lines of `events.jsonl`.
    public let event = "step"
    /// Which training: "cycle-2", "final/k-64/dmsae".
    public let run: String
    public let record: StepRecord
}

/// Where batches come from: fills a matrix [B, d] with the batch of a step.
public typealias BatchSource = (_ step: Int, _ target: Matrix) throws -> Void

/// How a training ended.
public struct TrainingOutcome: Sendable {
    /// Its last step.
    public let last: StepRecord
    /// Mean active latents a token of the last batch, as the rule selected them.
    public let trainedActive: Double
    /// Of the same batch, as the SAE is used without the rule; nil where it cannot be yet.
    public let finalActive: Double?

    /// What is to be said when the SAE as it is used is of another sparsity than the one that was trained.
    public func warning(rule: any SparsityRule) -> String? {
        guard let finalActive, abs(finalActive - trainedActive) > max(1, trainedActive / 4) else { return nil }
        return
            "in the last batch the sparsity rule \(rule.name) kept \(decimals(trainedActive, 1)) latents a token, and "
            + "the SAE as it is used without the rule keeps \(decimals(finalActive, 1)): its results are those of another "
            + "sparsity than the one that was trained"
            + (rule.inference == nil
                ? "; the rule has no form of its own for that (dmsae.sparsity_rule.inference/1), so that one threshold for "
                    + "all latents, the smallest value it selected, is taken" : "; train longer")
    }
}

/// A training that is done, of a rule that failed when it was asked for the form in which the SAE is used.
public struct TrainedWithoutForm: Error {
    /// The rule's name.
    public let rule: String
    /// What it threw.
    public let cause: any Error

    /// As an error of a program that kept the SAE in `folder`.
    public func kept(in folder: String) -> DistillationError {
        .formMissing(rule: rule, reason: "\(cause)", folder: folder)
    }
}

/// Runs a trainer over a source of batches with progress, a log and a way to stop.
public struct TrainingRun {
    /// Shown in the bar and written in events.
    public var name: String
    /// Steps between two logged ones.
    public var logEvery: Int
    /// Looked at whenever a step is logged: a training whose folder is gone need not go on.
    public var lock: OutputLock?
    /// Where its state is kept from time to time and when it is stopped; nil for a training that is lost then.
    public var checkpoints: TrainingCheckpoints?
    private let progress: any ProgressSink
    private let stop: StopRequest

    /// A run that logs about a hundred times.
    public init(name: String, steps: Int, progress: any ProgressSink, stop: StopRequest, lock: OutputLock? = nil) {
        self.name = name
        self.progress = progress
        self.stop = stop
        self.lock = lock
        logEvery = max(1, steps / 100)
    }

    /// Trains from where the trainer is to the end of the plan, and brings the SAE into the form in which it is used on activations `inputScale` times
    /// those of the source.
    ///
    /// - Throws: what the trainer, the source and the log throw; `DistillationError.interrupted`; `OutputLockError`;
    ///   `TrainedWithoutForm` where all that is wrong is the end: the SAE has been trained.
    public func train(
        _ trainer: Trainer, from source: BatchSource, log: EventLog?, inputScale: Float
    ) throws -> TrainingOutcome {
        let (plan, first) = (trainer.plan, trainer.step)
        guard first < plan.steps else {
            throw DistillationError.startedOtherwise(
                what: "training", folder: name, key: "steps", was: "more than the \(first) that are done",
                now: "\(plan.steps)")
        }
        var batch = try trainer.makeBatch()
        var spare = trainer.preparesAhead ? try trainer.makeBatch() : batch
        progress.begin(
            "train \(name)" + (first > 0 ? " from step \(first)" : ""), total: plan.steps - first, unit: "steps")
        defer { progress.end() }
        var last: StepRecord?
        for step in first..<plan.steps {
            if step > first { try keepState(of: trainer, log) }
            try stop.check()
            if step == first || !trainer.preparesAhead {
                do { try source(step, batch) } catch DistillationError.interrupted {
                    if step > first { try keepState(of: trainer, log) }
                    throw DistillationError.interrupted
                }
            }
            let record = try trainer.update(batch) {
                guard step + 1 < plan.steps else { return nil }
                // A batch may take a while to be made; the step that is under way is finished first.
                do { try source(step + 1, spare) } catch DistillationError.interrupted { return nil }
                return spare
            }
            let isLogged = step % logEvery == 0 || step + 1 == plan.steps
            if isLogged {
                try lock?.requireInPlace()
                try log?.append(TrainingEvent(run: name, record: record))
            }
            progress.advance(by: 1, detail: isLogged ? "loss \(decimals(record.loss, 4))" : "")
            last = record
            if trainer.preparesAhead && step + 1 < plan.steps { swap(&batch, &spare) }
        }
        guard let last else { preconditionFailure("a plan of no steps") }
        // Without this there is nothing that was trained.
        try trainer.bringBack()
        do { try trainer.finish(inputScale: inputScale) } catch  where !stop.isRaised {
            throw TrainedWithoutForm(rule: trainer.rule.name, cause: error)
        }
        kernels.scale(batch.elements, inputScale, batch.count)
        return TrainingOutcome(
            last: last, trainedActive: last.meanActiveCore + last.meanActiveNonCore,
            finalActive: try active(batch, trainer))
    }

    /// A checkpoint, where it is time for one or the training is about to be stopped. A disk that is full now may have room at
    /// the end, so that alone ends no training; at a stop it has to be said.
    private func keepState(of trainer: Trainer, _ log: EventLog?) throws {
        guard let checkpoints, stop.isRaised || checkpoints.isDue else { return }
        do {
            try checkpoints.keep(trainer, events: log?.text ?? "")
        } catch let error as TensorFileError where !stop.isRaised {
            progress.warn("no checkpoint of \(name) at step \(trainer.step): \(error)")
        }
    }

    /// Mean active latents of an SAE on x [B, d]; nil while its threshold is unset. Rows enough for a mean, and few enough
    /// for one that keeps every latent.
    private func active(_ x: Matrix, _ trainer: Trainer) throws -> Double? {
        let x = x.copy(rows: 0..<min(x.rows, 512))
        let codes = SparseCodes()
        do {
            try SparseEncoder().encode(x, with: trainer.sae, into: codes)
        } catch SparseCodingError.thresholdUnset {
            return nil
        }
        return Double(codes.count) / Double(x.rows)
    }
}
