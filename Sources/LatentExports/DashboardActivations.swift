import Attribution
import TensorFiles

/// One context as SAEDashboard and Neuronpedia have it: the tokens of a prompt, with the group that it was chosen for.
struct DashboardActivation {
    let context: LatentRecord.Context
    /// Bounds of its interval; −1 and the largest activation for the highest.
    let bounds: (low: Double, high: Double)
    /// Share of the tokens that have such an activation, −1 for the highest. Silent tokens are in the lowest interval, as there.
    let share: Double
}

extension LatentDashboard {
    /// The highest, then those of each interval from the highest down.
    func shownActivations(ofTokens tokens: Int) -> [DashboardActivation] {
        let top = record.contexts.map {
            DashboardActivation(context: $0, bounds: (-1, record.largest), share: -1)
        }
        let firing = levels.reduce(0) { $0 + $1.tokens }
        return top
            + levels.enumerated().flatMap { i, level in
                let silent = i == levels.count - 1 ? tokens - firing : 0
                return level.contexts.map {
                    DashboardActivation(
                        context: $0, bounds: (level.low, level.high),
                        share: Double(level.tokens + silent) / Double(max(1, tokens)))
                }
            }
    }

    /// The tables and histograms that both have, under the names that both have for them. Correlations with components of the
    /// activations are left empty: those would be kept for every latent while the model runs.
    func writeTables(to text: inout JSONText) {
        text.member("neuron_alignment_indices", alignment.map(\.index))
        text.member("neuron_alignment_values", alignment.map(\.value))
        text.member("neuron_alignment_l1", alignment.map(\.share))
        for name in ["indices", "pearson", "l1"] { text.member("correlated_neurons_" + name, [Int]()) }
        text.member("correlated_features_indices", correlated.map(\.latent))
        text.member("correlated_features_pearson", correlated.map(\.pearson))
        // They call it so, and it holds the cosine.
        text.member("correlated_features_l1", correlated.map(\.cosine))
        text.member("neg_str", record.suppressed.map(\.text))
        text.member("neg_values", record.suppressed.map(\.value))
        text.member("pos_str", record.promoted.map(\.text))
        text.member("pos_values", record.promoted.map(\.value))
        text.member("frac_nonzero", record.frequency)
        text.member("freq_hist_data_bar_heights", activations.counts)
        text.member("freq_hist_data_bar_values", activations.centers)
        text.member("logits_hist_data_bar_heights", logits.counts)
        text.member("logits_hist_data_bar_values", logits.centers)
        // Of attention heads, where there are some.
        text.member("decoder_weights_dist", [Double]())
    }
}
