import Attribution
import Distillation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

@Suite struct RecipeTests {
    private func text(_ yaml: String) -> String { message { _ = try Recipe(yaml: yaml, path: "r.yaml") } }

    /// Something in every key.
    private func full() -> Recipe {
        var recipe = Recipe()
        recipe.seed = 77
        recipe.seeds = 3
        recipe.model = "/models/a b"
        recipe.text = "corpus.jsonl"
        recipe.evaluationText = "other.txt"
        recipe.textKey = "body"
        recipe.tokenType = .u32
        recipe.skipBadLines = true
        recipe.pack = false
        recipe.excludeTokens = ["198", "5,7", "<|end|>", "a [b], {c} \"d\" \\", "#", "auto", "'"]
        recipe.begins = false
        recipe.parseSpecial = true
        recipe.layer = 3
        recipe.hook = HookPoint(block: 3, .mlpOut)
        recipe.context = 128
        recipe.sequences = 2
        recipe.harvestTokens = 5000
        recipe.harvestSeed = 8
        recipe.isLive = true
        recipe.buffer = 6000
        recipe.width = 64
        recipe.groups = [16, 48]
        recipe.k = 2.5
        recipe.batch = 128
        recipe.steps = 10
        recipe.learningRate = 3e-4
        recipe.warmup = 1
        recipe.decayStart = .step(8)
        recipe.thresholdStart = 2
        recipe.thresholdBeta = 0.5
        recipe.deadAfter = 100
        recipe.auxiliaryWeight = 0.1
        recipe.sparsity = "./rule.so,alpha=2"
        recipe.cycleBudget = .total
        recipe.scorer = "random,seed=4"
        recipe.scoreTokens = 700
        recipe.aggregate = "rms"
        recipe.over = .active
        recipe.signed = true
        recipe.tau = 0.75
        recipe.cycles = 3
        recipe.cycle0 = "sae"
        recipe.candidates = .all
        recipe.coreMode = .sparse
        recipe.coreRate = 0.25
        recipe.nonCore = .warm
        recipe.cycleSteps = 7
        recipe.stopAt = 0.9
        recipe.coreBias = .transfer
        recipe.corePrefixLoss = true
        recipe.finalCoreMode = .dense
        recipe.coreDecoder = .encoder
        recipe.finalK = [20, 40]
        recipe.finalBudget = .nonCore
        recipe.randomCore = true
        var other = Trial("other", core: .random)
        (other.k, other.seed, other.budget, other.tokens, other.coreMode) = (2.5, 9, .nonCore, .count(4096), .sparse)
        var long = Trial("long", core: .none)
        long.tokens = .totalCompute
        recipe.trials = TrialList(
            [.distilled, .none, .cycle(1), .random, .directions, .frequency, .meanActivation, .reconstruction].map {
                Trial(core: $0)
            } + [
                other, long, Trial(core: .run("/runs/a b")), Trial("theirs", core: .file("/c, {d}: \"e\"/core.json")),
                Trial("own", core: .distilled), Trial("baseline", core: .random),
                Trial(core: .pooled(["a", "b=c", "d"])),
            ])
        recipe.evaluationTokens = 900
        recipe.keepFirst = 2
        recipe.sinks = 0
        return recipe
    }

    @Test func aDocumentedRecipeReadsBackAsTheSame() throws {
        for recipe in [Recipe(), full()] {
            #expect(try Recipe(yaml: recipe.documented(), path: "r.yaml") == recipe)
        }
        // Nothing in `full` is a default, so that a key that is not written or not read would show.
        for ((key, value), standard) in paired(full().settings, Recipe().settings) {
            #expect(key == standard.key && value != standard.value, "\(key)")
        }
    }

    @Test(arguments: [
        "a: b", "x #y", "a\u{1B}b", "a\u{202E}b\u{E0041}", "a\u{85}\u{2028}", "[1, 2]", "it's", "say \"no\"",
        "back\\slash", "- dash", "two\nlines", "&a", "~",
    ])
    func aPathThatYAMLWouldReadOtherwiseIsQuoted(_ path: String) throws {
        var recipe = Recipe()
        recipe.model = path
        recipe.evaluationText = path
        let text = recipe.documented()
        #expect(try Recipe(yaml: text, path: "r.yaml") == recipe, "\(text)")
    }

    @Test func keysLeftOutKeepTheirDefaultsAndSectionsNest() throws {
        let recipe = try Recipe(
            yaml: "train:\n  k: 160\n  steps: 2_000\nsae.width: 8192\nfinal: {k: [160, 320]}\n", path: "r.yaml")
        var expected = Recipe()
        expected.k = 160
        expected.steps = 2000
        expected.width = 8192
        expected.finalK = [160, 320]
        #expect(recipe == expected)
        #expect(try Recipe(yaml: "final:\n  k: 20\n", path: "r.yaml").finalK == [20], "one value is a list of one")
        #expect(try Recipe(yaml: "train: {lr: auto}", path: "r.yaml").learningRate == nil)
        #expect(try Recipe(yaml: "train: {decay_start: none}", path: "r.yaml").decayStart == .never)
    }

    @Test func anUnknownKeyIsRefusedWithTheOneThatWasMeant() {
        #expect(
            text("train:\n  stepz: 10\n")
                == "recipe key \"train.stepz\" does not exist; did you mean \"train.steps\"?")
        #expect(text("tau: 0.9") == "recipe key \"tau\" does not exist; did you mean \"distill.tau\"?")
        #expect(text("sead: 1") == "recipe key \"sead\" does not exist; did you mean \"seed\"?")
        #expect(
            text("train:\n  temperature_of_things: 1\n")
                == "recipe key \"train.temperature_of_things\" does not exist; "
                + "`dmsae distill --print-recipe demo` lists them all")
    }

    @Test func aValueOfTheWrongTypeIsRefusedByNameAndValue() {
        for (yaml, expected) in [
            ("train: {k: many}", "recipe key train.k is \"many\"; it must be a number"),
            ("train: {k: .nan}", "recipe key train.k is \".nan\"; it must be a number"),
            ("train: {steps: 1.5}", "recipe key train.steps is \"1.5\"; it must be a whole number"),
            ("train: {steps: [1]}", "recipe key train.steps is \"[1]\"; it must be a whole number"),
            ("train: {lr: fast}", "recipe key train.lr is \"fast\"; it must be auto or a number"),
            (
                "sae: {groups: [1, x]}",
                "recipe key sae.groups is \"[1, x]\"; it must be auto or a list, each a whole number"
            ),
            ("score: {signed: 1}", "recipe key score.signed is \"1\"; it must be true or false"),
            ("score: {over: some}", "recipe key score.over is \"some\"; it must be one of all, active"),
            ("train: {budget: all}", "recipe key train.budget is \"all\"; it must be one of non-core, total"),
            ("model: ''", "recipe key model is \"\"; it must be a text"),
            // Quoted once, whatever the file has.
            ("layer: \"none\"", "recipe key layer is \"none\"; it must be a whole number"),
            ("train: {lr: 'a b'}", "recipe key train.lr is \"a b\"; it must be auto or a number"),
            ("model: {a: 1}", "recipe key model is \"keys and values\"; it must be a text"),
            (
                "train: {decay_start: late}",
                "recipe key train.decay_start is \"late\"; it must be auto, none or a whole number"
            ),
        ] {
            #expect(text(yaml) == expected)
        }
    }

    @Test func aNumberWithAZeroBeforeItIsAskedFor() throws {
        let octal = ", without a zero before it (YAML 1.1 reads it as octal)"
        for (yaml, key, value, wanted) in [
            ("layer: 060", "layer", "060", "a whole number"), ("seed: -07", "seed", "-07", "a whole number"),
            ("train: {k: 064}", "train.k", "064", "a number"), ("layer: 0_8", "layer", "0_8", "a whole number"),
            ("sae: {groups: [032, 96]}", "sae.groups", "[032, 96]", "auto or a list, each a whole number"),
        ] { #expect(text(yaml) == "recipe key \(key) is \"\(value)\"; it must be \(wanted)\(octal)") }
        let recipe = try Recipe(yaml: "layer: 0\ntrain: {k: 0.5, steps: 1_000}\n", path: "r.yaml")
        #expect(recipe.layer == 0 && recipe.k == 0.5 && recipe.steps == 1000)
    }

    @Test func aRecipeSaysWhatItIsToBeSweptOver() throws {
        let recipe = try Recipe(
            yaml: "train: {k: 8}\nsweep:\n  over: ['distill.tau=0.5,0.7', 'final.k=[8],[16, 32]']\n  seeds: 3\n",
            path: "r.yaml")
        let grid = try #require(recipe.grid)
        #expect(grid.seeds == 3 && grid.axes.map(\.key) == ["distill.tau", "final.k"])
        #expect(grid.axes[1].values == ["[8]", "[16, 32]"])
        #expect(try Recipe(yaml: "train: {k: 8}", path: "r.yaml").grid == nil)
        #expect(text("sweep: 3") == "recipe key sweep is \"3\"; it must be over and seeds")
        #expect(text("sweep: {seeds: 0}") == "recipe key sweep.seeds is \"0\"; it must be between 1 and 10000")
        #expect(text("sweep: {jobs: 2}").hasPrefix("recipe key \"sweep.jobs\" does not exist"))
        #expect(text("sweep: {over: [distill.tau]}").hasPrefix("--over distill.tau: it is not KEY=VALUE,VALUE,…"))
    }

    @Test func aWarmCycleIsAskedRoomForTheSAEThatItGoesOnFrom() throws {
        let layout = try PrefixLayout(groups: [512, 512, 1024, 2048], width: 4096)
        var warm = Recipe()
        try warm.set("distill.non_core=warm")
        func bytes(_ recipe: Recipe) -> Int { recipe.memory(dIn: 576, layout, on: Lanes.shared).bytes }
        #expect(bytes(warm) - bytes(Recipe()) == 8 * 4096 * 576)
    }

    @Test func whatDoesNotGoTogetherIsRefused() throws {
        func refused(_ settings: String...) -> String {
            message {
                var recipe = Recipe()
                for setting in settings { try recipe.set(setting) }
                try recipe.validate()
            }
        }
        #expect(
            refused("distill.core_rate=1") == "recipe key distill.core_rate is \"1.0\"; it must be between 0 and 1")
        #expect(
            refused("distill.core_rate=0.1", "distill.core_mode=sparse")
                == "recipe key distill.core_rate is \"0.1\"; it must be left out: latents of a sparse core (distill.core_mode) are held "
                + "by the budget")
        #expect(
            refused("distill.stop_at=1.5") == "recipe key distill.stop_at is \"1.5\"; it must be above 0 and at most 1")
        #expect(
            refused("distill.steps=1")
                == "recipe key distill.steps is \"1\"; it must be at least 2, or the threshold is never set")
        #expect(
            refused("distill.steps=100", "train.threshold_start=200")
                == "recipe key train.threshold_start is \"200\"; it must be at most distill.steps - 2 (98), or the threshold is never set"
        )
        #expect(
            refused("distill.stop_at=0.9", "final.trials=[{core: none, tokens: total-compute}]")
                == "recipe key final.trials (baseline) tokens is \"total-compute\"; it must be a number, since distill.stop_at leaves open "
                + "how many cycles there are")
        #expect(
            refused("distill.stop_at=0.9", "final.trials=[\"cycle:2\"]")
                == "recipe key final.trials (cycle-2) core is \"cycle:2\"; it must be cycle:0 or cycle:1, since distill.stop_at may end "
                + "them there")
        #expect(
            refused("final.trials=[{core: distilled, core_mode: sparse, core_rate: 0.1}]")
                == "recipe key final.trials (dmsae) core_rate is \"0.1\"; it must be left out where there is no dense core"
        )
        #expect(
            refused("final.trials=[{core: random, core_rate: 2}]")
                == "recipe key final.trials (random) core_rate is \"2.0\"; it must be between 0 and 1")
        #expect(refused("harvest.seed=-1") == "recipe key harvest.seed is \"-1\"; it must be 0 or more")
    }

    @Test func aSectionIsNotSetAsAWhole() {
        #expect(
            message {
                var recipe = Recipe()
                try recipe.set("train={k: 3}")
            } == "recipe key train is \"keys and values\"; it must be a section of keys, each set by itself, as train.k"
        )
    }

    /// A parsed text takes hundreds of times its size, and an alias may stand for more than there is memory.
    @Test func textOfAnySizeTakesLittle() {
        let keys = (0..<100_000).map { "k\($0): 1\n" }.joined()
        #expect(
            text(keys) == "recipe r.yaml: it has more than the 131072 bytes that a recipe can have; `dmsae distill "
                + "--print-recipe demo` shows one")
        var bomb = "sae: {groups: [&a0 [x, x, x, x, x, x, x, x, x]"
        for i in 1...12 {
            bomb += ", &a\(i) [" + Array(repeating: "*a\(i - 1)", count: 9).joined(separator: ", ") + "]"
        }
        #expect(
            text(bomb + "]}")
                == "recipe key sae.groups is \"[a list, a list, a list, a list, a list, a list, a list, a list, …]\"; it must be "
                + "auto or a list, each a whole number")
    }

    @Test func whatIsNoRecipeIsRefused() {
        #expect(
            text("- 1\n- 2\n")
                == "recipe r.yaml: it is not a list of keys and values; `dmsae distill --print-recipe demo` shows one")
        for empty in ["", " \n", "# only a comment\n", "---\n", "\n---\n# x\n"] {
            #expect(
                text(empty) == "recipe r.yaml: it is empty; `dmsae distill --print-recipe demo` shows one", "\(empty)")
        }
        #expect(
            text("seed: 1\n--- {seed: 2}\n")
                == "recipe r.yaml: it holds 2 documents, divided by \"---\", instead of one; `dmsae distill --print-recipe demo` "
                + "shows one")
        #expect(text("train: {k: 1}\ntrain.k: 2").hasPrefix("recipe r.yaml: \"train.k\" is there twice; "))
        #expect(text("seed: 1\nk\u{1}: 2").hasPrefix("recipe r.yaml: line 2: control characters are not allowed; "))
        let broken = text("train: {k: 1")
        #expect(broken.hasPrefix("recipe r.yaml: "), "\(broken)")
        #expect(broken.hasSuffix("; `dmsae distill --print-recipe demo` shows one"), "\(broken)")
    }

    @Test func oneKeyCanBeSet() throws {
        var recipe = Recipe()
        try recipe.set("train.k=160")
        try recipe.set("final.k=[20, 40]")
        try recipe.set("train.lr=auto")
        try recipe.set("model=/a=b")
        #expect(recipe.k == 160 && recipe.finalK == [20, 40] && recipe.learningRate == nil && recipe.model == "/a=b")
        func failure(_ assignment: String) -> String {
            message {
                var copy = recipe
                try copy.set(assignment)
            }
        }
        #expect(failure("train.k=x") == "recipe key train.k is \"x\"; it must be a number")
        #expect(failure("train.kk=1") == "recipe key \"train.kk\" does not exist; did you mean \"train.k\"?")
        #expect(
            failure("train.k")
                == "recipe --set train.k: there is no \"=\" in it; `dmsae distill --print-recipe demo` shows one")
        #expect(failure("train.k=") == "recipe key train.k is \"\"; it must be a number")
    }

    @Test func aHookNamesItsBlock() throws {
        let recipe = try Recipe(yaml: "hook: blocks.4.hook_mlp_out\n", path: "r.yaml")
        #expect(recipe.layer == 4 && recipe.hookPoint == HookPoint(block: 4, .mlpOut))
        try recipe.validate()
        var set = try Recipe(yaml: "seed: 4\n", path: "r.yaml")
        try set.set("hook=blocks.7.hook_resid_pre")
        #expect(set.layer == 7)
        #expect(try Recipe(yaml: "layer: 4\nhook: auto\n", path: "r.yaml").hookPoint == .residPost(4))
        let both = try Recipe(yaml: "layer: 5\nhook: blocks.4.hook_mlp_out\n", path: "r.yaml")
        #expect(
            message { try both.validate() }.hasPrefix(
                "recipe key hook is \"blocks.4.hook_mlp_out\"; it must be of the block"))
        #expect(
            text("hook: blocks.4.attn.hook_z")
                == "recipe key hook is \"blocks.4.attn.hook_z\"; it must be auto or one of blocks.L.hook_resid_pre, "
                + "blocks.L.hook_attn_out, blocks.L.hook_mlp_out, blocks.L.hook_resid_post")
    }

    @Test func valuesThatCannotWorkAreRefusedBeforeAnyWork() {
        func failure(_ change: (inout Recipe) -> Void) -> String {
            message {
                var recipe = Recipe()
                change(&recipe)
                try recipe.validate()
            }
        }
        #expect(failure { _ in } == "nothing failed")
        for (change, expected) in [
            ({ $0.seed = -1 }, "recipe key seed is \"-1\"; it must be 0 or more"),
            ({ $0.seeds = 0 }, "recipe key seeds is \"0\"; it must be between 1 and 1000"),
            ({ $0.layer = -1 }, "recipe key layer is \"-1\"; it must be 0 or more"),
            (
                { $0.hook = HookPoint(block: 3, .attnOut) },
                "recipe key hook is \"blocks.3.hook_attn_out\"; it must be of the block that layer names, 15, or layer "
                    + "left out"
            ),
            ({ $0.context = 1 }, "recipe key context is \"1\"; it must be at least 2 tokens"),
            ({ $0.sequences = 0 }, "recipe key sequences is \"0\"; it must be at least 1"),
            (
                { $0.harvestTokens = 255 },
                "recipe key harvest.tokens is \"255\"; it must be at least one context of 256"
            ),
            (
                { ($0.isLive, $0.buffer) = (true, 255) },
                "recipe key harvest.buffer is \"255\"; it must be at least one context of 256"
            ),
            ({ ($0.isLive, $0.harvestTokens) = (true, 0) }, "nothing failed"),
            ({ $0.scoreTokens = 0 }, "recipe key score.tokens is \"0\"; it must be at least one context of 256"),
            (
                { $0.evaluationTokens = 0 },
                "recipe key evaluate.tokens is \"0\"; it must be at least one context of 256"
            ),
            ({ $0.batch = 100 }, "recipe key train.batch is \"100\"; it must be a positive multiple of 64"),
            ({ $0.cycles = 0 }, "recipe key distill.cycles is \"0\"; it must be at least 1"),
            ({ $0.tau = 0 }, "recipe key distill.tau is \"0.0\"; it must be above 0 and at most 1"),
            ({ $0.sinks = 0.5 }, "recipe key splice.sinks is \"0.5\"; it must be 0 (off) or above 1"),
            (
                { $0.keepFirst = 256 },
                "recipe key splice.keep_first is \"256\"; it must be between 0 and the context"
            ),
            (
                { $0.aggregate = "median" },
                "\"median\" is no aggregate; use quantile:Q with Q in [0, 1], trimmed:P with P in [0, 0.5), mean, rms or max"
            ),
            (
                { $0.groups = [1, 2] },
                "recipe key sae.groups is \"[1, 2]\"; it must be sizes that sum to sae.width, 4096, and these sum to 3"
            ),
            ({ $0.groups = [0, 4096] }, "recipe key sae.groups is \"[0, 4096]\"; it must be sizes of at least 1"),
            ({ $0.width = -4096 }, "recipe key sae.width is \"-4096\"; it must be at least 1 latent"),
            (
                { $0.width = 16 },
                "recipe key sae.groups is \"[0, 1, 2, 4, 9]\"; it must be given where sae.width (16) is too small for auto"
            ),
            (
                { $0.width = 1 << 30 },
                "recipe key sae.width is \"1073741824\"; it must be at most 16777216 latents"
            ),
            ({ $0.k = 5000 }, "recipe key train.k is \"5000\"; it must be at most the 4096 latents of sae.width"),
            (
                { $0.finalK = [10, 9999] },
                "recipe key final.k is \"9999\"; it must be at most the 4096 latents of sae.width"
            ),
            (
                { $0.finalK = [1e-9] },
                "recipe key final.k is \"1e-09\"; it must be at least one entry in a batch of 1024"
            ),
            ({ $0.steps = 0 }, "recipe key train.steps is \"0\"; it must be at least 2, or the threshold is never set"),
            ({ $0.learningRate = -1 }, "recipe key train.lr is \"-1.0\"; it must be positive"),
            (
                { $0.decayStart = .step(1000) },
                "recipe key train.decay_start is \"1000\"; it must be one of the 1000 steps, counted from 0, or none"
            ),
            (
                { $0.warmup = 900 },
                "recipe key train.warmup is \"900\"; it must be at most 800, the step at which the rate starts to fall, or the "
                    + "decay must start later"
            ),
        ] as [((inout Recipe) -> Void, String)] {
            #expect(failure(change) == expected)
        }
    }
}
