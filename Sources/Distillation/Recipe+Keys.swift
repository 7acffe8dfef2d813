import Attribution
import SparseCoding
import TensorFiles
import Yams

/// One key of a recipe: how it is called in a file, what it means, and where it goes.
struct RecipeKey: Sendable {
    let name: String
    let documentation: String
    let text: @Sendable (Recipe) -> String
    let yaml: @Sendable (Recipe) -> String
    let set: @Sendable (inout Recipe, Node) throws -> Void

    init<Value: RecipeValue>(
        _ name: String, _ path: WritableKeyPath<Recipe, Value> & Sendable, _ documentation: String
    ) {
        self.name = name
        self.documentation = documentation
        text = { $0[keyPath: path].recipeText }
        yaml = { $0[keyPath: path].recipeYAML }
        set = { recipe, node in recipe[keyPath: path] = try Value(recipeNode: node, key: name) }
    }
}

extension Recipe {
    /// Every key, in the order a printed recipe has them.
    static let keys: [RecipeKey] = [
        RecipeKey("seed", \.seed, "Seed of everything drawn at random; one per cycle is derived from it and recorded."),
        RecipeKey(
            "seeds", \.seeds,
            "How many seeds, from seed on, to repeat cycles and trials with, each in a folder seed-N; three or more give differences an "
                + "interval. What was harvested is shared."),
        RecipeKey(
            "model", \.model,
            "Language model: a Hugging Face folder, a .gguf file, demo (see `dmsae fetch demo`), or synthetic (see `dmsae synthetic`)."
        ),
        RecipeKey(
            "text", \.text,
            "Text to harvest and to score: .jsonl, .txt (packed too: .gz, .zst), token ids (.npy, .safetensors, .bin), a folder of them, demo or synthetic."
        ),
        RecipeKey("text_key", \.textKey, "The member of a line of .jsonl that holds the text."),
        RecipeKey("token_type", \.tokenType, "Numbers that .bin files of token ids consist of; auto: there are none."),
        RecipeKey(
            "skip_bad_lines", \.skipBadLines,
            "Pass over lines of the texts that cannot be read, and say how many; otherwise the first one ends the run."),
        RecipeKey(
            "bos", \.begins,
            "Begin sequences with the beginning-of-sequence token; auto: as the model's tokenizer says."),
        RecipeKey(
            "pack", \.pack,
            "Join documents, the end-of-text token between them; false: each in sequences of its own, the last of them padded."
        ),
        RecipeKey(
            "exclude_tokens", \.excludeTokens,
            "Tokens whose positions count nowhere, like those of special ones: a list of ids or texts; auto: none."),
        RecipeKey(
            "parse_special", \.parseSpecial,
            "Take a special token spelled out in the texts as that token, and not as text."),
        RecipeKey("layer", \.layer, "The block whose output is explained, counted from 0 (blocks.L.hook_resid_post)."),
        RecipeKey(
            "hook", \.hook,
            "What is explained instead, under TransformerLens' name, as blocks.12.hook_mlp_out; auto: the output of layer."
        ),
        RecipeKey("context", \.context, "Tokens per sequence."),
        RecipeKey("sequences", \.sequences, "Sequences per pass through the model: memory against speed."),
        RecipeKey(
            "harvest.tokens", \.harvestTokens,
            "Tokens run through the model once; trainings pass over them again and again."),
        RecipeKey(
            "harvest.seed", \.harvestSeed,
            "Seed by which the rows of a store are shuffled; auto: seed. Where it is given, runs with other seeds can share a harvest."
        ),
        RecipeKey(
            "harvest.live", \.isLive,
            "Store nothing: the model makes activations anew for each training, of the text after the scored and evaluated tokens, as far "
                + "as steps and batch take it; harvest.tokens and harvest.seed have no meaning then."),
        RecipeKey(
            "harvest.buffer", \.buffer,
            "Tokens that a live training shuffles at a time; more mix texts better, and take 4*d_model bytes each."),
        RecipeKey("sae.width", \.width, "Latents per SAE, d_sae."),
        RecipeKey("sae.groups", \.groups, "Group sizes without a core; auto: 1/32, 1/16, 1/8, 1/4 and the rest."),
        RecipeKey("train.k", \.k, "Mean active latents per token while distilling."),
        RecipeKey("train.batch", \.batch, "Tokens per step, a multiple of 64."),
        RecipeKey("train.steps", \.steps, "Steps per SAE."),
        RecipeKey("train.lr", \.learningRate, "Peak learning rate; auto: 2e-4/sqrt(width/16384)."),
        RecipeKey("train.warmup", \.warmup, "Steps of linear warm-up; auto: min(1000, steps/20)."),
        RecipeKey(
            "train.decay_start", \.decayStart,
            "Step at which the rate starts to fall to 0, or none; auto: 80% of the steps."),
        RecipeKey(
            "train.threshold_start", \.thresholdStart,
            "The threshold is updated after this step; auto: min(1000, steps/4)."),
        RecipeKey(
            "train.threshold_beta", \.thresholdBeta,
            "Weight of the past in the threshold; auto: min(0.999, 1 - 10/steps)."),
        RecipeKey(
            "train.dead_after", \.deadAfter,
            "Tokens of silence after which a latent is dead; auto: min(10 million, steps*batch/10)."),
        RecipeKey("train.aux_weight", \.auxiliaryWeight, "Weight of the dead latents' loss; auto: 1/32."),
        RecipeKey(
            "train.sparsity", \.sparsity, "Sparsity rule: a shipped name or a path to a .so, parameters after commas."),
        RecipeKey(
            "train.budget", \.cycleBudget, "While distilling: non-core (the core is free) or total (the core counts)."),
        RecipeKey(
            "score.scorer", \.scorer, "Scorer: a shipped name or the path of a .so or .py, parameters after commas."),
        RecipeKey("score.tokens", \.scoreTokens, "Tokens scored per cycle, the ones after those harvested."),
        RecipeKey(
            "score.aggregate", \.aggregate, "How a latent's scores become one: quantile:Q, mean, rms, max or trimmed:P."
        ),
        RecipeKey(
            "score.over", \.over, "Over all scored tokens (zeros included) or only those where the latent is active."),
        RecipeKey("score.signed", \.signed, "Aggregate signed scores instead of absolute ones."),
        RecipeKey(
            "score.candidates", \.candidates,
            "Latents that cores are selected from: inner, the core and the first group, whose reconstruction is spliced in; or all, and the "
                + "whole reconstruction."),
        RecipeKey("distill.tau", \.tau, "The core is the smallest set with this fraction of all attribution."),
        RecipeKey("distill.cycles", \.cycles, "Cycles after cycle 0; the final core is what the last two agree on."),
        RecipeKey(
            "distill.cycle0", \.cycle0,
            "SAE to begin with, in any format that convert reads; its width, groups, k and layer are then those of the recipe, and "
                + "what its files do not say has to be given. auto: cycle 0 trains one."),
        RecipeKey(
            "distill.core_mode", \.coreMode,
            "Core latents fire wherever they are positive (dense), or compete for the budget like the others (sparse)."),
        RecipeKey(
            "distill.core_rate", \.coreRate,
            "Hold each latent of a dense core at this share of tokens by its b_enc; auto: nothing holds it, and it comes to fire on nearly "
                + "all. Of final SAEs with a dense core, too, unless a trial has its own."),
        RecipeKey(
            "distill.non_core", \.nonCore,
            "Latents outside of the core are drawn anew in each cycle (fresh), or start as those of the last cycle that were not selected "
                + "(warm)."),
        RecipeKey(
            "distill.steps", \.cycleSteps,
            "Steps of the SAE of each cycle, 0 included; auto: train.steps. Final SAEs have train.steps."),
        RecipeKey(
            "distill.stop_at", \.stopAt,
            "End the cycles, of which distill.cycles are then the most, with the first core whose Jaccard with the last one is at least this; "
                + "auto: never."),
        RecipeKey(
            "distill.core_prefix_loss", \.corePrefixLoss,
            "Add the reconstruction by the core alone to the prefixes of the loss."),
        RecipeKey(
            "distill.core_bias", \.coreBias,
            "b_enc of a frozen core starts at 0 (fresh), or as it was where the core was selected (transfer)."),
        RecipeKey(
            "distill.core_decoder_init", \.coreDecoder,
            "Decoder rows of a frozen core start as random unit rows, or as the encoder vector at unit norm."),
        RecipeKey(
            "final.trials", \.trials,
            "Final SAEs, each named by its core: dmsae or distilled, baseline or none, cycle:N, random, unit, frequency, mean-activation, "
                + "reconstruction, run:FOLDER, file:PATH, pooled:SAE,SAE. More is set in a map, {core: random, name: other, seed: 2}, or after "
                + "commas, \"random,name=other,seed=2\": name, k (instead of final.k), seed, budget, core_mode, core_rate, and tokens to train on (a "
                + "number, or total-compute: as many as all cycles and a final SAE see). auto: [dmsae, baseline]."),
        RecipeKey("final.k", \.finalK, "Total L0 of the final SAEs, each trial once at each; auto: train.k."),
        RecipeKey(
            "final.core_mode", \.finalCoreMode, "Of the final SAEs with a core, as distill.core_mode; auto: the same."),
        RecipeKey(
            "final.budget", \.finalBudget,
            "Of the final SAEs with a core: total compares fairly with a plain Matryoshka SAE."),
        RecipeKey(
            "final.random_core", \.randomCore,
            "Where final.trials is auto, add random: as large a core, drawn from cycle 0's latents that were not selected."
        ),
        RecipeKey("evaluate.tokens", \.evaluationTokens, "Tokens evaluated on after each cycle."),
        RecipeKey(
            "evaluate.text", \.evaluationText,
            "Text to evaluate on; auto: the test part of demo or synthetic, or what follows the scored tokens."),
        RecipeKey(
            "splice.keep_first", \.keepFirst, "First positions of a sequence that keep the model's own activation."),
        RecipeKey(
            "splice.sinks", \.sinks, "Positions with this multiple of the median norm are attention sinks; 0: none."),
    ]

    /// The recipe as a file that documents every key.
    public func documented() -> String {
        var text = ""
        var section = ""
        for key in Self.keys {
            let parts = key.name.split(separator: ".")
            let indent = parts.count > 1 ? "  " : ""
            if parts.count > 1 && section != parts[0] {
                section = String(parts[0])
                text += "\n\(section):\n"
            }
            text += "\(indent)# \(key.documentation)\n\(indent)\(parts[parts.count - 1]): \(key.yaml(self))\n"
        }
        return text
    }

    /// Key and value of everything, for records and for comparing two recipes.
    public var settings: [(key: String, value: String)] { Self.keys.map { ($0.name, $0.text(self)) } }

    /// The same by key, as a run's record has it: without keys that mean nothing in it, as in runs that were begun before there were
    /// the keys.
    var recorded: [String: String] {
        var settings = Dictionary(uniqueKeysWithValues: settings)
        if hook == nil { settings["hook"] = nil }
        for key in isLive ? ["harvest.tokens", "harvest.seed"] : ["harvest.live", "harvest.buffer"] {
            settings[key] = nil
        }
        if harvestSeed == nil { settings["harvest.seed"] = nil }
        if seeds == 1 { settings["seeds"] = nil }
        for (key, isGiven) in [
            ("distill.core_rate", coreRate != nil), ("distill.non_core", nonCore != .fresh),
            ("distill.steps", cycleSteps != nil), ("distill.stop_at", stopAt != nil),
        ] where !isGiven {
            settings[key] = nil
        }
        if candidates == .inner { settings["score.candidates"] = nil }
        return settings
    }
}
