import SparseCoding
import TensorFiles

/// A final SAE as a recipe asks for it: where its core comes from, and what of its training is another than the recipe's. nil is what
/// all trials have.
public struct Trial: Sendable, Equatable {
    /// What its folder and its rows in tables are called.
    public var name: String
    /// Where its core comes from.
    public var core: CoreSource
    /// Total L0; it is then trained once, at this k.
    public var k: Double?
    /// Seed in the place of the recipe's, for its parameters and for what is drawn of its core.
    public var seed: Int?
    /// What a dense core may use of the budget.
    public var budget: BudgetScope?
    /// Tokens to train on.
    public var tokens: TrialTokens?
    /// How core latents are selected.
    public var coreMode: CoreMode?
    /// Share of tokens at which latents of a dense core are held.
    public var coreRate: Double?

    /// A trial with this core, and of everything else what the recipe has.
    public init(_ name: String? = nil, core: CoreSource) { (self.name, self.core) = (name ?? core.usualName, core) }

    /// A name is a folder's, and a word on a command line.
    var hasUsableName: Bool { Self.isUsable(name) }

    fileprivate static func isUsable(_ name: String) -> Bool {
        name.utf8.count <= 64 && name.utf8.first != UInt8(ascii: ".") && !name.isEmpty
            && name.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_")].contains(byte)
            }
    }
}

/// How many tokens a trial is trained on.
public enum TrialTokens: Sendable, Equatable {
    /// So many, in whole batches.
    case count(Int)
    /// As many as all that the distilled SAE cost: cycles 0 to T and its own training, T + 2 trainings.
    case totalCompute

    static let totalWord = "total-compute"
}

/// A trial with everything settled, as it is recorded; `trial.json`. One that goes on, or is read back, must be the same.
public struct TrialPlan: Codable, Sendable, Equatable {
    public var name: String
    /// `CoreSource.text`.
    public var core: String
    /// Total L0.
    public var k: Double
    /// Seed of a run that the trial's own seeds are drawn from.
    public var seed: Int
    /// Tokens it is trained on.
    public var tokens: Int
    /// How core latents are selected; nil without a core.
    public var coreMode: CoreMode?
    /// What a dense core may use of the budget; nil without a core.
    public var budget: BudgetScope?
    /// Share of tokens at which latents of a dense core are held; nil where they are left alone.
    public var coreRate: Double?
    /// SHA-256 of what of the core comes from outside of the run: files, the plugin that ranks.
    public var hashes: [String: String]?

    /// Its folder in a run.
    public var folder: String { "final/k-\(k.recipeText)/\(name)" }

    /// Whether that is a folder, whatever was written into the record.
    var isInOneFolder: Bool { Trial.isUsable(name) && k > 0 }

    /// Whether it is a plain Matryoshka SAE.
    public var isPlain: Bool { core == CoreSource.none.text }
    /// Whether its core is what the cycles came to.
    public var isDistilled: Bool { core == CoreSource.distilled.text }
}

/// How a trial turned out.
public struct TrialRecord: Codable, Sendable, Equatable {
    public var trial: TrialPlan
    public var sae: SAERecord
}

extension Recipe {
    /// The trials: those that are named, or the final SAE and a plain one, with a random core beside them if that is asked for.
    public var resolvedTrials: [Trial] {
        trials.list ?? [.distilled, .none].map { Trial(core: $0) } + (randomCore ? [Trial(core: .random)] : [])
    }

    /// Every training of a trial, those of one k together: each at every k of the recipe, or once at its own.
    var trialPlans: [(trial: Trial, plan: TrialPlan)] {
        let all = resolvedTrials
        var ks: [Double] = all.contains { $0.k == nil } ? resolvedFinalK : []
        for k in all.compactMap(\.k) where !ks.contains(k) { ks.append(k) }
        return ks.flatMap { k in
            all.filter { $0.k == k || $0.k == nil && resolvedFinalK.contains(k) }.map { ($0, plan($0, k: k)) }
        }
    }

    private func plan(_ trial: Trial, k: Double) -> TrialPlan {
        let hasCore = trial.core != .none
        let mode = hasCore ? trial.coreMode ?? resolvedFinalCoreMode : nil
        return TrialPlan(
            name: trial.name, core: trial.core.text, k: k, seed: trial.seed.map { $0 + repetition } ?? seed,
            tokens: steps(of: trial) * batch,
            coreMode: mode, budget: hasCore ? trial.budget ?? finalBudget : nil,
            coreRate: mode == .dense ? trial.coreRate ?? coreRate : nil)
    }

    /// Steps of a trial's training; batches are whole.
    func steps(of trial: Trial) -> Int {
        switch trial.tokens {
        case nil: steps
        case .count(let tokens): tokens / batch
        case .totalCompute: resolvedCycleSteps * (cycles + 1) + steps
        }
    }

    /// Checks what can be checked of the trials before any work; the recipe's own numbers are checked.
    ///
    /// - Throws: `DistillationError.badValue`.
    func validateTrials(_ layout: PrefixLayout) throws {
        let all = resolvedTrials
        func refuse(_ trial: Trial, _ what: String, _ value: Any, _ wanted: String) -> DistillationError {
            .badValue(key: "final.trials (\(trial.name)) \(what)", value: "\(value)", wanted: wanted)
        }
        guard trials.list == nil || !randomCore else {
            throw DistillationError.badValue(
                key: "final.random_core", value: "true",
                wanted: "false where final.trials are given; add random to them")
        }
        guard !all.isEmpty, all.count <= 1000 else {
            throw DistillationError.badValue(
                key: "final.trials", value: "\(all.count) trials", wanted: "a list of 1 to 1000")
        }
        var names = Set<String>()
        for trial in all {
            guard trial.hasUsableName else {
                throw refuse(
                    trial, "name", trial.name, "1 to 64 letters, digits, \".\", \"-\" or \"_\", no \".\" first")
            }
            guard names.insert(trial.name).inserted else {
                throw refuse(trial, "name", trial.name, "the name of one trial only; give the other a name of its own")
            }
            if case .cycle(let cycle) = trial.core, !(0...cycles).contains(cycle) {
                throw refuse(trial, "core", trial.core.text, "one of the cycles 0 to \(cycles)")
            }
            if case .cycle(let cycle) = trial.core, cycle > 1, stopAt != nil {
                throw refuse(
                    trial, "core", trial.core.text, "cycle:0 or cycle:1, since distill.stop_at may end them there")
            }
            if trial.tokens == .totalCompute, stopAt != nil {
                throw refuse(
                    trial, "tokens", TrialTokens.totalWord,
                    "a number, since distill.stop_at leaves open how many cycles there are")
            }
            if let rate = trial.coreRate {
                guard rate > 0, rate < 1 else { throw refuse(trial, "core_rate", rate, "between 0 and 1") }
                guard trial.core != .none, trial.coreMode ?? resolvedFinalCoreMode == .dense else {
                    throw refuse(trial, "core_rate", rate, "left out where there is no dense core")
                }
            }
            if case .pooled(let paths) = trial.core, paths.count < 2 || Set(paths).count < paths.count {
                throw refuse(trial, "core", trial.core.text, "two SAEs or more, each once")
            }
            if trial.core == .none, trial.budget != nil || trial.coreMode != nil {
                throw refuse(trial, "core", "none", "one that budget and core_mode can be about, or these left out")
            }
            if let seed = trial.seed, !(0..<1 << 53).contains(seed) {
                throw refuse(trial, "seed", seed, "0 or more, and below 2^53")
            }
            if case .count(let tokens) = trial.tokens {
                guard tokens >= 2 * batch else {
                    throw refuse(trial, "tokens", tokens, "at least two batches of \(batch) (train.batch)")
                }
            }
            let steps = steps(of: trial)
            for k in trial.k.map({ [$0] }) ?? resolvedFinalK {
                let key = trial.k == nil ? (finalK == nil ? "train.k" : "final.k") : "final.trials (\(trial.name)) k"
                let plan = try plan(k: k, key: key, trial.budget ?? finalBudget, layout, steps: steps)
                guard plan.thresholdStart < steps - 1 else {
                    throw refuse(
                        trial, "tokens", steps * batch,
                        "more than train.threshold_start + 1 (\(plan.thresholdStart + 1)) steps of \(batch), or the threshold "
                            + "is never set")
                }
            }
        }
    }
}
