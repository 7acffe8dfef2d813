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
        lanes.multiply(n, 2 * m, d, 1, y, d, .normal, gateUp.elements, d, .transposed, 0, rows, 2 * m)
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range { kernels.swiGLU(hidden + row * m, rows + row * 2 * m, rows + row * 2 * m + m, m) }
        }
        lanes.multiply(n, d, m, 1, hidden, m, .normal, down.elements, m, .transposed, 1, x, d)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the sum; `rows` is overwritten.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafeMutablePointer<Float>, rows n: Int,
        into dy: UnsafeMutablePointer<Float>, _ scratch: Workspace
    ) {
        let (d, m) = (down.rows, down.columns)
        let (lanes, dhidden) = (scratch.lanes, scratch.hidden.elements)
        // forward:  x += hidden·Dᵀ    ⇒    dhidden = dx·D
        lanes.multiply(n, m, d, 1, dx, d, .normal, down.elements, m, .normal, 0, dhidden, m)
        // forward:  hidden = silu(gate) ∘ up; the derivative stands beside the kernel
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range {
                kernels.swiGLUBackward(dhidden + row * m, rows + row * 2 * m, rows + row * 2 * m + m, m)
            }
        }
        // forward:  rows = y·Wᵀ    ⇒    dy = drows·W
        lanes.multiply(n, d, 2 * m, 1, rows, 2 * m, .normal, gateUp.elements, d, .normal, 0, dy, d)
    }
}
