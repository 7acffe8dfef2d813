import TensorFiles
import TestSupport
import Testing

/// Recipes that are wrong, and what is wrong with them; nothing is started.
@Suite struct BadRecipeTests {
    private let tiny: TinyModel

    init() throws {
        tiny = try TinyModel()
        try tiny.writeRecipe(to: tiny.folder.file("tiny.yaml"))
    }

    private func distill(_ more: String..., recipe: String = "tiny.yaml") -> [String] {
        ["distill", tiny.folder.file(recipe), "--out", tiny.folder.file("run")] + more
    }

    @Test(arguments: [
        ("train: {stpes: 3}", "recipe key \"train.stpes\" does not exist; did you mean \"train.steps\"?"),
        ("trian: {k: 3}", "recipe key \"trian\" does not exist; did you mean \"train\"?"),
        ("train: 3", "recipe key train is \"3\"; it must be a section of keys"),
        ("train: {steps: many}", "recipe key train.steps is \"many\"; it must be a whole number"),
        ("train: {k: 3}\ntrain: {k: 4}", "line 1: \"train\" is there twice"),
        ("a: [", "while parsing a flow node"), ("- a\n- b", "it is not a list of keys and values"),
        ("just text", "it is not a list of keys and values"), ("", "it is empty"), (" \n\n", "it is empty"),
    ]) func whatIsWrongIsSaid(_ yaml: String, _ message: String) throws {
        try AtomicFile.write(yaml, to: tiny.folder.file("r.yaml"))
        try fail(distill(recipe: "r.yaml"), saying: message)
        #expect(!isThere(tiny.folder.file("run")))
    }

    @Test(arguments: [
        ("train.k", "recipe --set train.k: there is no \"=\" in it"),
        ("train.stpes=3", "did you mean \"train.steps\"?"),
        ("train.k=0", "recipe key train.k is \"0.0\"; it must be positive"),
        ("train.k=500", "recipe key train.k is \"500\"; it must be at most the 128 latents of sae.width"),
        ("train.k=nan", "it must be a number"),
        ("train.steps=99999999999999999", "recipe key train.steps is \"99999999999999999\"; it must be at most"),
        ("train.batch=100", "train.batch is \"100\"; it must be a positive multiple of 64"),
        (
            "sae.groups=[1, 2]",
            "sae.groups is \"[1, 2]\"; it must be sizes that sum to sae.width, 128, and these sum to 3"
        ),
        ("layer=-1", "recipe key layer is \"-1\"; it must be 0 or more"),
        ("layer=3", "layer 3 does not exist: the model has 3 layers; choose 0 to 2"),
        ("context=256", "sequences of 256 tokens exceed the model's context of 128"),
        ("context=1", "recipe key context is \"1\"; it must be at least 2 tokens"),
        ("distill.tau=0", "distill.tau is \"0.0\"; it must be above 0 and at most 1"),
        ("distill.tau=2", "distill.tau is \"2.0\"; it must be above 0 and at most 1"),
        ("distill.cycles=0", "distill.cycles is \"0\"; it must be at least 1"),
        ("final.k=[8, 500]", "recipe key final.k is \"500\"; it must be at most the 128"),
        ("final.k=[8, 8]", "it must be a list without repeats"),
        ("harvest.tokens=200", "at least one batch of 256 (train.batch)"),
        ("harvest.tokens=100000", "of the 100000 tokens wanted for harvesting"),
        ("sae.width=-4", "recipe key sae.width is \"-4\"; it must be at least 1 latent"),
        ("train.k=060", "recipe key train.k is \"060\"; it must be a number, without a zero before it"),
        (
            "train.decay_start=60",
            "train.decay_start is \"60\"; it must be one of the 60 steps, counted from 0, or none"
        ),
        ("train=3", "recipe key train is \"3\"; it must be a section of keys"),
        ("model=/nowhere", "/nowhere is not a model"), ("text=/nowhere.txt", "cannot read /nowhere.txt"),
        ("score.scorer=nope", "no plugin named 'nope'"), ("train.sparsity=gxa", "a sparsity rule is wanted here"),
        ("score.aggregate=median", "\"median\" is no aggregate"), ("seed=-1", "seed is \"-1\"; it must be 0 or more"),
    ]) func aBadAssignmentStartsNothing(_ assignment: String, _ message: String) throws {
        try fail(distill("--quiet", "--set", assignment), saying: message)
        #expect(!isThere(tiny.folder.file("run")))
    }

    @Test func aFileOfAnySizeIsNoRecipe() throws {
        for path in ["/dev/zero", tiny.model + "/model.safetensors"] {
            try fail(
                ["distill", path], saying: "recipe \(path): it has more than the 131072 bytes that a recipe can have")
        }
    }

    @Test func aHugeValueIsQuotedInPart() throws {
        let value = String(repeating: "x", count: 100_000)
        try AtomicFile.write("layer: \(value)\n", to: tiny.folder.file("r.yaml"))
        for words in [distill(recipe: "r.yaml"), ["distill", value], ["train", "--k", value]] {
            let result = try run(builtProgram, words)
            #expect(result.status != 0 && result.errors.utf8.count < 10_000 && result.errors.contains(" characters) …"))
        }
    }

    @Test func aFailedTrainingKeepsWhatWasHarvestedAndAnotherFolderIsAsked() throws {
        try fail(distill("--quiet", "--set", "train.lr=1e30"), saying: "the pre-activation of latent ")
        #expect(isThere(tiny.folder.file("run/store/store.json")))
        try fail(distill(), saying: "already holds a run; continue it with --resume, or choose another --out")
    }

    @Test func recipesAndRunFoldersThatAreNotThere() throws {
        try fail(distill(recipe: "none.yaml"), saying: "cannot read", "none.yaml: No such file or directory")
        try fail(distill(recipe: "tiny"), saying: "Is a directory")
        let recipe = tiny.folder.file("tiny.yaml")
        for out in [tiny.text, tiny.text + "/run", "/proc/run"] {
            try fail(["distill", recipe, "--out", out], saying: "cannot write ")
        }
    }

    @Test func aPrintedRecipeIsTheSameRecipe() throws {
        let printed = try succeed(["distill", tiny.folder.file("tiny.yaml"), "--print-recipe"])
        try AtomicFile.write(printed, to: tiny.folder.file("printed.yaml"))
        #expect(try succeed(["distill", tiny.folder.file("printed.yaml"), "--print-recipe"]) == printed)
        #expect(printed.contains("  k: 8\n") && printed.contains("  groups: [32, 32, 64]\n"), "\(printed)")
    }
}
