import LanguageModeling
import LinearAlgebra
import Synchronization
import TensorFiles

/// A decoder on a card. Its weights lie there in single precision or in bfloat16, beside the host's own copy, which answers for rows of the
/// head and logits of directions: a few rows, and the weights as their file has them.
package final class CUDALanguageModel: LanguageModel, @unchecked Sendable {
    let host: Decoder
    let device: DeviceArithmetic
    private let limits: PassLimits
    private let precision: ProductPrecision
    /// `[V, d]` and `[contextLength, d]`.
    private let embedding: DeviceWeight
    private let positions: DeviceMatrix?
    let blocks: [DeviceBlock]
    let head: DeviceHead
    let matrices: PinnedMatrices
    /// For passes up, and for those that come down again.
    private var plain, traced: DeviceWorkspace?
    /// Who speaks to the card; the only one to touch what is not constant here.
    private let turn = Mutex(())

    package var configuration: ModelConfiguration { host.configuration }
    /// Where and how it is computed, for records.
    package var record: [String: String] { device.context.record(precision) }

    /// Copies a decoder's weights to a card. `context` is for this model alone from now on.
    ///
    /// - Throws: `CUDAError`, of a card that has no room for the weights before any is copied.
    package init(
        _ decoder: Decoder, on context: CUDAContext, precision: ProductPrecision,
        limits: PassLimits = PassLimits()
    ) throws(CUDAError) {
        try context.require(decoder.cardWeights(precision))
        host = decoder
        self.limits = limits
        self.precision = precision
        matrices = PinnedMatrices(on: context)
        device = try DeviceArithmetic(context, precision: precision)
        embedding = try device.weight(decoder.embedding)
        positions = try device.matrix(decoder.positions)
        var blocks: [DeviceBlock] = []
        for block in decoder.blocks { blocks.append(try DeviceBlock(block, on: device)) }
        self.blocks = blocks
        let isTied = decoder.head.weight === decoder.embedding
        head = try DeviceHead(
            decoder.head, weight: isTied ? embedding : device.weight(decoder.head.weight), on: device)
    }

    // MARK: LanguageModel

    package func residual(of batch: TokenBatch, at hook: HookPoint) throws -> Matrix {
        let cut = try cut(batch, hook)
        return try turn.withLock { _ in
            let result = try matrices.matrix(rows: batch.tokenCount, columns: configuration.dModel)
            try forEachPass(batch, blocks: 0) { (pass, tokens) throws(CUDAError) in
                try embed(pass)
                try pass.workspace.store(try cut.read(pass), into: result, tokens)
            }
            return result
        }
    }

    package func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix {
        let cut = try cut(batch, hook, residual)
        return try turn.withLock { _ in
            let logits = Matrix(rows: batch.tokenCount, columns: configuration.vocabularySize)
            try forEachPass(batch, blocks: 0) { (pass, tokens) throws(CUDAError) in
                try load(residual, tokens, cut, pass)
                try cut.forward(pass)
                try head.logits(pass.workspace.stream, into: logits.row(tokens.lowerBound), pass)
            }
            return logits
        }
    }

    package func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay {
        try host.check(batch, hook, residual)
        return DeviceReplay(self, batch, residual: residual, at: hook)
    }

    /// What fills a pass of each of eight beginnings twice over.
    package var preferredReplayTokens: Int { 16 * limits.tokens }

    package func directLogits(of directions: Matrix) -> Matrix { host.directLogits(of: directions) }

    package func headRows(_ ids: [Int32]) throws -> Matrix { try host.headRows(ids) }

    // MARK: Passes

    /// Speaks to the card alone.
    func inTurn<Result>(_ body: () throws -> Result) rethrows -> Result { try turn.withLock { _ in try body() } }

    /// Cuts a batch into groups of whole sequences and runs `body` on each with its tokens. The cut depends on the card's size and the
    /// batch alone, and so do the bits.
    func forEachPass(
        _ batch: TokenBatch, blocks: Int, keepsReference: Bool = false, _ rule: BackwardRule = .plain,
        _ body: (DevicePass, _ tokens: Range<Int>) throws(CUDAError) -> Void
    ) throws(CUDAError) {
        guard batch.sequenceCount > 0 else { return }
        try device.context.activate()
        let (length, targets) = (batch.length, batch.targets)
        func need(_ sequences: Int) -> MemoryNeed {
            host.description.cardMemory(
                capacity: sequences * length, length: length, blocks: blocks, keepsReference: keepsReference,
                limits: limits, isRounding: device.isRounding)
        }
        let together = try sequencesTogether(length: length, count: batch.sequenceCount, need)
        let workspace = try workspace(
            capacity: together * length, length: length, blocks: blocks, keepsReference: keepsReference, need(together))
        for first in stride(from: 0, to: batch.sequenceCount, by: together) {
            let last = min(first + together, batch.sequenceCount)
            let tokens = first * length..<last * length
            try workspace.load(ids: batch.ids[tokens], targets: targets[tokens])
            try body(
                DevicePass(
                    device: device, workspace: workspace, sequences: last - first, length: length, rule: rule), tokens)
        }
    }

    private func sequencesTogether(
        length: Int, count: Int, _ need: (Int) -> MemoryNeed
    ) throws(CUDAError) -> Int {
        let most = try device.context.memory().total / limits.share
        var together = max(1, min(count, limits.tokens / length))
        while together > 1, need(together).bytes > most { together = (together + 1) / 2 }
        return together
    }

    /// The one there is, or a larger one in its place, which needs so much.
    private func workspace(
        capacity: Int, length: Int, blocks: Int, keepsReference: Bool, _ need: MemoryNeed
    ) throws(CUDAError) -> DeviceWorkspace {
        let place = blocks > 0 ? \CUDALanguageModel.traced : \.plain
        if let there = self[keyPath: place], there.capacity >= capacity, there.length == length,
            there.traces.count >= blocks, there.reference != nil || !keepsReference
        {
            return there
        }
        self[keyPath: place] = nil
        try device.context.require(need)
        let made = try DeviceWorkspace(
            host.description, capacity: capacity, length: length, blocks: blocks, keepsReference: keepsReference,
            limits: limits, matrices: matrices, on: device)
        self[keyPath: place] = made
        return made
    }

    /// What enters the first block.
    func embed(_ pass: DevicePass) throws(CUDAError) {
        try device.rows(
            of: embedding, pass.workspace.ids, count: pass.tokenCount, scale: host.description.embeddingScale,
            adding: positions, length: pass.length, into: pass.workspace.stream)
    }

    func cut(_ batch: TokenBatch, _ hook: HookPoint, _ residual: Matrix? = nil) throws -> DeviceCut {
        try host.check(batch, hook, residual)
        return DeviceCut(blocks, at: hook)
    }

    /// The stream of a pass, with the `value` of its tokens in its place in it.
    func load(
        _ value: Matrix, _ tokens: Range<Int>, _ cut: DeviceCut, _ pass: DevicePass
    ) throws(CUDAError) {
        let (x, scratch) = (pass.workspace.stream, pass.workspace)
        guard cut.needsBase else { return try scratch.load(value, tokens, into: x) }
        try embed(pass)
        try cut.makeBase(pass)
        try scratch.load(value, tokens, into: scratch.normed)
        try pass.device.add(scratch.normed.slice, to: x, rows: pass.tokenCount)
    }

    /// What the tokens of a pass were measured by.
    func store(_ pass: DevicePass, into values: inout [Float], _ tokens: Range<Int>) throws(CUDAError) {
        try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
            try pass.workspace.storeValues(into: values.baseAddress! + tokens.lowerBound, count: tokens.count)
        }
    }
}

extension Decoder {
    /// What the weights take of a card, with rows padded to four floats, or to eight numbers of bfloat16.
    fileprivate func cardWeights(_ precision: ProductPrecision) -> MemoryNeed {
        var need = MemoryNeed("the model needs", advice: "choose a smaller model, or use --device cpu")
        var matrices: [Matrix?] = [positions, head.norm.weight, head.norm.bias]
        var weights = head.weight === embedding ? [embedding] : [embedding, head.weight]
        for block in blocks {
            let (a, p) = (block.attention, block.perceptron)
            for norm in [block.attentionNorm, block.attentionPostNorm, block.perceptronNorm, block.perceptronPostNorm] {
                matrices += [norm?.weight, norm?.bias]
            }
            matrices += [a.inputBias, a.outputBias, p.inputBias, p.outputBias]
            weights += [a.queryKeyValue, a.output, p.input, p.down]
        }
        for matrix in matrices.compactMap({ $0 }) {
            need.add("norms and biases", 4, matrix.rows, DeviceMatrix.stride(matrix.columns))
        }
        for weight in weights {
            if precision == .bf16 {
                need.add("weights in bfloat16", 2, weight.rows, RoundedMatrix.stride(weight.columns))
            } else {
                need.add("weights in single precision", 4, weight.rows, DeviceMatrix.stride(weight.columns))
            }
        }
        need.add("workspace", MatrixProducts.workspaceBytes)
        return need
    }
}
