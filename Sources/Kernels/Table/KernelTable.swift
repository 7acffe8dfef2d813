/// The kernels of one instruction set.
///
/// A kernel takes pointers, sizes and scalars; it allocates nothing, never fails and never prints. Every entry is
/// written once, in `Sources/Kernels/Level`, and compiled three times. Level sources hold only pointers, SIMD
/// vectors and scalars: a generic or an array there would leave weak symbols compiled for AVX-512 that the linker
/// may use in baseline code.
public struct KernelTable: Sendable {
    /// Lanes of a table entry read and write through plain pointers to row-major `Float`.
    public typealias Source = UnsafePointer<Float>
    /// A row that a kernel writes.
    public typealias Target = UnsafeMutablePointer<Float>

    /// Σᵢ x[i]·y[i] over `count` elements, in 64 partial sums.
    public var dot: @Sendable (_ x: Source, _ y: Source, _ count: Int) -> Float
    /// Σᵢ x[i]·y[i] in Double, or Σᵢ x[i] without y, in eight partial sums.
    public var sumInDouble: @Sendable (_ x: Source, _ y: Source?, _ count: Int) -> Double
    /// y += a·x.
    public var addScaled: @Sendable (_ y: Target, _ x: Source, _ a: Float, _ count: Int) -> Void
    /// y += a₀x₀ + a₁x₁ + a₂x₂ + a₃x₃: one pass over y for four rows, which is what bounds sparse decoding.
    public var addScaled4:
        @Sendable (
            _ y: Target, _ x0: Source, _ x1: Source, _ x2: Source, _ x3: Source, _ a: SIMD4<Float>, _ count: Int
        ) -> Void
    /// z = a·x + b·y; z may be x or y.
    public var combine: @Sendable (_ z: Target, _ a: Float, _ x: Source, _ b: Float, _ y: Source, _ count: Int) -> Void
    /// x *= a.
    public var scale: @Sendable (_ x: Target, _ a: Float, _ count: Int) -> Void
    /// max x[i], −∞ for no elements.
    public var maximum: @Sendable (_ x: Source, _ count: Int) -> Float
    /// For each latent j of `entries` and each entry e of it: y[rows[e]] += factor·values[e]·x[j], rows of `count`
    /// columns; the strides are between rows.
    public var addRowsByLatent:
        @Sendable (
            _ y: Target, _ strideY: Int, _ factor: Float, _ entries: LatentEntries, _ x: Source, _ strideX: Int,
            _ count: Int
        ) -> Void
    /// For each latent j of `entries` that has one: y[j] = Σ_e values[e]·x[rows[e]] and squares[j] += ‖y[j]‖². A square
    /// is summed in single precision over 64 columns at most, those in Double.
    public var sumRowsByLatent:
        @Sendable (
            _ y: Target, _ strideY: Int, _ entries: LatentEntries, _ x: Source, _ strideX: Int, _ count: Int,
            _ squares: UnsafeMutablePointer<Double>
        ) -> Void
    /// As `sumRowsByLatent`, and products[e] += ⟨x[rows[e]], w[j]⟩; rows of w are `strideY` apart. Products are in
    /// single precision like any of the dense ones, in 16 partial sums of 64 columns at most.
    public var sumRowsByLatentWithProducts:
        @Sendable (
            _ y: Target, _ strideY: Int, _ entries: LatentEntries, _ x: Source, _ strideX: Int, _ count: Int,
            _ squares: UnsafeMutablePointer<Double>, _ w: Source, _ products: Target
        ) -> Void
    /// Pre-activations to candidates: with p[i] = x[i] + bias[i], writes start + i, ascending, and p[i] wherever
    /// p[i] > thresholds[i] and p[i] > floor (both strictly); returns how many. `positions` and `values` have room
    /// for `count`. NaN is never above.
    public var compactAbove:
        @Sendable (
            _ x: Source, _ bias: Source, _ thresholds: Source, _ floor: Float, _ count: Int, _ start: Int32,
            _ positions: UnsafeMutablePointer<Int32>, _ values: Target
        ) -> Int
    /// Copies the entries with values[e] ≥ least, in their order, to `keptColumns` and `keptValues`, which may be the
    /// entries themselves; returns how many. Nothing behind the last is written.
    public var keepAtLeast:
        @Sendable (
            _ columns: UnsafePointer<Int32>, _ values: Source, _ count: Int, _ least: Float,
            _ keptColumns: UnsafeMutablePointer<Int32>, _ keptValues: Target
        ) -> Int
    /// How many of the values are not below `least`.
    public var countAtLeast: @Sendable (_ values: Source, _ count: Int, _ least: Float) -> Int
    /// The smallest and the largest value, (∞, −∞) for none; values are no NaN.
    public var extent: @Sendable (_ values: Source, _ count: Int) -> SIMD2<Float>
    /// Copies the values from `least` through `most`, in their order, to `within`; returns how many. Nothing behind the
    /// last is written.
    public var gatherWithin:
        @Sendable (_ values: Source, _ count: Int, _ least: Float, _ most: Float, _ within: Target) -> Int
    /// How many of the values have a mark, and in `least` the smallest of those, ∞ for none.
    public var countMarked:
        @Sendable (_ values: Source, _ marks: UnsafePointer<UInt8>, _ count: Int, _ least: inout Float) -> Int
    /// x[i] = exp(x[i] − shift); returns Σ x[i] in Double.
    public var exponentialSum: @Sendable (_ x: Target, _ shift: Float, _ count: Int) -> Double
    /// out = a(z) ∘ up, or a(z) without up; a is the activation.
    public var activate: @Sendable (_ out: Target, _ z: Source, _ up: Source?, _ a: Activation, _ count: Int) -> Void
    /// Backward of `activate`: overwrites z and up with dz and dup, given dout.
    public var activateBackward:
        @Sendable (_ dout: Source, _ z: Target, _ up: Target?, _ a: Activation, _ count: Int) -> Void
    /// x ← c·tanh(x/c); `slopes` receive 1 − tanh²(x/c).
    public var softCap: @Sendable (_ x: Target, _ slopes: Target?, _ c: Float, _ count: Int) -> Void
    /// One Adam update of `count` parameters (see `AdamStep`).
    public var adam:
        @Sendable (_ p: Target, _ g: Source, _ m: Target, _ v: Target, _ count: Int, _ step: AdamStep) -> Void
    /// y = w ∘ x·r with r = 1/√(Σ x²/count + ε); y may be x.
    public var normalize: @Sendable (_ y: Target, _ x: Source, _ w: Source, _ epsilon: Double, _ count: Int) -> Void
    /// Backward of `normalize`: dx += r·(w ∘ dy) − x·(r³/count)·Σ w·dy·x.
    public var normalizeBackward:
        @Sendable (_ dx: Target, _ x: Source, _ w: Source, _ dy: Source, _ epsilon: Double, _ count: Int) -> Void
    /// Turns the first 2·half numbers of `heads` heads that lie `stride` apart, each a of `half` and b of `half`:
    /// a ← a·cos − sign·b·sin, b ← b·cos + sign·a·sin.
    public var rotate:
        @Sendable (
            _ row: Target, _ cosines: Source, _ sines: Source, _ sign: Float, _ half: Int, _ heads: Int, _ stride: Int
        ) -> Void
    /// y[c, r] = x[r, c] for x [rows, columns]; the strides are between rows.
    public var transpose:
        @Sendable (_ y: Target, _ strideY: Int, _ x: Source, _ strideX: Int, _ rows: Int, _ columns: Int) -> Void

    /// `count` numbers in single precision of what is stored as `format`, whole blocks of them.
    public var expand:
        @Sendable (_ source: UnsafeRawPointer, _ format: NumberFormat, _ target: Target, _ count: Int) -> Void

    /// Collects one level's kernels; called by the level modules only.
    public init(
        dot: @escaping @Sendable (Source, Source, Int) -> Float,
        sumInDouble: @escaping @Sendable (Source, Source?, Int) -> Double,
        addScaled: @escaping @Sendable (Target, Source, Float, Int) -> Void,
        addScaled4: @escaping @Sendable (Target, Source, Source, Source, Source, SIMD4<Float>, Int) -> Void,
        combine: @escaping @Sendable (Target, Float, Source, Float, Source, Int) -> Void,
        scale: @escaping @Sendable (Target, Float, Int) -> Void,
        maximum: @escaping @Sendable (Source, Int) -> Float,
        addRowsByLatent: @escaping @Sendable (Target, Int, Float, LatentEntries, Source, Int, Int) -> Void,
        sumRowsByLatent:
            @escaping @Sendable (Target, Int, LatentEntries, Source, Int, Int, UnsafeMutablePointer<Double>) -> Void,
        sumRowsByLatentWithProducts:
            @escaping @Sendable (
                Target, Int, LatentEntries, Source, Int, Int, UnsafeMutablePointer<Double>, Source, Target
            ) -> Void,
        compactAbove:
            @escaping @Sendable (
                Source, Source, Source, Float, Int, Int32, UnsafeMutablePointer<Int32>, Target
            ) -> Int,
        keepAtLeast:
            @escaping @Sendable (
                UnsafePointer<Int32>, Source, Int, Float, UnsafeMutablePointer<Int32>, Target
            ) -> Int,
        countAtLeast: @escaping @Sendable (Source, Int, Float) -> Int,
        extent: @escaping @Sendable (Source, Int) -> SIMD2<Float>,
        gatherWithin: @escaping @Sendable (Source, Int, Float, Float, Target) -> Int,
        countMarked: @escaping @Sendable (Source, UnsafePointer<UInt8>, Int, inout Float) -> Int,
        exponentialSum: @escaping @Sendable (Target, Float, Int) -> Double,
        activate: @escaping @Sendable (Target, Source, Source?, Activation, Int) -> Void,
        activateBackward: @escaping @Sendable (Source, Target, Target?, Activation, Int) -> Void,
        softCap: @escaping @Sendable (Target, Target?, Float, Int) -> Void,
        adam: @escaping @Sendable (Target, Source, Target, Target, Int, AdamStep) -> Void,
        normalize: @escaping @Sendable (Target, Source, Source, Double, Int) -> Void,
        normalizeBackward: @escaping @Sendable (Target, Source, Source, Source, Double, Int) -> Void,
        rotate: @escaping @Sendable (Target, Source, Source, Float, Int, Int, Int) -> Void,
        transpose: @escaping @Sendable (Target, Int, Source, Int, Int, Int) -> Void,
        expand: @escaping @Sendable (UnsafeRawPointer, NumberFormat, Target, Int) -> Void
    ) {
        self.dot = dot
        self.sumInDouble = sumInDouble
        self.addScaled = addScaled
        self.addScaled4 = addScaled4
        self.combine = combine
        self.scale = scale
        self.maximum = maximum
        self.addRowsByLatent = addRowsByLatent
        self.sumRowsByLatent = sumRowsByLatent
        self.sumRowsByLatentWithProducts = sumRowsByLatentWithProducts
        self.compactAbove = compactAbove
        self.keepAtLeast = keepAtLeast
        self.countAtLeast = countAtLeast
        self.extent = extent
        self.gatherWithin = gatherWithin
        self.countMarked = countMarked
        self.exponentialSum = exponentialSum
        self.activate = activate
        self.activateBackward = activateBackward
        self.softCap = softCap
        self.adam = adam
        self.normalize = normalize
        self.normalizeBackward = normalizeBackward
        self.rotate = rotate
        self.transpose = transpose
        self.expand = expand
    }
}

/// What a perceptron does to each of its hidden numbers.
public enum Activation: UInt8, Sendable {
    /// z·σ(z), σ(z) = 1/(1 + e^−z).
    case silu
    /// z·(1 + tanh(√(2/π)(z + 0.044715 z³)))/2, which some files call gelu_new.
    case geluTanh
    /// z·Φ(z), Φ the distribution function of the standard normal.
    case gelu
}

/// Entries of sparse codes ordered by latent (CSC): latent j has `starts[j]..<ends[j]`.
///
/// Only latents in `first..<end` are looked at; `starts` and `ends` are indexed by latent and entries by those, whatever
/// `first` is.
public struct LatentEntries: @unchecked Sendable {
    /// [latents]
    public let starts: UnsafePointer<Int>
    /// [latents]
    public let ends: UnsafePointer<Int>
    /// [entries] The row of each.
    public let rows: UnsafePointer<Int32>
    /// [entries] What each multiplies.
    public let values: UnsafePointer<Float>
    /// The first latent.
    public let first: Int
    /// The latent after the last.
    public let end: Int

    /// The entries of `latents`.
    public init(
        starts: UnsafePointer<Int>, ends: UnsafePointer<Int>, rows: UnsafePointer<Int32>,
        values: UnsafePointer<Float>, latents: Range<Int>
    ) {
        (self.starts, self.ends) = (starts, ends)
        self.rows = rows
        self.values = values
        (first, end) = (latents.lowerBound, latents.upperBound)
    }
}

/// The scalars of one Adam step (arXiv:1412.6980, as PyTorch computes it):
/// g ← gradientScale·g − along·p; m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; p ← p − stepSize·m / (√v·inverseRootCorrection
/// + ε), with stepSize = lr/(1−β₁ᵗ) and inverseRootCorrection = 1/√(1−β₂ᵗ).
public struct AdamStep: Sendable {
    /// β₁ in [0, 1).
    public var beta1: Float
    /// β₂ in [0, 1).
    public var beta2: Float
    /// ε, added to the corrected root.
    public var epsilon: Float
    /// lr / (1 − β₁ᵗ).
    public var stepSize: Float
    /// 1 / √(1 − β₂ᵗ).
    public var inverseRootCorrection: Float
    /// Multiplies the gradient first: the clip factor.
    public var gradientScale: Float
    /// What is taken from the gradient, in parameters: its component along the row that p is.
    public var along: Float = 0

    /// The scalars of step `t` (counted from 1).
    public init(
        beta1: Float, beta2: Float, epsilon: Float, stepSize: Float, inverseRootCorrection: Float, gradientScale: Float
    ) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.stepSize = stepSize
        self.inverseRootCorrection = inverseRootCorrection
        self.gradientScale = gradientScale
    }
}
