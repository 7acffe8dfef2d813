import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// Everything a distillation is told. Every key has a default and a line of documentation in `Recipe.keys`; optional
/// values are "auto" in a file and resolved when the run starts.
public struct Recipe: Sendable {
    /// Keys that a file or an option named.
    var given: Set<String> = []
    /// What the file is to be swept over; no setting of a run.
    public internal(set) var grid: RecipeGrid?
    /// Seed of everything drawn at random.
    public var seed = 1
    /// How many seeds, from `seed` on, cycles and trials are repeated with.
    public var seeds = 1
    /// Which of them this is the recipe of, from 0.
    private(set) var repetition = 0
    /// Language model: a folder, a .gguf file, or "demo" for the fetched one.
    public var model = "demo"
    /// Text to harvest and score, or "demo".
    public var text = "demo"
    /// Text to evaluate on, or "auto" for the demo's test part (the end of `text` for other texts).
    public var evaluationText: String?
    /// Whether lines of the texts that cannot be read are passed over.
    public var skipBadLines = false
    /// The member of a line of .jsonl that holds the text.
    public var textKey = "text"
    /// What .bin files of token ids consist of.
    public var tokenType: TokenWidth?
    /// Whether documents are joined; else each is in sequences of its own.
    public var pack = true
    /// Tokens whose positions count nowhere, by ids or text; nil for none.
    public var excludeTokens: [String]?
    /// Whether sequences begin with the beginning-of-sequence token; nil for as the model's tokenizer says.
    public var begins: Bool?
    /// Whether a special token spelled out in the texts is that token.
    public var parseSpecial = false
    /// The block whose output is explained.
    public var layer = 15
    /// Where in the block, by its whole name; nil for the residual stream after it.
    public var hook: HookPoint?
    /// Tokens per sequence.
    public var context = 256
    /// Sequences per forward pass.
    public var sequences = 8
    /// Tokens to harvest.
    public var harvestTokens = 300_000
    /// Seed by which the rows of a store are shuffled; nil for `seed`.
    public var harvestSeed: Int?
    /// Whether the model makes activations as trainings need them, and nothing is stored.
    public var isLive = false
    /// Tokens that live trainings shuffle at a time.
    public var buffer = LiveBlocks.standardTokens
    /// F, latents of an SAE.
    public var width = 4096
    /// Group sizes without a core.
    public var groups: [Int]?
    /// k, mean active latents a token.
    public var k = 64.0
    /// B, tokens a step.
    public var batch = 1024
    /// Steps per SAE.
    public var steps = 1000
    /// Peak learning rate.
    public var learningRate: Double?
    /// Steps of linear warm-up from 0.
    public var warmup: Int?
    /// Step at which the rate starts to fall.
    public var decayStart: DecayStart?
    /// The threshold is updated after this step.
    public var thresholdStart: Int?
    /// β of the threshold.
    public var thresholdBeta: Double?
    /// Tokens of silence after which a latent is dead.
    public var deadAfter: Int?
    /// Weight of the auxiliary loss.
    public var auxiliaryWeight: Double?
    /// Sparsity rule: a name or a path, settings after commas.
    public var sparsity = "batchtopk"
    /// Budget while distilling.
    public var cycleBudget = BudgetScope.nonCore
    /// Scorer: a name or a path, settings after commas.
    public var scorer = "gxa"
    /// Tokens to score per cycle.
    public var scoreTokens = 16_384
    /// Aggregate over tokens.
    public var aggregate = "quantile:0.99"
    /// Over all or active tokens.
    public var over = AggregateScope.all
    /// Aggregates signed scores, not absolute ones.
    public var signed = false
    /// Which latents cores are selected from.
    public var candidates = CandidateScope.inner
    /// τ in (0, 1]: the share of all attribution that a core has.
    public var tau = 0.9
    /// T, cycles after cycle 0.
    public var cycles = 7
    /// An SAE in the place of cycle 0's: any that `convert` reads.
    public var cycle0: String?
    /// How core latents are selected while distilling.
    public var coreMode = CoreMode.dense
    /// Share of tokens at which each latent of a dense core is held; nil to leave them alone.
    public var coreRate: Double?
    /// How the latents outside of the core start.
    public var nonCore = NonCoreStart.fresh
    /// Steps of the SAEs of cycles; nil for `steps`.
    public var cycleSteps: Int?
    /// Jaccard of a core with the last one at which cycles end before `cycles`; nil for never.
    public var stopAt: Double?
    /// How the core's decoder rows start.
    public var coreDecoder = CoreDecoderStart.random
    /// How the core's b_enc starts.
    public var coreBias = CoreBiasStart.fresh
    /// Whether the core alone is a prefix of the loss.
    public var corePrefixLoss = false
    /// The final SAEs; see `resolvedTrials`.
    public var trials = TrialList()
    /// k of the final SAEs.
    public var finalK: [Double]?
    /// How core latents of the final SAEs are selected; nil for as while distilling.
    public var finalCoreMode: CoreMode?
    /// Budget of the final SAEs with a core.
    public var finalBudget = BudgetScope.total
    /// Whether one with a random core is among the trials where none are named.
    public var randomCore = false
    /// Tokens to evaluate on.
    public var evaluationTokens = 8192
    /// First positions of a sequence that are kept.
    public var keepFirst = 1
    /// Attention sinks: multiple of the median norm; 0 for none.
    public var sinks = 10.0

    public init() {}

    /// The groups, standard ones unless given.
    public var resolvedGroups: [Int] { groups ?? PrefixLayout.standardGroups(width: width) }

    /// How live trainings cut the text.
    var blocks: LiveBlocks { LiveBlocks(tokens: buffer, sequences: sequences, context: context) }

    /// Memory of a training, beside the model's.
    ///
    /// - Parameter together: how many there are side by side; more than one of a live run.
    package func memory(
        dIn: Int, _ layout: PrefixLayout, on device: any TrainingDevice, together: Int = 1
    ) -> MemoryNeed {
        let advice =
            "lower sae.width, train.batch, " + (isLive ? "harvest.buffer, " : "") + "score.tokens or evaluate.tokens"
        var need = TrainingPlan.memory(
            dIn: dIn, layout: layout, k: mostK, batch: batch,
            copies: nonCore == .warm ? 1 : 0, ranks: device.rankCount, advice: advice)
        if isLive { need.add("batches", 4, batch, dIn) }
        if together > 1 {
            need = need.times(together, advice: "lower --together, " + advice.dropFirst("lower ".count))
        }
        if isLive { blocks.addMemory(to: &need, dIn: dIn, trainings: together) }
        for tokens in [scoreTokens, evaluationTokens] {
            need.add("activations that are scored and evaluated", 4, tokens, dIn)
        }
        return need
    }

    /// The largest k of a training.
    private var mostK: Double { trialPlans.reduce(k) { max($0, $1.plan.k) } }

    /// How many trainings of a live run may be side by side: in half of the memory that is left, on a card in half of its own.
    ///
    /// - Parameter asked: the most that there may be, whatever the memory; nil to decide by it.
    package func trainedTogether(
        _ asked: Int?, dIn: Int, _ layout: PrefixLayout, on device: any TrainingDevice,
        limit: MemoryLimit = .current
    ) -> Int {
        // The others of a job of ranks follow one training at a time.
        guard isLive, device.rankCount == 1 else { return 1 }
        // As many as do not wait for what comes of another.
        let most = seeds * max(1, trialPlans.count)
        if let asked { return min(asked, most) }
        let one = memory(dIn: dIn, layout, on: device).bytes
        let each = memory(dIn: dIn, layout, on: device, together: 2).bytes - one
        guard one <= limit.available / 2, each > 0 else { return 1 }
        var count = min(most, 1 + (limit.available / 2 - one) / each)
        if let own = cardMemory(dIn: dIn, layout, on: device), let free = device.freeMemory {
            count = min(count, free / 2 / max(1, own.bytes))
        }
        return max(1, count)
    }

    /// What a training asks a card for.
    private func cardMemory(dIn: Int, _ layout: PrefixLayout, on device: any TrainingDevice) -> MemoryNeed? {
        device.memory(dIn: dIn, layout: layout, k: mostK, batch: batch)
    }

    /// Refuses what there is no room for, here and on a card.
    ///
    /// - Throws: `ResourceError.memory`.
    func requireMemory(
        dIn: Int, _ layout: PrefixLayout, on device: any TrainingDevice, together: Int
    ) throws(ResourceError) {
        try memory(dIn: dIn, layout, on: device, together: together).check()
        // One alone asks for its own, in words of its own.
        guard together > 1, let own = cardMemory(dIn: dIn, layout, on: device), let free = device.freeMemory else {
            return
        }
        try own.times(together, advice: "lower --together").check(
            MemoryLimit(available: free, reason: "the card has \(memoryText(free)) free"))
    }

    /// A number of tokens as whole sequences, rounded down.
    func wholeContexts(_ tokens: Int) -> Int { tokens / context * context }

    /// Each cycle is an SAE on disk and a training; a core settles within ten.
    private static let mostCycles = 1000

    /// The recipe with the seed of a repetition: what is shared by all has that of the first.
    func repeated(_ repetition: Int) -> Recipe {
        var own = self
        (own.seed, own.repetition) = (seed + repetition, repetition)
        return own
    }

    /// The folder of this seed in a run, "seed-2"; nil for the only one.
    var folderOfSeed: String? { seeds == 1 ? nil : "seed-\(seed)" }

    /// What is explained.
    public var hookPoint: HookPoint { hook ?? .residPost(layer) }

    /// Seed by which the rows of a store are shuffled.
    var resolvedHarvestSeed: Int { harvestSeed ?? seed }

    /// k of the final SAEs.
    public var resolvedFinalK: [Double] { finalK ?? [k] }

    /// Steps of the SAEs of cycles.
    public var resolvedCycleSteps: Int { cycleSteps ?? steps }

    /// Whether this is the last cycle of its seed.
    func isLast(_ cycle: CycleRecord) -> Bool {
        cycle.cycle == cycles || Self.isStable(cycle, stopAt: stopAt)
    }

    /// Whether a core is enough like the last one for cycles to end.
    static func isStable(_ cycle: CycleRecord, stopAt: Double?) -> Bool {
        guard let stopAt, let jaccard = cycle.jaccard else { return false }
        return jaccard >= stopAt
    }

    /// How core latents of the final SAEs are selected.
    var resolvedFinalCoreMode: CoreMode { finalCoreMode ?? coreMode }

    /// Checks what can be checked before any work.
    ///
    /// - Throws: the error that the run would end in.
    public func validate() throws {
        func check(_ key: String, _ value: Any, _ valid: Bool, _ wanted: String) throws {
            guard valid else { throw DistillationError.badValue(key: key, value: "\(value)", wanted: wanted) }
        }
        try check("sae.width", width, width >= 1, "at least 1 latent")
        try check("seed", seed, seed >= 0, "0 or more")
        try check("harvest.seed", resolvedHarvestSeed, resolvedHarvestSeed >= 0, "0 or more")
        try check("seeds", seeds, (1...1000).contains(seeds), "between 1 and 1000")
        try check("seed", seed, seeds == 1 || seed < 1 << 53, "below 2^53 where there are several")
        try check("layer", layer, layer >= 0, "0 or more")
        try check(
            "hook", hookPoint.name, hookPoint.block == layer,
            "of the block that layer names, \(layer), or layer left out")
        try check("context", context, context >= 2, "at least 2 tokens")
        try check("sequences", sequences, sequences >= 1, "at least 1")
        // Far beyond any use, and small enough that no sum or product of them overflows.
        try check("context", context, context <= 1 << 24, "at most \(1 << 24) tokens")
        try check("sequences", sequences, sequences <= 1 << 32, "at most \(1 << 32)")
        for (key, tokens) in [
            ("harvest.tokens", harvestTokens), ("harvest.buffer", buffer), ("score.tokens", scoreTokens),
            ("evaluate.tokens", evaluationTokens),
        ] {
            try check(key, tokens, tokens <= 1 << 40, "at most \(1 << 40)")
        }
        try check("distill.cycles", cycles, cycles <= Self.mostCycles, "at most \(Self.mostCycles)")
        try check("final.k", finalK?.count ?? 0, finalK?.count ?? 0 <= 1000, "a list of at most 1000")
        if isLive {
            try check("harvest.buffer", buffer, buffer >= context, "at least one context of \(context)")
        } else {
            try check("harvest.tokens", harvestTokens, harvestTokens >= context, "at least one context of \(context)")
            try check(
                "harvest.tokens", harvestTokens, harvestTokens >= batch, "at least one batch of \(batch) (train.batch)")
        }
        try check("score.tokens", scoreTokens, scoreTokens >= context, "at least one context of \(context)")
        try check(
            "evaluate.tokens", evaluationTokens, evaluationTokens >= context, "at least one context of \(context)")
        try check(
            "train.batch", batch, batch > 0 && batch % ActivationStore.chunkRows == 0,
            "a positive multiple of \(ActivationStore.chunkRows)")
        try check("distill.cycles", cycles, cycles >= 1, "at least 1")
        try check("distill.tau", tau, tau > 0 && tau <= 1, "above 0 and at most 1")
        try check("splice.sinks", sinks, sinks == 0 || sinks > 1, "0 (off) or above 1")
        try check("splice.keep_first", keepFirst, keepFirst >= 0 && keepFirst < context, "between 0 and the context")
        try check("final.k", finalK ?? [], Set(finalK ?? []).count == (finalK ?? []).count, "a list without repeats")
        _ = try Aggregate(aggregate)
        try check("train.steps", steps, steps >= 2, "at least 2, or the threshold is never set")
        let layout = try inOwnWords { try PrefixLayout(groups: resolvedGroups, width: width) }
        try check("distill.core_rate", coreRate ?? 0, coreRate.map { $0 > 0 && $0 < 1 } ?? true, "between 0 and 1")
        try check(
            "distill.core_rate", coreRate ?? 0, coreRate == nil || coreMode == .dense,
            "left out: latents of a sparse core (distill.core_mode) are held by the budget")
        try check("distill.stop_at", stopAt ?? 1, stopAt.map { $0 > 0 && $0 <= 1 } ?? true, "above 0 and at most 1")
        try check(
            "distill.steps", resolvedCycleSteps, resolvedCycleSteps >= 2, "at least 2, or the threshold is never set")
        let plan = try plan(k: k, key: "train.k", cycleBudget, layout, steps: resolvedCycleSteps)
        for value in resolvedFinalK {
            _ = try self.plan(k: value, key: finalK == nil ? "train.k" : "final.k", finalBudget, layout)
        }
        try check(
            "train.threshold_start", plan.thresholdStart, plan.thresholdStart < resolvedCycleSteps - 1,
            "at most \(cycleSteps == nil ? "train.steps" : "distill.steps") - 2 (\(resolvedCycleSteps - 2)), or the threshold is "
                + "never set")
        try validateTrials(layout)
    }

    /// The plan of one training, whose `k` stands under `key`; of as many steps as the recipe says for nil.
    func plan(
        k: Double, key: String, _ budget: BudgetScope, _ layout: PrefixLayout, steps: Int? = nil
    ) throws -> TrainingPlan {
        try inOwnWords(k: key) {
            let plan = try TrainingPlan(trainingSettings(k: k, budget: budget, steps: steps), dIn: 2, layout: layout)
            guard k * Double(batch) >= 1 else {
                throw SparseCodingError.badSetting(
                    name: "k", value: "\(k)", wanted: "at least one entry in a batch of \(batch)")
            }
            return plan
        }
    }

    /// What is wrong with the settings of a training under the names that a recipe has for them.
    ///
    /// - Parameter k: the key of the active latents.
    private func inOwnWords<Result>(k: String = "train.k", _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch SparseCodingError.badSetting(let name, let value, let wanted) {
            let inTrain = "train." + name.replacing("-", with: "_")
            let keys = ["k": k, "width": "sae.width", "groups": "sae.groups"]
            throw DistillationError.badValue(key: keys[name] ?? inTrain, value: value, wanted: wanted)
        } catch SparseCodingError.groupsDoNotSum(let groups, let width) {
            throw DistillationError.badValue(
                key: "sae.groups", value: groups.recipeText,
                wanted: "sizes that sum to sae.width, \(width), and these sum to \(PrefixLayout.sum(groups))")
        } catch SparseCodingError.emptyGroup(let groups, _) {
            throw DistillationError.badValue(
                key: "sae.groups", value: groups.recipeText,
                wanted: groups == self.groups ?? []
                    ? "sizes of at least 1" : "given where sae.width (\(width)) is too small for auto")
        } catch SparseCodingError.tooManyActive(let active, let width) {
            throw DistillationError.badValue(
                key: k, value: active.recipeText, wanted: "at most the \(width) latents of sae.width")
        }
    }

    /// The settings of one training of `steps`, or as many as the recipe says. The rate starts to fall after the same share of
    /// them.
    public func trainingSettings(k: Double, budget: BudgetScope, steps own: Int? = nil) -> TrainingSettings {
        var settings = TrainingSettings(k: k, batchSize: batch, steps: own ?? steps)
        settings.learningRate = learningRate
        settings.warmupSteps = warmup
        settings.decayStart = decayStart
        if let own, own != steps, case .step(let step) = decayStart {
            let (product, overflow) = step.multipliedReportingOverflow(by: own)
            settings.decayStart = .step(overflow ? step : product / steps)
        }
        settings.thresholdStart = thresholdStart
        settings.thresholdBeta = thresholdBeta
        settings.deadAfterTokens = deadAfter
        settings.auxiliaryWeight = auxiliaryWeight
        settings.budget = budget
        return settings
    }
}

extension Recipe: Equatable {
    /// Whether every key has the same value.
    public static func == (a: Recipe, b: Recipe) -> Bool { a.settings.map(\.value) == b.settings.map(\.value) }
}
