import KernelTable
import LanguageModeling

/// A block on a card: see `DecoderBlock`.
struct DeviceBlock {
    private let attentionNorm: DeviceNorm
    private let attention: DeviceSelfAttention
    private let attentionPostNorm: DeviceNorm?
    private let perceptronNorm: DeviceNorm
    private let perceptron: DevicePerceptron
    private let perceptronPostNorm: DeviceNorm?
    let isParallel: Bool

    /// Its attention's sizes.
    var shape: CausalAttention { attention.attention.shape }

    init(_ block: DecoderBlock, on device: DeviceArithmetic) throws(CUDAError) {
        func norm(_ norm: Norm?) throws(CUDAError) -> DeviceNorm? {
            guard let norm else { return nil }
            return try DeviceNorm(norm, on: device)
        }
        attentionNorm = try DeviceNorm(block.attentionNorm, on: device)
        attention = try DeviceSelfAttention(block.attention, on: device)
        attentionPostNorm = try norm(block.attentionPostNorm)
        perceptronNorm = try DeviceNorm(block.perceptronNorm, on: device)
        perceptron = try DevicePerceptron(block.perceptron, on: device)
        perceptronPostNorm = try norm(block.perceptronPostNorm)
        isParallel = block.isParallel
    }

    /// `x` `[n, d]` in place; the trace keeps what it has room for.
    func forward(_ x: DeviceMatrix, keeping trace: DeviceTrace, _ pass: DevicePass) throws(CUDAError) {
        guard isParallel else {
            try addAttention(to: x, keeping: trace, pass)
            return try addPerceptron(to: x, keeping: trace, pass)
        }
        let y = try attentionNorm.factor(x, keeping: trace.input, pass), z = pass.workspace.result
        try perceptronNorm.forward(x, rows: pass.tokenCount, into: z, on: pass.device)
        try attention.forward(y, into: x, keeping: 1, trace, pass)
        try perceptron.forward(FactorTarget(z.slice), into: x, keeping: 1, trace, pass)
    }

    // MARK: Halves

    /// x += P₁ A N₁ x: see `DecoderBlock`.
    func addAttention(to x: DeviceMatrix, keeping trace: DeviceTrace, _ pass: DevicePass) throws(CUDAError) {
        let y = try attentionNorm.factor(x, keeping: trace.input, pass)
        guard let attentionPostNorm else { return try attention.forward(y, into: x, keeping: 1, trace, pass) }
        let result = trace.attentionResult ?? pass.workspace.result
        try attention.forward(y, into: result, keeping: 0, trace, pass)
        try attentionPostNorm.forward(result, rows: pass.tokenCount, into: x, adding: true, on: pass.device)
    }

    /// x += P₂ M N₂ x.
    func addPerceptron(to x: DeviceMatrix, keeping trace: DeviceTrace, _ pass: DevicePass) throws(CUDAError) {
        let y = try perceptronNorm.factor(x, keeping: trace.middle, pass)
        guard let perceptronPostNorm else { return try perceptron.forward(y, into: x, keeping: 1, trace, pass) }
        let result = trace.perceptronResult ?? pass.workspace.result
        try perceptron.forward(y, into: result, keeping: 0, trace, pass)
        try perceptronPostNorm.forward(result, rows: pass.tokenCount, into: x, adding: true, on: pass.device)
    }

    /// What half of the block adds to `x` `[n, d]`, in scratch.
    func result(
        of half: DecoderBlock.Half, _ x: DeviceMatrix, _ pass: DevicePass
    ) throws(CUDAError) -> DeviceMatrix {
        let (n, scratch, device) = (pass.tokenCount, pass.workspace, pass.device)
        let (norm, postNorm) =
            half == .attention ? (attentionNorm, attentionPostNorm) : (perceptronNorm, perceptronPostNorm)
        let y = try norm.factor(x, pass)
        switch half {
        case .attention: try attention.forward(y, into: scratch.result, keeping: 0, scratch.spare, pass)
        case .perceptron: try perceptron.forward(y, into: scratch.result, keeping: 0, scratch.spare, pass)
        }
        guard let postNorm else { return scratch.result }
        try postNorm.forward(scratch.result, rows: n, into: scratch.normed, on: device)
        return scratch.normed
    }

    /// `dx` `[n, d]` in place: from the gradient of what the block hands on to that of what it was given, under the pass's rule.
    func backward(_ dx: DeviceMatrix, _ trace: DeviceTrace, _ pass: DevicePass) throws(CUDAError) {
        let scratch = pass.workspace
        let dy = scratch.normed
        if isParallel {
            // forward:  x = input + A N₁ input + M N₂ input    ⇒    dinput = dx + N₁ᵀAᵀ dx + N₂ᵀMᵀ dx
            try perceptron.backward(dx, trace, into: scratch.result, pass)
            try attention.backward(dx, trace, into: dy, pass)
            try perceptronNorm.backward(trace.input!, scratch.result, into: dx, adding: true, pass)
            return try attentionNorm.backward(trace.input!, dy, into: dx, adding: true, pass)
        }
        try backwardPerceptron(dx, trace, pass)
        // forward:  middle = input + P₁ A N₁ input    ⇒    the same again
        var dresult = dx
        if let attentionPostNorm {
            dresult = scratch.result
            try attentionPostNorm.backward(trace.attentionResult!, dx, into: dresult, adding: false, pass)
        }
        try attention.backward(dresult, trace, into: dy, pass)
        try attentionNorm.backward(trace.input!, dy, into: dx, adding: true, pass)
    }

    /// `dx` in place: from the gradient of what a sequential block hands on to that of the stream between its halves.
    func backwardPerceptron(_ dx: DeviceMatrix, _ trace: DeviceTrace, _ pass: DevicePass) throws(CUDAError) {
        let scratch = pass.workspace
        let dy = scratch.normed
        // forward:  x = middle + P₂ M N₂ middle    ⇒    dmiddle = dx + N₂ᵀMᵀP₂ᵀ dx
        var dresult = dx
        if let perceptronPostNorm {
            dresult = scratch.result
            try perceptronPostNorm.backward(trace.perceptronResult!, dx, into: dresult, adding: false, pass)
        }
        try perceptron.backward(dresult, trace, into: dy, pass)
        try perceptronNorm.backward(trace.middle!, dy, into: dx, adding: true, pass)
    }
}

/// The attention half: see `SelfAttention`.
private struct DeviceSelfAttention {
    private let queryKeyValue, output: DeviceWeight
    private let inputBias, outputBias: DeviceMatrix?
    private let queryNorm, keyNorm: DeviceMatrix?
    private let epsilon: Float
    private let rotary: Int?
    let attention: DeviceAttention

    init(_ half: SelfAttention, on device: DeviceArithmetic) throws(CUDAError) {
        queryKeyValue = try device.weight(half.queryKeyValue)
        output = try device.weight(half.output)
        inputBias = try device.matrix(half.inputBias)
        outputBias = try device.matrix(half.outputBias)
        queryNorm = try device.matrix(half.headNorms?.query.weight)
        keyNorm = try device.matrix(half.headNorms?.key.weight)
        epsilon = Float(half.headNorms?.query.epsilon ?? 0)
        rotary = half.rotary
        attention = DeviceAttention(shape: half.attention)
    }

    /// x = kept·x + the result, of y `[n, d]`.
    func forward(
        _ y: FactorTarget, into x: DeviceMatrix, keeping kept: Float, _ trace: DeviceTrace, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, scratch, shape) = (pass.device, pass.workspace, attention.shape)
        let (n, rows, packed) = (pass.tokenCount, pass.workspace.rows, trace.packed)
        try device.apply(queryKeyValue, to: y, into: rows, pass)
        let (places, turns) = (HeadPlaces(shape, pass), scratch.turns(rotary))
        try device.context.launch(
            try device.kernel("splitHeads", "heads"),
            DeviceArithmetic.warpBlocks(n * (shape.headCount + 2 * shape.keyValueHeadCount)), threads: 256, rows.array,
            rows.stride, n, pass.length, pass.first, shape.headCount, shape.keyValueHeadCount, shape.headDimension,
            DeviceArithmetic.pointer(inputBias), DeviceArithmetic.pointer(queryNorm), DeviceArithmetic.pointer(keyNorm),
            epsilon, turns.cosines, turns.sines, turns.half, packed, DeviceSlice(of: packed, at: places.key),
            DeviceSlice(of: packed, at: places.value), DeviceArithmetic.pointer(trace.heads))
        try pass.past?.exchange(packed, places, shape, pass)
        try attention.forward(packed, into: scratch.mixedHeads, pass)
        let mixed = device.target(scratch.mixed.slice, columns: output.columns, pass)
        try device.context.launch(
            try device.kernel("joinHeads", "heads"), n, threads: 256, scratch.mixedHeads, pass.length, shape.headCount,
            shape.keyValueHeadCount, shape.headDimension, mixed.plain, mixed.plain.stride, mixed.pointer, mixed.stride)
        try device.apply(output, outputBias, to: mixed, into: x, keeping: kept, pass)
    }

    /// The gradient `dy` of y from that of the result, under the pass's rule.
    func backward(
        _ dresult: DeviceMatrix, _ trace: DeviceTrace, into dy: DeviceMatrix, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, scratch, shape) = (pass.device, pass.workspace, attention.shape)
        let (n, rows, dpacked) = (pass.tokenCount, pass.workspace.rows, pass.workspace.packedGradient!)
        try device.applyBackward(output, to: FactorTarget(dresult.slice), into: scratch.mixed, pass)
        try device.context.launch(
            try device.kernel("partHeads", "heads"), n, threads: 256, scratch.mixed.array, scratch.mixed.stride,
            pass.length, shape.headCount, shape.keyValueHeadCount, shape.headDimension, scratch.mixedHeads)
        try attention.backward(trace.packed, scratch.mixedHeads, into: dpacked, pass)
        let (places, turns) = (HeadPlaces(shape, pass), scratch.turns(rotary))
        let drows = device.target(rows.slice, columns: queryKeyValue.rows, pass)
        try device.context.launch(
            try device.kernel("splitHeadsBackward", "heads"),
            DeviceArithmetic.warpBlocks(n * (shape.headCount + 2 * shape.keyValueHeadCount)), threads: 256, dpacked,
            DeviceSlice(of: dpacked, at: places.key), DeviceSlice(of: dpacked, at: places.value), n, pass.length,
            shape.headCount, shape.keyValueHeadCount, shape.headDimension, DeviceArithmetic.pointer(queryNorm),
            DeviceArithmetic.pointer(keyNorm), epsilon, pass.rule.contains(.constantNorms), turns.cosines, turns.sines,
            turns.half, DeviceArithmetic.pointer(trace.heads), rows.array, rows.stride, drows.pointer, drows.stride)
        try device.applyBackward(queryKeyValue, to: drows, into: dy, pass)
    }
}

/// The feed-forward half: see `Perceptron`.
private struct DevicePerceptron {
    private let activation: Activation
    private let isGated: Bool
    private let input, down: DeviceWeight
    private let inputBias, outputBias: DeviceMatrix?

    init(_ half: Perceptron, on device: DeviceArithmetic) throws(CUDAError) {
        (activation, isGated) = (half.activation, half.isGated)
        input = try device.weight(half.input)
        down = try device.weight(half.down)
        inputBias = try device.matrix(half.inputBias)
        outputBias = try device.matrix(half.outputBias)
    }

    private var m: Int { down.columns }

    /// x = kept·x + the result, of y `[n, d]`.
    func forward(
        _ y: FactorTarget, into x: DeviceMatrix, keeping kept: Float, _ trace: DeviceTrace, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, n, z) = (pass.device, pass.tokenCount, trace.gateUp)
        try device.apply(input, to: y, into: z, pass)
        let hidden = device.target(pass.workspace.hidden.slice, columns: m, pass)
        try device.context.launch(
            try device.kernel("activate", "activate"), n, (m + 255) / 256, threads: 256, z.array, z.stride,
            DeviceArithmetic.pointer(inputBias), Int(activation.rawValue), isGated, m, hidden.plain,
            hidden.plain.stride, hidden.pointer, hidden.stride)
        try device.apply(down, outputBias, to: hidden, into: x, keeping: kept, pass)
    }

    /// The gradient `dy` of y from that of the result, under the pass's rule; what the trace kept is overwritten, unless factors are rounded elsewhere.
    func backward(
        _ dresult: DeviceMatrix, _ trace: DeviceTrace, into dy: DeviceMatrix, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, n, z, dhidden) = (pass.device, pass.tokenCount, trace.gateUp, pass.workspace.hidden)
        try device.applyBackward(down, to: FactorTarget(dresult.slice), into: dhidden, pass)
        let dz = device.target(z.slice, columns: input.rows, pass)
        try device.context.launch(
            try device.kernel("activateBackward", "activate"), n, (m + 255) / 256, threads: 256, dhidden.array,
            dhidden.stride, z.array, z.stride, Int(activation.rawValue), isGated,
            pass.rule.contains(.linearPerceptrons), m, dz.pointer, dz.stride)
        try device.applyBackward(input, to: dz, into: dy, pass)
    }
}
