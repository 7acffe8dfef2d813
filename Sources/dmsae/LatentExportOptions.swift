import ArgumentParser
import Attribution
import Autointerp
import Distillation
import LanguageModeling
import LatentExports
import SAEFormats
import SparseCoding
import TensorFiles

/// Options of `latents` that write for other tools.
struct LatentExportOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Write latents for another tool: batch-N.json of SAEDashboard, what Neuronpedia imports, or a cache of activations for Delphi.",
            valueName: LatentFormat.allCases.map(\.rawValue).joined(separator: "|")))
    var export: LatentFormat?
    @Option(help: "Folder of --export, new or empty.")
    var out: String?
    @Option(
        help: ArgumentHelp(
            "What methods say of latents, to be told with them: scores of dmsae score, a comparison.json or an autointerp.json. May be repeated.",
            valueName: "FILE"))
    var scores: [String] = []
    @Option(
        help: ArgumentHelp(
            "What the export says of itself, of \(Key.allCases.map(\.rawValue).joined(separator: ", ")). May be repeated.",
            valueName: "KEY=TEXT"))
    var about: [String] = []

    /// What can be said of an export.
    private enum Key: String, CaseIterable { case model, set, dataset, release, title, url, creator }

    func validate() throws {
        guard (export == nil) == (out == nil) else { throw ValidationError("--export and --out go together") }
        guard export != nil || about.isEmpty else { throw ValidationError("--about is of an --export") }
        _ = try said()
    }

    private func said() throws -> [Key: String] {
        var result: [Key: String] = [:]
        for text in about {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, let key = Key(rawValue: parts[0]) else {
                let near = nearest(parts[0], among: Key.allCases.map(\.rawValue)).map { "; did you mean \($0)?" } ?? ""
                throw ValidationError(
                    "--about \(text) is none of \(Key.allCases.map { "\($0)=TEXT" }.joined(separator: ", "))\(near)")
            }
            guard result.updateValue(parts[1], forKey: key) == nil else {
                throw ValidationError("--about says \(key) twice")
            }
        }
        return result
    }

    /// Marks of latents: of a core, and of what methods say.
    ///
    /// - Throws: `TensorFileError`.
    func marks(core: [CoreLatent], sae: String, width: Int) throws -> [Int: LatentMark] {
        let weights = scores.isEmpty ? "" : try SHA256.hexadecimal(ofFile: SAEFormats.files(sae).last!)
        return LatentMark.marks(
            core: core,
            scores: try scores.flatMap {
                try AutointerpSummary.scores(in: $0, weights: weights, width: width)
                    ?? MethodScores.read($0, weights: weights, width: width)
            })
    }

    /// What is said of the source, and what follows from the names of files where nothing is.
    func source(model: String, _ loaded: any LanguageModel, sae: String, _ hook: HookPoint, text: Corpus) throws
        -> ExportedLatents.Source
    {
        let said = try said()
        let names = text.files.given.map { lastComponent($0.path) }.joined(separator: ", ")
        // Delphi looks the model up to find its tokenizer, so of a folder it gets that.
        let own = export == .delphi && !model.hasSuffix(".gguf") ? model : address(lastComponent(model))
        var source = ExportedLatents.Source(
            model: said[.model] ?? own, family: loaded.configuration.family, blocks: loaded.configuration.layerCount,
            hook: hook, dataset: said[.dataset] ?? names, set: said[.set] ?? address(lastComponent(sae)))
        source.release = said[.release] ?? source.set
        source.title = said[.title] ?? source.release
        source.url = said[.url] ?? ""
        source.creator = said[.creator] ?? source.creator
        return source
    }

    /// A file's name as it may be a part of an address, without its ending.
    private func address(_ name: String) -> String {
        let stem = name.hasSuffix(".gguf") ? String(name.dropLast(5)) : name
        let kept = stem.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "-" }
        let rest = String(kept).drop { $0 == "." || $0 == "-" }.prefix(100)
        return rest.isEmpty ? "unnamed" : String(rest)
    }

    /// Writes the export; nil where none was asked for.
    ///
    /// - Throws: `LatentExportError`; `TensorFileError`; `DistillationError.interrupted`.
    func write(_ exported: ExportedLatents, to folder: ExportFolder, about: [String: String]) throws
        -> ExportFolder.Record?
    {
        guard let export else { return nil }
        Terminal.shared.begin("export", total: exported.latents.count, unit: "latents")
        defer { Terminal.shared.end() }
        try export.write(exported, to: folder) {
            try Interruption.request.check()
            Terminal.shared.advance(by: $0, detail: "")
        }
        return try folder.finish(
            format: export.rawValue, latents: exported.latents.count, tokens: exported.inspection.tokenCount,
            about: about)
    }
}

extension LatentFormat: ExpressibleByArgument {}
