import LanguageModeling
import TensorFiles

/// A decoder on a card cut at a hook point: see `DecoderCut`. All in the stream of a pass's workspace.
struct DeviceCut {
    private let below: ArraySlice<DeviceBlock>
    private let cut: (block: DeviceBlock, half: DecoderBlock.Half)?
    private let above: ArraySlice<DeviceBlock>
    /// The block whose perceptron reads what the value was added to.
    private let rest: DeviceBlock?

    init(_ blocks: [DeviceBlock], at hook: HookPoint) {
        let places = DecoderCut.Places(hook)
        below = blocks[..<places.below]
        above = blocks[places.above...]
        cut = places.half.map { (blocks[hook.block], $0) }
        rest = places.half == .attention && !blocks[hook.block].isParallel ? blocks[hook.block] : nil
    }

    /// Sizes of the attention of each block above.
    var shapes: [CausalAttention] { above.map(\.shape) }

    var traceCount: Int { above.count + (rest == nil ? 0 : 1) }

    var needsBase: Bool { cut != nil }

    /// The embedded tokens become what the value is added to.
    func makeBase(_ pass: DevicePass) throws(CUDAError) {
        guard let cut else { return }
        let (x, spare) = (pass.workspace.stream, pass.workspace.spare)
        for block in below { try block.forward(x, keeping: spare, pass) }
        switch cut.half {
        case .attention: if cut.block.isParallel { try cut.block.addPerceptron(to: x, keeping: spare, pass) }
        case .perceptron: try cut.block.addAttention(to: x, keeping: spare, pass)
        }
    }

    /// The value of the embedded tokens, and where it is.
    func read(_ pass: DevicePass) throws(CUDAError) -> DeviceMatrix {
        let (x, spare) = (pass.workspace.stream, pass.workspace.spare)
        for block in below { try block.forward(x, keeping: spare, pass) }
        guard let cut else { return x }
        if cut.half == .perceptron, !cut.block.isParallel { try cut.block.addAttention(to: x, keeping: spare, pass) }
        return try cut.block.result(of: cut.half, x, pass)
    }

    /// From the stream with the value in it to that after the last block; without traces, nothing is kept. `pasts` are those of each block
    /// above, or there are none.
    func forward(
        _ pass: DevicePass, keeping traces: [DeviceTrace] = [], pasts: [DevicePast] = []
    ) throws(CUDAError) {
        let (x, spare) = (pass.workspace.stream, pass.workspace.spare)
        if let rest { try rest.addPerceptron(to: x, keeping: traces.first ?? spare, pass) }
        let first = rest == nil ? 0 : 1
        for (number, block) in above.enumerated() {
            var own = pass
            own.past = pasts.isEmpty ? nil : pasts[number]
            try block.forward(x, keeping: traces.isEmpty ? spare : traces[first + number], own)
        }
    }

    /// From the gradient of the stream after the last block to that of the value, in place.
    func backward(_ dx: DeviceMatrix, _ traces: [DeviceTrace], _ pass: DevicePass) throws(CUDAError) {
        var number = traceCount
        for block in above.reversed() {
            number -= 1
            try block.backward(dx, traces[number], pass)
        }
        if let rest { try rest.backwardPerceptron(dx, traces[0], pass) }
    }
}
