import ArgumentParser
import Distillation
import LanguageModeling
import SAEFormats
import TensorFiles

/// `dmsae distill RECIPE`: the whole method into a run folder.
struct DistillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Distil a core: train, attribute, keep, freeze, repeat; then compare with a plain SAE.",
        discussion: """
            RECIPE is a YAML file or the name of a bundled recipe (\(BundledRecipe.toDistil.map(\.name).joined(separator: ", "))). Every key and its default is shown by \
            --print-recipe. Everything goes into the run folder; a run cut short continues with --resume.

            Example: dmsae distill demo --out runs/demo
            """)

    @Argument(help: "Recipe file, or the name of a bundled recipe.")
    var recipe: String
    @Option(help: "Run folder.")
    var out: String?
    @Option(help: ArgumentHelp("Change one key of the recipe; may be repeated.", valueName: "KEY=VALUE"))
    var set: [String] = []
    @Flag(help: "Continue the run in the folder: after its finished cycles, at the last checkpoint of a training.")
    var resume = false
    @OptionGroup var checkpoints: CheckpointOptions
    @Option(
        help: ArgumentHelp(
            "With harvest.live: train at most so many SAEs side by side on the same rows, which the model makes once for all of them. Results do not depend on it; memory does, and each keeps checkpoints of its own. Default: as many as half of the memory that is left has room for.",
            valueName: "N"))
    var together: Int?
    @OptionGroup var log: LogOptions
    @Flag(help: "Print the recipe with every key, its meaning and its value, and stop.")
    var printRecipe = false
    @OptionGroup var dry: DryRunOption
    @OptionGroup var place: DeviceOptions
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try checkpoints.validate(resume: resume)
        if let together { try require("--together", together, in: 1...10_000) }
    }

    func run() throws {
        output.apply()
        var recipe = try loadRecipe()
        if printRecipe { return print(recipe.documented(), terminator: "") }
        let folder = out ?? "runs/" + name
        Interruption.install(
            advice: "interrupted; what is done is in \(folder), continue with: "
                + (["dmsae distill \(self.recipe)"] + set.map { "--set '\($0)'" } + ["--out \(folder) --resume"])
                .joined(separator: " "))
        let start = try recipe.adoptStart()
        try recipe.validate()
        // A dry run of a store says what live trainings would take.
        if together != nil && !recipe.isLive && !dry.dryRun {
            throw ValidationError(
                "--together is of live trainings (harvest.live: true); those on a store share no rows; leave it out")
        }
        if dry.dryRun, let missing = missingModel(recipe) {
            return try dry.show(recipe.cost(without: missing, together: together), output)
        }
        try OutputPlace.requireFolder(folder, holdingOnly: "run.json")
        try Surroundings.prepareToCompute(
            advice: "lower sae.width, train.batch, context, sequences or score.tokens of the recipe")
        let terminal = Terminal.shared
        var corpora: [Corpus] = []
        let device = try place.trainingDevice()
        if let together, together > 1, device.rankCount > 1 {
            throw ValidationError("--together is \(together), and ranks train one SAE after the other; leave it out")
        }
        var parts = try DistillationParts(
            recipe, plugins, on: place, folder: folder, corpora: &corpora)
        parts.device = device
        parts.start = start
        parts.checkpoints = checkpoints.policy
        parts.together = together
        parts.boardClock = log.boardClock
        let distillation = try Distillation(
            recipe, parts: parts, folder: folder, progress: terminal, stop: Interruption.request)
        if dry.dryRun { return try dry.show(distillation.cost(), output) }
        let hasSeeds = recipe.seeds > 1
        var isBegun = false
        let records = try distillation.distill(resuming: resume) { seed, cycle in
            if !output.json {
                if !isBegun { print(DistillationTable.header(hasSeeds: hasSeeds)) }
                isBegun = true
                print(DistillationTable.line(cycle, seed: hasSeeds ? seed : nil))
                Results.flush()
            }
        }
        for corpus in corpora { terminal.warn(skippedIn: corpus) }
        if output.json {
            if let only = records.first, records.count == 1 { return print(try JSONRecord.text(only)) }
            print(try JSONRecord.text(RepeatedRecord(firstSeed: recipe.seed, records)))
        } else {
            print(DistillationTable.ending(records, folder: folder), terminator: "")
        }
    }

    /// What is to be said of a model that is named by its path and is not there.
    private func missingModel(_ recipe: Recipe) -> String? {
        guard !["demo", "gemma3", "synthetic"].contains(recipe.model), !exists(recipe.model) else { return nil }
        return "the model \(recipe.model) is not there (say where with --set model=PATH)"
    }

    private var name: String {
        let last = lastComponent(recipe)
        return last.hasSuffix(".yaml") || last.hasSuffix(".yml")
            ? String(last[..<(last.lastIndex(of: ".") ?? last.endIndex)]) : last
    }

    private func loadRecipe() throws -> Recipe {
        var result: Recipe
        if let own = BundledRecipe.text(named: recipe) {
            result = try Recipe(yaml: own, path: recipe)
        } else {
            if exists(recipe + "/run.json") {
                throw ValidationError(
                    "\(recipe) is the folder of a run; give the recipe that it was started with, --out \(recipe) and --resume"
                )
            }
            try BundledRecipe.refuseMisspelt(recipe, among: BundledRecipe.toDistil)
            result = try Recipe(contentsOf: recipe)
        }
        guard result.grid == nil else {
            throw ValidationError("\(recipe) is to be run over a grid; use dmsae sweep \(recipe)")
        }
        for assignment in set { try result.set(assignment) }
        return result
    }
}
