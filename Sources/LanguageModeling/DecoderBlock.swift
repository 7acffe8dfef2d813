import Kernels
import LinearAlgebra

/// One block, x the residual stream `[n, d]`, A attention and M the perceptron:
///
///     sequential   x ← x + P₁ A N₁ x;  x ← x + P₂ M N₂ x        parallel   x ← x + A N₁ x + M N₂ x
///
/// N are norms of what is read; P norms of what is added, or nothing.
package struct DecoderBlock {
    package let attentionNorm: Norm
    package let attention: SelfAttention
    package let attentionPostNorm: Norm?
    package let perceptronNorm: Norm
    package let perceptron: Perceptron
    package let perceptronPostNorm: Norm?
    package let isParallel: Bool

    /// Room for what products with the weights widen.
    var panelCount: Int {
        [attention.queryKeyValue, attention.output, perceptron.input, perceptron.down].map(\.panelCount).max() ?? 0
    }

    /// The two parts of a block.
    package enum Half {
        case attention, perceptron
    }

    /// `x` in place; with a trace, what `backward` needs is kept.
    func forward(_ x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, _ pass: DecoderPass) {
        forward(x, keeping: trace, rows: pass.tokenCount, pass.workspace, attend: attend(keeping: trace, pass))
    }

    /// `x` in place, for suffixes of sequences.
    func forward(_ x: UnsafeMutablePointer<Float>, past: KeyValues, _ pass: SuffixPass) {
        forward(x, keeping: nil, rows: pass.rowCount, pass.workspace) { y, placement, target in
            attention.forward(y, placement, target, past: past, pass)
        }
    }

    /// A of normed rows, added to a target or put there.
    private typealias Attend = (UnsafePointer<Float>, Placement, UnsafeMutablePointer<Float>) -> Void

    private func attend(keeping trace: BlockTrace?, _ pass: DecoderPass) -> Attend {
        let rows = (trace?.queryKeyValue ?? pass.workspace.queryKeyValue).elements
        return { y, placement, target in
            attention.forward(y, placement, target, keeping: rows, trace?.heads?.elements, pass)
        }
    }

    private func forward(
        _ x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, rows n: Int, _ scratch: Workspace, attend: Attend
    ) {
        guard isParallel else {
            addAttention(to: x, keeping: trace, rows: n, scratch, attend: attend)
            return addPerceptron(to: x, keeping: trace, rows: n, scratch)
        }
        let (y, z) = (scratch.normed.elements, scratch.result.elements)
        attentionNorm.forward(x, rows: n, into: y, keeping: trace?.input.elements, on: scratch.lanes)
        perceptronNorm.forward(x, rows: n, into: z, on: scratch.lanes)
        attend(y, .added, x)
        perceptron.forward(z, .added, x, rows: n, keeping: (trace?.gateUp ?? scratch.gateUp).elements, scratch)
    }

    // MARK: Halves

    /// x += P₁ A N₁ x. Of a parallel block this is half of what it does, from the same x as the other.
    func addAttention(to x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, _ pass: DecoderPass) {
        addAttention(
            to: x, keeping: trace, rows: pass.tokenCount, pass.workspace, attend: attend(keeping: trace, pass))
    }

    /// x += P₂ M N₂ x, likewise.
    func addPerceptron(to x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, _ pass: DecoderPass) {
        addPerceptron(to: x, keeping: trace, rows: pass.tokenCount, pass.workspace)
    }

    /// What half of the block adds to `x` `[n, d]`, into `target`.
    func result(
        of half: Half, _ x: UnsafePointer<Float>, into target: UnsafeMutablePointer<Float>, _ pass: DecoderPass
    ) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        let y = scratch.normed.elements
        let (norm, postNorm) =
            half == .attention ? (attentionNorm, attentionPostNorm) : (perceptronNorm, perceptronPostNorm)
        norm.forward(x, rows: n, into: y, on: scratch.lanes)
        switch half {
        case .attention: attend(keeping: nil, pass)(y, .placed, target)
        case .perceptron:
            perceptron.forward(y, .placed, target, rows: n, keeping: scratch.gateUp.elements, scratch)
        }
        postNorm?.forward(target, rows: n, into: target, on: scratch.lanes)
    }

    private func addAttention(
        to x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace?, rows n: Int, _ scratch: Workspace, attend: Attend
    ) {
        let y = scratch.normed.elements
        attentionNorm.forward(x, rows: n, into: y, keeping: trace?.input.elements, on: scratch.lanes)
        add(to: x, through: attentionPostNorm, keeping: trace?.attentionResult, rows: n, scratch) { attend(y, $0, $1) }
    }

    /// For any rows: a perceptron does not look at positions.
    func addPerceptron(
        to x: UnsafeMutablePointer<Float>, keeping trace: BlockTrace? = nil, rows n: Int, _ scratch: Workspace
    ) {
        let (y, gateUp) = (scratch.normed.elements, (trace?.gateUp ?? scratch.gateUp).elements)
        // A parallel block has no stream between its halves to keep.
        let middle = isParallel ? nil : trace?.middle.elements
        perceptronNorm.forward(x, rows: n, into: y, keeping: middle, on: scratch.lanes)
        add(to: x, through: perceptronPostNorm, keeping: trace?.perceptronResult, rows: n, scratch) {
            perceptron.forward(y, $0, $1, rows: n, keeping: gateUp, scratch)
        }
    }

    /// x += P(half), or x += half without P.
    private func add(
        to x: UnsafeMutablePointer<Float>, through norm: Norm?, keeping kept: Matrix?, rows n: Int,
        _ scratch: Workspace,
        _ half: (Placement, UnsafeMutablePointer<Float>) -> Void
    ) {
        guard let norm else { return half(.added, x) }
        let (result, normed, d) = (scratch.result.elements, scratch.normed.elements, norm.weight.count)
        half(.placed, result)
        norm.forward(result, rows: n, into: normed, keeping: kept?.elements, on: scratch.lanes)
        scratch.lanes.forRanges(n * d, grain: 16) { _, range in
            kernels.addScaled(x + range.lowerBound, normed + range.lowerBound, 1, range.count)
        }
    }

    /// `dx` in place: from the gradient of what the block hands on to that of what it was given.
    func backward(_ dx: UnsafeMutablePointer<Float>, _ trace: BlockTrace, _ pass: DecoderPass) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        let dy = scratch.normed.elements
        let (isConstant, isLinear) = (pass.rule.contains(.constantNorms), pass.rule.contains(.linearPerceptrons))
        let (rows, heads) = (trace.queryKeyValue.elements, trace.heads?.elements)
        if isParallel {
            // forward:  x = input + A N₁ input + M N₂ input    ⇒    dinput = dx + N₁ᵀAᵀ dx + N₂ᵀMᵀ dx
            let dz = scratch.result.elements
            perceptron.backward(dx, trace.gateUp.elements, rows: n, into: dz, isLinear: isLinear, scratch)
            attention.backward(dx, rows, heads, into: dy, pass)
            perceptronNorm.addBackward(
                trace.input.elements, dz, rows: n, to: dx, isConstant: isConstant, on: scratch.lanes)
            attentionNorm.addBackward(
                trace.input.elements, dy, rows: n, to: dx, isConstant: isConstant, on: scratch.lanes)
            return
        }
        backwardPerceptron(dx, trace, pass)
        // forward:  middle = input + P₁ A N₁ input    ⇒    the same again
        let dattention = gradient(through: attentionPostNorm, of: trace.attentionResult, dx, rows: n, pass)
        attention.backward(dattention, rows, heads, into: dy, pass)
        attentionNorm.addBackward(trace.input.elements, dy, rows: n, to: dx, isConstant: isConstant, on: scratch.lanes)
    }

    /// `dx` in place: from the gradient of what a sequential block hands on to that of the stream between its halves.
    func backwardPerceptron(_ dx: UnsafeMutablePointer<Float>, _ trace: BlockTrace, _ pass: DecoderPass) {
        let (n, scratch) = (pass.tokenCount, pass.workspace)
        let dy = scratch.normed.elements
        let (isConstant, isLinear) = (pass.rule.contains(.constantNorms), pass.rule.contains(.linearPerceptrons))
        // forward:  x = middle + P₂ M N₂ middle    ⇒    dmiddle = dx + N₂ᵀMᵀP₂ᵀ dx
        let dperceptron = gradient(through: perceptronPostNorm, of: trace.perceptronResult, dx, rows: n, pass)
        perceptron.backward(dperceptron, trace.gateUp.elements, rows: n, into: dy, isLinear: isLinear, scratch)
        perceptronNorm.addBackward(
            trace.middle.elements, dy, rows: n, to: dx, isConstant: isConstant, on: scratch.lanes)
    }

    /// Pᵀ dx, or dx without P.
    private func gradient(
        through norm: Norm?, of result: Matrix?, _ dx: UnsafeMutablePointer<Float>, rows n: Int, _ pass: DecoderPass
    ) -> UnsafePointer<Float> {
        guard let norm, let result else { return UnsafePointer(dx) }
        let scratch = pass.workspace
        let dresult = scratch.result.elements
        dresult.update(repeating: 0, count: n * norm.weight.count)
        norm.addBackward(
            result.elements, dx, rows: n, to: dresult, isConstant: pass.rule.contains(.constantNorms), on: scratch.lanes
        )
        return UnsafePointer(dresult)
    }
}

/// One run of whole sequences through blocks.
struct DecoderPass {
    let workspace: Workspace
    let sequences: Int
    /// Tokens of each.
    let length: Int
    /// On the way down.
    var rule = BackwardRule.plain

    var tokenCount: Int { sequences * length }
}
