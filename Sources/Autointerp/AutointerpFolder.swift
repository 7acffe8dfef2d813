import TensorFiles

/// The folder of one SAE's explanations: settings.json, what they depend on; latents/J.json, each latent as it was finished;
/// autointerp.json, the summary.
package struct AutointerpFolder {
    private let path: String

    /// Makes the folder, or goes on in one whose latents were asked about in the same way.
    ///
    /// - Throws: `AutointerpError.otherSettings`; `TensorFileError`.
    package init(_ path: String, settings: [String: String]) throws {
        self.path = path
        try createFolder(path)
        try createFolder(path + "/latents")
        let file = path + "/settings.json"
        if exists(file) {
            let kept = try JSONRecord.read([String: String].self, from: file)
            for key in Set(kept.keys).union(settings.keys).sorted() where kept[key] != settings[key] {
                throw AutointerpError.otherSettings(
                    folder: path, key: key, kept: kept[key] ?? "none", now: settings[key] ?? "none")
            }
        } else {
            try JSONRecord.write(settings, to: file)
        }
    }

    private func file(of latent: Int) -> String { "\(path)/latents/\(latent).json" }

    /// What was finished about a latent before; nil where nothing was.
    ///
    /// - Throws: `AutointerpError.changedRecord`; `TensorFileError`.
    package func read(_ plan: LatentPlan, _ settings: AutointerpSettings) throws -> ExplainedLatent? {
        let file = file(of: plan.latent)
        guard exists(file) else { return nil }
        let record = try JSONRecord.read(ExplainedLatent.self, from: file)
        try plan.check(record, settings, file: file)
        return record
    }

    /// Keeps a latent.
    ///
    /// - Throws: `TensorFileError`.
    package func write(_ record: ExplainedLatent) throws {
        try AtomicFile.write(try JSONRecord.text(record, pretty: false) + "\n", to: file(of: record.latent))
    }

    /// Writes the summary.
    ///
    /// - Throws: `TensorFileError`.
    package func write(_ summary: AutointerpSummary) throws {
        try JSONRecord.write(summary, to: path + "/autointerp.json")
    }
}
