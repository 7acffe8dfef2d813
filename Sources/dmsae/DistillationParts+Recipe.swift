import Distillation
import Glibc
import LanguageModeling
import TensorFiles

extension DistillationParts {
    /// What a recipe names: files, models and plugins. The texts are put into `corpora` too.
    ///
    /// - Throws: what is missing or broken, before any work.
    init(_ recipe: Recipe, _ plugins: PluginOptions, folder: String, corpora: inout [TextCorpus]) throws {
        let demo = try DemoCache()
        let named = [recipe.model, recipe.text, recipe.evaluationText ?? recipe.text]
        if named.contains("demo") && !(exists(demo.model) && exists(demo.train) && exists(demo.test)) {
            throw MissingDemo(folder: demo.folder)
        }
        let modelPath = recipe.model == "demo" ? demo.model : recipe.model
        let textPath = recipe.text == "demo" ? demo.train : recipe.text
        let evaluationPath = (recipe.evaluationText ?? recipe.text) == "demo" ? demo.test : recipe.evaluationText
        // Plugins first: a typo there should not cost the load of a model.
        let rule = try plugins.rule(recipe.sparsity, output: folder)
        let scorer = try plugins.scorer(recipe.scorer, output: folder)
        let corpus = try TextCorpus(path: textPath, skipsBadLines: recipe.skipBadLines)
        let evaluationCorpus = try evaluationPath.map { try TextCorpus(path: $0, skipsBadLines: recipe.skipBadLines) }
        corpora = [corpus] + (evaluationCorpus.map { [$0] } ?? [])
        let tokenizer = try loadTokenizer(model: modelPath)
        let model = try loadLanguageModel(path: modelPath)
        @Sendable func source(_ corpus: TextCorpus, skip: Int, limit: Int) throws -> TokenSource {
            let data = try TokenDataset(
                corpus: corpus, tokenizer: tokenizer, length: recipe.context, skip: skip, limit: limit)
            return { try data.nextBatch(sequences: recipe.sequences) }
        }
        var evaluationText: (@Sendable (_ limit: Int) throws -> TokenSource)?
        if let evaluationCorpus { evaluationText = { try source(evaluationCorpus, skip: 0, limit: $0) } }
        let hashes = [
            ("model", try modelFiles(modelPath)), ("text", corpus.files),
            ("evaluation text", evaluationCorpus?.files ?? []), ("sparsity rule", [rule.path]),
            ("scorer", [scorer.path]),
        ]
        self.init(
            model: model, modelName: lastComponent(modelPath),
            specialTokens: model.configuration.specialTokens(with: tokenizer),
            text: { try source(corpus, skip: $0, limit: $1) },
            evaluationText: evaluationText, rule: rule, scorer: scorer,
            hashes: try sha256(of: hashes),
            version: DMSAE.version)
    }
}

/// The demo was not fetched.
struct MissingDemo: Error, CustomStringConvertible {
    let folder: String
    var description: String { printable("the demo's model and text are not in \(folder); run: dmsae fetch demo") }
}

/// The last part of a path.
func lastComponent(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

/// The files whose bytes make a model what it is.
func modelFiles(_ path: String) throws -> [String] {
    guard let folder = opendir(path) else { return [path] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name.hasSuffix(".safetensors") || name.hasSuffix(".json") { names.append(name) }
    }
    return names.sorted().map { path + "/" + $0 }
}

/// SHA-256 by what a file is for and its name. Names alone, not paths: a run folder that moves with its inputs stays
/// resumable.
private func sha256(of files: [(role: String, paths: [String])]) throws -> [String: String] {
    var result: [String: String] = [:]
    for (role, paths) in files {
        for path in paths { result["\(role) \(lastComponent(path))"] = try SHA256.hexadecimal(ofFile: path) }
    }
    return result
}
