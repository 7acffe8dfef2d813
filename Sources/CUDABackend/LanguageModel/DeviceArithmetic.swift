import LanguageModeling
import LinearAlgebra

/// What all parts of a decoder on a card compute with.
final class DeviceArithmetic {
    let context: CUDAContext
    let products: MatrixProducts

    init(_ context: CUDAContext, precision: ProductPrecision) throws(CUDAError) {
        self.context = context
        products = try MatrixProducts(context, precision: precision)
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

    /// A weight, widened here: the card has it in single precision.
    func matrix(_ weight: WeightMatrix) throws(CUDAError) -> DeviceMatrix { try matrix(weight.matrix()) }

    /// The same where there is one.
    func matrix(_ source: Matrix?) throws(CUDAError) -> DeviceMatrix? {
        guard let source else { return nil }
        return try matrix(source)
    }

    /// y = kept·y + x·Wᵀ + b: x `[n, in]`, W `[out, in]`, y `[n, out]`.
    func apply(
        _ weight: DeviceMatrix, _ bias: DeviceMatrix? = nil, to x: DeviceMatrix, rows n: Int, into y: DeviceMatrix,
        keeping kept: Float = 0
    ) throws(CUDAError) {
        try products.multiply(
            x.slice, weight.slice.transposed, into: y.slice, m: n, n: weight.rows, k: weight.columns, keeping: kept,
            on: context.stream)
        guard let bias else { return }
        let d4 = y.stride / 4, slab = Slab(d4)
        try context.launch(
            try kernel("center", "center"), n, slab.count, threads: slab.threads, y.array, bias.array, Float(1),
            y.array, d4)
    }

    /// y += x, `[n, d]` both.
    func add(_ x: DeviceMatrix, to y: DeviceMatrix, rows n: Int) throws(CUDAError) {
        let d4 = y.stride / 4, slab = Slab(d4)
        try context.launch(
            try kernel("addRows", "center"), n, slab.count, threads: slab.threads, x.array, y.array, d4)
    }

    /// dx = dy·W, the gradient of what `apply` was given.
    func applyBackward(
        _ weight: DeviceMatrix, to dy: DeviceMatrix, rows n: Int, into dx: DeviceMatrix
    ) throws(CUDAError) {
        try products.multiply(
            dy.slice, weight.slice, into: dx.slice, m: n, n: weight.columns, k: weight.rows, on: context.stream)
    }

    /// The pointer that a kernel takes, or none.
    static func pointer(_ array: DeviceArray<Float>?) -> any KernelArgument {
        array.map { $0 as any KernelArgument } ?? NullPointer()
    }
    static func pointer(_ matrix: DeviceMatrix?) -> any KernelArgument { pointer(matrix?.array) }

    /// Blocks of eight warps for `tasks` warps.
    static func warpBlocks(_ tasks: Int) -> Int { (tasks + 7) / 8 }
}
