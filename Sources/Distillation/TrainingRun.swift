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

/// How a trainer is run over a source of batches: with progress, a log, checkpoints and a way to stop.
public struct TrainingRun {
    /// Shown in the bar and written in events.
    public var name: String
    /// Steps between two logged ones.
    public var logEvery: Int
    /// Looked at whenever a step is logged: a training whose folder is gone need not go on.
    public var lock: OutputLock?
    /// Where its state is kept from time to time and when it is stopped; nil for a training that is lost then.
    public var checkpoints: TrainingCheckpoints?
    let progress: any ProgressSink
    let stop: StopRequest

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
        _ trainer: Trainer, from source: @escaping BatchSource, log: EventLog?, inputScale: Float
    ) throws -> TrainingOutcome {
        let training = try OngoingTraining(self, trainer, from: source, log: log)
        progress.begin(
            "train \(name)" + (trainer.step > 0 ? " from step \(trainer.step)" : ""), total: training.remainingSteps,
            unit: "steps")
        defer { progress.end() }
        while !training.isDone { try training.advance() }
        return try training.finish(inputScale: inputScale)
    }
}
