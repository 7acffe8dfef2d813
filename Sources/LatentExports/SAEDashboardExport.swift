import Attribution
import TensorFiles

/// What the NeuronpediaRunner of SAEDashboard 0.8 writes: `batch-N.json` with 128 features each, `run_settings.json`,
/// `skipped_indexes.json`. Its reader takes no member that it does not know, so what only we know is in dmsae.jsonl.
struct SAEDashboardExport {
    private let exported: ExportedLatents

    init(_ exported: ExportedLatents) { self.exported = exported }

    func write(to folder: ExportFolder, progress: (Int) throws -> Void) throws {
        try folder.write("run_settings.json", document { writeSettings(to: &$0) })
        try folder.write("skipped_indexes.json", document { writeSkipped(to: &$0) })
        try exported.forEachBatch { number, dashboards in
            try folder.write("batch-\(number).json", document { writeBatch(dashboards, to: &$0) })
            try progress(dashboards.count)
        }
    }

    private func document(_ body: (inout JSONText) -> Void) -> [UInt8] { JSONText.line(body) }

    /// The fields of its NeuronpediaRunnerConfig that say what was done.
    private func writeSettings(to text: inout JSONText) {
        let (source, extent) = (exported.source, ExportedLatents.extent)
        text.member("sae_set", source.set)
        text.member("sae_path", source.hook.name)
        text.member("outputs_dir", ".")
        text.member("huggingface_dataset_path", source.dataset)
        text.member("n_prompts_total", exported.inspection.sequenceCount)
        text.member("n_tokens_in_prompt", exported.inspection.length)
        text.member("n_features_at_a_time", ExportedLatents.batchSize)
        text.member("n_quantiles", extent.levels)
        text.member("top_acts_group_size", extent.contexts)
        text.member("quantile_group_size", extent.levelContexts)
        text.member("model_id", source.model)
        text.member("layer", source.hook.block)
    }

    private func writeSkipped(to text: inout JSONText) {
        let written = Set(exported.latents)
        text.member("model_id", exported.source.model)
        text.member("layer", "\(exported.source.hook.block)")
        text.member("sae_set", exported.source.set)
        text.member("log_sparsity", -6)
        text.member("skipped_indexes", (0..<exported.width).filter { !written.contains($0) })
    }

    private func writeBatch(_ dashboards: [LatentDashboard], to text: inout JSONText) {
        text.member("model_id", exported.source.model)
        text.member("layer", exported.source.hook.block)
        text.member("sae_set", exported.source.set)
        text.member("sae_id_suffix", String?.none)
        text.key("features")
        text.list { list in
            for dashboard in dashboards { list.object { writeFeature(dashboard, to: &$0) } }
        }
    }

    private func writeFeature(_ dashboard: LatentDashboard, to text: inout JSONText) {
        text.member("feature_index", dashboard.record.latent)
        dashboard.writeTables(to: &text)
        text.member("n_prompts_total", exported.inspection.sequenceCount)
        text.member("n_tokens_in_prompt", exported.inspection.length)
        text.member("dataset", exported.source.dataset)
        text.member("vector", [Double]())
        text.key("activations")
        text.list { list in
            for activation in dashboard.shownActivations(ofTokens: exported.inspection.tokenCount) {
                list.object { text in
                    text.member("bin_min", activation.bounds.low)
                    text.member("bin_max", activation.bounds.high)
                    text.member("bin_contains", activation.share)
                    text.member("tokens", activation.context.tokens)
                    text.member("values", activation.context.activations)
                    text.member("qualifying_token_index", activation.context.peak)
                }
            }
        }
    }
}
