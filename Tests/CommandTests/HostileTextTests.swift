import Attribution
import Distillation
import LanguageModeling
import PluginABI
import PluginHost
import PluginWorkers
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// What a name can hold that clears a screen, turns text round or forges a line.
private let hostile = "a\u{1B}[2J\rb\u{7F}\u{9B}31m\u{202E}c\u{2028}\u{200B}\nError: forged"

/// Names with such things, from everywhere, in everything that is printed.
@Suite struct HostileTextTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws { tiny = try TinyModel() }

    private func isClean(_ text: String) -> Bool {
        !text.unicodeScalars.contains { $0.deceives && $0 != "\n" && $0 != "\t" }
    }

    @Test func everyErrorIsOneLineFitForATerminal() {
        let name = hostile
        let errors: [any Error] = [
            TensorFileError.unreadable(file: name, reason: name), TensorFileError.unwritable(file: name, reason: name),
            TensorFileError.malformed(file: name, what: name, next: name),
            TensorFileError.unsupported(file: name, what: name, next: name),
            TensorFileError.missingTensor(file: name, name: name, present: [name]),
            TensorFileError.wrongType(file: name, name: name, found: name, wanted: name),
            TensorFileError.wrongShape(file: name, name: name, found: [1], wanted: [nil]),
            TensorFileError.unusable(file: name, what: name, next: name),
            TextError.malformedTokenizer(file: name, what: name),
            TextError.unsupportedTokenizer(file: name, found: name, supported: name), TextError.noEndOfText(file: name),
            TextError.unreadable(path: name, reason: name), TextError.malformedLine(file: name, line: 1, what: name),
            TextError.empty(path: name), TextError.notUTF8(path: name, offset: 1),
            TextError.tooShort(path: name, tokenCount: 1, skipped: 0, limit: nil, length: 2),
            LanguageModelError.noModel(path: name, missing: name),
            LanguageModelError.unsupportedArchitecture(file: name, found: name),
            LanguageModelError.unsupportedSetting(file: name, key: name, found: name, supported: name),
            LanguageModelError.unknownSetting(file: name, key: name, found: name),
            LanguageModelError.changedBy(folder: name, file: name),
            LanguageModelError.missingSetting(file: name, key: name),
            LanguageModelError.badSetting(file: name, key: name, found: name, wanted: name),
            LanguageModelError.unexpectedTensors(file: name, names: [name]),
            LanguageModelError.notFinite(file: name, tensor: name),
            LanguageModelError.strayShard(file: name, shard: name),
            SparseCodingError.badSetting(name: name, value: name, wanted: name),
            SparseCodingError.ruleSelectedTooMany(rule: name, selected: 2, allowed: 1),
            SparseCodingError.badFolder(path: name, reason: name, advice: name),
            AttributionError.badAggregate(name), AttributionError.otherPass(path: name, difference: name),
            AttributionError.badEdit(name),
            DistillationError.badRecipe(path: name, reason: name),
            DistillationError.unknownKey(key: name, nearest: name),
            DistillationError.badValue(key: name, value: name, wanted: name), DistillationError.runExists(folder: name),
            DistillationError.badStore(path: name, reason: name), DistillationError.badCore(path: name, reason: name),
            PluginFileError.unreadable(path: name, reason: name), WorkerError.badBundle(path: name, reason: name),
            PluginABIError.badManifest(path: name, reason: name),
            PluginReferenceError.unknownName(name, folders: [name], known: [name], unloadable: 0),
        ]
        for error in errors {
            let text = "\(error)"
            #expect(isClean(text) && !text.contains("\n"), "\(type(of: error)): \(text.debugDescription)")
            #expect(text.contains("\\u{1B}"), "\(text)")
        }
    }

    /// Whatever is wrong with them, each command that is handed hostile names prints clean lines, and one error.
    @Test func noCommandPrintsWhatAFileNames() throws {
        let path = folder.file(hostile)
        try AtomicFile.write(
            "{\"architecture\": \"\(#"\u001b[2J\u202e\n"#)\", \"d_sae\": 4}", to: folder.file("cfg.json"))
        try AtomicFile.write("train: {\"\\e[2J\\nk\": 3}", to: folder.file("key.yaml"))
        try AtomicFile.write("model: \"\\e[2J\\u202e\\n/nowhere\"", to: folder.file("value.yaml"))
        try AtomicFile.write("{\"text\": 1, \"\\u001b[2J\": NaN}\n", to: folder.file("text.jsonl"))
        var writer = SafetensorsWriter()
        writer.add(hostile, integers: [1, 2], shape: [1, 1, 2])
        try writer.write(to: folder.file("ids"))
        for arguments in [
            ["lm", "trace", "--model", tiny.model, "--layer", "1", "--tokens", folder.file("ids"), "--out", path],
            [
                "lm", "trace", "--model", path, "--layer", "1", "--tokens", folder.file("ids"), "--out",
                folder.file("o"),
            ],
            ["lm", "tokenize", "--model", tiny.model, "--text", folder.file("text.jsonl")],
            ["lm", "tokenize", "--model", tiny.model, "--text", path],
            ["lm", hostile], ["--" + hostile], ["distill", folder.file("key.yaml")],
            ["distill", folder.file("value.yaml")],
            ["distill", path], ["distill", "demo", "--set", hostile],
            ["distill", "demo", "--set", "train.k=" + hostile],
            ["encode", "--sae", folder.path, "--input", path, "--out", folder.file("o")],
            ["eval", "--model", tiny.model, "--sae", path, "--text", tiny.text],
            ["report", path], ["select", "--scores", path, "--tau", "0.5"], ["plugin", "inspect", path + ".so"],
            ["plugin", "validate", path + ".so"], ["score", "--scorer", hostile],
        ] {
            let result = try run(builtProgram, arguments)
            #expect(result.status != 0, "\(arguments)")
            #expect(isClean(result.errors) && isClean(result.output), "\(arguments): \(result.errors.debugDescription)")
            let own = arguments.first { $0.contains(hostile) } == nil
            #expect(
                !own || result.errors.split(separator: "\n").filter { $0.hasPrefix("Error: ") }.count == 1,
                "\(arguments): \(result.errors)")
        }
    }

    @Test func aPrintedRecipeIsYAMLAgainWhateverItsPathsHold() throws {
        try AtomicFile.write("model: \"a\\e[2J\\u202eb\\nc\"\n", to: folder.file("r.yaml"))
        let printed = try succeed(["distill", folder.file("r.yaml"), "--print-recipe"])
        #expect(isClean(printed))
        try AtomicFile.write(printed, to: folder.file("again.yaml"))
        #expect(try succeed(["distill", folder.file("again.yaml"), "--print-recipe"]) == printed)
        #expect(try Recipe(yaml: printed, path: "r").model == "a\u{1B}[2J\u{202E}b\nc")
    }
}
