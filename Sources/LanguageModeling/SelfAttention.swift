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
        Lanes.shared.multiply(
            n, width, d, 1, y, d, .normal, queryKeyValue.elements, d, .transposed, 0, rows, width)
        turn(rows, pass) { $0.turn($1, heads: $2, position: $3) }
        let mixed = pass.mixed.elements
        attention.forward(
            rows, sequences: pass.sequences, length: pass.length, scratch: pass.attentionScratch, into: mixed)
        Lanes.shared.multiply(
            n, d, output.columns, 1, mixed, output.columns, .normal, output.elements, output.columns, .transposed, 1,
            x, d)
    }

    /// The same for suffixes of sequences, whose earlier positions have their keys and values in `past` `[n, 2K·h]`.
    func addForward(
        _ y: UnsafePointer<Float>, to x: UnsafeMutablePointer<Float>, past: Matrix, _ pass: SuffixPass
    ) {
        let (n, d, width) = (pass.rowCount, output.rows, attention.rowWidth)
        let rows = pass.queryKeyValue.elements, mixed = pass.mixed.elements
        Lanes.shared.multiply(
            n, width, d, 1, y, d, .normal, queryKeyValue.elements, d, .transposed, 0, rows, width)
        let turned = attention.headCount + attention.keyValueHeadCount
        Lanes.shared.forRanges(n, grain: 16) { _, range in
            for row in range {
                pass.rotary.turn(rows + row * width, heads: turned, position: pass.positions[row])
            }
        }
        Lanes.shared.forRanges(pass.suffixes.count * attention.headCount) { lane, tasks in
            for task in tasks {
                let (i, j) = task.quotientAndRemainder(dividingBy: attention.headCount)
                let suffix = pass.suffixes[i]
                attention.forward(
                    head: j, rows + suffix.row * width, count: pass.length - suffix.first,
                    after: CausalAttention.Past(
                        keyValues: past.row(suffix.sequence * pass.length), count: suffix.first),
                    scratch: pass.attentionScratch.row(lane), into: mixed + suffix.row * attention.outputWidth)
            }
        }
        Lanes.shared.multiply(
            n, d, output.columns, 1, mixed, output.columns, .normal, output.elements, output.columns, .transposed, 1,
            x, d)
    }

    /// Gradient `dy` `[n, d]` of y, given the gradient `dx` `[n, d]` of the sum.
    func backward(
        _ dx: UnsafePointer<Float>, _ rows: UnsafePointer<Float>, into dy: UnsafeMutablePointer<Float>,
        _ pass: DecoderPass
    ) {
        let (n, d, width) = (pass.tokenCount, output.rows, attention.rowWidth)
        let (dmixed, drows) = (pass.mixed.elements, pass.rowGradient.elements)
        // forward:  x += mixed·Oᵀ    ⇒    dmixed = dx·O
        Lanes.shared.multiply(
            n, output.columns, d, 1, dx, d, .normal, output.elements, output.columns, .normal, 0, dmixed,
            output.columns)
        attention.backward(
            rows, dmixed, sequences: pass.sequences, length: pass.length, scratch: pass.attentionScratch, into: drows)
        turn(drows, pass) { $0.turnBackward($1, heads: $2, position: $3) }
        // forward:  rows = y·Wᵀ    ⇒    dy = drows·W
        Lanes.shared.multiply(
            n, d, width, 1, drows, width, .normal, queryKeyValue.elements, d, .normal, 0, dy, d)
    }

    /// Turns the queries and keys of every row; values have no position.
    private func turn(
        _ rows: UnsafeMutablePointer<Float>, _ pass: DecoderPass,
        _ body: (Rotary, UnsafeMutablePointer<Float>, Int, Int) -> Void
    ) {
        let heads = attention.headCount + attention.keyValueHeadCount
        Lanes.shared.forRanges(pass.tokenCount, grain: 16) { _, range in
            for row in range { body(pass.rotary, rows + row * attention.rowWidth, heads, row % pass.length) }
        }
    }
}
