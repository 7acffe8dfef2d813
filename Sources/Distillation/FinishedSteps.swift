import SparseCoding
import TensorFiles

/// What of a run is finished, read from its records and checked against the marks of its steps: for those who show a run and do
/// not go on with it. Of a step without a mark nothing is taken; weights are not looked at.
public struct FinishedSteps: Sendable {
    /// What the run was started with.
    public let run: RunRecord
    /// Of each seed.
    public let seeds: [FinishedSeed]

    /// Of seeds that were read.
    package init(run: RunRecord, seeds: [FinishedSeed]) { (self.run, self.seeds) = (run, seeds) }

    /// Reads the folder of a run.
    ///
    /// - Throws: `DistillationError.badStep` for a step whose records are not as the run wrote them, or were written by a run with
    ///   another run.json; `.otherOutcome`, `.logOfAnother`; `TensorFileError` for a folder that is none.
    public init(folder: String) throws {
        run = try JSONRecord.read(RunRecord.self, from: folder + "/run.json")
        let identity = run.identity
        let store = RunFolder(folder).activationsMark(isLive: run.recipe["harvest.live"] == "true")
        let mark = exists(store) ? try SHA256.hexadecimal(ofFile: store) : nil
        let result = folder + "/result.json"
        let count = run.recipe["seeds"].flatMap { Int($0) } ?? 1, first = run.recipe["seed"].flatMap { Int($0) } ?? 1
        guard (1...1000).contains(count), (0..<1 << 53).contains(first) else {
            throw TensorFileError.unusable(
                file: folder + "/run.json", what: "it tells of \(count) seeds from \(first) on",
                next: "run the recipe again")
        }
        let last = run.recipe["distill.cycles"].flatMap { Int($0) }
        let stopAt = run.recipe["distill.stop_at"].flatMap { Double($0) }
        func read(_ place: String, _ seed: Int) throws -> FinishedSeed {
            try FinishedSeed(place, seed: seed, last: last, stopAt: stopAt, run: identity, after: mark)
        }
        let log = folder + "/events.jsonl"
        func checkLog() throws { if exists(log) { try EventLog.requireRun(identity, in: log) } }
        guard count > 1 else {
            var only = try read(folder, first)
            // Before the last cycle has its mark, a result is another run's.
            if exists(result), only.isLast {
                try only.settle(try JSONRecord.read(DistillationRecord.self, from: result), path: result)
            }
            seeds = [only]
            try checkLog()
            return
        }
        var all = try (first..<first + count).map { try read("\(folder)/seed-\($0)", $0) }
        if exists(result), all.allSatisfy(\.isLast) {
            let record = try JSONRecord.read(RepeatedRecord.self, from: result)
            guard record.seeds == all.map(\.seed), record.runs.count == count,
                record == RepeatedRecord(firstSeed: first, record.runs)
            else { throw DistillationError.otherOutcome(path: result) }
            for i in all.indices { try all[i].settle(record.runs[i], path: result) }
        }
        seeds = all
        try checkLog()
    }
}

/// An SAE of a run, as the mark of its step knows it.
public struct FinishedSAE: Sendable {
    /// Which of the run's.
    public enum Place: Sendable, Equatable {
        case cycle(Int)
        case trial(TrialPlan)
    }

    public let place: Place
    /// SHA-256 by the name of the file.
    public let hashes: [String: String]

    init(_ place: Place, _ hashes: [String: String]) { (self.place, self.hashes) = (place, hashes) }
}

/// What of one seed is finished.
public struct FinishedSeed: Sendable {
    /// The seed.
    public let seed: Int
    /// Each cycle's record.
    public let cycles: [CycleRecord]
    /// Each cycle's core.
    public let cores: [Core]
    /// What the last two cycles both selected; nil before that is known.
    public let stableCore: Core?
    /// Final SAEs of a run that is finished.
    public private(set) var trials: [TrialRecord] = []
    /// SAEs of cycles and trials, and how their files are known.
    public private(set) var saes: [FinishedSAE] = []
    /// Whether all cycles are there.
    fileprivate let isLast: Bool
    private let folder: String
    private let run: String
    private let mark: String?

    fileprivate init(
        _ folder: String, seed: Int, last: Int?, stopAt: Double?, run identity: String, after: String?
    ) throws {
        var mark = after
        var (cycles, cores, saes): ([CycleRecord], [Core], [FinishedSAE]) = ([], [], [])
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
                saes.append(FinishedSAE(.cycle(record.cycle), try StepMark.files(of: cycle, under: "sae/")))
                return own
            }
        }
        (self.folder, self.seed, run, self.mark) = (folder, seed, identity, mark)
        (self.cycles, self.cores, self.saes) = (cycles, cores, saes)
        isLast = cycles.last.map { $0.cycle == last || Recipe.isStable($0, stopAt: stopAt) } ?? false
        stableCore = isLast ? try Self.stableCore(folder, of: cores) : nil
    }

    /// Takes the trials of the outcome, each as its folder has it.
    fileprivate mutating func settle(_ result: DistillationRecord, path: String) throws {
        guard result.cycles == cycles, result.coreSize == stableCore?.latents.count else {
            throw DistillationError.otherOutcome(path: path)
        }
        for record in result.trials {
            guard record.trial.isInOneFolder else { throw DistillationError.otherOutcome(path: path) }
            let step = folder + "/" + record.trial.folder
            let found = try Self.reading(step) {
                _ = try StepMark.check(records: ["metrics.json", TrialFiles.plan], of: step, run: run, after: mark)
                return TrialRecord(
                    trial: try JSONRecord.read(TrialPlan.self, from: step + "/" + TrialFiles.plan),
                    sae: try JSONRecord.read(SAERecord.self, from: step + "/metrics.json"))
            }
            guard found == record else { throw DistillationError.otherOutcome(path: path) }
            saes.append(FinishedSAE(.trial(record.trial), try StepMark.files(of: step)))
        }
        trials = result.trials
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
}
