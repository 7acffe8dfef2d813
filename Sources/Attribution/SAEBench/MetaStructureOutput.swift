import LinearAlgebra
import SparseCoding

/// What `SAEBenchRecord` holds of a meta-SAE (`eval_output_schema_meta_structure_decoder_variance.json` of sae-bench 0.6).
public enum MetaStructureOutput {
    /// A file of it.
    public typealias Record = SAEBenchRecord<Config, Categories, NoDetail, Extra>
    /// SAEBench's name.
    public static let type = "meta_structure_decoder_variance"

    /// SAEBench has none.
    public struct NoDetail: Encodable, Sendable {}

    /// What was run, in SAEBench's terms.
    public struct Config: Encodable, Sendable {
        public var random_seed: UInt64
        public var width_ratio: Double
        public var k: Int
        public var train_steps: Int
        public var train_batch_size: Int
        public var learning_rate: Double
        public var weight_decay = 0.0
        public var autocast = false
        public var eval_batch_size = 4096
        public var dtype = "float32"

        /// Of a plan.
        public init(_ plan: MetaStructure.Plan) {
            (random_seed, width_ratio, k) = (plan.seed, plan.widthRatio, plan.k)
            (train_steps, train_batch_size, learning_rate) = (plan.steps, plan.batch, plan.learningRate)
        }
    }

    public struct Metrics: Codable, Sendable {
        public var decoder_fraction_variance_explained: Double
        public var train_time_seconds: Double
        public var final_reconstruction_mse: Double
    }

    public struct Categories: Codable, Sendable {
        public var meta_structure: Metrics

        /// Of all rows `[F, columns]`, trained for so many seconds.
        public init(_ found: MetaStructure, columns: Int, seconds: Double) {
            meta_structure = Metrics(
                decoder_fraction_variance_explained: found.explained(found.errors.indices),
                train_time_seconds: seconds, final_reconstruction_mse: found.meanSquare(columns: columns))
        }
    }

    /// Some latents of the SAE, and as many others, drawn: the value is that of the latents, what lies about it 95% of draws.
    public struct Part: Codable, Sendable {
        /// "core", "group 1" …
        public var latents: String
        public var count: Int
        public var variance_explained: Double
        /// Meta latents that two of them share on average.
        public var shared_meta_latents: Double
        /// Of as many others, drawn from all the others.
        public var others_variance_explained: Interval?
        public var others_shared_meta_latents: Interval?
    }

    /// What SAEBench has no keys for.
    public struct Extra: Codable, Sendable {
        /// Everything that the numbers depend on.
        public var settings: [String: String]
        public var meta_latents: Int
        /// The same of rows without structure, by what they are.
        public var controls: [String: Double]
        public var parts: [Part]

        public init(settings: [String: String], metaLatents: Int, controls: [String: Double], parts: [Part]) {
            (self.settings, self.controls, self.parts) = (settings, controls, parts)
            meta_latents = metaLatents
        }
    }

    /// The core and each group, those of two latents at least, beside `draws` drawn sets of others where there are enough of them.
    public static func parts(_ found: MetaStructure, _ layout: PrefixLayout, draws: Int, seed: UInt64) -> [Part] {
        let hasCore = layout.coreCount > 0
        let ends = (hasCore && !layout.coreIsPrefix ? [layout.coreCount] : []) + layout.prefixes
        let count = found.errors.count
        return ends.indices.compactMap { g in
            let range = (g == 0 ? 0 : ends[g - 1])..<ends[g]
            guard range.count > 1 else { return nil }
            let name = hasCore ? (g == 0 ? "core" : "group \(g)") : "group \(g + 1)"
            var part = Part(
                latents: name, count: range.count, variance_explained: found.explained(range),
                shared_meta_latents: found.shared(range))
            let others = (0..<count).filter { !range.contains($0) }
            guard draws > 0, others.count >= range.count else { return part }
            let samples = (0..<draws).map { draw in
                CounterRandom(seed: seed, purpose: .randomCore, step: UInt32(g * 10_000 + draw))
                    .permutation(others.count).prefix(range.count).map { others[Int($0)] }
            }
            func interval(_ values: [Double]) -> Interval {
                Interval(values.reduce(0, +) / Double(values.count), draws: values)
            }
            part.others_variance_explained = interval(samples.map { found.explained($0) })
            part.others_shared_meta_latents = interval(samples.map { found.shared($0) })
            return part
        }
    }
}
