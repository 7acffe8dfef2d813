import LanguageModeling

/// A norm of rows on a card: see `Norm`.
struct DeviceNorm {
    private let weight: DeviceMatrix
    private let bias: DeviceMatrix?
    private let isLayer: Bool
    private let epsilon: Float

    init(_ norm: Norm, on device: DeviceArithmetic) throws(CUDAError) {
        weight = try device.matrix(norm.weight)
        bias = try device.matrix(norm.bias)
        isLayer = norm.kind == .layer
        epsilon = Float(norm.epsilon)
    }

    /// `y` from `x`, both `[n, d]`, or added to it.
    func forward(
        _ x: DeviceMatrix, rows n: Int, into y: DeviceMatrix, adding: Bool = false, on device: DeviceArithmetic
    ) throws(CUDAError) {
        try forward(x, rows: n, into: FactorTarget(y.slice), adding: adding, keeping: nil, on: device)
    }

    /// The same of the pass's rows for a product with a weight, in the workspace until the next such. `kept` `[n, d]` receives x.
    func factor(
        _ x: DeviceMatrix, keeping kept: DeviceMatrix? = nil, _ pass: DevicePass
    ) throws(CUDAError) -> FactorTarget {
        let target = pass.device.target(pass.workspace.normed.slice, columns: x.columns, pass)
        try forward(x, rows: pass.tokenCount, into: target, adding: false, keeping: kept, on: pass.device)
        return target
    }

    private func forward(
        _ x: DeviceMatrix, rows n: Int, into y: FactorTarget, adding: Bool, keeping kept: DeviceMatrix?,
        on device: DeviceArithmetic
    ) throws(CUDAError) {
        try device.context.launch(
            try device.kernel("normRows", "norm"), DeviceArithmetic.warpBlocks(n), threads: 256, x.array, weight.array,
            DeviceArithmetic.pointer(bias), epsilon, isLayer, n, x.columns, x.stride / 4, adding, y.plain,
            DeviceArithmetic.pointer(kept), y.pointer, y.stride)
    }

    /// The gradient `dx` of `x` from that of y under the pass's rule, or added to it; all `[n, d]`, n the pass's tokens.
    func backward(
        _ x: DeviceMatrix, _ dy: DeviceMatrix, into dx: DeviceMatrix, adding: Bool, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, n) = (pass.device, pass.tokenCount)
        try device.context.launch(
            try device.kernel("normRowsBackward", "norm"), DeviceArithmetic.warpBlocks(n), threads: 256, x.array,
            weight.array, dy.array, epsilon, isLayer, pass.rule.contains(.constantNorms), n, x.columns, x.stride / 4,
            adding, dx.array)
    }

    /// σ `[n]`, what the pass's rows `x` are divided by.
    func scales(_ x: DeviceMatrix, into scales: DeviceArray<Float>, _ pass: DevicePass) throws(CUDAError) {
        let (device, n) = (pass.device, pass.tokenCount)
        try device.context.launch(
            try device.kernel("normScales", "norm"), DeviceArithmetic.warpBlocks(n), threads: 256, x.array, epsilon,
            isLayer, n, x.columns, x.stride / 4, scales)
    }
}
