import LinearAlgebra

/// One layer: x ← x + attention(norm x), then x ← x + perceptron(norm x).
///
/// Described by its parts; another family brings other parts, or another order of the same ones.
struct DecoderBlock {
    let attentionNorm: RootMeanSquareNorm
    let attention: SelfAttention
    let perceptronNorm: RootMeanSquareNorm
    let perceptron: GatedPerceptron

    /// x `[n, d]` in place; what `backward` needs goes to `trace`.
    func forward(_ x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace, _ pass: DecoderPass) {
        let y = pass.normed.elements
        trace.input.elements.update(from: x, count: trace.input.count)
        attentionNorm.forward(x, rows: pass.tokenCount, into: y)
        attention.addForward(y, to: x, keeping: trace.queryKeyValue.elements, pass)
        trace.middle.elements.update(from: x, count: trace.middle.count)
        perceptronNorm.forward(x, rows: pass.tokenCount, into: y)
        perceptron.addForward(
            y, to: x, rows: pass.tokenCount, keeping: trace.gateUp.elements, hidden: pass.hidden.elements)
    }

    /// As `forward` for suffixes of sequences whose earlier keys and values are `past`; nothing is kept.
    func forward(_ x: UnsafeMutablePointer<Float>, past: Matrix, _ pass: SuffixPass) {
        let y = pass.normed.elements
        attentionNorm.forward(x, rows: pass.rowCount, into: y)
        attention.addForward(y, to: x, past: past, pass)
        perceptronNorm.forward(x, rows: pass.rowCount, into: y)
        perceptron.addForward(
            y, to: x, rows: pass.rowCount, keeping: pass.gateUp.elements, hidden: pass.hidden.elements)
    }

    /// Turns the gradient `dx` `[n, d]` of the block's output into that of its input. The trace is used up.
    func backward(_ dx: UnsafeMutablePointer<Float>, _ trace: BlockTrace, _ pass: DecoderPass) {
        let dy = pass.normed.elements
        // forward:  x = middle + perceptron(norm middle)    ⇒    dmiddle = dx + (norm)ᵀ(perceptron)ᵀ dx
        perceptron.backward(dx, trace.gateUp.elements, into: dy, pass)
        perceptronNorm.addBackward(trace.middle.elements, dy, rows: pass.tokenCount, to: dx)
        // forward:  middle = input + attention(norm input)    ⇒    the same again
        attention.backward(dx, trace.queryKeyValue.elements, into: dy, pass)
        attentionNorm.addBackward(trace.input.elements, dy, rows: pass.tokenCount, to: dx)
    }
}

/// What a block's backward pass needs of its forward pass, 4·(2d + (H + 2K)·h + 2m) bytes a token.
final class BlockTrace {
    /// The residual stream before the block, `[n, d]`.
    let input: Matrix
    /// Queries and keys after rotation, and values, `[n, (H + 2K)·h]`.
    let queryKeyValue: Matrix
    /// The residual stream between the halves, `[n, d]`.
    let middle: Matrix
    /// Gate and up, `[n, 2m]`.
    let gateUp: Matrix

    init(tokenCount n: Int, _ configuration: ModelConfiguration) {
        input = Matrix(rows: n, columns: configuration.dModel)
        queryKeyValue = Matrix(rows: n, columns: configuration.causalAttention.rowWidth)
        middle = Matrix(rows: n, columns: configuration.dModel)
        gateUp = Matrix(rows: n, columns: 2 * configuration.intermediateSize)
    }
}

/// The sizes and the scratch of one run of some sequences through some blocks.
final class DecoderPass {
    let sequences: Int
    let length: Int
    let rotary: Rotary
    /// `[n, d]`: a block half's normed input, then its gradient.
    let normed: Matrix
    /// `[n, H·h]`: attention's result, then its gradient.
    let mixed: Matrix
    /// `[n, m]`: the perceptron's activations, then their gradient.
    let hidden: Matrix
    /// `[n, (H + 2K)·h]`: gradient of queries, keys and values; made for passes that go backward.
    let rowGradient: Matrix
    let attentionScratch: Matrix

    init(sequences: Int, length: Int, goesBackward: Bool, _ configuration: ModelConfiguration) {
        self.sequences = sequences
        self.length = length
        let n = sequences * length
        rotary = Rotary(
            length: length, headDimension: configuration.headDimension, theta: configuration.ropeTheta,
            scaling: configuration.ropeScaling)
        normed = Matrix(rows: n, columns: configuration.dModel)
        mixed = Matrix(rows: n, columns: configuration.causalAttention.outputWidth)
        hidden = Matrix(rows: n, columns: configuration.intermediateSize)
        rowGradient = Matrix(rows: goesBackward ? n : 0, columns: configuration.causalAttention.rowWidth)
        attentionScratch = CausalAttention.scratch(length: length)
    }

    /// n.
    var tokenCount: Int { sequences * length }
}

extension ModelConfiguration {
    var causalAttention: CausalAttention {
        CausalAttention(headCount: headCount, keyValueHeadCount: keyValueHeadCount, headDimension: headDimension)
    }
}
