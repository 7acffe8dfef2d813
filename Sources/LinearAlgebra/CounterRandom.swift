import Glibc

/// Random numbers as a pure function of (seed, purpose, step, index): there is no state to save, to share between
/// lanes or to lose on a restart.
///
/// Philox 4×32-10 (Salmon et al., SC 2011): ten rounds of multiply and xor over a 128-bit counter under a 64-bit
/// key. The key is the seed, the counter is (index, step, purpose). By hand, in thirty lines: the generators of
/// libraries have a state, and results must stay the same when a library changes.
public struct CounterRandom: Sendable {
    /// What a stream is for: two purposes never share numbers. The raw values are part of every run's record and
    /// never change.
    public enum Purpose: UInt32, Sendable {
        /// Decoder directions of a new SAE.
        case decoderInitialization = 1
        /// The order of rows in an activation store.
        case storeShuffle = 2
        /// The order of batches in an epoch.
        case epochShuffle = 3
        /// Seeds of cycles, drawn from the run's seed.
        case cycleSeed = 4
        /// Inputs of tests and benchmarks.
        case test = 5
        /// Sequences drawn again with replacement, for intervals.
        case bootstrap = 6
        /// Halves of the sequences.
        case halves = 7
        /// Which latents a control's core is made of.
        case randomCore = 8
        /// Directions that are alike by chance.
        case randomDirections = 9
        /// The order of rows in a block of live activations.
        case liveShuffle = 10
        /// A world of known features.
        case syntheticWorld = 11
        /// Which of them fire, after some tokens.
        case syntheticFeatures = 12
        /// Text of that world.
        case syntheticText = 13
        /// Words of spelling prompts, and how probes of letters begin and go through them.
        case spelling = 14
        /// Decoder rows of an SAE, as what another SAE is trained on.
        case decoderRows = 15
        /// Which contexts of a latent a language model is shown, and in which order.
        case shownContexts = 16
        /// Which latents a language model is to explain.
        case explainedLatents = 17
        /// How long is waited before a server is asked again.
        case retryWaits = 18
    }

    private let key: (UInt32, UInt32)
    private let purpose: UInt32
    private let step: UInt32

    /// The stream of `seed` for `purpose` at `step`.
    public init(seed: UInt64, purpose: Purpose, step: UInt32 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.purpose = purpose.rawValue
        self.step = step
    }

    /// Four independent 32-bit numbers at `index`.
    public func block(_ index: UInt64) -> SIMD4<UInt32> {
        Self.philox(
            SIMD4(UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32), step, purpose), key)
    }

    /// Philox 4×32-10 itself, for the published vectors.
    package static func philox(_ counter: SIMD4<UInt32>, _ key: (UInt32, UInt32)) -> SIMD4<UInt32> {
        var (c0, c1, c2, c3) = (counter.x, counter.y, counter.z, counter.w)
        var (k0, k1) = key
        for _ in 0..<10 {
            let a = UInt64(c0) &* 0xD251_1F53, b = UInt64(c2) &* 0xCD9E_8D57
            (c0, c1, c2, c3) = (
                UInt32(b >> 32) ^ c1 ^ k0, UInt32(truncatingIfNeeded: b),
                UInt32(a >> 32) ^ c3 ^ k1, UInt32(truncatingIfNeeded: a)
            )
            k0 &+= 0x9E37_79B9
            k1 &+= 0xBB67_AE85
        }
        return SIMD4(c0, c1, c2, c3)
    }

    /// A 64-bit number at `index`.
    public func word(_ index: UInt64) -> UInt64 {
        let b = block(index)
        return UInt64(b.y) << 32 | UInt64(b.x)
    }

    /// Uniform in [0, 1) with 24 bits, at `index`.
    public func uniform(_ index: UInt64) -> Float { Float(block(index >> 2)[Int(index & 3)] >> 8) * 0x1p-24 }

    /// Fills with uniform numbers in [low, high), those from index `first` on.
    public func fill(
        _ target: UnsafeMutableBufferPointer<Float>, from low: Float, to high: Float, at first: Int = 0
    ) {
        for i in target.indices { target[i] = low + (high - low) * uniform(UInt64(first + i)) }
    }

    /// Standard normal at `index` (Box–Muller).
    public func normal(_ index: UInt64) -> Float {
        let b = block(index)
        let u = (Double(b.x) + 1) * 0x1p-32
        return Float((-2 * log(u)).squareRoot() * cos(2 * .pi * Double(b.y) * 0x1p-32))
    }

    /// A permutation of 0..<count (Fisher–Yates). The modulo's bias is below count/2⁶⁴.
    public func permutation(_ count: Int) -> [Int32] {
        var order = (0..<Int32(count)).map { $0 }
        for i in stride(from: count - 1, to: 0, by: -1) {
            order.swapAt(i, Int(word(UInt64(i)) % UInt64(i + 1)))
        }
        return order
    }
}
