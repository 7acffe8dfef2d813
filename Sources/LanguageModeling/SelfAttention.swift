import LinearAlgebra

/// The attention half of a block: x + O·attention(rotary(Q·y), rotary(K·y), V·y), y already normed.
struct SelfAttention {
    /// Q, K and V stacked, `[(H + 2K)·h, d]`: one product instead of three.
    let queryKeyValue: Matrix
    /// O, `[d, H·h]`.
    let output: Matrix
    let attention: CausalAttention

    /// Adds the result to `x` `[n, d]`; `rows` `[n, (H + 2K)·h]` is kept for the backward pass.
    func addForward(
        _ y: UnsafePointer<Float>, to x: UnsafeMutablePointer<Float>, keeping rows: UnsafeMutablePointer<Float>,
        _ pass: DecoderPass
    ) {
        let (n, d, width) = (pass.tokenCount, output.rows, attention.rowWidth)
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        lanes.multiply(
            MatrixView(y, rows: n, columns: d), queryKeyValue.view.transposed,
            into: MutableMatrixView(rows, rows: n, columns: width))
        turn(rows, pass) { $0.turn($1, heads: $2, position: $3) }
        let mixed = scratch.mixed.elements
        attention.forward(
            rows, sequences: pass.sequences, length: pass.length, scratch: scratch.attention, on: lanes, into: mixed)
        lanes.multiply(
            MatrixView(mixed, rows: n, columns: output.columns), output.view.transposed,
            into: MutableMatrixView(x, rows: n, columns: d), adding: 1)
    }

    /// The same for suffixes of sequences, whose earlier positions have their keys and values in `past`.
    func addForward(
        _ y: UnsafePointer<Float>, to x: UnsafeMutablePointer<Float>, past: KeyValues, _ pass: SuffixPass
    ) {
        let (n, d, width) = (pass.rowCount, output.rows, attention.rowWidth)
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        let rows = scratch.queryKeyValue.elements, mixed = scratch.mixed.elements
        lanes.multiply(
            MatrixView(y, rows: n, columns: d), queryKeyValue.view.transposed,
            into: MutableMatrixView(rows, rows: n, columns: width))
        let turned = attention.headCount + attention.keyValueHeadCount
        lanes.forRanges(n, grain: 16) { _, range in
            for row in range {
                scratch.rotary.turn(rows + row * width, heads: turned, position: pass.positions[row])
            }
        }
        lanes.forRanges(pass.suffixes.count * attention.headCount) { lane, tasks in
            var task = tasks.lowerBound
            while task < tasks.upperBound {
                let (i, j) = task.quotientAndRemainder(dividingBy: attention.headCount)
                let heads = j..<min(attention.headCount, j + tasks.upperBound - task)
                let suffix = pass.suffixes[i]
                attention.forward(
                    heads: heads, rows + suffix.row * width, count: pass.length - suffix.first,
                    after: past.before(suffix.first, ofSequence: suffix.sequence),
                    scratch: scratch.attention.row(lane), into: mixed + suffix.row * attention.outputWidth)
                task += heads.count
            }
        }
        lanes.multiply(
            MatrixView(mixed, rows: n, columns: output.columns), output.view.transposed,
            into: MutableMatrixView(x, rows: n, columns: d), adding: 1)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the sum.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafePointer<Float>, into dy: UnsafeMutablePointer<Float>,
        _ pass: DecoderPass
    ) {
        let (n, d, width) = (pass.tokenCount, output.rows, attention.rowWidth)
        let (scratch, lanes) = (pass.workspace, pass.workspace.lanes)
        let (dmixed, drows) = (scratch.mixed.elements, scratch.queryKeyValue.elements)
        // forward:  x += mixed·Oᵀ    ⇒    dmixed = dx·O
        lanes.multiply(
            MatrixView(dx, rows: n, columns: d), output.view,
            into: MutableMatrixView(dmixed, rows: n, columns: output.columns))
        attention.backward(
            rows, dmixed, sequences: pass.sequences, length: pass.length, scratch: scratch.attention, on: lanes,
            into: drows)
        turn(drows, pass) { $0.turnBackward($1, heads: $2, position: $3) }
        // forward:  rows = y·Wᵀ    ⇒    dy = drows·W
        lanes.multiply(
            MatrixView(drows, rows: n, columns: width), queryKeyValue.view,
            into: MutableMatrixView(dy, rows: n, columns: d))
    }

    /// Turns the queries and keys of every row; values have no position.
    private func turn(
        _ rows: UnsafeMutablePointer<Float>, _ pass: DecoderPass,
        _ body: (Rotary, UnsafeMutablePointer<Float>, Int, Int) -> Void
    ) {
        let heads = attention.headCount + attention.keyValueHeadCount
        pass.workspace.lanes.forRanges(pass.tokenCount, grain: 16) { _, range in
            for row in range { body(pass.workspace.rotary, rows + row * attention.rowWidth, heads, row % pass.length) }
        }
    }
}
