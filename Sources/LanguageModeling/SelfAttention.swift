import Kernels
import LinearAlgebra

/// The attention half of a block: O·attention(rotary(N(Q·y)), rotary(N(K·y)), V·y), y already normed, with biases where there are
/// any. N is a norm of each head, or nothing.
package struct SelfAttention {
    /// Q, K and V stacked, `[(H + 2K)·h, d]`: one product instead of three.
    package let queryKeyValue: WeightMatrix
    /// Their biases, `[(H + 2K)·h]`.
    package let inputBias: Matrix?
    /// Norms of `[h]` numbers, for each query head and for each key head.
    package let headNorms: (query: Norm, key: Norm)?
    /// O, `[d, H·h]`.
    package let output: WeightMatrix
    /// `[d]`.
    package let outputBias: Matrix?
    /// Which of the model's rotary tables turns queries and keys; nil where positions were added to the embedding.
    package let rotary: Int?
    package let attention: CausalAttention

    /// Query and key heads, which have norms and positions; values have neither.
    private var turnedHeads: Int { attention.headCount + attention.keyValueHeadCount }

    /// Adds the result to `x` `[n, d]`, or puts it there. `rows` `[n, (H + 2K)·h]` is kept for the backward pass, and where heads are
    /// normed what they were before, in `heads` `[n, (H + K)·h]`.
    func forward(
        _ y: UnsafePointer<Float>, _ placement: Placement, _ x: UnsafeMutablePointer<Float>,
        keeping rows: UnsafeMutablePointer<Float>, _ heads: UnsafeMutablePointer<Float>?, _ pass: DecoderPass
    ) {
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        project(y, pass.tokenCount, into: rows, keeping: heads, scratch) { $0 % pass.length }
        attention.forward(
            rows, sequences: pass.sequences, length: pass.length, scratch: scratch.attention, on: lanes,
            into: scratch.mixed.elements)
        project(scratch.mixed.elements, pass.tokenCount, placement, x, scratch)
    }

    /// The same for suffixes of sequences, whose earlier positions have their keys and values in `past`.
    func forward(
        _ y: UnsafePointer<Float>, _ placement: Placement, _ x: UnsafeMutablePointer<Float>, past: KeyValues,
        _ pass: SuffixPass
    ) {
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        let rows = scratch.queryKeyValue.elements, mixed = scratch.mixed.elements
        project(y, pass.rowCount, into: rows, keeping: nil, scratch) { pass.positions[$0] }
        lanes.forRanges(pass.suffixes.count * attention.headCount) { lane, tasks in
            var task = tasks.lowerBound
            while task < tasks.upperBound {
                let (i, j) = task.quotientAndRemainder(dividingBy: attention.headCount)
                let heads = j..<min(attention.headCount, j + tasks.upperBound - task)
                let suffix = pass.suffixes[i]
                attention.forward(
                    heads: heads, rows + suffix.row * attention.rowWidth, count: pass.length - suffix.first,
                    after: past.before(suffix.first, ofSequence: suffix.sequence),
                    scratch: scratch.attention.row(lane), into: mixed + suffix.row * attention.outputWidth)
                task += heads.count
            }
        }
        project(mixed, pass.rowCount, placement, x, scratch)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the result.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafePointer<Float>, _ heads: UnsafePointer<Float>?,
        into dy: UnsafeMutablePointer<Float>, _ pass: DecoderPass
    ) {
        let (n, d, width) = (pass.tokenCount, output.rows, attention.rowWidth)
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        let (dmixed, drows) = (scratch.mixed.elements, scratch.queryKeyValue.elements)
        // forward:  result = mixed·Oᵀ    ⇒    dmixed = dx·O
        output.applyTransposed(
            to: MatrixView(dx, rows: n, columns: d), into: MutableMatrixView(dmixed, rows: n, columns: output.columns),
            panel: scratch.panel, on: lanes)
        attention.backward(
            rows, dmixed, sequences: pass.sequences, length: pass.length, scratch: scratch.attention,
            isConstant: pass.rule.contains(.constantAttention), on: lanes, into: drows)
        turnBackward(drows, heads, pass)
        // forward:  rows = y·Wᵀ    ⇒    dy = drows·W
        queryKeyValue.applyTransposed(
            to: MatrixView(drows, rows: n, columns: width), into: MutableMatrixView(dy, rows: n, columns: d),
            panel: scratch.panel, on: lanes)
    }

    /// Queries, keys and values `rows` `[n, (H + 2K)·h]` of `y` `[n, d]`, with biases, norms and positions.
    private func project(
        _ y: UnsafePointer<Float>, _ n: Int, into rows: UnsafeMutablePointer<Float>,
        keeping heads: UnsafeMutablePointer<Float>?, _ scratch: Workspace, position: (Int) -> Int
    ) {
        let (width, turned) = (attention.rowWidth, turnedHeads * attention.headDimension)
        queryKeyValue.apply(
            to: MatrixView(y, rows: n, columns: output.rows), into: MutableMatrixView(rows, rows: n, columns: width),
            panel: scratch.panel, on: scratch.lanes)
        let rotary = rotary.map { scratch.rotaries[$0] }
        scratch.lanes.forRanges(n, grain: 16) { _, range in
            for r in range {
                let row = rows + r * width
                if let inputBias { kernels.addScaled(row, inputBias.elements, 1, width) }
                if let headNorms {
                    if let heads { (heads + r * turned).update(from: row, count: turned) }
                    forEachHead(headNorms) { norm, at in norm.forward(row + at, into: row + at) }
                }
                rotary?.turn(row, heads: turnedHeads, position: position(r))
            }
        }
    }

    /// x = β·x + mixed·Oᵀ + bias.
    private func project(
        _ mixed: UnsafePointer<Float>, _ n: Int, _ placement: Placement, _ x: UnsafeMutablePointer<Float>,
        _ scratch: Workspace
    ) {
        output.apply(
            to: MatrixView(mixed, rows: n, columns: output.columns),
            into: MutableMatrixView(x, rows: n, columns: output.rows), adding: placement.kept, panel: scratch.panel,
            on: scratch.lanes)
        outputBias?.add(toRows: n, of: x, on: scratch.lanes)
    }

    /// The gradient of turned and normed queries and keys to that of what they were before.
    private func turnBackward(
        _ drows: UnsafeMutablePointer<Float>, _ heads: UnsafePointer<Float>?, _ pass: DecoderPass
    ) {
        let h = attention.headDimension
        let (width, turned) = (attention.rowWidth, turnedHeads * h)
        let rotary = rotary.map { pass.workspace.rotaries[$0] }
        pass.workspace.lanes.forRanges(pass.tokenCount, grain: 16) { _, range in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 3 * h) { memory in
                let (dnormed, scratch) = (memory.baseAddress!, memory.baseAddress! + h)
                for r in range {
                    let row = drows + r * width
                    rotary?.turnBackward(row, heads: turnedHeads, position: r % pass.length)
                    guard let headNorms, let heads else { continue }
                    forEachHead(headNorms) { norm, at in
                        dnormed.update(from: row + at, count: h)
                        (row + at).update(repeating: 0, count: h)
                        norm.addBackward(
                            heads + r * turned + at, dnormed, to: row + at,
                            isConstant: pass.rule.contains(.constantNorms), scratch: scratch)
                    }
                }
            }
        }
    }

    /// Each query and key head's norm and where the head begins in a row.
    private func forEachHead(_ norms: (query: Norm, key: Norm), _ body: (Norm, Int) -> Void) {
        for j in 0..<turnedHeads {
            body(j < attention.headCount ? norms.query : norms.key, j * attention.headDimension)
        }
    }
}
