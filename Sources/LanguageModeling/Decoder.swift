import LinearAlgebra

/// A decoder of the Llama family: token embedding, blocks, head. Weights in single precision, in memory once.
///
/// Backward computes the gradient of the residual stream only, never of a weight.
final class Decoder: LanguageModel {
    let configuration: ModelConfiguration
    /// `[V, d]`.
    private let embedding: Matrix
    private let blocks: [DecoderBlock]
    private let head: LanguageHead

    init(configuration: ModelConfiguration, embedding: Matrix, blocks: [DecoderBlock], head: LanguageHead) {
        self.configuration = configuration
        self.embedding = embedding
        self.blocks = blocks
        self.head = head
    }

    func residual(of batch: TokenBatch, afterLayer layer: Int) throws -> Matrix {
        try check(batch, layer)
        let d = configuration.dModel
        let result = Matrix(rows: batch.tokenCount, columns: d)
        for token in 0..<batch.tokenCount {
            result.row(token).update(from: embedding.row(Int(batch.ids[token])), count: d)
        }
        forEachPass(batch, goesBackward: false) { pass, first in
            forward(result.row(first), blocks[...layer], pass)
        }
        return result
    }

    func losses(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> [Float] {
        try check(batch, layer, residual)
        var losses = [Float](repeating: 0, count: batch.tokenCount)
        let targets = batch.targets
        let x = residual.copy()
        losses.withUnsafeMutableBufferPointer { losses in
            forEachPass(batch, goesBackward: false) { pass, first in
                forward(x.row(first), blocks[(layer + 1)...], pass)
                head.losses(
                    x.row(first), targets: targets[first..<first + pass.tokenCount],
                    into: losses.baseAddress! + first)
            }
        }
        return losses
    }

    func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, afterLayer layer: Int
    ) throws -> (losses: [Float], gradient: Matrix) {
        try check(batch, layer, residual)
        var losses = [Float](repeating: 0, count: batch.tokenCount)
        let gradient = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        let targets = batch.targets
        let x = residual.copy()
        let above = Array(blocks[(layer + 1)...])
        var traces: [BlockTrace] = []
        losses.withUnsafeMutableBufferPointer { losses in
            forEachPass(batch, goesBackward: true) { pass, first in
                if traces.first?.input.rows != pass.tokenCount {
                    traces = above.map { _ in BlockTrace(tokenCount: pass.tokenCount, configuration) }
                }
                for (block, trace) in zip(above, traces) { block.forward(x.row(first), keeping: trace, pass) }
                head.losses(
                    x.row(first), targets: targets[first..<first + pass.tokenCount],
                    into: losses.baseAddress! + first, gradient: gradient.row(first))
                for (block, trace) in zip(above, traces).reversed() {
                    block.backward(gradient.row(first), trace, pass)
                }
            }
        }
        return (losses, gradient)
    }

    func replay(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> any SuffixReplay {
        try check(batch, layer, residual)
        var losses = [Float](repeating: 0, count: batch.tokenCount)
        let targets = batch.targets
        let x = residual.copy()
        let above = Array(blocks[(layer + 1)...])
        let attention = configuration.causalAttention
        let past = above.map { _ in Matrix(rows: batch.tokenCount, columns: attention.keyValueWidth) }
        losses.withUnsafeMutableBufferPointer { losses in
            var trace: BlockTrace?
            forEachPass(batch, goesBackward: false) { pass, first in
                let kept =
                    trace.flatMap { $0.input.rows == pass.tokenCount ? $0 : nil }
                    ?? BlockTrace(tokenCount: pass.tokenCount, configuration)
                trace = kept
                for (block, past) in zip(above, past) {
                    block.forward(x.row(first), keeping: kept, pass)
                    for row in 0..<pass.tokenCount {
                        let keys = kept.queryKeyValue.row(row) + attention.outputWidth
                        past.row(first + row).update(from: keys, count: attention.keyValueWidth)
                    }
                }
                head.losses(
                    x.row(first), targets: targets[first..<first + pass.tokenCount],
                    into: losses.baseAddress! + first)
            }
        }
        return DecoderReplay(batch, losses: losses, past: past, blocks: above, head: head, configuration)
    }

    func logits(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> Matrix {
        try check(batch, layer, residual)
        let logits = Matrix(rows: batch.tokenCount, columns: configuration.vocabularySize)
        let x = residual.copy()
        forEachPass(batch, goesBackward: false) { pass, first in
            forward(x.row(first), blocks[(layer + 1)...], pass)
            head.logits(x.row(first), rows: pass.tokenCount, into: logits.row(first))
        }
        return logits
    }

    func directLogits(of directions: Matrix) -> Matrix {
        precondition(directions.columns == configuration.dModel, "directions of \(directions.columns) dimensions")
        let logits = Matrix(rows: directions.rows, columns: configuration.vocabularySize)
        head.directLogits(directions.elements, rows: directions.rows, into: logits.elements)
        extendLifetime(directions)
        return logits
    }

    private func forward(_ x: UnsafeMutablePointer<Float>, _ blocks: ArraySlice<DecoderBlock>, _ pass: DecoderPass) {
        guard !blocks.isEmpty else { return }
        // Nothing will go backward, so every block may keep its trace in the same place.
        let trace = BlockTrace(tokenCount: pass.tokenCount, configuration)
        for block in blocks { block.forward(x, keeping: trace, pass) }
    }

    /// Cuts a batch into groups of whole sequences and runs `body` on each with its first token.
    ///
    /// 256 tokens a lane keep the products efficient and a pass's buffers near the caches; for SmolLM2-135M from
    /// layer 15 the traces of such a pass take 75 MiB a lane.
    private func forEachPass(_ batch: TokenBatch, goesBackward: Bool, _ body: (DecoderPass, Int) -> Void) {
        let together = max(1, 256 * Lanes.shared.count / batch.length)
        var pass: DecoderPass?
        for first in stride(from: 0, to: batch.sequenceCount, by: together) {
            let sequences = min(together, batch.sequenceCount - first)
            if pass?.sequences != sequences {
                pass = DecoderPass(
                    sequences: sequences, length: batch.length, goesBackward: goesBackward, configuration)
            }
            body(pass!, first * batch.length)
        }
    }

    private func check(_ batch: TokenBatch, _ layer: Int, _ residual: Matrix? = nil) throws {
        guard (0..<configuration.layerCount).contains(layer) else {
            throw LanguageModelError.layerOutOfRange(layer: layer, layerCount: configuration.layerCount)
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
