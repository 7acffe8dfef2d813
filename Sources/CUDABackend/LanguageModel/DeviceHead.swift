import LanguageModeling
import LinearAlgebra

/// Final norm, vocabulary projection and what tokens are measured by on a card: see `LanguageHead`. Logits are made for as many tokens at
/// a time as there is room for. What is found `[n]` is in the workspace's values; where a gradient `dx` `[n, d]` is asked for, it is that of
/// its sum with the workspace's weights, under the pass's rule.
struct DeviceHead {
    private let norm: DeviceNorm
    /// `[V, d]`
    private let weight: DeviceWeight
    private let softCap: Float

    /// `weight` is the token embedding where the head is tied.
    init(_ head: LanguageHead, weight: DeviceWeight, on device: DeviceArithmetic) throws(CUDAError) {
        norm = try DeviceNorm(head.norm, on: device)
        self.weight = weight
        softCap = head.softCap ?? 0
    }

    /// The losses of rows `x` `[n, d]`.
    func losses(_ x: DeviceMatrix, gradient dx: DeviceMatrix? = nil, _ pass: DevicePass) throws(CUDAError) {
        let scratch = pass.workspace
        try forEachPart(x, by: scratch.logitRows, pass) { (logits, rows) throws(CUDAError) in
            let dlogits = pass.device.target(logits, columns: weight.rows, pass)
            try pass.device.context.launch(
                try pass.device.kernel("tokenLosses", "vocabulary"), rows.count, threads: threads, logits,
                logits.stride, weight.rows, DeviceSlice(of: scratch.targets, at: rows.lowerBound), softCap,
                weights(rows, dx, pass), DeviceSlice(of: scratch.values, at: rows.lowerBound), dlogits.pointer,
                dlogits.stride)
            if dx != nil { try backward(dlogits, rows, pass) }
        }
        if let dx { try norm.backward(x, scratch.result, into: dx, adding: false, pass) }
    }

    /// Keeps the norm of rows `x`, from whose answers `divergences` are.
    func keepReference(_ x: DeviceMatrix, _ pass: DevicePass) throws(CUDAError) {
        try norm.forward(x, rows: pass.tokenCount, into: pass.workspace.reference!, on: pass.device)
    }

    /// KL(p° ‖ p) of rows `x` `[n, d]`, p° being what follows from the reference.
    func divergences(_ x: DeviceMatrix, gradient dx: DeviceMatrix?, _ pass: DevicePass) throws(CUDAError) {
        let scratch = pass.workspace, stride = DeviceMatrix.stride(weight.rows)
        let others = DeviceSlice(scratch.logits, at: scratch.otherLogits, stride: stride)
        try forEachPart(x, by: scratch.dividedRows, pass) { (logits, rows) throws(CUDAError) in
            try project(scratch.reference!, rows, into: others, pass)
            let dlogits = pass.device.target(logits, columns: weight.rows, pass)
            try pass.device.context.launch(
                try pass.device.kernel("tokenDivergences", "vocabulary"), rows.count, threads: threads, logits, others,
                stride, weight.rows, softCap, weights(rows, dx, pass),
                DeviceSlice(of: scratch.values, at: rows.lowerBound), dlogits.pointer, dlogits.stride)
            if dx != nil { try backward(dlogits, rows, pass) }
        }
        if let dx { try norm.backward(x, scratch.result, into: dx, adding: false, pass) }
    }

    /// The logit of one of two `words` less that of the other, of rows `x` `[n, d]`. In single precision, whatever products are in.
    func differences(
        _ x: DeviceMatrix, of words: DeviceMatrix, gradient dx: DeviceMatrix?, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, scratch) = (pass.device, pass.workspace)
        try norm.forward(x, rows: pass.tokenCount, into: scratch.normed, on: device)
        try device.measure(
            scratch.normed, by: words, cap: softCap, gradient: dx == nil ? nil : scratch.result, pass)
        if let dx { try norm.backward(x, scratch.result, into: dx, adding: false, pass) }
    }

    /// Rows `[n, d]` of the projection, as products see them.
    func words(_ ids: [Int32], on device: DeviceArithmetic) throws(CUDAError) -> DeviceMatrix {
        let words = try DeviceMatrix(rows: ids.count, columns: weight.columns, on: device.context)
        let places = try DeviceArray<Int32>(ids.count, on: device.context)
        try ids.withUnsafeBufferPointer { (ids) throws(CUDAError) in
            try places.upload(ids.baseAddress!, ids.count)
            try device.rows(of: weight, places, count: ids.count, into: words)
            try device.context.synchronize()
        }
        return words
    }

    /// σ `[n]` of rows `x` `[n, d]`: what the norm divides them by.
    func scales(_ x: DeviceMatrix, _ pass: DevicePass) throws(CUDAError) {
        try norm.scales(x, into: pass.workspace.values, pass)
    }

    /// The logits of rows `x`, row by row into `target` `[n, V]`.
    func logits(
        _ x: DeviceMatrix, into target: UnsafeMutablePointer<Float>, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, words) = (pass.device, weight.rows)
        try forEachPart(x, by: pass.workspace.logitRows, pass) { (logits, rows) throws(CUDAError) in
            if softCap > 0 {
                try device.context.launch(
                    try device.kernel("capLogits", "vocabulary"), rows.count, (words + 255) / 256, threads: 256, logits,
                    logits.stride, words, softCap)
            }
            let values = try pass.workspace.logits.values(rows.count * logits.stride)
            values.withUnsafeBufferPointer { values in
                for (i, r) in rows.enumerated() {
                    (target + r * words).update(from: values.baseAddress! + i * logits.stride, count: words)
                }
            }
        }
    }

    // MARK: Parts

    /// Of a block that has a row of logits.
    private var threads: Int { weight.rows < 8192 ? 128 : 1024 }

    /// The weights of some rows where a gradient is asked for.
    private func weights(_ rows: Range<Int>, _ dx: DeviceMatrix?, _ pass: DevicePass) -> any KernelArgument {
        dx == nil ? NullPointer() : DeviceSlice(of: pass.workspace.weights, at: rows.lowerBound)
    }

    /// Logits of `together` rows after the others, the norm of all of them being in the workspace.
    private func forEachPart(
        _ x: DeviceMatrix, by together: Int, _ pass: DevicePass,
        _ body: (DeviceSlice, Range<Int>) throws(CUDAError) -> Void
    ) throws(CUDAError) {
        let (scratch, n) = (pass.workspace, pass.tokenCount)
        try norm.forward(x, rows: n, into: scratch.normed, on: pass.device)
        let logits = DeviceSlice(scratch.logits, stride: DeviceMatrix.stride(weight.rows))
        for first in stride(from: 0, to: n, by: together) {
            let rows = first..<min(first + together, n)
            try project(scratch.normed, rows, into: logits, pass)
            try body(logits, rows)
        }
    }

    /// The logits, before any cap, of some of the rows `normed`.
    private func project(
        _ normed: DeviceMatrix, _ rows: Range<Int>, into logits: DeviceSlice, _ pass: DevicePass
    ) throws(CUDAError) {
        let device = pass.device
        try device.products.multiply(
            try device.factor(
                FactorTarget(normed.slice(fromRow: rows.lowerBound)), rows: rows.count, columns: weight.columns, pass),
            weight.slice.transposed, into: logits, m: rows.count, n: weight.rows, k: weight.columns,
            on: device.context.stream)
    }

    /// The gradient of some rows' norms, in the workspace's result, from that of their logits.
    private func backward(_ dlogits: FactorTarget, _ rows: Range<Int>, _ pass: DevicePass) throws(CUDAError) {
        let device = pass.device
        try device.products.multiply(
            try device.factor(dlogits, rows: rows.count, columns: weight.rows, pass), weight.slice,
            into: pass.workspace.result.slice(fromRow: rows.lowerBound), m: rows.count, n: weight.columns,
            k: weight.rows, on: device.context.stream)
    }
}
