import Kernels
import LinearAlgebra
import TensorFiles

/// A decoder cut at a hook point: what is run to reach it, and what follows from its value.
///
/// The value is the residual stream between two blocks, or what half a block adds to it. Of halves, what they are added to is made by
/// the model itself:
///
///     attention, sequential   x ← x + value;  x ← x + P₂ M N₂ x        parallel   x ← (x + M N₂ x) + value
///     perceptron, sequential  x ← x + P₁ A N₁ x;  x ← x + value        parallel   x ← (x + A N₁ x) + value
package struct DecoderCut {
    /// Blocks that are run whole to reach it.
    let below: ArraySlice<DecoderBlock>
    /// The block in whose midst it is, and which half gives the value.
    let cut: (block: DecoderBlock, half: DecoderBlock.Half)?
    /// Blocks that are run whole after it.
    let above: ArraySlice<DecoderBlock>

    init(_ blocks: [DecoderBlock], at hook: HookPoint) {
        let places = Places(hook)
        below = blocks[..<places.below]
        cut = places.half.map { (blocks[hook.block], $0) }
        above = blocks[places.above...]
    }

    /// Where a hook point cuts.
    package struct Places {
        /// How many blocks are run whole to reach it.
        package let below: Int
        /// The half of the next block that gives the value.
        package let half: DecoderBlock.Half?
        /// The first block that is run whole after it.
        package let above: Int

        package init(_ hook: HookPoint) {
            let block = hook.block
            (below, half, above) =
                switch hook.kind {
                case .residPre: (block, nil, block)
                case .attnOut: (block, .attention, block + 1)
                case .mlpOut: (block, .perceptron, block + 1)
                case .residPost: (block + 1, nil, block + 1)
                }
        }
    }

    /// The block whose perceptron reads what the value was added to.
    private var rest: DecoderBlock? {
        guard let cut, cut.half == .attention, !cut.block.isParallel else { return nil }
        return cut.block
    }

    /// Traces of a pass with a way down.
    var traceCount: Int { above.count + (rest == nil ? 0 : 1) }

    /// Whether tokens are needed to go on from a value.
    var needsBase: Bool { cut != nil }

    /// The embedded tokens in `x` become what the value is added to. Nothing where it is the stream itself.
    func makeBase(_ x: UnsafeMutablePointer<Float>, _ pass: DecoderPass) {
        guard let cut else { return }
        for block in below { block.forward(x, keeping: nil, pass) }
        switch cut.half {
        case .attention: if cut.block.isParallel { cut.block.addPerceptron(to: x, keeping: nil, pass) }
        case .perceptron: cut.block.addAttention(to: x, keeping: nil, pass)
        }
    }

    /// The value `[n, d]` of the embedded tokens in `x`.
    func read(_ x: UnsafeMutablePointer<Float>, into value: UnsafeMutablePointer<Float>, _ pass: DecoderPass) {
        for block in below { block.forward(x, keeping: nil, pass) }
        guard let cut else { return }
        if cut.half == .perceptron, !cut.block.isParallel { cut.block.addAttention(to: x, keeping: nil, pass) }
        cut.block.result(of: cut.half, x, into: value, pass)
    }

    /// From the stream with the value in it to that after the last block, in place. `traces` as many as `traceCount`, or none. `after`
    /// is called with the number of each block above, while the workspace has its queries, keys and values.
    func forward(
        _ x: UnsafeMutablePointer<Float>, keeping traces: ArraySlice<BlockTrace>? = nil, _ pass: DecoderPass,
        after: (Int) -> Void = { _ in }
    ) {
        var traces = traces
        if let rest { rest.addPerceptron(to: x, keeping: traces?.popFirst(), pass) }
        for (number, block) in above.enumerated() {
            block.forward(x, keeping: traces?.popFirst(), pass)
            after(number)
        }
    }

    /// From the gradient of the stream after the last block to that of the value, in place.
    func backward(_ dx: UnsafeMutablePointer<Float>, _ traces: ArraySlice<BlockTrace>, _ pass: DecoderPass) {
        for (block, trace) in zip(above, traces.suffix(above.count)).reversed() { block.backward(dx, trace, pass) }
        if let rest, let trace = traces.first { rest.backwardPerceptron(dx, trace, pass) }
    }

    /// `forward` for suffixes of sequences; `past` has the keys and values of each block above.
    func forward(_ x: UnsafeMutablePointer<Float>, past: [KeyValues], _ pass: SuffixPass) {
        if let rest { rest.addPerceptron(to: x, rows: pass.rowCount, pass.workspace) }
        for (block, past) in zip(above, past) { block.forward(x, past: past, pass) }
    }
}
