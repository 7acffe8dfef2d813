/// The latents that say a letter: of a set of latents those that a sparse probe needs.
///
/// After SAEBench's `train_k_sparse_probes` and `add_feature_splits_to_metrics_df`. The k latents with the largest weights in a probe of all of
/// the set, learnt with an L1 penalty, get a logistic regression of their own (C = 1, both classes weighing the same). As long as one more
/// latent brings the F1 on words not learnt from above the best so far by more than a threshold, it is taken: the feature is split.
package struct FeatureSplitting: Sendable {
    /// The main latents, in falling order of their weights.
    package let latents: [Int]
    /// F1 on test words with 1, 2, … latents, up to the first that was not taken; at most so many as were allowed.
    package let f1: [Double]

    /// F1 with the main latents.
    package var mainF1: Double { latents.isEmpty ? 0 : f1[latents.count - 1] }

    /// Codes by latent, to learn from and to test on.
    package struct Columns: Sendable {
        /// Rows [latents, words].
        let train: FeatureRows
        let test: FeatureRows

        /// Of codes [words, latents].
        package init(train: FeatureRows, test: FeatureRows) {
            (self.train, self.test) = (train.transposed(), test.transposed())
        }

        /// The regression on some latents. Words on which none of them fires are all the same row; they are one of each class, which counts for
        /// as many.
        package func probe(of latents: [Int], _ labels: [Bool]) -> LogisticRegression? {
            var entries: [(row: Int, column: Int32, value: Double)] = []
            for (i, latent) in latents.enumerated() {
                train.forEach(inRow: latent) { entries.append(($0, Int32(i), $1)) }
            }
            // Both classes weigh the same, so that b says neither.
            if entries.isEmpty {
                return LogisticRegression(weights: latents.map { _ in 0 }, intercept: 0, gap: 0)
            }
            entries.sort { ($0.row, $0.column) < ($1.row, $1.column) }
            // n / 2n_c, scikit-learn's class_weight="balanced".
            let positives = labels.count { $0 }
            let weight = (
                positive: Double(labels.count) / Double(2 * positives),
                negative: Double(labels.count) / Double(2 * (labels.count - positives))
            )
            var (rows, kept, counts) = (FeatureRows(columnCount: latents.count), [Bool](), [Double]())
            var silent = (positive: positives, negative: labels.count - positives)
            var first = 0
            while first < entries.count {
                let row = entries[first].row
                let end = entries[first...].firstIndex { $0.row != row } ?? entries.count
                rows.append(entries[first..<end].lazy.map { ($0.column, $0.value) })
                kept.append(labels[row])
                counts.append(labels[row] ? weight.positive : weight.negative)
                if labels[row] { silent.positive -= 1 } else { silent.negative -= 1 }
                first = end
            }
            for (label, count, weight) in [
                (true, silent.positive, weight.positive), (false, silent.negative, weight.negative),
            ] where count > 0 {
                rows.append(EmptyCollection<(Int32, Double)>())
                kept.append(label)
                counts.append(Double(count) * weight)
            }
            return LogisticRegression.path(FeatureForm(rows), kept, counts: counts, C: [1])[0]
        }
    }

    /// Goes through latents in the order of `weights`, one for each of `latents`; of equal ones the lower first.
    ///
    /// - Throws: `ProbingError.unsolved`.
    package init(
        latents: [Int], weights: [Float], _ columns: Columns, trainLabels: [Bool], testLabels: [Bool], most: Int,
        threshold: Double, letter: String
    ) throws {
        let order = latents.indices.sorted { (weights[$0], $1) > (weights[$1], $0) }.prefix(most).map { latents[$0] }
        var (taken, scores, best) = (0, [Double](), -100.0)
        for k in 1..<order.count + 1 {
            let chosen = Array(order.prefix(k))
            guard let probe = columns.probe(of: chosen, trainLabels) else {
                throw ProbingError.unsolved(task: "first letter \(letter)", C: 1)
            }
            let f1 = ProbeMetrics.f1(Self.scores(probe, chosen, columns.test), testLabels)
            scores.append(f1)
            guard f1 > best + threshold else { break }
            (best, taken) = (f1, k)
        }
        (self.latents, self.f1) = (Array(order.prefix(taken)), scores)
    }

    private static func scores(_ probe: LogisticRegression, _ latents: [Int], _ columns: FeatureRows) -> [Double] {
        var result = [Double](repeating: probe.intercept, count: columns.columnCount)
        for (weight, latent) in zip(probe.weights, latents) {
            columns.forEach(inRow: latent) { result[$0] += weight * $1 }
        }
        return result
    }
}
