import LanguageModeling
import LinearAlgebra

/// What all parts of a decoder on a card compute with.
final class DeviceArithmetic {
    let context: CUDAContext
    let products: MatrixProducts
    /// Whether weights and what they are multiplied with are of bfloat16.
    let isRounding: Bool

    init(_ context: CUDAContext, precision: ProductPrecision) throws(CUDAError) {
        self.context = context
        products = try MatrixProducts(context, precision: precision)
        isRounding = precision == .bf16
    }

    func kernel(_ name: String, _ file: String) throws(CUDAError) -> Kernel {
        try context.kernels.kernel(name, in: file)
    }

    /// A copy of a host's matrix.
    func matrix(_ source: Matrix) throws(CUDAError) -> DeviceMatrix {
        let made = try DeviceMatrix(rows: source.rows, columns: source.columns, on: context)
        try made.assign(source)
        return made
    }

    /// The same where there is one.
    func matrix(_ source: Matrix?) throws(CUDAError) -> DeviceMatrix? {
        guard let source else { return nil }
        return try matrix(source)
    }

    // MARK: Weights

    /// A copy of a host's weight in the form that products read it.
    func weight(_ source: WeightMatrix) throws(CUDAError) -> DeviceWeight {
        guard isRounding else { return .single(try matrix(source.matrix())) }
        let result = try RoundedMatrix(rows: source.rows, columns: source.columns, on: context)
        // As many rows at a time as take 64 MiB in single precision.
        let step = max(1, (16 << 20) / source.columns)
        for first in stride(from: 0, to: source.rows, by: step) {
            let panel = Matrix(rows: min(step, source.rows - first), columns: source.columns)
            Lanes.shared.forRanges(panel.rows) { _, range in
                source.widen(
                    first + range.lowerBound..<first + range.upperBound, into: panel.row(range.lowerBound))
            }
            let staged = try matrix(panel)
            try round(
                staged.slice, rows: panel.rows, columns: source.columns,
                into: DeviceSlice(result.array, at: first * result.stride, stride: result.stride))
            try context.synchronize()
        }
        return .rounded(result)
    }

    /// What a weight is multiplied with: `n` rows of x as they are, or rounded by now, in the workspace until the next such product.
    func factor(_ x: FactorTarget, rows n: Int, columns: Int, _ pass: DevicePass) throws(CUDAError) -> DeviceSlice {
        if let rounded = x.rounded { return rounded }
        guard let scratch = pass.workspace.rounded else { return x.plain }
        let target = DeviceSlice(scratch, stride: RoundedMatrix.stride(columns))
        try round(x.plain, rows: n, columns: columns, into: target)
        return target
    }

    /// Where a kernel puts rows of `columns` numbers that the next product with a weight reads, and what they then are: `x`, or rounded
    /// numbers in the workspace.
    func target(_ x: DeviceSlice, columns: Int, _ pass: DevicePass) -> FactorTarget {
        guard let scratch = pass.workspace.rounded, !pass.workspace.limits.roundsApart else {
            return FactorTarget(x)
        }
        return FactorTarget(x, rounded: DeviceSlice(scratch, stride: RoundedMatrix.stride(columns)))
    }

    private func round(
        _ x: DeviceSlice, rows n: Int, columns: Int, into y: DeviceSlice
    ) throws(CUDAError) {
        let y4 = y.stride / 4, slab = Slab(y4)
        try context.launch(
            try kernel("roundRows", "round"), n, slab.count, threads: slab.threads, x, x.stride / 4, y, y4)
    }

    /// y = kept·y + x·Wᵀ + b: x `[n, in]`, W `[out, in]`, y `[n, out]`, n the pass's tokens.
    func apply(
        _ weight: DeviceWeight, _ bias: DeviceMatrix? = nil, to x: FactorTarget, into y: DeviceMatrix,
        keeping kept: Float = 0, _ pass: DevicePass
    ) throws(CUDAError) {
        let n = pass.tokenCount
        try products.multiply(
            try factor(x, rows: n, columns: weight.columns, pass), weight.slice.transposed, into: y.slice, m: n,
            n: weight.rows, k: weight.columns, keeping: kept, on: context.stream)
        guard let bias else { return }
        let d4 = y.stride / 4, slab = Slab(d4)
        try context.launch(
            try kernel("center", "center"), n, slab.count, threads: slab.threads, y.array, bias.array, Float(1),
            y.array, d4)
    }

    /// dx = dy·W, the gradient of what `apply` was given.
    func applyBackward(
        _ weight: DeviceWeight, to dy: FactorTarget, into dx: DeviceMatrix, _ pass: DevicePass
    ) throws(CUDAError) {
        let n = pass.tokenCount
        try products.multiply(
            try factor(dy, rows: n, columns: weight.rows, pass), weight.slice, into: dx.slice, m: n,
            n: weight.columns, k: weight.rows, on: context.stream)
    }

    // MARK: Rows

    /// x[r] = scale·W[ids[r]], and of the row's position in sequences of `length` tokens, where there are `positions`: `[n, d]`, whatever
    /// form W `[V, d]` has.
    func rows(
        of weight: DeviceWeight, _ ids: DeviceArray<Int32>, count n: Int, scale: Float = 1,
        adding positions: DeviceMatrix? = nil, length: Int = 1, into x: DeviceMatrix
    ) throws(CUDAError) {
        let d4 = x.stride / 4, slab = Slab(d4), places = Self.pointer(positions)
        switch weight {
        case .single(let rows):
            try context.launch(
                try kernel("embed", "embed"), n, slab.count, threads: slab.threads, ids, rows.array, places, scale,
                length, d4, x.array)
        case .rounded(let rows):
            try context.launch(
                try kernel("embedRounded", "embed"), n, slab.count, threads: slab.threads, ids, rows.array,
                rows.stride / 4, places, scale, length, d4, x.array)
        }
    }

    /// ⟨x, w₁⟩ of a pass's rows `x` `[n, d]`, or with two `words` the first one's less the second's, c·tanh(⟨x, w⟩/c) each with a cap: into
    /// the workspace's values. `dx` `[n, d]` receives the gradient of their sum with the workspace's weights.
    func measure(
        _ x: DeviceMatrix, by words: DeviceMatrix, cap: Float = 0, gradient dx: DeviceMatrix?, _ pass: DevicePass
    ) throws(CUDAError) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        try context.launch(
            try kernel("measureRows", "measure"), Self.warpBlocks(n), threads: 256, x.array, words.array, words.rows,
            cap, scratch.weights, n, x.stride / 4, Self.pointer(dx), scratch.values)
    }

    /// y += x, `[n, d]` both.
    func add(_ x: DeviceSlice, to y: DeviceMatrix, rows n: Int) throws(CUDAError) {
        let d4 = y.stride / 4, slab = Slab(d4)
        try context.launch(
            try kernel("addRows", "center"), n, slab.count, threads: slab.threads, x, y.array, d4)
    }

    /// The pointer that a kernel takes, or none.
    static func pointer(_ array: DeviceArray<Float>?) -> any KernelArgument {
        array.map { $0 as any KernelArgument } ?? NullPointer()
    }
    static func pointer(_ matrix: DeviceMatrix?) -> any KernelArgument { pointer(matrix?.array) }

    /// Blocks of eight warps for `tasks` warps.
    static func warpBlocks(_ tasks: Int) -> Int { (tasks + 7) / 8 }
}
