import Attribution
import Probing
import SyntheticFeatures
import TensorFiles

/// A file that `dmsae eval … --out` wrote: what of, with which settings, and what came of it.
package struct EvaluationFile: Sendable {
    package let path: String
    package let kind: EvaluationKind
    /// SHA-256 of the SAE's files by their names; that of an SAE of one file by "".
    let sae: [String: String]
    /// All else that the numbers depend on, the version of the program too.
    let settings: [String: String]
    let measures: [EvaluatedMeasure]

    /// Reads a file of any kind.
    ///
    /// - Parameter namesFiles: whether `settings` say of which files the numbers are: their SHA-256, and SAEBench's names of them.
    /// - Throws: `TensorFileError` for a file that cannot be read, is no evaluation, or does not say which SAE it is of.
    package init(_ path: String, namesFiles: Bool = true) throws {
        let document = try JSONValue(contentsOf: path)
        self.path = path
        var recorded: [String: String]
        func read<Metrics, Extra>(_ type: SAEBenchShown<Metrics, Extra>.Type) throws -> SAEBenchShown<Metrics, Extra> {
            guard document["eval_result_unstructured"]?["dmsae"] != nil else {
                throw TensorFileError.unusable(
                    file: path, what: "it does not say of which SAE's files it is, as what `dmsae eval` writes does",
                    next: "measure the SAE with `dmsae eval`")
            }
            return try JSONRecord.read(type, from: path, allowingOtherKeys: true)
        }
        switch document["eval_type_id"]?.string {
        case CoreEvaluationOutput.type:
            let found = try read(SAEBenchShown<CoreMetricCategories, CoreEvaluationOutput.Extra>.self)
            (kind, recorded) = (.core, found.extra.settings)
            recorded["draws"] = "\(found.extra.draws)"
            measures = EvaluatedMeasure.all(found.eval_result_metrics, found.extra.intervals)
        case AbsorptionOutput.type:
            let found = try read(SAEBenchShown<AbsorptionOutput.Categories, AbsorptionOutput.Extra>.self)
            let letters = try JSONRecord.read(Letters.self, from: path, allowingOtherKeys: true).eval_result_details
            (kind, recorded) = (.absorption, found.extra.settings)
            measures = EvaluatedMeasure.all(found.extra.summary, letters)
        case MetaStructureOutput.type:
            let found = try read(SAEBenchShown<MetaStructureOutput.Categories, MetaStructureOutput.Extra>.self)
            (kind, recorded) = (.meta, found.extra.settings)
            measures = EvaluatedMeasure.all(found.eval_result_metrics.meta_structure, found.extra)
        case let other?:
            throw TensorFileError.unsupported(
                file: path, what: "pages do not show evaluations of the kind \(JSONValue.quoted(other))",
                next: "give what `dmsae eval core`, `probes`, `absorption`, `meta` or `synthetic` has written")
        case nil where document["findings"] != nil && document["origin"] != nil:
            let found = try JSONRecord.read(FeatureEvaluation.Record.self, from: path)
            (kind, recorded) = (.synthetic, found.origin)
            measures = EvaluatedMeasure.all(found.findings)
        case nil where document["means"] != nil && document["differences"] != nil:
            let found = try JSONRecord.read(ProbeSummary.self, from: path)
            (kind, recorded) = (.probes, found.settings)
            recorded["tasks"] = found.tasks.map(\.task).joined(separator: ", ")
            measures = EvaluatedMeasure.all(found)
        case nil:
            throw TensorFileError.unusable(
                file: path, what: "it is no evaluation of an SAE",
                next: "give what `dmsae eval core`, `probes`, `absorption`, `meta` or `synthetic` has written")
        }
        for (name, value) in document["eval_config"]?.object ?? [:] {
            recorded[Self.configuration + name] = value.string ?? value.shown
        }
        var hashes: [String: String] = [:]
        for (name, value) in recorded where name.hasPrefix("SAE") && name.hasSuffix(Self.hash) {
            hashes[String(name.dropFirst(3).dropLast(Self.hash.count).drop { $0 == " " })] = value
            recorded[name] = nil
        }
        guard !hashes.isEmpty else {
            throw TensorFileError.malformed(
                file: path, what: "the SHA-256 of the SAE that it is of is missing", next: "measure the SAE again")
        }
        sae = hashes
        settings = recorded.filter { name, _ in
            namesFiles || !name.hasSuffix(Self.hash) && !Self.names.contains(name)
        }
    }

    private static let hash = ".sha256"
    private static let names = [configuration + "model_name", configuration + "dataset"]
    /// Before the names of what SAEBench's own configuration has.
    static let configuration = "eval_config."

    private struct Letters: Codable { let eval_result_details: [AbsorptionOutput.Detail] }

    /// Files of evaluations at a path: itself, or of a folder all that lie in it and its folders. Of a folder of probes it is the summary
    /// alone, and nothing before it is finished.
    ///
    /// - Throws: `TensorFileError` for a folder that cannot be read, or that has more than so many folders in each other, as links make.
    package static func files(at path: String, levels: Int = 8) throws -> [String] {
        guard isFolder(path) else { return [path] }
        guard levels > 0 else {
            throw TensorFileError.unreadable(file: path, reason: "it lies too deep in folders of evaluations")
        }
        if exists(path + "/" + ProbeSummary.fileName) { return [path + "/" + ProbeSummary.fileName] }
        let names = try namesInFolder(path)
        if names.contains(where: { $0.hasPrefix(ProbeSummary.baselineFolder) }) { return [] }
        return try names.flatMap { name -> [String] in
            let inner = path + "/" + name
            return isFolder(inner) ? try files(at: inner, levels: levels - 1) : name.hasSuffix(".json") ? [inner] : []
        }
    }
}

/// What pages read of a file of `SAEBenchRecord`: metrics, and what SAEBench has no keys for.
private struct SAEBenchShown<Metrics: Codable, Extra: Codable>: Codable {
    struct Unstructured: Codable { let dmsae: Extra }

    let eval_result_metrics: Metrics
    let eval_result_unstructured: Unstructured

    var extra: Extra { eval_result_unstructured.dmsae }
}
