import LanguageModeling
import LinearAlgebra

/// Final norm, vocabulary projection and next-token loss on a card: see `LanguageHead`. Logits are made for as many tokens at a time
/// as there is room for.
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

    /// The losses `[n]` of rows `x` `[n, d]`, in the workspace, and the gradient `dx` of their sum if it is asked for.
    func losses(_ x: DeviceMatrix, gradient dx: DeviceMatrix? = nil, _ pass: DevicePass) throws(CUDAError) {
        let (device, scratch, n) = (pass.device, pass.workspace, pass.tokenCount)
        let (d, words, dnormed) = (weight.columns, weight.rows, scratch.result)
        try forEachPart(x, pass) { (logits, rows) throws(CUDAError) in
            try device.context.launch(
                try device.kernel("tokenLosses", "vocabulary"), rows.count, threads: words < 8192 ? 128 : 1024,
                logits, logits.stride, words, DeviceSlice(of: scratch.targets, at: rows.lowerBound), softCap,
                dx != nil, DeviceSlice(of: scratch.losses, at: rows.lowerBound))
            if dx != nil {
                try device.products.multiply(
                    try device.factor(logits, rows: rows.count, columns: words, pass), weight.slice,
                    into: dnormed.slice(fromRow: rows.lowerBound), m: rows.count, n: d, k: words,
                    on: device.context.stream)
            }
        }
        if let dx { try norm.backward(x, dnormed, rows: n, into: dx, adding: false, on: device) }
    }

    /// The logits of rows `x`, row by row into `target` `[n, V]`.
    func logits(
        _ x: DeviceMatrix, into target: UnsafeMutablePointer<Float>, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, words) = (pass.device, weight.rows)
        try forEachPart(x, pass) { (logits, rows) throws(CUDAError) in
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

    /// Logits of some rows after the others, the norm of all of them being in the workspace.
    private func forEachPart(
        _ x: DeviceMatrix, _ pass: DevicePass, _ body: (DeviceSlice, Range<Int>) throws(CUDAError) -> Void
    ) throws(CUDAError) {
        let (device, scratch, n) = (pass.device, pass.workspace, pass.tokenCount)
        let words = weight.rows
        try norm.forward(x, rows: n, into: scratch.normed, on: device)
        let logits = DeviceSlice(scratch.logits, stride: DeviceMatrix.stride(words))
        for first in stride(from: 0, to: n, by: scratch.logitRows) {
            let rows = first..<min(first + scratch.logitRows, n)
            try device.products.multiply(
                try device.factor(
                    scratch.normed.slice(fromRow: first), rows: rows.count, columns: weight.columns, pass),
                weight.slice.transposed, into: logits, m: rows.count, n: words, k: weight.columns,
                on: device.context.stream)
            try body(logits, rows)
        }
    }
}
