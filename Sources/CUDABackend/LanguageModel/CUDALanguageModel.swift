import LanguageModeling
import LinearAlgebra
import Synchronization
import TensorFiles

/// A decoder on a card. Its weights lie there in single precision or in bfloat16, beside the host's own copy, which answers for logits
/// of directions: those are asked for once in a report.
package final class CUDALanguageModel: LanguageModel, @unchecked Sendable {
    private let host: Decoder
    let device: DeviceArithmetic
    private let limits: PassLimits
    private let precision: ProductPrecision
    /// `[V, d]` and `[contextLength, d]`.
    private let embedding: DeviceWeight
    private let positions: DeviceMatrix?
    private let blocks: [DeviceBlock]
    let head: DeviceHead
    private let matrices: PinnedMatrices
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

    package func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        let cut = try cut(batch, hook, residual)
        return try turn.withLock { _ in
            var losses = [Float](repeating: 0, count: batch.tokenCount)
            try forEachPass(batch, blocks: 0) { (pass, tokens) throws(CUDAError) in
                try load(residual, tokens, cut, pass)
                try cut.forward(pass)
                try head.losses(pass.workspace.stream, pass)
                try store(pass, into: &losses, tokens)
            }
            return losses
        }
    }

    package func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix) {
        let cut = try cut(batch, hook, residual)
        return try turn.withLock { _ in
            var losses = [Float](repeating: 0, count: batch.tokenCount)
            let gradient = try matrices.matrix(rows: batch.tokenCount, columns: configuration.dModel)
            // The head's gradient takes what a traced block's does, be there one or not.
            try forEachPass(batch, blocks: max(1, cut.traceCount)) { (pass, tokens) throws(CUDAError) in
                let dx = pass.workspace.gradient!
                try load(residual, tokens, cut, pass)
                try cut.forward(pass, keeping: pass.workspace.traces)
                try head.losses(pass.workspace.stream, gradient: dx, pass)
                try cut.backward(dx, pass.workspace.traces, pass)
                try store(pass, into: &losses, tokens)
                try pass.workspace.store(dx, into: gradient, tokens)
            }
            return (losses, gradient)
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

    // MARK: Passes

    /// Speaks to the card alone.
    func inTurn<Result>(_ body: () throws -> Result) rethrows -> Result { try turn.withLock { _ in try body() } }

    /// Cuts a batch into groups of whole sequences and runs `body` on each with its tokens. The cut depends on the card's size and the
    /// batch alone, and so do the bits.
    func forEachPass(
        _ batch: TokenBatch, blocks: Int, _ body: (DevicePass, _ tokens: Range<Int>) throws(CUDAError) -> Void
    ) throws(CUDAError) {
        guard batch.sequenceCount > 0 else { return }
        try device.context.activate()
        let (length, targets) = (batch.length, batch.targets)
        let together = try sequencesTogether(length: length, count: batch.sequenceCount, blocks: blocks)
        let workspace = try workspace(capacity: together * length, length: length, blocks: blocks)
        for first in stride(from: 0, to: batch.sequenceCount, by: together) {
            let last = min(first + together, batch.sequenceCount)
            let tokens = first * length..<last * length
            try workspace.load(ids: batch.ids[tokens], targets: targets[tokens])
            try body(
                DevicePass(device: device, workspace: workspace, sequences: last - first, length: length), tokens)
        }
    }

    private func sequencesTogether(length: Int, count: Int, blocks: Int) throws(CUDAError) -> Int {
        let most = try device.context.memory().total / limits.share
        var together = max(1, min(count, limits.tokens / length))
        while together > 1, need(together * length, length, blocks).bytes > most { together = (together + 1) / 2 }
        return together
    }

    private func need(_ capacity: Int, _ length: Int, _ blocks: Int) -> MemoryNeed {
        host.description.cardMemory(
            capacity: capacity, length: length, blocks: blocks, limits: limits, isRounding: device.isRounding)
    }

    /// The one there is, or a larger one in its place.
    private func workspace(capacity: Int, length: Int, blocks: Int) throws(CUDAError) -> DeviceWorkspace {
        let place = blocks > 0 ? \CUDALanguageModel.traced : \.plain
        if let there = self[keyPath: place], there.capacity >= capacity, there.length == length,
            there.traces.count >= blocks
        {
            return there
        }
        self[keyPath: place] = nil
        try device.context.require(need(capacity, length, blocks))
        let made = try DeviceWorkspace(
            host.description, capacity: capacity, length: length, blocks: blocks, limits: limits,
            matrices: matrices, on: device)
        self[keyPath: place] = made
        return made
    }

    /// What enters the first block.
    func embed(_ pass: DevicePass) throws(CUDAError) {
        let x = pass.workspace.stream, slab = Slab(x.stride / 4)
        let (d4, scale, places) = (x.stride / 4, host.description.embeddingScale, DeviceArithmetic.pointer(positions))
        switch embedding {
        case .single(let rows):
            try device.context.launch(
                try device.kernel("embed", "embed"), pass.tokenCount, slab.count, threads: slab.threads,
                pass.workspace.ids, rows.array, places, scale, pass.length, d4, x.array)
        case .rounded(let rows):
            try device.context.launch(
                try device.kernel("embedRounded", "embed"), pass.tokenCount, slab.count, threads: slab.threads,
                pass.workspace.ids, rows.array, rows.stride / 4, places, scale, pass.length, d4, x.array)
        }
    }

    func cut(_ batch: TokenBatch, _ hook: HookPoint, _ residual: Matrix? = nil) throws -> DeviceCut {
        try host.check(batch, hook, residual)
        return DeviceCut(blocks, at: hook)
    }

    /// The stream of a pass, with the `value` of its tokens in its place in it.
    private func load(
        _ value: Matrix, _ tokens: Range<Int>, _ cut: DeviceCut, _ pass: DevicePass
    ) throws(CUDAError) {
        let (x, scratch) = (pass.workspace.stream, pass.workspace)
        guard cut.needsBase else { return try scratch.load(value, tokens, into: x) }
        try embed(pass)
        try cut.makeBase(pass)
        try scratch.load(value, tokens, into: scratch.normed)
        try pass.device.add(scratch.normed.slice, to: x, rows: pass.tokenCount)
    }

    private func store(_ pass: DevicePass, into losses: inout [Float], _ tokens: Range<Int>) throws(CUDAError) {
        try losses.withUnsafeMutableBufferPointer { (losses) throws(CUDAError) in
            try pass.workspace.storeLosses(into: losses.baseAddress! + tokens.lowerBound, count: tokens.count)
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
