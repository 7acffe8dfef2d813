import SparseCoding
import TensorFiles

/// What of a run is finished, read from its records and checked against the marks of its steps: for those who show a run and do
/// not go on with it. Of a step without a mark nothing is taken; weights are not looked at.
public struct FinishedSteps: Sendable {
    /// What the run was started with.
    public let run: RunRecord
    /// Each cycle's record.
    public let cycles: [CycleRecord]
    /// Each cycle's core.
    public let cores: [Core]
    /// Final SAEs of a run that is finished.
    public let trials: [TrialRecord]
    /// What the last two cycles both selected; nil before that is known.
    public let stableCore: Core?

    /// Reads the folder of a run.
    ///
    /// - Throws: `DistillationError.badStep` for a step whose records are not as the run wrote them, or were written by a run with
    ///   another run.json; `.otherOutcome`, `.logOfAnother`; `TensorFileError` for a folder that is none.
    public init(folder: String) throws {
        run = try JSONRecord.read(RunRecord.self, from: folder + "/run.json")
        let identity = run.identity
        let store = RunFolder(folder).activationsMark(isLive: run.recipe["harvest.live"] == "true")
        var mark = exists(store) ? try SHA256.hexadecimal(ofFile: store) : nil
        var (cycles, cores): ([CycleRecord], [Core]) = ([], [])
        while exists("\(folder)/cycle-\(cycles.count)/\(StepMark.name)") {
            let cycle = "\(folder)/cycle-\(cycles.count)"
            mark = try Self.reading(cycle) {
                let own = try StepMark.check(records: Self.cycleRecords, of: cycle, run: identity, after: mark)
                let record = try JSONRecord.read(CycleRecord.self, from: cycle + "/metrics.json")
                guard record.cycle == cycles.count else {
                    throw DistillationError.stepDiffers("\(cycle)/metrics.json is of cycle \(record.cycle)")
                }
                cycles.append(record)
                cores.append(try JSONRecord.read(Core.self, from: cycle + "/core.json"))
                return own
            }
        }
        (self.cycles, self.cores) = (cycles, cores)
        let isLast = run.recipe["distill.cycles"] == String(cycles.count - 1)
        stableCore = isLast ? try Self.stableCore(folder, of: cores) : nil
        trials = isLast ? try Self.trials(folder, run: identity, after: mark, cycles, stableCore) : []
        let log = folder + "/events.jsonl"
        if exists(log) { try EventLog.requireRun(identity, in: log) }
    }

    private static let cycleRecords = ["metrics.json", "core.json"]

    private static func reading<Value>(_ step: String, _ read: () throws -> Value) throws -> Value {
        do { return try read() } catch { throw DistillationError.badStep(folder: step, reason: "\(error)") }
    }

    /// The file has no mark of its own: it is made from the last cycle's core.
    private static func stableCore(_ folder: String, of cores: [Core]) throws -> Core? {
        let path = folder + "/final/core.json"
        guard let last = cores.last, exists(path) else { return nil }
        let core = try JSONRecord.read(Core.self, from: path)
        guard core.latents == last.stable.latents else { throw DistillationError.otherOutcome(path: path) }
        return last.stable
    }

    private static func trials(
        _ folder: String, run: String, after mark: String?, _ cycles: [CycleRecord], _ core: Core?
    ) throws -> [TrialRecord] {
        let path = folder + "/result.json"
        guard exists(path) else { return [] }
        let result = try JSONRecord.read(DistillationRecord.self, from: path)
        guard result.cycles == cycles, result.coreSize == core?.latents.count else {
            throw DistillationError.otherOutcome(path: path)
        }
        for record in result.trials {
            guard record.trial.isInOneFolder else { throw DistillationError.otherOutcome(path: path) }
            let step = folder + "/" + record.trial.folder
            let found = try reading(step) {
                _ = try StepMark.check(records: ["metrics.json", TrialFiles.plan], of: step, run: run, after: mark)
                return TrialRecord(
                    trial: try JSONRecord.read(TrialPlan.self, from: step + "/" + TrialFiles.plan),
                    sae: try JSONRecord.read(SAERecord.self, from: step + "/metrics.json"))
            }
            guard found == record else { throw DistillationError.otherOutcome(path: path) }
        }
        return result.trials
    }
}
