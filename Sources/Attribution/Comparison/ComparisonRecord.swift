/// What a comparison of scorers found; all that its table and its report are made from.
public struct ComparisonRecord: Codable, Sendable {
    /// What was compared on what, for titles: model, SAE, tokens and so on, in reading order.
    public var about: [Fact] = []
    /// The findings, most important first.
    public var summary: [String] = []
    /// m, the candidates: latents of the innermost prefix.
    public var candidates = 0
    /// Sequences of the scoring pass.
    public var sequences = 0
    /// Tokens of a sequence.
    public var length = 0
    /// Tokens whose activations were replaced and scored.
    public var scored_tokens = 0
    /// How scores of tokens are aggregated.
    public var aggregate = ""
    /// The τ that names "the core" where only one is meant.
    public var tau = 0.9
    /// Everything that the numbers depend on, by name: hashes of the files, where and how is spliced, scorers, seed.
    public var settings: [String: String]?
    /// Samples of sequences drawn for the intervals.
    public var draws = 0
    /// Every method, in the order given; further outputs of a scorer follow it.
    public var methods: [Method] = []
    /// Every two methods.
    public var pairs: [Pair] = []
    /// Values of single (latent, sequence) pairs that two outputs of one scorer give.
    public var footings: [Footing] = []
    /// Losses in nats per token of the sequences that the curves are of.
    public var curve_losses = CurveLosses()
    /// Scorers that stopped, or select nothing.
    public var failures: [Fact] = []
    /// Seconds of what all scorers share.
    public var shared_seconds = 0.0
    /// The largest resident memory, MiB.
    public var peak_memory = 0.0
    /// Latents of some core, looked at.
    public var latents: [LatentRecord] = []

    package init() {}

    /// A name and what it stands for.
    public struct Fact: Codable, Sendable, Equatable {
        /// What the fact is about, as in "model".
        public var name: String
        /// As it is shown, as in "SmolLM2-135M".
        public var value: String

        public init(_ name: String, _ value: String) { (self.name, self.value) = (name, value) }
    }

    /// Losses of the curves' ends.
    public struct CurveLosses: Codable, Sendable, Equatable {
        /// Sequences that the curves were measured on.
        public var sequences = 0
        /// Whether they are others than those that were scored.
        public var held_out = false
        /// With no reconstruction spliced in.
        @Measured public var original = Double.nan
        /// With every latent of the spliced prefix.
        @Measured public var every = Double.nan
        /// With none of its latents.
        @Measured public var none = Double.nan

        public init() {}
    }

    /// One ranking of the latents.
    public struct Method: Codable, Sendable {
        /// As the command line and the tables call it: "gxa", "ablation:first_order".
        public var name = ""
        /// What its numbers are.
        public var meaning = ""
        /// [m] aggregated scores, in the order of the latents.
        public var scores: [Double] = []
        /// One for each τ.
        public var cores: [Core] = []
        /// Of the core at the record's τ.
        public var core_frequency = Frequency()
        /// Between halves of the sequences, 95% of random halvings; nil where one sequence says nothing of the scores.
        public var halves: Halves?
        /// Only the top n latents are kept, and only they are removed; nil if not asked for.
        public var faithfulness: Faithfulness?
        /// The same scores of tokens, aggregated otherwise; empty for methods with no scores of tokens.
        public var sensitivity: [Sensitivity] = []
        /// Nil for further outputs, which cost nothing.
        public var cost: ScoringCost?
        /// Mean standard error over mean score of the core latents, where the scorer gives one.
        public var relative_standard_error: Double?
        /// Whether the scorer was asked of some of the pairs of latent and sequence only, drawn; nil where
        /// it does not say.
        public var was_drawn: Bool?

        package init() {}
    }

    /// The smallest core of a fraction τ.
    public struct Core: Codable, Sendable, Equatable {
        /// τ in (0, 1].
        public var tau: Double
        /// In the order of falling scores.
        public var latents: [Int]
    }

    /// Shares of the scored tokens at which a core's latents fire.
    public struct Frequency: Codable, Sendable, Equatable {
        /// Over the core's latents.
        @Measured public var mean = Double.nan
        /// Over the core's latents.
        @Measured public var median = Double.nan
        /// Core latents that fire on more than a tenth of the tokens.
        public var dense = 0
    }

    /// A method against itself.
    public struct Halves: Codable, Sendable, Equatable {
        /// Spearman's ρ of the scores.
        public var spearman: Interval
        /// Jaccard of the cores.
        public var jaccard: Interval
    }

    /// Loss curves over n. Losses are means over the averaged tokens, in nats.
    public struct Faithfulness: Codable, Sendable {
        /// Numbers of latents n, rising.
        public var counts: [Int]
        /// Loss when only the top n are kept.
        public var kept: [Interval]
        /// Loss when the top n are removed.
        public var removed: [Interval]
        /// Mean over x = log₂(1 + n)/log₂(1 + m) of (loss(0) − loss(n))/(loss(0) − loss(m)): 1 is best.
        public var kept_area: Interval
        /// Mean over x of (loss without the top n − loss(m))/(loss(0) − loss(m)): the higher, the more
        /// the top ones matter.
        public var removed_area: Interval
        /// Area of the removal curve less that of each other method on the same sequences, by name.
        public var removed_area_over: [String: Interval]
        /// Loss without the top n less that without the top n of each other method: intervals at each n, by name.
        public var removed_over: [String: [Interval]]

        package init(
            counts: [Int], kept: [Interval], removed: [Interval], kept_area: Interval, removed_area: Interval,
            removed_area_over: [String: Interval], removed_over: [String: [Interval]]
        ) {
            self.counts = counts
            self.kept = kept
            self.removed = removed
            self.kept_area = kept_area
            self.removed_area = removed_area
            self.removed_area_over = removed_area_over
            self.removed_over = removed_over
        }
    }

    /// The same scores, aggregated otherwise.
    public struct Sensitivity: Codable, Sendable, Equatable {
        /// "rms over active"
        public var aggregate: String
        /// Spearman's ρ with the scores as they are.
        @Measured public var spearman: Double
        /// Size of the core at the record's τ.
        public var core: Int
        /// Its Jaccard with the core as it is; no value where both are empty.
        @Measured public var jaccard: Double
    }

    /// How far two methods agree.
    public struct Pair: Codable, Sendable {
        public var first = ""
        public var second = ""
        /// Spearman's ρ of the scores [m].
        public var spearman = Interval(.nan, draws: [])
        /// Kendall's τ_b of the scores, in [−1, 1].
        @Measured public var kendall = Double.nan
        /// Overlap of the top n, as a share of n, for each n.
        public var overlaps: [Overlap] = []
        /// Jaccard of the cores, for each τ; no value where both are empty.
        public var jaccards: [Measured] = []
        /// Jaccard at the record's τ.
        public var jaccard = Interval(.nan, draws: [])

        package init() {}
    }

    /// |top n of one ∩ top n of the other| / n.
    public struct Overlap: Codable, Sendable, Equatable {
        /// How many of each are compared.
        public var n: Int
        /// Share of n.
        public var share: Double
    }

    /// How two outputs of a scorer agree on single (latent, sequence) pairs.
    public struct Footing: Codable, Sendable, Equatable {
        /// The output that estimates, as "ablation:first_order".
        public var estimate: String
        /// The output that it estimates, as "ablation:loss_delta".
        public var truth: String
        /// Pairs in which the latent fires and both have a value.
        public var count: Int
        /// Pearson's r, in [−1, 1].
        @Measured public var pearson: Double
        /// Spearman's ρ, in [−1, 1].
        @Measured public var spearman: Double
    }
}

/// A latent, as its highest activations and its decoder row show it.
public struct LatentRecord: Codable, Sendable {
    /// Its index in the SAE.
    public var latent: Int
    /// Share of the scored tokens at which it fires.
    public var frequency: Double
    /// Its largest activation.
    public var largest: Double
    /// Highest first, each of another sequence.
    public var contexts: [Context]
    /// Tokens whose logit its decoder row raises most, with the logit per unit of activation.
    public var promoted: [Token]
    /// Tokens whose logit it lowers most.
    public var suppressed: [Token]
    /// Latents with the most similar decoder rows, with the cosine.
    public var neighbours: [Neighbour]

    /// A latent by its index.
    public init(
        latent: Int, frequency: Double, largest: Double, contexts: [Context], promoted: [Token], suppressed: [Token],
        neighbours: [Neighbour]
    ) {
        self.latent = latent
        self.frequency = frequency
        self.largest = largest
        self.contexts = contexts
        self.promoted = promoted
        self.suppressed = suppressed
        self.neighbours = neighbours
    }

    /// Tokens around a high activation.
    public struct Context: Codable, Sendable, Equatable {
        /// Texts of the tokens, in order.
        public var tokens: [String]
        /// The latent's activation at each.
        public var activations: [Double]
        /// Which of them is the highest.
        public var peak: Int

        public init(tokens: [String], activations: [Double], peak: Int) {
            self.tokens = tokens
            self.activations = activations
            self.peak = peak
        }
    }

    /// A token and a number.
    public struct Token: Codable, Sendable, Equatable {
        public var text: String
        @Measured public var value: Double

        public init(text: String, value: Double) { (self.text, self.value) = (text, value) }
    }

    /// A latent and a cosine.
    public struct Neighbour: Codable, Sendable, Equatable {
        /// Index of the latent in the SAE.
        public var latent: Int
        /// Of the decoder rows.
        @Measured public var cosine: Double

        public init(latent: Int, cosine: Double) { (self.latent, self.cosine) = (latent, cosine) }
    }
}
