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
    /// The dot products of x with four rows, each in 16 partial sums: one load of x for four of the rows.
    public var dot4:
        @Sendable (_ x: Source, _ y0: Source, _ y1: Source, _ y2: Source, _ y3: Source, _ count: Int) -> SIMD4<Float>
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
    /// y = x for a y that is not read again soon: where it is aligned to 64 bytes its lines are not read before they are
    /// written, and take no place in the caches. Other lanes see it once the run of lanes it is in has ended.
    public var stream: @Sendable (_ y: Target, _ x: Source, _ count: Int) -> Void
    /// max x[i], −∞ for no elements.
    public var maximum: @Sendable (_ x: Source, _ count: Int) -> Float
    /// Pre-activations to candidates: with p[i] = x[i] + bias[i], writes i, ascending, and p[i] wherever
    /// p[i] > thresholds[i] and p[i] > floor (both strictly); returns how many. `positions` and `values` have room
    /// for `count`. NaN is never above.
    public var compactAbove:
        @Sendable (
            _ x: Source, _ bias: Source, _ thresholds: Source, _ floor: Float, _ count: Int,
            _ positions: UnsafeMutablePointer<Int32>, _ values: Target
        ) -> Int
    /// x[i] = exp(x[i] − shift); returns Σ x[i] in Double.
    public var exponentialSum: @Sendable (_ x: Target, _ shift: Float, _ count: Int) -> Double
    /// out = silu(gate)·up, silu(z) = z / (1 + e^−z).
    public var swiGLU: @Sendable (_ out: Target, _ gate: Source, _ up: Source, _ count: Int) -> Void
    /// Backward of `swiGLU`: overwrites gate and up with dgate and dup, given dout.
    public var swiGLUBackward: @Sendable (_ dout: Source, _ gate: Target, _ up: Target, _ count: Int) -> Void
    /// One Adam update of `count` parameters (see `AdamStep`).
    public var adam:
        @Sendable (_ p: Target, _ g: Source, _ m: Target, _ v: Target, _ count: Int, _ step: AdamStep) -> Void
    /// y = w ∘ x·r with r = 1/√(Σ x²/count + ε); y may be x.
    public var normalize: @Sendable (_ y: Target, _ x: Source, _ w: Source, _ epsilon: Double, _ count: Int) -> Void
    /// Backward of `normalize`: dx += r·(w ∘ dy) − x·(r³/count)·Σ w·dy·x.
    public var normalizeBackward:
        @Sendable (_ dx: Target, _ x: Source, _ w: Source, _ dy: Source, _ epsilon: Double, _ count: Int) -> Void
    /// Turns `heads` heads of 2·half numbers, each a of `half` and b of `half`: a ← a·cos − sign·b·sin,
    /// b ← b·cos + sign·a·sin.
    public var rotate:
        @Sendable (_ row: Target, _ cosines: Source, _ sines: Source, _ sign: Float, _ half: Int, _ heads: Int) -> Void
    /// y[c, r] = x[r, c] for x [rows, columns]; the strides are between rows.
    public var transpose:
        @Sendable (_ y: Target, _ strideY: Int, _ x: Source, _ strideX: Int, _ rows: Int, _ columns: Int) -> Void

    /// Collects one level's kernels; called by the level modules only.
    public init(
        dot: @escaping @Sendable (Source, Source, Int) -> Float,
        dot4: @escaping @Sendable (Source, Source, Source, Source, Source, Int) -> SIMD4<Float>,
        addScaled: @escaping @Sendable (Target, Source, Float, Int) -> Void,
        addScaled4: @escaping @Sendable (Target, Source, Source, Source, Source, SIMD4<Float>, Int) -> Void,
        combine: @escaping @Sendable (Target, Float, Source, Float, Source, Int) -> Void,
        scale: @escaping @Sendable (Target, Float, Int) -> Void,
        stream: @escaping @Sendable (Target, Source, Int) -> Void,
        maximum: @escaping @Sendable (Source, Int) -> Float,
        compactAbove:
            @escaping @Sendable (Source, Source, Source, Float, Int, UnsafeMutablePointer<Int32>, Target) -> Int,
        exponentialSum: @escaping @Sendable (Target, Float, Int) -> Double,
        swiGLU: @escaping @Sendable (Target, Source, Source, Int) -> Void,
        swiGLUBackward: @escaping @Sendable (Source, Target, Target, Int) -> Void,
        adam: @escaping @Sendable (Target, Source, Target, Target, Int, AdamStep) -> Void,
        normalize: @escaping @Sendable (Target, Source, Source, Double, Int) -> Void,
        normalizeBackward: @escaping @Sendable (Target, Source, Source, Source, Double, Int) -> Void,
        rotate: @escaping @Sendable (Target, Source, Source, Float, Int, Int) -> Void,
        transpose: @escaping @Sendable (Target, Int, Source, Int, Int, Int) -> Void
    ) {
        self.dot = dot
        self.dot4 = dot4
        self.addScaled = addScaled
        self.addScaled4 = addScaled4
        self.combine = combine
        self.scale = scale
        self.stream = stream
        self.maximum = maximum
        self.compactAbove = compactAbove
        self.exponentialSum = exponentialSum
        self.swiGLU = swiGLU
        self.swiGLUBackward = swiGLUBackward
        self.adam = adam
        self.normalize = normalize
        self.normalizeBackward = normalizeBackward
        self.rotate = rotate
        self.transpose = transpose
    }
}

/// The scalars of one Adam step (arXiv:1412.6980, as PyTorch computes it):
/// g ← gradientScale·g; m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; p ← p − stepSize·m / (√v·inverseRootCorrection + ε),
/// with stepSize = lr/(1−β₁ᵗ) and inverseRootCorrection = 1/√(1−β₂ᵗ).
public struct AdamStep: Sendable {
    /// β₁.
    public var beta1: Float
    /// β₂.
    public var beta2: Float
    /// ε, added to the corrected root.
    public var epsilon: Float
    /// lr / (1 − β₁ᵗ).
    public var stepSize: Float
    /// 1 / √(1 − β₂ᵗ).
    public var inverseRootCorrection: Float
    /// Multiplies the gradient first: the clip factor.
    public var gradientScale: Float

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
