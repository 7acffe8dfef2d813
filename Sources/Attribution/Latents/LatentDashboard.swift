/// A latent as dashboards show it: beside its highest contexts and its decoder row, how its activations and its logits are
/// spread, what it does at lower activations, and what fires with it.
public struct LatentDashboard: Sendable {
    /// As a comparison has it.
    public var record: LatentRecord
    /// Intervals of equal width between 0 and the largest activation, the highest first; none of a latent that did not fire.
    public var levels: [Level] = []
    /// Of its activations where it fires.
    public var activations = Histogram()
    /// Of what its decoder row adds to the logits of the vocabulary, per unit.
    public var logits = Histogram()
    /// Latents whose activations go with its own, most alike first.
    public var correlated: [Correlation] = []
    /// The largest components of its decoder row, the largest first.
    public var alignment: [Component] = []

    /// What is known from its record alone.
    public init(_ record: LatentRecord) { self.record = record }

    /// What a latent does at activations in (low, high].
    public struct Level: Sendable, Equatable {
        /// The lower bound, which is not in it.
        public var low: Double
        /// The upper bound.
        public var high: Double
        /// Scored tokens with such an activation.
        public var tokens: Int
        /// Some of them, each of another sequence, spread over the text.
        public var contexts: [LatentRecord.Context]

        package init(low: Double, high: Double, tokens: Int, contexts: [LatentRecord.Context]) {
            (self.low, self.high, self.tokens, self.contexts) = (low, high, tokens, contexts)
        }
    }

    /// How two latents' activations go together over the scored tokens, silent ones as 0.
    public struct Correlation: Sendable, Equatable {
        /// The other latent.
        public var latent: Int
        /// Pearson's r, in [−1, 1].
        public var pearson: Double
        /// Cosine of the two vectors of activations, in [0, 1].
        public var cosine: Double

        package init(latent: Int, pearson: Double, cosine: Double) {
            (self.latent, self.pearson, self.cosine) = (latent, pearson, cosine)
        }
    }

    /// One component of a decoder row.
    public struct Component: Sendable, Equatable {
        /// Its place in the activations.
        public var index: Int
        /// W_dec at that place.
        public var value: Double
        /// |value| as a share of the row's sum of |W_dec|.
        public var share: Double
    }

    /// Numbers counted in bins of equal width.
    public struct Histogram: Sendable, Equatable {
        /// The smallest number.
        public var low = 0.0
        /// The largest, which is in the last bin.
        public var high = 0.0
        /// How many are in each bin; none where there are no numbers.
        public var counts: [Int] = []

        /// Of no numbers.
        public init() {}

        /// Of `values`, in `bins` bins between their extremes.
        public init(_ values: some Collection<Float>, bins: Int) {
            guard let first = values.first else { return }
            var (least, most) = (first, first)
            for value in values { (least, most) = (min(least, value), max(most, value)) }
            (low, high) = (Double(least), Double(most))
            counts = [Int](repeating: 0, count: bins)
            let scale = high > low ? Double(bins) / (high - low) : 0
            for value in values where value.isFinite { counts[min(bins - 1, Int((Double(value) - low) * scale))] += 1 }
        }

        /// The middles of the bins.
        public var centers: [Double] {
            counts.indices.map { low + (high - low) * (Double($0) + 0.5) / Double(counts.count) }
        }
    }
}

/// What this program alone knows of a latent: where it stands in a core, and what methods say of it.
public struct LatentMark: Codable, Sendable, Equatable {
    /// Its rank in the core, from 1; nil where it is in none.
    public var core_rank: Int?
    /// The cycle that first selected it.
    public var born: Int?
    /// Every cycle that selected it.
    public var selected_in: [Int]?
    /// Scores by method, as "gxa" and "ablation:loss_delta"; of methods that scored it.
    public var scores: [String: Double] = [:]

    /// Nothing is known yet.
    public init() {}
}
