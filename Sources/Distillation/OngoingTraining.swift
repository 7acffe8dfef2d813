import Kernels
import LinearAlgebra
import SparseCoding
import TensorFiles

/// A training between two of its steps.
final class OngoingTraining {
    let run: TrainingRun
    let trainer: Trainer
    private let source: BatchSource
    private let log: EventLog?
    private let firstStep: Int
    /// Of the step that is next, once `isLoaded`; of the last one at the end.
    private var batch: Matrix
    /// Gets the batch of the step after it while a device is at work on this one.
    private var spare: Matrix
    private var isLoaded = false
    private var last: StepRecord?
    /// What progress calls it among others; "" by itself.
    var label = ""

    /// - Throws: what the device throws; `DistillationError.startedOtherwise` where nothing is left to be done.
    init(
        _ run: TrainingRun, _ trainer: Trainer, from source: @escaping BatchSource, log: EventLog?
    ) throws {
        guard trainer.step < trainer.plan.steps else {
            throw DistillationError.startedOtherwise(
                what: "training", folder: run.name, key: "steps", was: "more than the \(trainer.step) that are done",
                now: "\(trainer.plan.steps)")
        }
        (self.run, self.trainer, self.source, self.log) = (run, trainer, source, log)
        firstStep = trainer.step
        batch = try trainer.makeBatch()
        spare = trainer.preparesAhead ? try trainer.makeBatch() : batch
    }

    /// Where its rows come from, if that can be looked at before they are asked for.
    var batches: (any TrainingBatches)? { run.checkpoints?.batches }

    var remainingSteps: Int { trainer.plan.steps - trainer.step }

    /// Whether all that is left is `finish`.
    var isDone: Bool { remainingSteps == 0 }

    /// Whether `advance` can be called without a block being made for it. It reads one batch at most.
    var isReady: Bool {
        guard let batches, !isDone else { return true }
        let isReading = !isLoaded || trainer.preparesAhead && remainingSteps > 1
        return !isReading || batches.isAtHand(rows: batch.rows)
    }

    /// Lets another block take the place of the one in memory, of which there is no whole batch left.
    ///
    /// - Throws: as `TrainingBatches.setAside`.
    func setAside() throws { try batches?.setAside(rows: batch.rows) }

    /// Takes a step; where the trainer prepares ahead, the first call reads the first batch and no more.
    ///
    /// - Throws: as `TrainingRun.train`. A wish to stop, also while rows are made, leaves a checkpoint.
    func advance() throws {
        // Looked at once: a wish that comes between two looks would end it without a checkpoint.
        let isStopped = run.stop.isRaised
        if isStopped || trainer.step > firstStep && run.checkpoints?.isDue == true { try keep() }
        if isStopped { throw DistillationError.interrupted }
        if !isLoaded {
            do { try source(trainer.step, batch) } catch DistillationError.interrupted {
                try keep()
                throw DistillationError.interrupted
            }
            isLoaded = true
            if trainer.preparesAhead { return }
        }
        try takeStep()
    }

    private func takeStep() throws {
        let (step, steps) = (trainer.step, trainer.plan.steps)
        isLoaded = false
        var isPrepared = false
        let record = try trainer.update(batch) {
            guard step + 1 < steps else { return nil }
            // A batch may take a while to be made; the step that is under way is finished first.
            do { try source(step + 1, spare) } catch DistillationError.interrupted { return nil }
            isPrepared = true
            return spare
        }
        if isPrepared {
            swap(&batch, &spare)
            isLoaded = true
        }
        last = record
        let isLogged = step % run.logEvery == 0 || step + 1 == steps
        if isLogged {
            try run.lock?.requireInPlace()
            try log?.append(TrainingEvent(run: run.name, record: record))
        }
        run.progress.advance(by: 1, detail: isLogged ? "\(label)loss \(decimals(record.loss, 4))" : "")
    }

    /// A checkpoint of what was done here.
    ///
    /// A disk that is full now may have room at the end, so that alone ends no training; at a stop it has to be said.
    func keep() throws {
        guard let checkpoints = run.checkpoints, trainer.step > firstStep, !isDone else { return }
        do {
            try checkpoints.keep(trainer, events: log?.text ?? "")
        } catch let error as TensorFileError where !run.stop.isRaised {
            run.progress.warn("no checkpoint of \(run.name) at step \(trainer.step): \(error)")
        }
    }

    /// Brings the SAE of a training that is done into the form in which it is used on activations `inputScale` times those of the source.
    ///
    /// - Throws: what the device throws; `TrainedWithoutForm`.
    func finish(inputScale: Float) throws -> TrainingOutcome {
        guard isDone, let last else { preconditionFailure("\(remainingSteps) steps are left") }
        // Without this there is nothing that was trained.
        try trainer.bringBack()
        do { try trainer.finish(inputScale: inputScale) } catch  where !run.stop.isRaised {
            throw TrainedWithoutForm(rule: trainer.rule.name, cause: error)
        }
        kernels.scale(batch.elements, inputScale, batch.count)
        return TrainingOutcome(
            last: last, trainedActive: last.meanActiveCore + last.meanActiveNonCore, finalActive: try finalActive())
    }

    /// Mean active latents of the SAE on the last batch; nil while its threshold is unset. Rows enough for a mean, and few enough
    /// for one that keeps every latent.
    private func finalActive() throws -> Double? {
        let x = batch.copy(rows: 0..<min(batch.rows, 512))
        let codes = SparseCodes()
        do {
            try SparseEncoder().encode(x, with: trainer.sae, into: codes)
        } catch SparseCodingError.thresholdUnset {
            return nil
        }
        return Double(codes.count) / Double(x.rows)
    }
}
