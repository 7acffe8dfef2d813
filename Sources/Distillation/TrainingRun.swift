import LinearAlgebra
import SparseCoding
import TensorFiles

/// One logged step of a training in `events.jsonl`.
public struct TrainingEvent: Encodable, Sendable {
    /// Always "step".
    public let event = "step"
    /// Which training: "cycle-2", "final/k-64/dmsae".
    public let run: String
    /// The step.
    public let record: StepRecord
}

/// Where batches come from: fills a matrix [B, d] with the batch of a step.
public typealias BatchSource = (_ step: Int, _ target: Matrix) throws -> Void

/// Runs a trainer over a source of batches with progress, a log and a way to stop.
public struct TrainingRun {
    /// Shown in the bar and written in events.
    public var name: String
    /// Steps between two logged ones.
    public var logEvery: Int
    private let progress: any ProgressSink
    private let stop: StopRequest

    /// A run that logs about a hundred times.
    public init(name: String, steps: Int, progress: any ProgressSink, stop: StopRequest) {
        self.name = name
        self.progress = progress
        self.stop = stop
        logEvery = max(1, steps / 100)
    }

    /// Trains to the end of the plan and returns the last step.
    ///
    /// - Throws: what the trainer, the source and the log throw; `DistillationError.interrupted`.
    public func train(_ trainer: Trainer, from source: BatchSource, log: EventLog?) throws -> StepRecord {
        let plan = trainer.plan
        let batch = Matrix(rows: plan.batchSize, columns: trainer.sae.dIn)
        progress.begin("train \(name)", total: plan.steps, unit: "steps")
        defer { progress.end() }
        var last: StepRecord?
        for step in 0..<plan.steps {
            try stop.check()
            try source(step, batch)
            let record = try trainer.update(batch)
            let isLogged = step % logEvery == 0 || step + 1 == plan.steps
            if isLogged { try log?.append(TrainingEvent(run: name, record: record)) }
            progress.advance(by: 1, detail: isLogged ? "loss \(decimals(record.loss, 4))" : "")
            last = record
        }
        guard let last else { preconditionFailure("a plan of no steps") }
        return last
    }
}

/// A number with `places` decimals; `String(format:)` would need all of Foundation.
public func decimals(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    guard abs(value) * scale < 1e15 else { return "\(value)" }
    let rounded = Int((abs(value) * scale).rounded())
    let sign = value < 0 && rounded > 0 ? "-" : ""
    guard places > 0 else { return sign + String(rounded) }
    let fraction = String(rounded % Int(scale))
    return sign + String(rounded / Int(scale)) + "."
        + String(repeating: "0", count: places - fraction.count) + fraction
}
