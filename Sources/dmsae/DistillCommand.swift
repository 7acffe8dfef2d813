import ArgumentParser
import Distillation
import Glibc
import LanguageModeling
import TensorFiles

/// `dmsae distill RECIPE`: the whole method into a run folder.
struct DistillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Distil a core: train, attribute, keep, freeze, repeat; then compare with a plain SAE.",
        discussion: """
            RECIPE is a YAML file or the name of a bundled recipe (demo). Every key and its default is shown by \
            --print-recipe. Everything goes into the run folder; a run cut short continues with --resume.

            Example: dmsae distill demo --out runs/demo
            """)

    @Argument(help: "Recipe file, or demo.")
    var recipe: String
    @Option(help: "Run folder.")
    var out: String?
    @Option(help: ArgumentHelp("Change one key of the recipe; may be repeated.", valueName: "KEY=VALUE"))
    var set: [String] = []
    @Flag(help: "Continue the run in the folder at its last finished cycle.")
    var resume = false
    @Flag(help: "Print the recipe with every key, its meaning and its value, and stop.")
    var printRecipe = false
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
        output.apply()
        let recipe = try loadRecipe()
        if printRecipe { return print(recipe.documented(), terminator: "") }
        let folder = out ?? "runs/" + name
        Interruption.install(
            advice: "interrupted; finished cycles are in \(folder), continue with: "
                + (["dmsae distill \(self.recipe)"] + set.map { "--set '\($0)'" } + ["--out \(folder) --resume"])
                .joined(separator: " "))
        try recipe.validate()
        try OutputPlace.requireFolder(folder, holdingOnly: "run.json")
        try Surroundings.prepareToCompute(
            advice: "lower sae.width, train.batch, context, sequences or score.tokens of the recipe")
        let terminal = Terminal.shared
        var corpora: [TextCorpus] = []
        let parts = try DistillationParts(recipe, plugins, folder: folder, corpora: &corpora)
        let distillation = try Distillation(
            recipe, parts: parts, folder: folder, progress: terminal, stop: Interruption.request)
        let record = try distillation.distill(resuming: resume) { cycle in
            if !output.json {
                if cycle.cycle == 0 { print(DistillationTable.header) }
                print(DistillationTable.line(cycle))
                Results.flush()
            }
        }
        for corpus in corpora { terminal.warn(skippedIn: corpus) }
        if output.json {
            print(try JSONRecord.text(record))
        } else {
            print(DistillationTable.ending(record, folder: folder), terminator: "")
        }
    }

    private var name: String {
        let last = recipe.split(separator: "/").last.map(String.init) ?? recipe
        return last.hasSuffix(".yaml") || last.hasSuffix(".yml")
            ? String(last[..<(last.lastIndex(of: ".") ?? last.endIndex)]) : last
    }

    private func loadRecipe() throws -> Recipe {
        var result: Recipe
        if recipe == "demo" {
            result = try Recipe(yaml: String(decoding: PackageResources.demo_yaml, as: UTF8.self), path: "demo")
        } else {
            result = try Recipe(yaml: try readText(recipe), path: recipe)
        }
        for assignment in set { try result.set(assignment) }
        return result
    }
}

/// A text file, without the byte-order mark that it may begin with.
///
/// - Throws: `TensorFileError.unreadable`, also for text that is not UTF-8.
func readText(_ path: String) throws -> String {
    guard let file = fopen(path, "rb") else {
        throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    guard ferror(file) == 0 else {
        throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
    }
    if let other = unreadableEncoding(bytes) {
        throw TensorFileError.unreadable(file: path, reason: "it is \(other) text, not UTF-8")
    }
    let text = bytes.starts(with: byteOrderMark) ? bytes[byteOrderMark.count...] : bytes[...]
    // Line by line only where something is wrong.
    guard let result = String(validating: text, as: UTF8.self) else {
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let bad = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw TensorFileError.unreadable(file: path, reason: "line \(bad + 1) is not UTF-8")
    }
    return result
}
