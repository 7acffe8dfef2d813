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

    /// `y` from `x`, both `[n, d]`, or added to it. `kept` `[n, d]` receives x.
    func forward(
        _ x: DeviceMatrix, rows n: Int, into y: DeviceMatrix, adding: Bool = false, keeping kept: DeviceMatrix? = nil,
        on device: DeviceArithmetic
    ) throws(CUDAError) {
        try device.context.launch(
            try device.kernel("normRows", "norm"), DeviceArithmetic.warpBlocks(n), threads: 256, x.array, weight.array,
            DeviceArithmetic.pointer(bias), epsilon, isLayer, n, x.columns, x.stride / 4, adding, y.array,
            DeviceArithmetic.pointer(kept))
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
