import TensorFiles

/// A part of a run that is the same for every recipe that agrees in certain keys, and so is made once in a sweep.
///
/// Each depends on the keys of those before it, too. What follows from `rawValue`: the order in a run.
public enum SharedStep: Int, CaseIterable, Sendable, Comparable {
    /// The activation store.
    case harvest
    /// The training of cycle 0, before anything was scored, with its evaluation.
    case firstTraining
    /// Cycle 0 with its scores and its core.
    case firstCycle
    /// All cycles.
    case cycles

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// Keys that a step is the first to depend on. One that stands nowhere is taken for one of the harvest: then nothing is shared
    /// that must not be.
    private static let keys: [SharedStep: Set<String>] = [
        .harvest: [
            "harvest.seed", "model", "text", "text_key", "token_type", "skip_bad_lines", "bos", "pack",
            "exclude_tokens",
            "parse_special", "layer", "hook", "context", "sequences", "harvest.tokens", "splice.keep_first",
            "splice.sinks",
        ],
        .firstTraining: [
            "seed", "sae.width", "sae.groups", "train.k", "train.batch", "train.steps", "train.lr", "train.warmup",
            "train.decay_start", "train.threshold_start", "train.threshold_beta", "train.dead_after",
            "train.aux_weight", "train.sparsity", "train.budget", "distill.steps", "distill.cycle0", "evaluate.tokens",
            "evaluate.text",
            // Without a text of its own, the evaluation is on what follows the scored tokens.
            "score.tokens",
        ],
        .firstCycle: [
            "score.scorer", "score.aggregate", "score.over", "score.signed", "score.candidates", "distill.tau",
        ],
        .cycles: [
            "distill.cycles", "distill.stop_at", "distill.core_mode", "distill.core_rate", "distill.core_prefix_loss",
            "distill.core_bias", "distill.non_core",
            "distill.core_decoder_init",
        ],
    ]

    /// The first step that depends on a key; nil for one that only the final SAEs depend on.
    static func first(dependingOn key: String) -> SharedStep? {
        if let step = allCases.first(where: { keys[$0]?.contains(key) == true }) { return step }
        return key.hasPrefix("final.") ? nil : .harvest
    }

    /// All that this step depends on: recipes for which it is equal share the step.
    public func key(of recipe: Recipe) -> String {
        var recipe = recipe
        recipe.harvestSeed = recipe.resolvedHarvestSeed
        let settings = recipe.settings.filter { key, _ in Self.first(dependingOn: key).map { $0 <= self } ?? false }
        return settings.map { "\($0.key)\0\($0.value)" }.joined(separator: "\0")
    }

    /// The file that is there once the step is done in the folder of a run.
    public func mark(in run: String) -> String {
        switch self {
        case .harvest: run + "/store/store.json"
        case .firstTraining: run + "/cycle-0/sae/" + StepMark.name
        case .firstCycle: run + "/cycle-0/" + StepMark.name
        // Written when the last cycle is done, whichever that is.
        case .cycles: run + "/final/core.json"
        }
    }
}
