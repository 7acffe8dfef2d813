import ArgumentParser
import Distillation
import Glibc
import LinearAlgebra
import Reports
import TensorFiles

/// `dmsae sweep RECIPE --over KEY=V1,V2 …`: a grid of distillations.
struct SweepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sweep",
        abstract: "Distil at every point of a grid over recipe keys and seeds; what points share is made once.",
        discussion: """
            Each point is a run of its own (point-0000 …), which `report` and `distill --resume` take. sweep.csv has a row for each \
            of their SAEs, report.html shows measures over each key. Cut short, it goes on with the same command or with `dmsae \
            sweep FOLDER`, to the same results. A point that fails is recorded and the others go on. Exit status: 1 if any \
            failed.

            A recipe may say itself what it is to be swept over (its section sweep). So do the experiments that come with dmsae: \
            \(BundledRecipe.experiments.map(\.name).joined(separator: ", ")).

            Example: dmsae sweep demo --over distill.tau=0.3,0.5 --over train.k=64,128 --seeds 3 --out sweeps/tau
            """)

    @Argument(help: "Recipe file or name, or the folder of a sweep to go on with.")
    var recipe: String
    @Option(
        help: ArgumentHelp(
            "A recipe key and the values it takes; may be repeated. Values with commas stand in brackets or quotes.",
            valueName: "KEY=VALUE,…"))
    var over: [String] = []
    @Option(help: "Seeds of every point: the recipe's own and those after it.")
    var seeds: Int?
    @Option(help: ArgumentHelp("Change one key of the recipe for all points; may be repeated.", valueName: "KEY=VALUE"))
    var set: [String] = []
    @Option(name: [.short, .long], help: "Folder of the sweep.")
    var out: String?
    @Option(
        help: ArgumentHelp(
            "Take over what another sweep on this machine has done of the same: harvest, cycle 0, cycles; may be repeated.",
            valueName: "FOLDER"))
    var from: [String] = []
    @Option(help: "Points that run at once, each with its part of the lanes.")
    var jobs = 1
    @Flag(help: "Say how many points there are, what they share and what they take, and stop.")
    var dryRun = false
    @Flag(help: "Print the recipe with every key, its meaning and its value, and what it is swept over, and stop.")
    var printRecipe = false
    @Flag(help: "Begin the sweep, and print a script for sbatch that runs each point as a job of an array.")
    var slurm = false
    @Option(help: "Run this point alone, of a sweep that was begun.")
    var point: Int?
    @Option(help: .hidden)
    var parent: Int32?
    /// Where what parts of points take is to be written, for the sweep that runs them.
    @Option(help: .hidden)
    var forecast: String?
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var place: DeviceOptions
    @OptionGroup var plugins: PluginOptions
    @Flag(help: "No progress; warnings and errors only.")
    var quiet = false

    func validate() throws {
        if let seeds { try require("--seeds", seeds, in: 1...10_000) }
        try require("--jobs", jobs, in: 1...Lanes.most)
        if let point { try require("--point", point, in: 0...Int.max) }
    }

    func run() throws {
        if quiet { Terminal.shared.silence() }
        if let point { return try SweepPointRun(self, folder: recipe).run(point) }
        let sweep = try loaded()
        if printRecipe { return print(try sweep.documented(), terminator: "") }
        let folder = try self.folder()
        if dryRun || forecast != nil {
            let cost = try SweepForecast(sweep, place, plugins, jobs: jobs)
            guard let forecast else { return cost.show() }
            return try JSONRecord.write(cost.times, to: forecast)
        }
        if let group = RankJob.group {
            throw ValidationError(
                "\(group.count) processes were started, and a sweep starts one of its own for each point; begin it with --slurm, and start the "
                    + "points so: mpiexec -n \(group.count) dmsae sweep \(folder) --point N")
        }
        try OutputPlace.requireFolder(folder, holdingOnly: Sweep.fileName)
        let lock = try OutputLock.folder(folder)
        defer { withExtendedLifetime(lock) {} }
        let open = try sweep.open(in: folder)
        if slurm { return print(try SlurmScript(open, folder: folder, options: passedOn).text, terminator: "") }
        if jobs > 1, try place.isCard {
            Terminal.shared.warn(
                "\(jobs) points at once share one card, where processes take turns: they are slower than one after the other"
            )
        }
        Interruption.install(advice: "interrupted; what is done is in \(folder), continue with: dmsae sweep \(folder)")
        let processes = try SweepProcesses(open, folder: folder, jobs: jobs, options: passedOn, isShown: !quiet)
        try processes.run()
        try Self.writeResults(of: folder)
        print("\(folder)/sweep.csv\n\(folder)/report.html")
        let failed = try SweepTable(folder: folder).without.compactMap(\.error)
        if let first = failed.first {
            throw SweepError.failed(points: failed.count, of: open.count, first: first, folder: folder)
        }
    }

    static func writeResults(of folder: String) throws {
        try AtomicFile.write(try SweepTable(folder: folder).csv, to: folder + "/sweep.csv")
        try AtomicFile.write(try SweepReport(folder: folder).html(), to: folder + "/report.html")
    }

    /// Options that every point gets as they are.
    private var passedOn: [String] {
        var words = ["--checkpoint-every", "\(checkpoints.checkpointEvery)"]
        if let device = place.device { words += ["--device", device] }
        if let precision = place.precision { words += ["--precision", precision.rawValue] }
        if plugins.inProcess { words.append("--in-process") }
        words += ["--plugin-timeout", "\(plugins.pluginTimeout)", "--sandbox", plugins.sandbox.rawValue]
        if let memory = plugins.pluginMemory { words += ["--plugin-memory", "\(memory)"] }
        return words + plugins.pluginEnv.flatMap { ["--plugin-env", $0] }
    }

    /// The sweep of the folder that is named, or a new one over the recipe that is.
    private func loaded() throws -> Sweep {
        if exists(recipe + "/" + Sweep.fileName) {
            guard over.isEmpty, set.isEmpty, from.isEmpty, seeds == nil, out == nil else {
                throw ValidationError(
                    "\(recipe) holds a sweep, which says what it is over; leave --over, --set, --seeds, --from and --out out"
                )
            }
            return try Sweep(folder: recipe)
        }
        let text: String
        if let own = BundledRecipe.text(named: recipe) {
            text = own
        } else {
            try BundledRecipe.refuseMisspelt(recipe, among: BundledRecipe.toDistil + BundledRecipe.experiments)
            // For what is wrong with it as a recipe.
            _ = try Recipe(contentsOf: recipe)
            text = try readText(recipe, most: Recipe.mostBytes) ?? ""
        }
        let lanes = max(1, try Lanes.requestedCount() / jobs)
        do {
            return try Sweep(
                name: recipe, recipe: text, assignments: set, over: try over.map { try SweepAxis($0) }, seeds: seeds,
                lanes: lanes, from: try from.map { try absolute($0) })
        } catch let error as SweepError where error == .nothingToSweep {
            throw ValidationError("\(error)")
        }
    }

    /// The sweep may be gone on with from another folder.
    private func absolute(_ sweep: String) throws -> String {
        guard exists(sweep + "/" + Sweep.fileName), let path = realpath(sweep, nil) else {
            throw SweepError.noSweep(folder: sweep)
        }
        defer { free(path) }
        return String(cString: path)
    }

    private func folder() throws -> String {
        if exists(recipe + "/" + Sweep.fileName) { return recipe }
        guard let out else {
            guard dryRun else { throw ValidationError("give the folder of the sweep: --out FOLDER") }
            return ""
        }
        return out
    }
}

/// A script that runs each point as a job of an array.
struct SlurmScript {
    let text: String

    init(_ sweep: Sweep, folder: String, options: [String]) throws {
        let work = try sweep.work()
        let first = try sweep.points().filter { point in
            [SharedStep.harvest, .firstTraining].contains { work.sharing($0, with: point.recipe).first == point.index }
        }.map { "\($0.index)" }
        let words: [String] =
            ["dmsae", "sweep", folder, "--point", "\"$SLURM_ARRAY_TASK_ID\""] + options + ["--quiet"]
        text = """
            #!/bin/bash
            #SBATCH --job-name=dmsae-sweep
            #SBATCH --array=0-\(sweep.count - 1)
            #SBATCH --cpus-per-task=\(sweep.lanes)
            # What points share is made once if these are done first:
            #   first=$(sbatch --parsable --array=\(first.joined(separator: ",")) THIS_FILE)
            #   sbatch --dependency=afterany:$first THIS_FILE
            # When all are done, `dmsae sweep \(folder)` writes sweep.csv and report.html.
            \(words.joined(separator: " "))

            """
    }
}
