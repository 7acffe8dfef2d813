import Glibc
import LinearAlgebra
import SparseCoding
import TensorFiles

/// How the state of what takes long is kept, and gone on from.
public struct CheckpointPolicy: Sendable {
    /// Seconds between two checkpoints, 0 or more.
    public var seconds: Double
    /// Seconds of a clock that only runs forwards.
    public var clock: @Sendable () -> Double
    /// Whether another machine may go on from it, see `Causes.machine`. The bits are then not those of an uninterrupted run.
    public var goesOnElsewhere = false

    /// Every so many seconds: ten minutes of work are lost at most.
    public init(seconds: Double = 600, clock: @escaping @Sendable () -> Double = monotonicSeconds) {
        (self.seconds, self.clock) = (seconds, clock)
    }
}

/// The last two checkpoints of a training: `step-N.safetensors`, its `TrainerState`, and `step-N.json`, written after it, with the
/// SHA-256 of the first and all that the training depends on.
///
/// Two, since the last may be the one that a failing disk spoilt. Where in its batches the training is follows from the step, or
/// is kept with it (`TrainingBatches.place`), and nothing random is drawn on the way, so that a training that goes on takes the
/// steps that it would have.
public final class TrainingCheckpoints {
    private struct Record: Codable {
        var sha256: String
        var causes: Causes
    }

    private let folder: String
    private let training: String
    private let causes: Causes
    private let changeable: Set<String>
    private let policy: CheckpointPolicy
    private let lock: OutputLock?
    private var last: Double
    /// Of the training, where a step is not found by its number.
    public var batches: (any TrainingBatches)?

    /// Checkpoints of a training into the folder `output`, in a folder there that is made with the first; of `causes`, those named
    /// in `changeable` may be others when it goes on.
    init(
        into output: String, causes: Causes, changeable: Set<String> = [], policy: CheckpointPolicy, lock: OutputLock?
    ) {
        (folder, training, self.causes, self.changeable) = (Self.place(in: output), output, causes, changeable)
        (self.policy, self.lock) = (policy, lock)
        last = policy.clock()
    }

    /// Checkpoints of a training by itself. All that its SAE's record says decides about it, and what the bits depend on: only the
    /// number of steps may be another when it goes on, where no rate depends on it.
    ///
    /// - Parameter version: of the program.
    public convenience init(
        of provenance: SAEProvenance, into output: String, version: String, policy: CheckpointPolicy, lock: OutputLock
    ) throws {
        let isConstant = provenance.plan.map { $0.decayStart == nil } ?? false
        self.init(
            into: output, causes: try Causes(of: provenance).with(Causes.machine).with(["dmsae": version]),
            changeable: isConstant ? ["plan.steps", "steps"] : [], policy: policy, lock: lock)
    }

    /// Where those of a training into the folder `output` lie.
    public static func place(in output: String) -> String { output + "/checkpoint" }

    /// The step of the newest checkpoint in a folder; nil if there is none.
    public static func newestStep(in folder: String) -> Int? { steps(in: folder).last }

    /// Steps that have a record, ascending.
    private static func steps(in folder: String) -> [Int] {
        ((try? namesInFolder(folder)) ?? []).compactMap { name in
            guard name.hasPrefix("step-"), name.hasSuffix(".json") else { return nil }
            return Int(name.dropFirst(5).dropLast(5))
        }.sorted()
    }

    private func path(_ step: Int) -> String { "\(folder)/step-\(step)" }

    // MARK: Going on

    /// What inputs were divided by in the live training that left checkpoints in a folder; nil if there is none to go on from.
    public static func inputScale(in folder: String) -> Double? {
        for step in steps(in: folder).reversed() {
            let path = "\(folder)/step-\(step)"
            guard let record = try? JSONRecord.read(Record.self, from: path + ".json"),
                let file = try? whole(path + ".safetensors", record)
            else { continue }
            return file.metadata["rows"].flatMap(LiveBatches.Place.init)?.inputScale
        }
        return nil
    }

    /// The weights that a record is of; nil for others.
    private static func whole(_ weights: String, _ record: Record) throws -> SafetensorsFile? {
        guard try SHA256.hexadecimal(ofFile: weights) == record.sha256 else { return nil }
        return try SafetensorsFile(path: weights)
    }

    /// Takes the newest checkpoint that is as it was written into `state`, and its place into `batches`.
    ///
    /// - Parameter log: gets the events that the training had logged in it until then, if it replaces another.
    /// - Returns: whether there was one; without, the training begins at step 0.
    /// - Throws: `DistillationError.startedOtherwise`; `TensorFileError`.
    package func restore(_ state: inout TrainerState, log: EventLog?, warn: (String) -> Void) throws -> Bool {
        for step in Self.steps(in: folder).reversed() {
            guard let record = try? JSONRecord.read(Record.self, from: path(step) + ".json"),
                let file = try? Self.whole(path(step) + ".safetensors", record)
            else {
                warn("\(path(step)).json or .safetensors is not as it was written; going on from before it")
                continue
            }
            let elsewhere = policy.goesOnElsewhere ? Causes.machineNames : []
            if let (key, was, now) = causes.difference(from: record.causes, except: changeable.union(elsewhere)) {
                throw DistillationError.startedOtherwise(
                    what: "training", folder: training, key: key, was: was, now: now)
            }
            if let batches, !batches.goOn(at: step, from: file.metadata["rows"]) {
                warn(
                    "\(path(step)).safetensors does not say where in its text the training was; going on from before it"
                )
                continue
            }
            if let (key, was, now) = causes.difference(from: record.causes, except: changeable) {
                warn(
                    "\(training) goes on with \(key) = \(now), it was \(was): not to the bits of an uninterrupted training"
                )
            }
            try state.restore(file)
            if let events = file.metadata["events"], !events.isEmpty { try log?.append(lines: events) }
            return true
        }
        return false
    }

    // MARK: Keeping

    /// Whether it is time for another.
    var isDue: Bool { policy.clock() - last >= policy.seconds }

    /// Keeps the trainer as it is, and of those before only the last. To be called between two steps.
    ///
    /// - Throws: `TensorFileError.unwritable`, with the checkpoints before untouched; `OutputLockError`; what the device throws.
    func keep(_ trainer: Trainer, events: String) throws {
        // Also after a failure: a full disk is not tried again at every step.
        last = policy.clock()
        try lock?.requireInPlace()
        try createFolder(folder)
        AtomicFile.removeLeftovers(in: folder)
        let step = trainer.step
        let weights = path(step) + ".safetensors"
        var metadata = ["events": events]
        metadata["rows"] = try batches?.place(of: step)
        try trainer.file(at: weights, metadata: metadata).commit()
        let record = Record(sha256: try SHA256.hexadecimal(ofFile: weights), causes: causes)
        try JSONRecord.write(record, to: path(step) + ".json")
        removeAll(but: Self.steps(in: folder).filter { $0 < step }.suffix(1) + [step])
        last = policy.clock()
    }

    /// Removes all: the training is done, and what came of it is written.
    public func clear() {
        removeAll(but: [])
        AtomicFile.removeLeftovers(in: folder)
        rmdir(folder)
    }

    /// Records first: weights without one are none.
    private func removeAll(but kept: [Int]) {
        let names = ((try? namesInFolder(folder)) ?? []).filter { name in
            name.hasPrefix("step-") && !kept.contains { name.hasPrefix("step-\($0).") }
        }
        for name in names.filter({ $0.hasSuffix(".json") }) + names { unlink(folder + "/" + name) }
    }
}
