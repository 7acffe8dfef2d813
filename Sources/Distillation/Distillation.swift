import Attribution
import Glibc
import Kernels
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// Sequences of a text, from some token on.
public typealias TokenSource = () throws -> TokenBatch?

/// What a distillation works with, made by the program from the recipe's names.
public struct DistillationParts: Sendable {
    /// The language model.
    public var model: any LanguageModel
    /// Its name for records.
    public var modelName: String
    /// Token ids that keep the model's own activation.
    public var specialTokens: Set<Int32>
    /// Sequences of the recipe's text: after `skip` tokens, at most `limit` of them.
    public var text: @Sendable (_ skip: Int, _ limit: Int) throws -> TokenSource
    /// Sequences to evaluate on, at most `limit` tokens; nil: what follows the scored ones.
    public var evaluationText: (@Sendable (_ limit: Int) throws -> TokenSource)?
    /// The sparsity rule.
    public var rule: any SparsityRule
    /// Every setting of it, defaults included.
    public var ruleSettings: [String: String]
    public var scorer: any AttributionScorer
    /// Every setting of it, defaults included.
    public var scorerSettings: [String: String]
    /// For each core of a trial that a shipped scorer chooses, that scorer.
    public var rankings: [CoreSource: CoreRanking] = [:]
    /// SHA-256 of model, text and plugin files, by what they are for and, in a folder, their name.
    public var hashes: [String: String]
    /// Version of the program.
    public var version: String
    /// The SAE in the place of cycle 0's; nil to train one.
    public var start: StartingSAE?
    /// Where trainings are computed.
    package var device: any TrainingDevice = Lanes.shared
    /// How often the state of a training is kept.
    public var checkpoints = CheckpointPolicy()
    /// SAEs of a live run that are trained side by side at most, so that the model makes rows once for all of them; nil for as many as
    /// half of the memory has room for.
    public var together: Int?
    /// Folders of other runs that may have steps which are the same here.
    public var donors: [SharedStep: String] = [:]
    /// Seconds since 1970 for TensorBoard's files; nil for none of them.
    public var boardClock: (@Sendable () -> Double)?

    public init(
        model: any LanguageModel, modelName: String, specialTokens: Set<Int32>,
        text: @escaping @Sendable (_ skip: Int, _ limit: Int) throws -> TokenSource,
        evaluationText: (@Sendable (_ limit: Int) throws -> TokenSource)?, rule: any SparsityRule,
        ruleSettings: [String: String] = [:], scorer: any AttributionScorer, scorerSettings: [String: String] = [:],
        hashes: [String: String] = [:], version: String
    ) {
        self.model = model
        self.modelName = modelName
        self.specialTokens = specialTokens
        self.text = text
        self.evaluationText = evaluationText
        self.rule = rule
        self.ruleSettings = ruleSettings
        self.scorer = scorer
        self.scorerSettings = scorerSettings
        self.hashes = hashes
        self.version = version
    }
}

/// Attribution-guided distillation (arXiv:2512.24975): train, attribute, keep the smallest set of latents that
/// explains τ of the attribution, freeze their encoder vectors, train again, until the core is stable.
///
/// The run folder is the state: each cycle is a function of the recipe and of the cycles before it, so a run that was
/// cut short continues at the last finished cycle with the same bits.
public final class Distillation {
    /// With the seed that is at work.
    private(set) var recipe: Recipe
    /// Where the steps of that seed are in the run: "" of the only one, else "seed-2/".
    private(set) var prefix = ""
    private(set) var parts: DistillationParts
    let run: RunFolder
    let progress: any ProgressSink
    let stop: StopRequest
    let policy: SplicePolicy
    private(set) var log: EventLog?
    /// Held as long as the run writes.
    private(set) var lock: OutputLock?
    /// `RunRecord.identity` of this run, once it is open.
    private(set) var identity = ""
    let layout: PrefixLayout
    /// Before anything of the run took some.
    private let memoryAtStart = MemoryLimit.current

    /// A distillation into a folder.
    public init(
        _ recipe: Recipe, parts: DistillationParts, folder: String, progress: any ProgressSink, stop: StopRequest
    ) throws {
        try recipe.validate()
        precondition(recipe.cycle0 == nil || parts.start != nil, "the SAE of cycle 0 was not read")
        self.recipe = recipe
        self.parts = parts
        run = RunFolder(folder)
        self.progress = progress
        self.stop = stop
        layout = try PrefixLayout(groups: recipe.resolvedGroups, width: recipe.width)
        policy = SplicePolicy(
            keepFirst: recipe.keepFirst, specialTokens: parts.specialTokens,
            sinkRatio: recipe.sinks > 0 ? Float(recipe.sinks) : nil)
    }

    /// Runs what is not done yet.
    ///
    /// Writes `result.json` at the end.
    ///
    /// - Parameter onCycle: called with a seed and each of its cycles' records, also of those read back on a resume.
    /// - Returns: the outcome with each seed.
    /// - Throws: whatever stops a run; everything finished stays in the folder.
    public func distill(
        resuming: Bool, onCycle: (_ seed: Int, CycleRecord) -> Void = { _, _ in }
    ) throws -> [DistillationRecord] {
        guard recipe.layer < parts.model.configuration.layerCount else {
            throw LanguageModelError.layerOutOfRange(
                layer: recipe.layer, layerCount: parts.model.configuration.layerCount)
        }
        guard recipe.context <= parts.model.configuration.contextLength else {
            throw LanguageModelError.sequenceTooLong(
                length: recipe.context, contextLength: parts.model.configuration.contextLength)
        }
        let dIn = parts.model.configuration.dModel
        if let start = parts.start, start.sae.dIn != dIn {
            throw DistillationError.badStart(
                path: start.path,
                reason: "it reads \(start.sae.dIn) numbers, and the model's residual stream has \(dIn)",
                advice: "give the model that it was trained on")
        }
        // Before there is a run to resume: every cycle trains the same number of latents.
        try recipe.requireMemory(dIn: dIn, layout, on: parts.device, together: trainedTogether)
        try parts.device.check(layout, parts.rule)
        try requireTrialSources(dIn: dIn)
        // Not even the folder is made for nothing.
        if resuming && !exists(run.path) { throw DistillationError.nothingToResume(folder: run.path) }
        lock = try OutputLock.folder(run.path) { "what is finished is there, go on with --out \($0) --resume" }
        defer { (log, lock) = (nil, nil) }
        let (record, changed) = try run.open(
            self.record, resuming: resuming, elsewhere: parts.checkpoints.goesOnElsewhere)
        (parts.modelName, identity) = (record.model, record.identity)
        log = try EventLog(run.path + "/events.jsonl", run: identity)
        log?.board = parts.boardClock.map { TensorBoardLog(run.path, clock: $0) }
        // Steps of the cycle that was cut short come again after this line.
        if resuming { try log?.append(ResumeEvent(machine: changed.isEmpty ? nil : changed)) }
        for (name, values) in changed.sorted(by: { $0.key < $1.key }) {
            progress.warn("\(name) was \(values): what comes is not the bits of an uninterrupted run")
        }
        try BorrowedSteps(run: run, record: record, log: log).take(from: parts.donors, cycles: recipe.cycles)
        let store: any ActivationSource
        do {
            store = try recipe.isLive ? openLive() : openStore()
        } catch let error as DistillationError where error == .interrupted {
            throw error
        } catch {
            // A text too short for the harvest and the like: without this, the corrected recipe would meet a run.
            if !resuming {
                run.abandon()
                lock = nil
                rmdir(run.path)
            }
            throw error
        }
        let mark = try SHA256.hexadecimal(ofFile: run.activationsMark(isLive: recipe.isLive))
        let scoring = try scoringSamples()
        let evaluation = try evaluationSet()
        let seeds = (0..<recipe.seeds).map { SeedRun($0, after: mark) }
        // One seed after the other, unless it pays to have their trainings side by side.
        for group in seeds.parts(of: trainedTogether > 1 ? seeds.count : 1) {
            for t in 0...recipe.cycles {
                let open = group.filter { $0.cycles.last.map { !recipe.isLast($0) } ?? true }
                try cycle(t, of: open, store, scoring, evaluation) { seed, record in
                    let first = t > 0 ? seed.cycles.first : nil
                    for warning in FailureSignature.found(in: record, first: first, tau: recipe.tau) {
                        progress.warn(prefix + warning)
                    }
                    onCycle(recipe.seed, record)
                }
            }
            try finish(group, store, scoring, evaluation)
        }
        let records = seeds.map(\.record)
        try lock?.requireInPlace()
        if seeds.count == 1, let only = records.first {
            try JSONRecord.write(only, to: run.path + "/result.json")
        } else {
            try JSONRecord.write(RepeatedRecord(firstSeed: recipe.seed, records), to: run.path + "/result.json")
        }
        return records
    }

    /// How many SAEs may be trained side by side, as a card's memory is now.
    var trainedTogether: Int {
        recipe.trainedTogether(parts.together, dIn: dIn, layout, on: parts.device, limit: memoryAtStart)
    }

    /// Does work of a seed: recipe and prefix are its own meanwhile.
    func at<Result>(_ seed: SeedRun, _ work: () throws -> Result) rethrows -> Result {
        let (whole, outer) = (recipe, prefix)
        defer { (recipe, prefix) = (whole, outer) }
        recipe = whole.repeated(seed.repetition)
        prefix = recipe.folderOfSeed.map { $0 + "/" } ?? ""
        return try work()
    }

    private var record: RunRecord {
        RunRecord(
            version: parts.version, recipe: recipe.recorded, blasCore: BLAS.core,
            kernelLevel: ProcessorLevel.chosen.rawValue, lanes: Lanes.shared.count,
            device: parts.device.record.isEmpty ? nil : parts.device.record, model: parts.modelName,
            rule: "\(parts.rule.name) \(parts.rule.version)", ruleSettings: parts.ruleSettings,
            scorer: "\(parts.scorer.name) \(parts.scorer.version)", scorerSettings: parts.scorerSettings,
            hashes: parts.hashes,
            seeds: (0..<recipe.seeds).flatMap { i in
                (0...(recipe.cycles + 1)).map { seed($0, of: recipe.repeated(i).seed) }
            })
    }

    /// Path of a step's folder, in the folder that is locked and no other.
    ///
    /// - Throws: `OutputLockError`; `TensorFileError.unwritable`.
    func place(_ name: String) throws -> String {
        try lock?.requireInPlace()
        return try run.folder(name)
    }

    /// The seed of cycle t; T + 1 is the final SAEs'.
    func seed(_ t: Int) -> UInt64 { seed(t, of: recipe.seed) }

    /// The same in a run of another seed.
    func seed(_ t: Int, of seed: Int) -> UInt64 {
        // 53 bits survive every JSON reader.
        CounterRandom(seed: UInt64(seed), purpose: .cycleSeed).word(UInt64(t)) >> 11
    }

    private func scoringSamples() throws -> [SpliceSample] {
        try samples(
            from: try parts.text(scoredFrom, scoreTokens), tokens: scoreTokens, purpose: "scoring")
    }

    private func evaluationSet() throws -> EvaluationSet {
        let tokens = recipe.wholeContexts(recipe.evaluationTokens)
        let source =
            try parts.evaluationText?(tokens) ?? parts.text(scoredFrom + scoreTokens, tokens)
        let samples = try samples(from: source, tokens: tokens, purpose: "evaluation")
        progress.begin("evaluate the model", total: tokens, unit: "tokens")
        defer { progress.end() }
        return try EvaluationSet(samples, model: parts.model, hook: recipe.hookPoint, policy: policy) { count in
            try stop.check()
            progress.advance(by: count, detail: "")
        }
    }

    private func samples(from next: TokenSource, tokens: Int, purpose: String) throws -> [SpliceSample] {
        var samples: [SpliceSample] = []
        var count = 0
        progress.begin("run the model for \(purpose)", total: tokens, unit: "tokens")
        defer { progress.end() }
        while count < tokens, let batch = try next() {
            try stop.check()
            samples.append(try SpliceSample(batch, model: parts.model, hook: recipe.hookPoint, policy: policy))
            count += batch.ids.count
            progress.advance(by: batch.ids.count, detail: "")
        }
        guard count >= tokens else {
            throw DistillationError.textTooShort(wanted: tokens, found: count, purpose: purpose)
        }
        return samples
    }
}

private struct ResumeEvent: Encodable {
    let event = "resume"
    /// What of it was another until now.
    let machine: [String: String]?
}
