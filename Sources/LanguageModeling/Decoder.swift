import Kernels
import LinearAlgebra
import Synchronization
import TensorFiles

/// A decoder: token embedding, blocks, head, as a description says. Weights are in memory once, in the form that their file has.
///
/// Backward computes the gradient of the residual stream only, never of a weight.
package final class Decoder: LanguageModel {
    package let description: DecoderDescription
    package var configuration: ModelConfiguration { description.configuration }
    /// `[V, d]`.
    package let embedding: WeightMatrix
    /// `[contextLength, d]`, added to the embedding.
    package let positions: Matrix?
    package let blocks: [DecoderBlock]
    package let head: LanguageHead
    private let workspaces: WorkspacePool
    /// The mean of the head's rows, once it was asked for.
    let meanHeadRow = Mutex<Matrix?>(nil)

    /// Tokens that a lane runs together, in whole sequences: enough that packing the weights for each product is a small
    /// part of it.
    static let passTokens = 512

    init(
        _ description: DecoderDescription, embedding: WeightMatrix, positions: Matrix?, blocks: [DecoderBlock],
        head: LanguageHead
    ) {
        self.description = description
        self.embedding = embedding
        self.positions = positions
        self.blocks = blocks
        self.head = head
        workspaces = WorkspacePool(
            description,
            panelCount: blocks.reduce(head.weight.panelCount) { max($0, $1.panelCount) })
    }

    /// Asks for the memory of passes.
    func requireWorkspaces(length: Int, blocks: Int) throws { try workspaces.require(length: length, blocks: blocks) }

    package func residual(of batch: TokenBatch, at hook: HookPoint) throws -> Matrix {
        let cut = try cut(batch, hook)
        try workspaces.require(length: batch.length, blocks: 0)
        let result = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        forEachPass(batch) { pass, tokens in
            // The stream itself is made where it is wanted.
            let value = result.row(tokens.lowerBound)
            let x = cut.needsBase ? pass.workspace.stream.elements : value
            embed(batch, tokens, into: x)
            cut.read(x, into: value, pass)
        }
        return result
    }

    /// What enters the first block, `[n, d]`, of some tokens of a batch.
    private func embed(_ batch: TokenBatch, _ tokens: Range<Int>, into x: UnsafeMutablePointer<Float>) {
        for (row, token) in tokens.enumerated() {
            embed(batch.ids[token], at: token % batch.length, into: x + row * configuration.dModel)
        }
    }

    private func embed(_ id: Int32, at position: Int, into x: UnsafeMutablePointer<Float>) {
        let d = configuration.dModel
        embedding.widen(Int(id)..<Int(id) + 1, into: x)
        if description.embeddingScale != 1 { kernels.scale(x, description.embeddingScale, d) }
        if let positions { kernels.addScaled(x, positions.row(position), 1, d) }
    }

    /// The stream of a pass with `value` in its place in it, `[n, d]`. `base` receives what the value was added to.
    func stream(
        _ value: Matrix, _ cut: DecoderCut, _ batch: TokenBatch, _ tokens: Range<Int>, keepingBase base: Matrix? = nil,
        _ pass: DecoderPass
    ) -> UnsafeMutablePointer<Float> {
        let (x, count) = (pass.workspace.stream.elements, tokens.count * configuration.dModel)
        let rows = value.row(tokens.lowerBound)
        guard cut.needsBase else {
            x.update(from: rows, count: count)
            return x
        }
        embed(batch, tokens, into: x)
        cut.makeBase(x, pass)
        base?.row(tokens.lowerBound).update(from: x, count: count)
        kernels.addScaled(x, rows, 1, count)
        return x
    }

    package func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        let cut = try cut(batch, hook, residual)
        let targets = batch.targets
        return [Float](unsafeUninitializedCapacity: batch.tokenCount) { losses, count in
            forEachPass(batch) { pass, tokens in
                let x = stream(residual, cut, batch, tokens, pass)
                cut.forward(x, pass)
                head.losses(
                    x, targets: targets[tokens], into: losses.baseAddress! + tokens.lowerBound, pass.workspace.head)
            }
            count = batch.tokenCount
        }
    }

    /// The losses [B·T] that follow from the residual stream after the last block.
    private func losses(of batch: TokenBatch, top: Matrix) -> [Float] {
        let targets = batch.targets
        return [Float](unsafeUninitializedCapacity: batch.tokenCount) { losses, count in
            forEachPass(batch) { pass, tokens in
                head.losses(
                    top.row(tokens.lowerBound), targets: targets[tokens],
                    into: losses.baseAddress! + tokens.lowerBound, pass.workspace.head)
            }
            count = batch.tokenCount
        }
    }

    package func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix) {
        let cut = try cut(batch, hook, residual)
        try workspaces.require(length: batch.length, blocks: cut.traceCount)
        let gradient = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        let targets = batch.targets
        let losses = [Float](unsafeUninitializedCapacity: batch.tokenCount) { losses, count in
            forEachPass(batch) { pass, tokens in
                let x = stream(residual, cut, batch, tokens, pass), dx = gradient.row(tokens.lowerBound)
                let traces = pass.workspace.traces(cut.traceCount)
                cut.forward(x, keeping: traces, pass)
                head.losses(
                    x, targets: targets[tokens], into: losses.baseAddress! + tokens.lowerBound, gradient: dx,
                    pass.workspace.head)
                cut.backward(dx, traces, pass)
            }
            count = batch.tokenCount
        }
        return (losses, gradient)
    }

    package func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay {
        let cut = try cut(batch, hook, residual)
        let past = cut.above.map { _ in KeyValues(batch, description.widestAttention) }
        let top = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        let base = cut.needsBase ? Matrix(rows: batch.tokenCount, columns: configuration.dModel) : nil
        forEachPass(batch) { pass, tokens in
            let x = stream(residual, cut, batch, tokens, keepingBase: base, pass)
            cut.forward(x, pass) { past[$0].keep(pass.workspace.queryKeyValue.elements, tokens) }
            top.row(tokens.lowerBound).update(from: x, count: tokens.count * configuration.dModel)
        }
        return DecoderReplay(
            batch, residual: residual, past: past, base: base, cut: cut, head: head, workspaces: workspaces
        ) { [self] in losses(of: batch, top: top) }
    }

    package func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix {
        let cut = try cut(batch, hook, residual)
        let logits = Matrix(rows: batch.tokenCount, columns: configuration.vocabularySize)
        forEachPass(batch) { pass, tokens in
            let x = stream(residual, cut, batch, tokens, pass)
            cut.forward(x, pass)
            head.logits(x, rows: tokens.count, into: logits.row(tokens.lowerBound), pass.workspace.head)
        }
        return logits
    }

    package func directLogits(of directions: Matrix) -> Matrix {
        precondition(directions.columns == configuration.dModel, "directions of \(directions.columns) dimensions")
        let logits = Matrix(rows: directions.rows, columns: configuration.vocabularySize)
        head.directLogits(directions.elements, rows: directions.rows, into: logits.elements)
        extendLifetime(directions)
        return logits
    }

    /// Cuts a batch into groups of whole sequences and runs `body` on each with its tokens, on several lanes at once.
    ///
    /// The cut depends on the batch and the number of lanes alone, and so do the bits. For SmolLM2-135M from layer 15 the
    /// traces of a pass of `passTokens` take 150 MiB.
    func forEachPass(
        _ batch: TokenBatch, _ rule: BackwardRule = .plain, _ body: (DecoderPass, _ tokens: Range<Int>) -> Void
    ) {
        let length = batch.length
        Lanes.shared.forShares(batch.sequenceCount) { lanes, share in
            let together = min(share.count, max(1, Self.passTokens * lanes.count / length))
            workspaces.withWorkspace(on: lanes, capacity: together * length, length: length) { workspace in
                for first in stride(from: share.lowerBound, to: share.upperBound, by: together) {
                    let last = min(first + together, share.upperBound)
                    body(
                        DecoderPass(workspace: workspace, sequences: last - first, length: length, rule: rule),
                        first * length..<last * length)
                }
            }
        }
    }

    private func cut(_ batch: TokenBatch, _ hook: HookPoint, _ residual: Matrix? = nil) throws -> DecoderCut {
        try check(batch, hook, residual)
        return DecoderCut(blocks, at: hook)
    }

    package func check(_ batch: TokenBatch, _ hook: HookPoint, _ residual: Matrix? = nil) throws {
        guard (0..<configuration.layerCount).contains(hook.block) else {
            throw LanguageModelError.layerOutOfRange(layer: hook.block, layerCount: configuration.layerCount)
        }
        guard batch.length <= configuration.contextLength else {
            throw LanguageModelError.sequenceTooLong(
                length: batch.length, contextLength: configuration.contextLength)
        }
        for (position, id) in batch.ids.enumerated() where id < 0 || id >= configuration.vocabularySize {
            throw LanguageModelError.tokenOutOfRange(
                id: id, position: position, vocabularySize: configuration.vocabularySize)
        }
        if let residual {
            precondition(
                residual.rows == batch.tokenCount && residual.columns == configuration.dModel,
                "a residual of \(residual.rows) × \(residual.columns) for \(batch.tokenCount) tokens")
        }
    }
}
