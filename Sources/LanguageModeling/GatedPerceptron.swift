import Kernels
import LinearAlgebra

/// The feed-forward half of a block: x + D·(silu(G·y) ∘ U·y), y already normed (SwiGLU, arXiv:2002.05202).
struct GatedPerceptron {
    /// G and U stacked, `[2m, d]`: one product instead of two. m is the intermediate size.
    let gateUp: Matrix
    /// D, `[d, m]`.
    let down: Matrix

    /// Adds the result to `x` `[n, d]`; G·y and U·y side by side, `[n, 2m]`, are kept for the backward pass.
    func addForward(
        _ y: UnsafePointer<Float>, to x: UnsafeMutablePointer<Float>, rows n: Int,
        keeping rows: UnsafeMutablePointer<Float>, _ scratch: Workspace
    ) {
        let (d, m) = (down.rows, down.columns)
        let (lanes, hidden) = (scratch.lanes, scratch.hidden.elements)
        lanes.multiply(
            MatrixView(y, rows: n, columns: d), gateUp.view.transposed,
            into: MutableMatrixView(rows, rows: n, columns: 2 * m))
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range { kernels.swiGLU(hidden + row * m, rows + row * 2 * m, rows + row * 2 * m + m, m) }
        }
        lanes.multiply(
            MatrixView(hidden, rows: n, columns: m), down.view.transposed,
            into: MutableMatrixView(x, rows: n, columns: d), adding: 1)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the sum; `rows` is overwritten.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafeMutablePointer<Float>, rows n: Int,
        into dy: UnsafeMutablePointer<Float>, _ scratch: Workspace
    ) {
        let (d, m) = (down.rows, down.columns)
        let (lanes, dhidden) = (scratch.lanes, scratch.hidden.elements)
        // forward:  x += hidden·Dᵀ    ⇒    dhidden = dx·D
        lanes.multiply(
            MatrixView(dx, rows: n, columns: d), down.view, into: MutableMatrixView(dhidden, rows: n, columns: m))
        // forward:  hidden = silu(gate) ∘ up; the derivative stands beside the kernel
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range {
                kernels.swiGLUBackward(dhidden + row * m, rows + row * 2 * m, rows + row * 2 * m + m, m)
            }
        }
        // forward:  rows = y·Wᵀ    ⇒    dy = drows·W
        lanes.multiply(
            MatrixView(rows, rows: n, columns: 2 * m), gateUp.view, into: MutableMatrixView(dy, rows: n, columns: d))
    }
}
