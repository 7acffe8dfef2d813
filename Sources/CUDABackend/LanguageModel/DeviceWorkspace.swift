import LanguageModeling
import LinearAlgebra

/// One run of sequences through blocks on a card, whole ones or their ends from the same position on.
struct DevicePass {
    let device: DeviceArithmetic
    let workspace: DeviceWorkspace
    let sequences: Int
    /// Tokens of each that are run.
    let length: Int
    /// P, the position of the first of these.
    var first = 0
    /// On the way down.
    var rule = BackwardRule.plain
    /// Where a block's keys and values go, or those before `first` come from.
    var past: DevicePast?

    var tokenCount: Int { sequences * length }
    /// P + T, tokens of each with those before.
    var keyLength: Int { first + length }
}

/// How much of a batch goes through a card at a time.
package struct PassLimits: Sendable {
    /// Tokens of a pass, in whole sequences.
    package var tokens = 8192
    /// Scores of attention, which the second-level cache is to hold.
    package var scores = 8 << 20
    /// Logits.
    package var logits = 128 << 20
    /// In bfloat16, whether factors are rounded by a kernel of their own, and not by those that make them: the same bits, for tests and
    /// benchmarks.
    package var roundsApart = false
    /// The share of a card that a pass with traces may take.
    package var share = 4

    package init() {}
}

/// The scratch of passes of up to `capacity` tokens: see `Workspace`.
final class DeviceWorkspace {
    let capacity: Int
    /// The longest sequence.
    let length: Int
    let limits: PassLimits
    let ids, targets: DeviceArray<Int32>
    /// What tokens are measured by, and weights of that.
    let values, weights: DeviceArray<Float>
    /// `[n, d]`: the residual stream on its way up, a norm's result, the result of half a block.
    let stream, normed, result: DeviceMatrix
    /// `[n, (H + 2K)·h]`
    let rows: DeviceMatrix
    /// `[n, H·h]`, and the same by heads.
    let mixed: DeviceMatrix
    let mixedHeads: DeviceArray<Float>
    /// `[n, m]`
    let hidden: DeviceMatrix
    let scores: DeviceArray<Float>
    let logits: DeviceArray<Float>
    /// Tokens whose logits there is room for, and whose logits twice over.
    let logitRows, dividedRows: Int
    /// Where the other logits of a divergence begin.
    let otherLogits: Int
    /// `[n, d]`: the norm of the rows that divergences are from.
    let reference: DeviceMatrix?
    /// What a weight in bfloat16 is multiplied with.
    let rounded: DeviceArray<UInt16>?
    /// What a block works in that keeps nothing.
    let spare: DeviceTrace
    // On the way down.
    /// `[n, d]`
    let gradient: DeviceMatrix?
    let packedGradient: DeviceArray<Float>?
    let scoreGradients, slopes: DeviceArray<Float>?
    let traces: [DeviceTrace]
    private let rotaries: [Turns]
    private let noTurns: Turns
    private let staging: PinnedArray<Float>
    private let stagedIds, stagedTargets: PinnedArray<Int32>
    private let stagedValues, stagedWeights: PinnedArray<Float>
    private let matrices: PinnedMatrices
    private let context: CUDAContext

    /// The tables of a rotary embedding, `[T, half]`; `half` is 0 where nothing turns.
    struct Turns {
        let cosines, sines: DeviceArray<Float>
        let half: Int
    }

    init(
        _ description: DecoderDescription, capacity n: Int, length: Int, blocks: Int, keepsReference: Bool,
        limits: PassLimits, matrices: PinnedMatrices, on device: DeviceArithmetic
    ) throws(CUDAError) {
        self.matrices = matrices
        let (context, d, shape) = (device.context, description.configuration.dModel, description.widestAttention)
        self.context = context
        (capacity, self.length, self.limits) = (n, length, limits)
        func matrix(_ columns: Int) throws(CUDAError) -> DeviceMatrix {
            try DeviceMatrix(rows: n, columns: columns, on: context)
        }
        func array(_ count: Int) throws(CUDAError) -> DeviceArray<Float> { try DeviceArray(count, on: context) }
        (ids, targets) = (try DeviceArray(n, on: context), try DeviceArray(n, on: context))
        (values, weights) = (try array(n), try array(n))
        (stream, normed, result) = (try matrix(d), try matrix(d), try matrix(d))
        reference = try keepsReference ? matrix(d) : nil
        (rows, mixed, hidden) = (
            try matrix(shape.rowWidth), try matrix(shape.outputWidth), try matrix(description.perceptron.width)
        )
        mixedHeads = try array(n * shape.outputWidth)
        let sizes = Sizes(description, capacity: n, length: length, keepsReference: keepsReference, limits)
        rounded = try device.isRounding ? DeviceArray(sizes.rounded, on: context) : nil
        (logitRows, dividedRows, otherLogits) = (sizes.logitRows, sizes.dividedRows, sizes.otherLogits)
        (scores, logits) = (try array(sizes.scores), try array(sizes.logits))
        spare = try DeviceTrace(tokenCount: n, keeps: false, description, on: context)
        let isTraced = blocks > 0
        gradient = try isTraced ? matrix(d) : nil
        packedGradient = try isTraced ? array(n * shape.rowWidth) : nil
        scoreGradients = try isTraced ? array(sizes.scores) : nil
        slopes = try isTraced && shape.softCap != nil ? array(sizes.scores) : nil
        var traces: [DeviceTrace] = []
        for _ in 0..<blocks {
            traces.append(try DeviceTrace(tokenCount: n, keeps: true, description, on: context))
        }
        self.traces = traces
        var rotaries: [Turns] = []
        for rotary in description.rotaries {
            let tables = Rotary(length: length, headDimension: shape.headDimension, rotary)
            let made = Turns(
                cosines: try array(tables.cosines.count), sines: try array(tables.sines.count),
                half: rotary.dimension / 2)
            try made.cosines.upload(tables.cosines.elements, tables.cosines.count)
            try made.sines.upload(tables.sines.elements, tables.sines.count)
            try context.synchronize()
            extendLifetime(tables)
            rotaries.append(made)
        }
        self.rotaries = rotaries
        noTurns = Turns(cosines: try array(1), sines: try array(1), half: 0)
        staging = try PinnedArray(n * stream.stride, on: context)
        staging.elements.initialize(repeating: 0, count: staging.count)
        stagedIds = try PinnedArray(n, on: context)
        stagedTargets = try PinnedArray(n, on: context)
        stagedValues = try PinnedArray(n, on: context)
        stagedWeights = try PinnedArray(n, on: context)
    }

    /// The tables of one of the model's rotary embeddings, or none.
    func turns(_ rotary: Int?) -> Turns { rotary.map { rotaries[$0] } ?? noTurns }

    // MARK: Copies

    /// Copies tokens' ids and what they are to predict to the card.
    func load(ids: ArraySlice<Int32>, targets: ArraySlice<Int32>) throws(CUDAError) {
        for (i, id) in ids.enumerated() { stagedIds.elements[i] = id }
        try self.ids.upload(stagedIds.elements, ids.count)
        try load(targets: targets)
    }

    /// Copies what tokens are to predict alone, of a pass that does not begin with their ids.
    func load(targets: ArraySlice<Int32>) throws(CUDAError) {
        for (i, target) in targets.enumerated() { stagedTargets.elements[i] = target }
        try self.targets.upload(stagedTargets.elements, targets.count)
    }

    /// Copies what tokens weigh.
    func load(weights: ArraySlice<Float>) throws(CUDAError) {
        for (i, weight) in weights.enumerated() { stagedWeights.elements[i] = weight }
        try self.weights.upload(stagedWeights.elements, weights.count)
    }

    /// Copies rows of activations to the card; they have to stay until the card has come so far, and nothing else may be loaded before.
    func load(_ residual: Matrix, _ tokens: Range<Int>, into target: DeviceMatrix) throws(CUDAError) {
        if target.stride == residual.columns, matrices.own(residual) {
            return try target.array.upload(residual.row(tokens.lowerBound), tokens.count * target.stride)
        }
        let (d, stride, elements) = (residual.columns, target.stride, SendablePointer(staging.elements))
        Lanes.shared.forRanges(tokens.count) { _, range in
            for r in range {
                (elements.pointer + r * stride).update(from: residual.row(tokens.lowerBound + r), count: d)
            }
        }
        try target.array.upload(staging.elements, tokens.count * stride)
    }

    /// Waits, and writes rows that the card has computed into those of `target`.
    func store(_ source: DeviceMatrix, into target: Matrix, _ tokens: Range<Int>) throws(CUDAError) {
        if source.stride == target.columns, matrices.own(target) {
            try source.array.download(target.row(tokens.lowerBound), tokens.count * source.stride)
            return try context.synchronize()
        }
        let (d, stride, elements) = (target.columns, source.stride, SendablePointer(staging.elements))
        try source.array.download(staging.elements, tokens.count * stride)
        try context.synchronize()
        Lanes.shared.forRanges(tokens.count) { _, range in
            for r in range {
                target.row(tokens.lowerBound + r).update(from: elements.pointer + r * stride, count: d)
            }
        }
    }

    /// Waits, and writes what the tokens of a pass were measured by.
    func storeValues(into target: UnsafeMutablePointer<Float>, count: Int) throws(CUDAError) {
        try values.download(stagedValues.elements, count)
        try context.synchronize()
        target.update(from: stagedValues.elements, count: count)
    }
}

/// What a block keeps for the way down, or works in: see `BlockTrace`.
final class DeviceTrace {
    /// The residual stream before the block, and between its halves, `[n, d]`.
    let input, middle: DeviceMatrix?
    /// Queries, keys and values by heads: see heads.cu.
    let packed: DeviceArray<Float>
    /// Queries and keys before their norms, `[n, (H + K)·h]`.
    let heads: DeviceArray<Float>?
    /// Results of the halves before they were normed, `[n, d]`.
    let attentionResult, perceptronResult: DeviceMatrix?
    /// `[n, 2m]`, or `[n, m]` without a gate.
    let gateUp: DeviceMatrix

    init(
        tokenCount n: Int, keeps: Bool, _ description: DecoderDescription, on context: CUDAContext
    ) throws(CUDAError) {
        let d = description.configuration.dModel
        func stream(if wanted: Bool) throws(CUDAError) -> DeviceMatrix? {
            try keeps && wanted ? DeviceMatrix(rows: n, columns: d, on: context) : nil
        }
        input = try stream(if: true)
        middle = try stream(if: !description.isParallel)
        packed = try DeviceArray(n * description.widestAttention.rowWidth, on: context)
        heads =
            try keeps && description.attention.hasHeadNorms
            ? DeviceArray(n * description.turnedWidth, on: context) : nil
        attentionResult = try stream(if: description.hasPostNorms)
        perceptronResult = try stream(if: description.hasPostNorms)
        gateUp = try DeviceMatrix(rows: n, columns: description.perceptron.inputWidth, on: context)
    }
}

/// Sizes that depend on limits.
private struct Sizes {
    let scores: Int
    let logitRows: Int
    /// Of a divergence, which takes two of a token.
    let dividedRows, otherLogits: Int
    let logits: Int
    /// The largest factor, in bfloat16.
    let rounded: Int

    init(
        _ description: DecoderDescription, capacity n: Int, length: Int, keepsReference: Bool, _ limits: PassLimits
    ) {
        let shape = description.widestAttention
        let pairs = max(1, n / length) * shape.keyValueHeadCount
        scores = DeviceAttention.Tile(shape, pairs: pairs, length: length, keys: length, floats: limits.scores).count
        let words = DeviceMatrix.stride(description.configuration.vocabularySize)
        // Neither depends on the capacity where that is more than is run, so that no bits do.
        logitRows = max(1, min(n, limits.logits / words))
        dividedRows = max(1, min(n, limits.logits / words / 2))
        // At a multiple of 256 bytes, as an array begins: products are made in other ways where addresses are less aligned, and of one
        // stream both have to be the same.
        otherLogits = (dividedRows * words + 63) / 64 * 64
        logits = max(logitRows * words, keepsReference ? otherLogits + dividedRows * words : 0)
        let widths = [
            description.configuration.dModel, shape.rowWidth, shape.outputWidth, description.perceptron.width,
            description.perceptron.inputWidth,
        ]
        rounded = max(
            n * RoundedMatrix.stride(widths.max()!),
            logitRows * RoundedMatrix.stride(description.configuration.vocabularySize))
    }
}

extension DecoderDescription {
    /// What a workspace takes of a card, with rows padded to four floats: of each of n tokens 3d + 2·(H + 2K)·h + 2·H·h + 3m numbers
    /// (2m without a gate), d more for divergences and their logits twice, and with traces d + (H + 2K)·h more of the pass and
    /// 2d + (H + 2K)·h + 2m of each traced block; scores and logits as `limits` say; in bfloat16 the widest factor again, of half the
    /// size.
    func cardMemory(
        capacity n: Int, length: Int, blocks: Int, keepsReference: Bool, limits: PassLimits, isRounding: Bool
    ) -> MemoryNeed {
        let (shape, d) = (widestAttention, DeviceMatrix.stride(configuration.dModel))
        let (row, mixed) = (DeviceMatrix.stride(shape.rowWidth), DeviceMatrix.stride(shape.outputWidth))
        let gateUp = DeviceMatrix.stride(perceptron.inputWidth),
            sizes = Sizes(self, capacity: n, length: length, keepsReference: keepsReference, limits)
        let isTraced = blocks > 0
        var need = MemoryNeed(
            "running the model on sequences of \(length) tokens needs",
            advice: "use shorter sequences, or use --device cpu")
        let own =
            (keepsReference ? 4 : 3) * d + 2 * row + 2 * mixed + gateUp + DeviceMatrix.stride(perceptron.width) + 4
        need.add("activations", 4, n, own + (isTraced ? d + row : 0))
        need.add("attention", 4 * (isTraced ? (shape.softCap == nil ? 2 : 3) : 1), sizes.scores)
        need.add("logits", 4, sizes.logits)
        if isRounding { need.add("factors in bfloat16", 2, sizes.rounded) }
        let streams = 2 + (hasPostNorms ? 2 : 0) - (isParallel ? 1 : 0)
        let heads = attention.hasHeadNorms ? turnedWidth : 0
        need.add("traces", 4 * blocks, n, streams * d + row + heads + gateUp)
        // Where nothing turns, kernels are given two numbers all the same.
        need.add("positions", 4, 2)
        for rotary in rotaries { need.add("positions", 4, length, rotary.dimension) }
        return need
    }
}
