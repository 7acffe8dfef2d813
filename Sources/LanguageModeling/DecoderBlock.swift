import LinearAlgebra

/// One layer: x ← x + attention(norm x), then x ← x + perceptron(norm x).
///
/// Described by its parts; another family brings other parts, or another order of the same ones.
struct DecoderBlock {
    let attentionNorm: RootMeanSquareNorm
    let attention: SelfAttention
    let perceptronNorm: RootMeanSquareNorm
    let perceptron: GatedPerceptron

    /// x `[n, d]` in place; what `backward` needs goes to `trace`. Without one, queries, keys and values are left in the
    /// workspace.
    func forward(_ x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, _ pass: DecoderPass) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        let y = scratch.normed.elements
        attentionNorm.forward(x, rows: n, into: y, keeping: trace?.input.elements, on: scratch.lanes)
        attention.addForward(y, to: x, keeping: (trace?.queryKeyValue ?? scratch.queryKeyValue).elements, pass)
        perceptronNorm.forward(x, rows: n, into: y, keeping: trace?.middle.elements, on: scratch.lanes)
        perceptron.addForward(y, to: x, rows: n, keeping: (trace?.gateUp ?? scratch.gateUp).elements, scratch)
    }

    /// As `forward` for suffixes of sequences whose earlier keys and values are `past`; nothing is kept.
    func forward(_ x: UnsafeMutablePointer<Float>, past: KeyValues, _ pass: SuffixPass) {
        let (n, scratch) = (pass.rowCount, pass.workspace)
        let y = scratch.normed.elements
        attentionNorm.forward(x, rows: n, into: y, on: scratch.lanes)
        attention.addForward(y, to: x, past: past, pass)
        perceptronNorm.forward(x, rows: n, into: y, on: scratch.lanes)
        perceptron.addForward(y, to: x, rows: n, keeping: scratch.gateUp.elements, scratch)
    }

    /// Turns the gradient `dx` `[n, d]` of the block's output into that of its input. The trace is used up.
    func backward(_ dx: UnsafeMutablePointer<Float>, _ trace: BlockTrace, _ pass: DecoderPass) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        let dy = scratch.normed.elements
        // forward:  x = middle + perceptron(norm middle)    ⇒    dmiddle = dx + (norm)ᵀ(perceptron)ᵀ dx
        perceptron.backward(dx, trace.gateUp.elements, rows: n, into: dy, scratch)
        perceptronNorm.addBackward(trace.middle.elements, dy, rows: n, to: dx, on: scratch.lanes)
        // forward:  middle = input + attention(norm input)    ⇒    the same again
        attention.backward(dx, trace.queryKeyValue.elements, into: dy, pass)
        attentionNorm.addBackward(trace.input.elements, dy, rows: n, to: dx, on: scratch.lanes)
    }
}

/// Whole sequences on their way through some blocks, in somebody's workspace.
struct DecoderPass {
    let workspace: Workspace
    let sequences: Int
    let length: Int

    /// n = sequences · length.
    var tokenCount: Int { sequences * length }
}
