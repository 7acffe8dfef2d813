import Glibc
import LinearAlgebra

/// The features of a world: what they are, how often they fire, with which others, and what depends on them. All of it follows from the
/// settings.
///
/// - Activations: x = b + Σᵢ zᵢ dᵢ, with unit vectors dᵢ drawn evenly over all directions and magnitudes zᵢ ≥ 0 of the features that fire.
/// - Firing: feature i fires with probability pᵢ ∝ (i + 1)^−a, Σ pᵢ the mean number that fires. One of a topic t fires where
///   √ρ·hₜ + √(1 − ρ)·ε exceeds a threshold, hₜ and ε standard normal, ρ the correlation; a child fires only where its parent does,
///   there with probability pᵢ/p_parent.
/// - The next token: logits are Σᵢ u mᵢ max(0, ⟨dᵢ, x − b⟩ − τ)/(1 − τ) over the useful features, u the strength, mᵢ 1 at the tokens that
///   feature i promotes. Without the threshold τ all features near to a useful one would be useful too: n lie in fewer dimensions.
public final class SyntheticWorld: Sendable {
    public let settings: SyntheticSettings
    /// `[n, d]` unit rows.
    public let directions: Matrix
    /// `[1, d]`
    public let bias: Matrix
    /// `[n_u, d]` dᵢ of the useful features.
    package let readers: Matrix
    /// u mᵢ `[V, n_u]`.
    package let promotions: Matrix
    /// `[n]` probabilities of firing, falling.
    public let probabilities: [Double]
    /// `[n]` the parent of a feature, always before it.
    public let parents: [Int?]
    /// `[n]` the topic of a feature without a parent.
    let topics: [Int]
    /// `[n]` the threshold of a feature without a parent.
    let thresholds: [Double]
    /// `[n]` whether the next token depends on it.
    public let isUseful: [Bool]

    /// - Throws: `ResourceError.memory`.
    public init(_ settings: SyntheticSettings) throws {
        self.settings = settings
        let (n, d, v) = (settings.features, settings.width, settings.vocabulary)
        var need = MemoryNeed(
            "a world of \(n) features of \(d) numbers needs", advice: "lower features, width or vocabulary")
        need.add("directions", 4, n, d)
        need.add("the head", 4, n, d + v)
        try need.check()
        // One stream of numbers each, by step.
        func random(_ step: UInt32) -> CounterRandom {
            CounterRandom(seed: UInt64(settings.seed), purpose: .syntheticWorld, step: step)
        }
        let directions = Matrix(rows: n, columns: d)
        Self.fillUnitRows(directions, random(0))
        self.directions = directions
        bias = Matrix(rows: 1, columns: d)
        Self.fillUnitRows(bias, random(1))
        let p = Self.probabilities(settings)
        probabilities = p
        let (chance, choice, topic, use) = (random(2), random(3), random(4), random(5))
        parents = (0..<n).map { i in
            // At least twice as frequent, so that a child is something else than its parent.
            let possible = p.prefix(i).firstIndex { $0 < 2 * p[i] } ?? i
            guard possible > 0, Double(chance.uniform(UInt64(i))) < settings.hierarchy else { return nil }
            return Int(choice.word(UInt64(i)) % UInt64(possible))
        }
        topics = (0..<n).map { Int(topic.word(UInt64($0)) % UInt64(settings.topics)) }
        thresholds = p.map { Self.quantile(1 - $0) }
        let useful = Int((settings.useful * Double(n)).rounded())
        var isUseful = [Bool](repeating: false, count: n)
        for i in use.permutation(n).prefix(useful) { isUseful[Int(i)] = true }
        self.isUseful = isUseful
        let used = (0..<n).filter { isUseful[$0] }
        (readers, promotions) = (Matrix(rows: used.count, columns: d), Matrix(rows: v, columns: used.count))
        for (column, i) in used.enumerated() {
            readers.row(column).update(from: directions.row(i), count: d)
            for token in random(6 + UInt32(i)).permutation(v).prefix(settings.promoted) {
                promotions[Int(token), column] = Float(settings.strength)
            }
        }
    }

    private static func fillUnitRows(_ rows: Matrix, _ random: CounterRandom) {
        for i in 0..<rows.count { rows[i] = random.normal(UInt64(i)) }
        for r in 0..<rows.rows {
            let norm = (0..<rows.columns).reduce(0.0) { $0 + Double(rows[r, $1]) * Double(rows[r, $1]) }.squareRoot()
            for c in 0..<rows.columns { rows[r, c] = Float(Double(rows[r, c]) / norm) }
        }
    }

    /// min(1/2, c·(i + 1)^−a), c such that they add up to what is asked for.
    private static func probabilities(_ settings: SyntheticSettings) -> [Double] {
        let weights = (0..<settings.features).map { pow(Double($0 + 1), -settings.zipf) }
        func sum(_ c: Double) -> Double { weights.reduce(0) { $0 + min(0.5, c * $1) } }
        var (low, high) = (0.0, 1.0)
        while sum(high) < settings.firing && high < 1e12 { high *= 2 }
        for _ in 0..<200 {
            let middle = (low + high) / 2
            if sum(middle) < settings.firing { low = middle } else { high = middle }
        }
        return weights.map { min(0.5, high * $0) }
    }

    /// Φ(x), the standard normal distribution.
    static func normal(_ x: Double) -> Double { 0.5 * erfc(-x * 0.5.squareRoot()) }

    /// x with Φ(x) = p, by bisection: it is wanted once a feature.
    static func quantile(_ p: Double) -> Double {
        var (low, high) = (-40.0, 40.0)
        for _ in 0..<200 {
            let middle = (low + high) / 2
            if normal(middle) < p { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }
}

/// Which features fire at a position and how strongly: a function of the world and of the last tokens, as a language model's activations
/// are.
struct FiringFeatures {
    /// Rising.
    private(set) var features: [Int] = []
    /// z of each.
    private(set) var magnitudes: [Float] = []
    private var isFiring: [Bool]
    private var topicValues: [Double]
    private let world: SyntheticWorld

    init(_ world: SyntheticWorld) {
        self.world = world
        isFiring = [Bool](repeating: false, count: world.settings.features)
        topicValues = [Double](repeating: 0, count: world.settings.topics)
    }

    /// Those after `tokens`, of which the last ones count.
    mutating func draw(after tokens: ArraySlice<Int32>) {
        let (settings, hash) = (world.settings, Self.hash(tokens.suffix(world.settings.window)))
        // 44 bits of the hash and 20 of what is drawn are an index, the rest of the hash and what is drawn for are a step.
        func random(_ stream: UInt32) -> CounterRandom {
            CounterRandom(
                seed: UInt64(settings.seed), purpose: .syntheticFeatures, step: UInt32(hash >> 44) << 2 | stream)
        }
        let base = hash << 20
        let (topic, chance, size) = (random(0), random(1), random(2))
        for t in topicValues.indices { topicValues[t] = Double(topic.normal(base + UInt64(t))) }
        let (root, rest) = (settings.correlation.squareRoot(), (1 - settings.correlation).squareRoot())
        features.removeAll(keepingCapacity: true)
        magnitudes.removeAll(keepingCapacity: true)
        var block = SIMD4<UInt32>()
        for i in 0..<settings.features {
            if i & 3 == 0 { block = chance.block(base + UInt64(i >> 2)) }
            let u = (Double(block[i & 3]) + 0.5) * 0x1p-32
            if let parent = world.parents[i] {
                isFiring[i] = isFiring[parent] && u < world.probabilities[i] / world.probabilities[parent]
            } else {
                let x = (root * topicValues[world.topics[i]] - world.thresholds[i]) / rest
                // Far below the threshold the chance is less than u can be.
                isFiring[i] = x > -7 && u < SyntheticWorld.normal(x)
            }
            guard isFiring[i] else { continue }
            features.append(i)
            magnitudes.append(max(0.1, 1 + Float(settings.spread) * size.normal(base + UInt64(i))))
        }
    }

    /// Sixty-four bits of some tokens (splitmix64's finalizer over each).
    private static func hash(_ tokens: ArraySlice<Int32>) -> UInt64 {
        tokens.reduce(0x9E37_79B9_7F4A_7C15) { hash, token in
            var z = (hash ^ UInt64(UInt32(bitPattern: token))) &+ 0x9E37_79B9_7F4A_7C15
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    /// x = b + Σ z d into a row of d numbers.
    func write(to x: UnsafeMutablePointer<Float>) {
        let d = world.settings.width
        x.update(from: world.bias.elements, count: d)
        for (i, z) in zip(features, magnitudes) {
            let row = world.directions.row(i)
            for c in 0..<d { x[c] += z * row[c] }
        }
    }
}
