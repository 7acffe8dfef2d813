import Distillation
import LanguageModeling
import PluginHost
import SAEFormats
import SyntheticFeatures
import TensorFiles

extension DistillationParts {
    /// What a recipe names: files, models and plugins. The texts are put into `corpora` too.
    ///
    /// - Throws: what is missing or broken, before any work.
    init(
        _ recipe: Recipe, _ plugins: PluginOptions, on device: DeviceOptions, folder: String,
        corpora: inout [Corpus]
    ) throws {
        func place(_ name: String, _ demo: (DemoCache) -> String) throws -> String {
            name == "demo" ? demo(try DemoCache()) : name
        }
        let named = [recipe.model, recipe.text, recipe.evaluationText ?? recipe.text]
        // Only the demo needs the cache.
        if named.contains("demo") {
            let demo = try DemoCache()
            guard exists(demo.model) && exists(demo.train) && exists(demo.test) else {
                throw MissingDemo(folder: demo.folder)
            }
            for path in try demo.damaged() { throw DamagedDemo(path: path) }
        }
        let world = try named.contains("synthetic") ? Self.world() : nil
        let modelPath =
            try world.flatMap { recipe.model == "synthetic" ? $0.folder : nil }
            ?? (recipe.model == "gemma3" ? Self.gemma3() : place(recipe.model, \.model))
        let textPath = try world.flatMap { recipe.text == "synthetic" ? $0.train : nil } ?? place(recipe.text, \.train)
        let evaluationPath: String? =
            switch recipe.evaluationText ?? recipe.text {
            case "demo": try DemoCache().test
            case "synthetic": world?.test
            default: recipe.evaluationText
            }
        // Plugins first: a typo there should not cost the load of a model.
        let rule = try plugins.rule(recipe.sparsity, output: folder)
        let scorer = try plugins.scorer(recipe.scorer, output: folder)
        var reading = CorpusReading()
        (reading.skipsBadLines, reading.textKey) = (recipe.skipBadLines, recipe.textKey)
        reading.tokenWidth = recipe.tokenType
        let corpus = try Corpus([textPath], reading)
        let evaluationCorpus = try evaluationPath.map { try Corpus([$0], reading) }
        corpora = [corpus] + (evaluationCorpus.map { [$0] } ?? [])
        var needsTokenizer = hasTokenizer(modelPath)
        for case .text in corpora { needsTokenizer = true }
        let tokenizer = needsTokenizer ? try loadTokenizer(model: modelPath) : nil
        let model = try device.languageModel(modelPath)
        let vocabularySize = model.configuration.vocabularySize
        @Sendable func source(_ corpus: Corpus, skip: Int, limit: Int) throws -> TokenSource {
            var cut = TokenDataset.Cut(length: recipe.context)
            (cut.skip, cut.limit, cut.joins) = (skip, limit, recipe.pack)
            (cut.begins, cut.allowsSpecial) = (recipe.begins, recipe.parseSpecial)
            let data = try TokenDataset(corpus, tokenizer, vocabularySize: vocabularySize, cut)
            return { try data.nextBatch(sequences: recipe.sequences) }
        }
        var evaluationText: (@Sendable (_ limit: Int) throws -> TokenSource)?
        if let evaluationCorpus { evaluationText = { try source(evaluationCorpus, skip: 0, limit: $0) } }
        let excluded = try Tokenizer.tokens(
            named: recipe.excludeTokens ?? [], of: tokenizer, vocabularySize: vocabularySize)
        var hashes = try fileHashes(
            [("model", modelFiles(modelPath))] + corpus.roles("text")
                + (evaluationCorpus?.roles("evaluation text") ?? [])
                + [("cycle 0", recipe.cycle0.map(SAEFormats.files) ?? [])])
        hashes.merge(rule.hashes("sparsity rule")) { $1 }
        hashes.merge(scorer.hashes("scorer")) { $1 }
        var rankings: [CoreSource: CoreRanking] = [:]
        for source in recipe.resolvedTrials.map(\.core) {
            guard let ranking = source.ranking else { continue }
            let shipped = try plugins.scorer(ranking.scorer, output: folder)
            rankings[source] = CoreRanking(
                shipped, output: ranking.output, hashes: shipped.hashes("scorer of the core"))
        }
        // It is wanted at the end of a cycle, when a refusal would cost the training.
        _ = try rule.inference?.stateSize(latentCount: recipe.width)
        self.init(
            model: model, modelName: lastComponent(modelPath),
            specialTokens: model.configuration.specialTokens(with: tokenizer).union(excluded),
            text: { try source(corpus, skip: $0, limit: $1) },
            evaluationText: evaluationText, rule: rule, ruleSettings: rule.settings, scorer: scorer,
            scorerSettings: scorer.settings, hashes: hashes,
            version: DMSAE.version)
        self.rankings = rankings
    }
}

extension DistillationParts {
    /// The world of known features in the cache.
    private static func world() throws -> SyntheticPlace {
        let place = try SyntheticPlace.inCache()
        guard SyntheticModel.isAt(place.folder) else { throw MissingWorld(folder: place.folder) }
        return place
    }

    /// The path of Gemma 3 in the cache, as it was fetched.
    private static func gemma3() throws -> String {
        let gemma = try Gemma3Cache()
        guard exists(gemma.model) else { throw MissingGemma3(folder: gemma.folder) }
        guard try gemma.isWhole() else { throw DamagedDemo(path: gemma.model, command: "dmsae fetch gemma3") }
        return gemma.model
    }
}

/// Gemma 3 was not fetched.
struct MissingGemma3: Error, CustomStringConvertible {
    let folder: String
    var description: String { printable("Gemma 3 270M is not in \(folder); run: dmsae fetch gemma3") }
}

extension LoadedPlugin {
    /// Every setting by name, defaults included.
    var settings: [String: String] { Dictionary(parameters.map { ($0.key, $0.value) }) { _, last in last } }
}

/// The demo was not fetched.
struct MissingDemo: Error, CustomStringConvertible {
    let folder: String
    var description: String { printable("the demo's model and text are not in \(folder); run: dmsae fetch demo") }
}

/// A file of the cache is another than the one that was fetched.
struct DamagedDemo: Error, CustomStringConvertible {
    let path: String
    var command = "dmsae fetch demo"
    var description: String {
        "\(path) is not the file that was fetched: its SHA-256 differs; run: \(command)"
    }
}

/// The files whose bytes make a model what it is.
func modelFiles(_ path: String) -> [String] {
    guard let names = try? namesInFolder(path) else { return GGUFParts.paths(path) }
    return names.filter { $0.hasSuffix(".safetensors") || $0.hasSuffix(".json") }.map { path + "/" + $0 }
}

/// SHA-256 of a model, see `ModelPlace`.
func modelHash(_ path: String) throws -> String? {
    ModelPlace.modelHash(try fileHashes([("model", modelFiles(path))]))
}

/// SHA-256 by what a file is for, of several files with their names. No paths, and no name for what is one file: what is
/// moved or renamed stays what it is. Files of one name in several folders are numbered. Shown as progress: a model may take a while.
///
/// - Throws: `TensorFileError.unreadable`; `DistillationError.interrupted`.
func fileHashes(_ files: [(role: String, paths: [String])]) throws -> [String: String] {
    var result: [String: String] = [:]
    Terminal.shared.begin("hash files", total: 0, unit: "bytes")
    defer { Terminal.shared.end() }
    for (role, paths) in files {
        let isNumbered = Set(paths.map(lastComponent)).count < paths.count
        for (index, path) in paths.enumerated() {
            let number = isNumbered ? "\(index + 1) " : ""
            let name = paths.count == 1 ? role : "\(role) \(number)\(lastComponent(path))"
            result[name] = try SHA256.hexadecimal(ofFile: path) { count in
                try Interruption.request.check()
                Terminal.shared.advance(by: count, detail: "")
            }
        }
    }
    return result
}

extension Recipe {
    /// Reads the SAE that takes cycle 0's place, if the recipe names one, and takes its shape over.
    ///
    /// - Throws: what reading it throws; `DistillationError` for a recipe that says otherwise.
    mutating func adoptStart() throws -> StartingSAE? {
        guard let path = cycle0 else { return nil }
        let (sae, provenance) = try SAEFormats.read(path)
        let start = try StartingSAE(sae, provenance, path: path)
        try adopt(start)
        return start
    }
}
