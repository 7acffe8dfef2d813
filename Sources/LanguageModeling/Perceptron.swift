import Kernels
import LinearAlgebra

/// The feed-forward half of a block: D·(a(G·y) ∘ U·y) (gated, arXiv:2002.05202), or D·a(U·y + b) + c; y already normed.
package struct Perceptron {
    package let activation: Activation
    /// G and U stacked, `[2m, d]`: one product instead of two. Or U alone, `[m, d]`. m is the intermediate size.
    package let input: WeightMatrix
    /// b, `[m]`.
    package let inputBias: Matrix?
    /// D, `[d, m]`.
    package let down: WeightMatrix
    /// c, `[d]`.
    package let outputBias: Matrix?

    package var isGated: Bool { input.rows == 2 * down.columns }

    /// Adds the result to `x` `[n, d]`, or puts it there; input·y `[n, 2m or m]` is kept for the backward pass.
    func forward(
        _ y: UnsafePointer<Float>, _ placement: Placement, _ x: UnsafeMutablePointer<Float>, rows n: Int,
        keeping rows: UnsafeMutablePointer<Float>, _ scratch: Workspace
    ) {
        let (d, m, width) = (down.rows, down.columns, input.rows)
        let (lanes, hidden) = (scratch.lanes, scratch.hidden.elements)
        input.apply(
            to: MatrixView(y, rows: n, columns: d), into: MutableMatrixView(rows, rows: n, columns: width),
            panel: scratch.panel, on: lanes)
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range {
                let z = rows + row * width
                if let inputBias { kernels.addScaled(z, inputBias.elements, 1, width) }
                kernels.activate(hidden + row * m, z, isGated ? UnsafePointer(z + m) : nil, activation, m)
            }
        }
        down.apply(
            to: MatrixView(hidden, rows: n, columns: m), into: MutableMatrixView(x, rows: n, columns: d),
            adding: placement.kept, panel: scratch.panel, on: lanes)
        outputBias?.add(toRows: n, of: x, on: lanes)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the result; `rows` is overwritten. With `isLinear` a(x) counts
    /// as x times a constant, and a gated product gives each factor half.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafeMutablePointer<Float>, rows n: Int,
        into dy: UnsafeMutablePointer<Float>, isLinear: Bool = false, _ scratch: Workspace
    ) {
        let (d, m, width) = (down.rows, down.columns, input.rows)
        let (lanes, dhidden) = (scratch.lanes, scratch.hidden.elements)
        // forward:  result = hidden·Dᵀ    ⇒    dhidden = dx·D
        down.applyTransposed(
            to: MatrixView(dx, rows: n, columns: d), into: MutableMatrixView(dhidden, rows: n, columns: m),
            panel: scratch.panel, on: lanes)
        // forward:  hidden = a(gate) ∘ up; the derivative stands beside the kernel
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range {
                let z = rows + row * width
                if isLinear {
                    linearBackward(dhidden + row * m, z)
                    continue
                }
                kernels.activateBackward(dhidden + row * m, z, isGated ? z + m : nil, activation, m)
            }
        }
        // forward:  rows = y·Wᵀ + b    ⇒    dy = drows·W
        input.applyTransposed(
            to: MatrixView(rows, rows: n, columns: width), into: MutableMatrixView(dy, rows: n, columns: d),
            panel: scratch.panel, on: lanes)
    }
}

extension Perceptron {
    /// forward:  hidden = g·k ∘ up, k = a(g)/g a constant    ⇒    dg = ½ dhidden ∘ k ∘ up,  dup = ½ dhidden ∘ a(g); without a gate
    /// dz = dhidden ∘ k. In the place of the row `z`.
    private func linearBackward(_ dhidden: UnsafePointer<Float>, _ z: UnsafeMutablePointer<Float>) {
        let m = down.columns
        withUnsafeTemporaryAllocation(of: Float.self, capacity: m) { activated in
            let a = activated.baseAddress!
            kernels.activate(a, z, nil, activation, m)
            let up = isGated ? z + m : nil
            for i in 0..<m {
                // At 0 all three activations have the slope ½, which is also the limit of a(g)/g.
                let k = abs(z[i]) > 1e-12 ? a[i] / z[i] : 0.5
                guard let up else {
                    z[i] = dhidden[i] * k
                    continue
                }
                let half = 0.5 * dhidden[i]
                z[i] = half * k * up[i]
                up[i] = half * a[i]
            }
        }
    }
}

/// What becomes of the result of half a block.
enum Placement {
    /// It is added to what is there, the residual stream.
    case added
    /// It takes the place of what is there, to be normed before it is added.
    case placed

    /// What of it stays.
    var kept: Float { self == .added ? 1 : 0 }
}

extension Matrix {
    /// Adds this row `[d]` to each of the rows `x` `[n, d]`.
    func add(toRows n: Int, of x: UnsafeMutablePointer<Float>, on lanes: Lanes) {
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range { kernels.addScaled(x + row * count, elements, 1, count) }
        }
    }
}
