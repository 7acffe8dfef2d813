import Attribution
import TensorFiles

/// What Neuronpedia imports, as its own converter of SAEDashboard's files lays it out: `MODEL/LAYER-SET/` with release.jsonl,
/// model.jsonl, sourceset.jsonl, source.jsonl, `features/batch-N.jsonl.gz` and `activations/batch-N.jsonl.gz`. Times are left out:
/// the database puts its own. A member that its tables do not have is passed over there, so each feature has ours, `dmsae`.
struct NeuronpediaExport {
    private let exported: ExportedLatents
    /// "15-res-dmsae".
    private let sourceName: String
    private let model: String
    private let folderName: String
    /// The user that Neuronpedia makes in a new database.
    private static let creatorId = "clkht01d40000jv08hvalcvly"

    init(_ exported: ExportedLatents) throws {
        let source = exported.source
        self.exported = exported
        model = try Self.checked(source.model, "model's name")
        sourceName = "\(source.hook.block)-" + (try Self.checked(source.set, "set's name"))
        _ = try Self.checked(source.release, "release's name")
        folderName = model + "/" + sourceName
    }

    private static func checked(_ name: String, _ what: String) throws -> String {
        let isFine = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || "-_.".utf8.contains($0)
        }
        guard isFine, !name.isEmpty, !name.hasPrefix("."), name.utf8.count <= 128 else {
            throw LatentExportError.badName(what: what, name: name)
        }
        return name
    }

    func write(to folder: ExportFolder, progress: (Int) throws -> Void) throws {
        try folder.write("\(folderName)/release.jsonl", JSONText.line { writeRelease(to: &$0) })
        try folder.write("\(folderName)/model.jsonl", JSONText.line { writeModel(to: &$0) })
        try folder.write("\(folderName)/sourceset.jsonl", JSONText.line { writeSet(to: &$0) })
        try folder.write("\(folderName)/source.jsonl", JSONText.line { writeSource(to: &$0) })
        // Ids are the database's keys, so those of two SAEs must differ; the same SAE gets the same.
        let key = SHA256.hexadecimal(SHA256.digest(of: folderName + exported.source.release)).prefix(12)
        var count = 0
        try exported.forEachBatch { number, dashboards in
            let features = try GzipFile(path: folder.place("\(folderName)/features/batch-\(number).jsonl.gz"))
            let activations = try GzipFile(path: folder.place("\(folderName)/activations/batch-\(number).jsonl.gz"))
            for dashboard in dashboards {
                let shown = dashboard.shownActivations(ofTokens: exported.inspection.tokenCount)
                try features.write(JSONText.line { writeFeature(dashboard, shown, to: &$0) })
                for activation in shown {
                    let place = String(count, radix: 16)
                    let id = "c" + key + String(repeating: "0", count: max(0, 12 - place.count)) + place
                    try activations.write(JSONText.line { writeActivation(activation, of: dashboard, id, to: &$0) })
                    count += 1
                }
            }
            try features.commit()
            try activations.commit()
            try progress(dashboards.count)
        }
    }

    private func writeRelease(to text: inout JSONText) {
        let source = exported.source
        text.member("name", source.release)
        text.member("description", source.title)
        text.member("descriptionShort", source.title)
        text.member("urls", source.url.isEmpty ? [] : [source.url])
        text.member("creatorName", source.creator)
        text.member("creatorNameShort", source.creator)
        text.member("creatorId", Self.creatorId)
        text.member("visibility", "PUBLIC")
    }

    private func writeModel(to text: inout JSONText) {
        text.member("id", model)
        text.member("displayName", model)
        text.member("displayNameShort", model)
        text.member("instruct", model.hasSuffix("-it") || model.lowercased().contains("instruct"))
        text.member("layers", exported.source.blocks)
        text.member("neuronsPerLayer", 0)
        text.member("owner", "")
        text.member("creatorId", Self.creatorId)
        text.member("visibility", "PUBLIC")
    }

    private func writeSet(to text: inout JSONText) {
        let source = exported.source
        text.member("modelId", model)
        text.member("name", source.set)
        text.member("description", source.title)
        text.member("creatorName", source.creator)
        text.member("creatorId", Self.creatorId)
        text.member("releaseName", source.release)
        text.member("visibility", "PUBLIC")
    }

    private func writeSource(to text: inout JSONText) {
        text.member("id", sourceName)
        text.member("modelId", model)
        text.member("setName", exported.source.set)
        text.member("creatorId", Self.creatorId)
        text.member("visibility", "PUBLIC")
        text.member("dataset", exported.source.dataset)
        text.member("num_prompts", exported.inspection.sequenceCount)
        text.member("num_tokens_in_prompt", exported.inspection.length)
        text.member("notes", "\(exported.latents.count) of \(exported.width) latents, written by dmsae")
    }

    private func writeFeature(
        _ dashboard: LatentDashboard, _ shown: [DashboardActivation], to text: inout JSONText
    ) {
        let record = dashboard.record
        text.member("modelId", model)
        text.member("layer", sourceName)
        // Of type text in the database.
        text.member("index", "\(record.latent)")
        text.member("sourceSetName", exported.source.set)
        text.member("creatorId", Self.creatorId)
        text.member("maxActApprox", record.largest)
        text.member("vectorDefaultSteerStrength", record.largest)
        text.member("hookName", exported.source.hook.name)
        text.member("topkCosSimIndices", record.neighbours.map(\.latent))
        text.member("topkCosSimValues", record.neighbours.map(\.cosine))
        dashboard.writeTables(to: &text)
        if let mark = exported.marks[record.latent] {
            text.key("dmsae")
            text.object { mark.write(to: &$0) }
        }
    }

    private func writeActivation(
        _ shown: DashboardActivation, of dashboard: LatentDashboard, _ id: String, to text: inout JSONText
    ) {
        let values = shown.context.activations
        let largest = values.max() ?? 0
        text.member("id", id)
        text.member("modelId", model)
        text.member("layer", sourceName)
        text.member("index", "\(dashboard.record.latent)")
        text.member("creatorId", Self.creatorId)
        text.member("tokens", shown.context.tokens)
        text.member("values", values)
        text.member("maxValue", largest)
        text.member("maxValueTokenIndex", values.firstIndex(of: largest) ?? 0)
        text.member("minValue", values.min() ?? 0)
        text.member("binMin", shown.bounds.low)
        text.member("binMax", shown.bounds.high)
        text.member("binContains", shown.share)
        text.member("qualifyingTokenIndex", shown.context.peak)
    }
}
