import Attribution
import SparseCoding

/// What `SAEBenchRecord` holds of first-letter absorption (`eval_output_schema_absorption_first_letter.json` of sae-bench 0.6).
package enum AbsorptionOutput {
    /// A file of it.
    package typealias Record = SAEBenchRecord<Config, Categories, Detail, Extra>
    /// SAEBench's name.
    package static let type = "absorption_first_letter"

    /// What was run, in SAEBench's terms.
    package struct Config: Encodable, Sendable {
        package var model_name: String
        package var random_seed: UInt64
        package var f1_jump_threshold: Double
        package var max_k_value: Int
        package var prompt_template = "{word}" + SpellingTask.question
        package var prompt_token_pos: Int
        package var llm_dtype = "float32"
        package var k_sparse_probe_l1_decay = LinearProbes.Plan.sparse.l1
        package var k_sparse_probe_batch_size: Int
        package var k_sparse_probe_num_epochs = LinearProbes.Plan.sparse.epochs
        package var min_GT_probe_f1: Double
        package var min_feats_for_eval: Int
        package var precalc_k_sparse_probe_sae_acts = true

        /// Of settings; activations are those of the token so far from a prompt's end.
        package init(model: String, _ settings: AbsorptionEvaluation.Settings, tokenPosition: Int) {
            (model_name, prompt_token_pos, random_seed) = (model, tokenPosition, settings.seed)
            k_sparse_probe_batch_size = settings.probeBatch
            (f1_jump_threshold, max_k_value) = (settings.f1Jump, settings.mostLatents)
            (min_GT_probe_f1, min_feats_for_eval) = (settings.leastProbeF1, settings.leastLetters)
        }
    }

    /// Over letters; deviations are those of a sample.
    package struct Mean: Codable, Sendable, Equatable {
        package var mean_absorption_fraction_score: Double
        package var mean_full_absorption_score: Double
        package var mean_num_split_features: Double
        package var std_dev_absorption_fraction_score: Double
        package var std_dev_full_absorption_score: Double
        package var std_dev_num_split_features: Double
    }

    package struct Categories: Codable, Sendable {
        package var mean: Mean

        package init(mean: Mean) { self.mean = mean }
    }

    /// One letter.
    package struct Detail: Codable, Sendable {
        package var first_letter: String
        package var mean_absorption_fraction: Double
        package var full_absorption_rate: Double
        package var num_full_absorption: Int
        package var num_probe_true_positives: Int
        /// Main latents: SAEBench's own tables count one less.
        package var num_split_features: Int

        package init(
            first_letter: String, mean_absorption_fraction: Double, full_absorption_rate: Double,
            num_full_absorption: Int, num_probe_true_positives: Int, num_split_features: Int
        ) {
            (self.first_letter, self.num_split_features) = (first_letter, num_split_features)
            self.mean_absorption_fraction = mean_absorption_fraction
            self.full_absorption_rate = full_absorption_rate
            (self.num_full_absorption, self.num_probe_true_positives) = (num_full_absorption, num_probe_true_positives)
        }
    }

    /// What SAEBench has no keys for.
    package struct Extra: Codable, Sendable {
        /// Everything that the numbers depend on.
        package var settings: [String: String]
        /// Words learnt from, tested on, and looked at.
        package var train_words: Int
        package var test_words: Int
        package var spelled_words: Int
        package var summary: AbsorptionSummary

        /// Of words so many of which were looked at.
        package init(
            settings: [String: String], _ task: SpellingTask, spelled: Int, _ summary: AbsorptionSummary
        ) {
            (self.settings, self.summary, spelled_words) = (settings, summary, spelled)
            (train_words, test_words) = (task.trainCount, task.words.count - task.trainCount)
        }
    }

    /// Letter by letter.
    package static func details(_ letters: [AbsorptionEvaluation.Letter]) -> [Detail] {
        letters.map {
            Detail(
                first_letter: SpellingWord.letters[$0.letter], mean_absorption_fraction: $0.meanFraction,
                full_absorption_rate: $0.fullRate, num_full_absorption: $0.fullCount,
                num_probe_true_positives: $0.words.count, num_split_features: $0.splitting.latents.count)
        }
    }

    /// Means and deviations over two letters or more.
    package static func mean(_ details: [Detail]) -> Mean {
        func of(_ value: (Detail) -> Double) -> (mean: Double, deviation: Double) {
            let values = details.map(value), mean = values.reduce(0, +) / Double(values.count)
            let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
            return (mean, (squares / Double(values.count - 1)).squareRoot())
        }
        let (fraction, full) = (of(\.mean_absorption_fraction), of(\.full_absorption_rate))
        let split = of { Double($0.num_split_features) }
        return Mean(
            mean_absorption_fraction_score: fraction.mean, mean_full_absorption_score: full.mean,
            mean_num_split_features: split.mean, std_dev_absorption_fraction_score: fraction.deviation,
            std_dev_full_absorption_score: full.deviation, std_dev_num_split_features: split.deviation)
    }
}
