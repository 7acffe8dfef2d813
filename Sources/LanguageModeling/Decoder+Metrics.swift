import Kernels
import LinearAlgebra
import TensorFiles

// What a decoder's answers are measured by, and gradients of that under a rule.
extension Decoder {
    package func values(of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric) throws
        -> [Float]
    {
        if case .loss = metric { return try losses(of: batch, residual: residual, at: hook) }
        return try run(batch, residual, hook, metric, weights: nil, .plain, gradient: nil)
    }

    package func valuesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric, weights: [Float]?,
        rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix) {
        let gradient = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        let values = try run(batch, residual, hook, metric, weights: weights, rule, gradient: gradient)
        return (values, gradient)
    }

    private func run(
        _ batch: TokenBatch, _ residual: Matrix, _ hook: HookPoint, _ metric: TokenMetric, weights: [Float]?,
        _ rule: BackwardRule, gradient: Matrix?
    ) throws -> [Float] {
        try check(batch, hook, residual)
        try check(metric, at: hook.block)
        let cut = DecoderCut(Array(blocks(for: metric)), at: hook)
        try requireWorkspaces(length: batch.length, blocks: gradient == nil ? 0 : cut.traceCount)
        let reference = try top(of: metric, batch, hook)
        // Padding answers nothing.
        let weights = (weights ?? [Float](repeating: 1, count: batch.tokenCount)).enumerated().map {
            batch.isPadding($0) ? 0 : $1
        }
        let targets = batch.targets
        var values = [Float](repeating: 0, count: batch.tokenCount)
        values.withUnsafeMutableBufferPointer { buffer in
            let values = SendablePointer(buffer.baseAddress!)
            forEachPass(batch, rule) { pass, tokens in
                let x = stream(residual, cut, batch, tokens, pass)
                let traces = gradient.map { _ in pass.workspace.traces(cut.traceCount) }
                cut.forward(x, keeping: traces, pass)
                let dx = gradient?.row(tokens.lowerBound)
                measure(
                    metric, x, reference?.row(tokens.lowerBound), targets[tokens], Array(weights[tokens]),
                    values.pointer + tokens.lowerBound, dx, pass)
                if let dx, let traces { cut.backward(dx, traces, pass) }
            }
        }
        for position in values.indices where batch.isPadding(position) { values[position] = 0 }
        return values
    }

    /// The blocks that are run: those up to the layer that a direction is of.
    private func blocks(for metric: TokenMetric) -> ArraySlice<DecoderBlock> {
        if case .direction(_, let layer) = metric { return blocks[...layer] }
        return blocks[...]
    }

    /// The stream after the last block that a divergence is from, `[B·T, d]`.
    private func top(of metric: TokenMetric, _ batch: TokenBatch, _ hook: HookPoint) throws -> Matrix? {
        guard case .divergence(let own) = metric else { return nil }
        return try top(of: batch, residual: own, at: hook)
    }

    /// The residual stream after the last block, `[B·T, d]`.
    private func top(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix {
        try check(batch, hook, residual)
        let cut = DecoderCut(blocks, at: hook)
        let top = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        forEachPass(batch) { pass, tokens in
            let x = stream(residual, cut, batch, tokens, pass)
            cut.forward(x, pass)
            top.row(tokens.lowerBound).update(from: x, count: tokens.count * configuration.dModel)
        }
        return top
    }

    /// Values of the rows `x` after the last block that was run, and the gradient by them.
    private func measure(
        _ metric: TokenMetric, _ x: UnsafePointer<Float>, _ reference: UnsafePointer<Float>?,
        _ targets: ArraySlice<Int32>, _ weights: [Float], _ values: UnsafeMutablePointer<Float>,
        _ dx: UnsafeMutablePointer<Float>?, _ pass: DecoderPass
    ) {
        let (d, scratch) = (configuration.dModel, pass.workspace.head)
        switch metric {
        case .loss:
            head.losses(x, targets: targets, into: values, gradient: dx, weights: weights, rule: pass.rule, scratch)
        case .divergence:
            guard let reference else { preconditionFailure("a divergence from nothing") }
            head.divergences(x, from: reference, weights: weights, into: values, gradient: dx, pass.rule, scratch)
        case .logitDifference(let a, let b):
            head.logitDifferences(x, a, b, weights: weights, into: values, gradient: dx, pass.rule, scratch)
        case .direction(let direction, _):
            direction.withUnsafeBufferPointer { u in
                for r in 0..<weights.count {
                    values[r] = kernels.dot(x + r * d, u.baseAddress!, d)
                    guard let dx else { continue }
                    for i in 0..<d { dx[r * d + i] = weights[r] * u[i] }
                }
            }
        }
    }

    package func finalScales(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        let top = try top(of: batch, residual: residual, at: hook)
        var scales = [Float](repeating: 0, count: batch.tokenCount)
        scales.withUnsafeMutableBufferPointer {
            head.scales(top.elements, rows: batch.tokenCount, into: $0.baseAddress!)
        }
        extendLifetime(top)
        return scales
    }

    package func headRows(_ ids: [Int32]) throws -> Matrix {
        let result = Matrix(rows: ids.count, columns: configuration.dModel)
        for (r, id) in ids.enumerated() {
            if id == -1 {
                result.row(r).update(from: meanRow().elements, count: configuration.dModel)
                continue
            }
            guard (0..<configuration.vocabularySize).contains(Int(id)) else {
                throw LanguageModelError.metricToken(id: id, vocabularySize: configuration.vocabularySize)
            }
            head.row(Int(id), into: result.row(r))
        }
        return result
    }

    /// The mean `[1, d]` of the head's rows over all tokens.
    private func meanRow() -> Matrix {
        meanHeadRow.withLock { known in
            if let known { return known }
            let (V, d) = (configuration.vocabularySize, configuration.dModel)
            let row = Matrix(rows: 1, columns: d)
            var sums = [Double](repeating: 0, count: d)
            for id in 0..<V {
                head.row(id, into: row.elements)
                for i in 0..<d { sums[i] += Double(row[i]) }
            }
            for i in 0..<d { row[i] = Float(sums[i] / Double(V)) }
            known = row
            return row
        }
    }
}
