import LanguageModeling
import LinearAlgebra
import TensorFiles

// What a model's answers are measured by, the loss among that, and gradients under a rule: see Decoder+Metrics.
extension CUDALanguageModel {
    package func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        try values(of: batch, residual: residual, at: hook, metric: .loss)
    }

    package func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix) {
        let (losses, gradient) = try valuesAndGradient(
            of: batch, residual: residual, at: hook, metric: .loss, weights: nil, rule: .plain)
        return (losses, gradient)
    }

    package func values(of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric) throws
        -> [Float]
    {
        try run(batch, residual, hook, metric, weights: nil, .plain, differentiating: false).values
    }

    package func valuesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric, weights: [Float]?,
        rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix) {
        let found = try run(batch, residual, hook, metric, weights: weights, rule, differentiating: true)
        return (found.values, found.gradient!)
    }

    package func finalScales(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        let cut = try cut(batch, hook, residual)
        return try inTurn {
            var scales = [Float](repeating: 0, count: batch.tokenCount)
            try forEachPass(batch, blocks: 0) { (pass, tokens) throws(CUDAError) in
                try load(residual, tokens, cut, pass)
                try cut.forward(pass)
                try head.scales(pass.workspace.stream, pass)
                try store(pass, into: &scales, tokens)
            }
            return scales
        }
    }

    private func run(
        _ batch: TokenBatch, _ residual: Matrix, _ hook: HookPoint, _ metric: TokenMetric, weights: [Float]?,
        _ rule: BackwardRule, differentiating: Bool
    ) throws -> (values: [Float], gradient: Matrix?) {
        try host.check(batch, hook, residual)
        try check(metric, at: hook.block)
        if case .divergence(let own) = metric { try host.check(batch, hook, own) }
        let cut = DeviceCut(Array(blocks(for: metric)), at: hook)
        // Padding answers nothing.
        let weights =
            differentiating
            ? (weights ?? [Float](repeating: 1, count: batch.tokenCount)).enumerated().map {
                batch.isPadding($0) ? 0 : $1
            } : []
        return try inTurn {
            let words = try words(of: metric)
            var values = [Float](repeating: 0, count: batch.tokenCount)
            let gradient =
                try differentiating
                ? matrices.matrix(rows: batch.tokenCount, columns: configuration.dModel) : nil
            // As many as for any metric, so that one workspace serves all; the head's gradient takes what a traced block's does, be there one or not.
            let traceCount = differentiating ? max(1, DeviceCut(self.blocks, at: hook).traceCount) : 0
            try forEachPass(batch, blocks: traceCount, keepsReference: metric.isDivergence, rule) {
                (pass, tokens) throws(CUDAError) in
                let scratch = pass.workspace, dx = differentiating ? scratch.gradient : nil
                if case .divergence(let own) = metric {
                    try load(own, tokens, cut, pass)
                    try cut.forward(pass)
                    try head.keepReference(scratch.stream, pass)
                    // The copy on its way reads what the next one is staged in.
                    try device.context.synchronize()
                }
                try load(residual, tokens, cut, pass)
                try cut.forward(pass, keeping: differentiating ? scratch.traces : [])
                if differentiating { try scratch.load(weights: weights[tokens]) }
                try measure(metric, by: words, gradient: dx, pass)
                if let dx { try cut.backward(dx, scratch.traces, pass) }
                try store(pass, into: &values, tokens)
                if let dx, let gradient { try scratch.store(dx, into: gradient, tokens) }
            }
            for position in values.indices where batch.isPadding(position) { values[position] = 0 }
            return (values, gradient)
        }
    }

    /// The blocks that are run: those up to the layer that a direction is of.
    private func blocks(for metric: TokenMetric) -> ArraySlice<DeviceBlock> {
        if case .direction(_, let layer) = metric { return blocks[...layer] }
        return blocks[...]
    }

    /// The rows that activations are read by, `[n, d]`.
    private func words(of metric: TokenMetric) throws(CUDAError) -> DeviceMatrix? {
        switch metric {
        case .loss, .divergence: nil
        case .logitDifference(let a, let b): try head.words([a, b], on: device)
        case .direction(let direction, _): try device.matrix(Matrix(vector: direction))
        }
    }

    /// Values of the stream of a pass after the last block that was run, and the gradient by it.
    private func measure(
        _ metric: TokenMetric, by words: DeviceMatrix?, gradient dx: DeviceMatrix?, _ pass: DevicePass
    ) throws(CUDAError) {
        let x = pass.workspace.stream
        switch metric {
        case .loss: try head.losses(x, gradient: dx, pass)
        case .divergence: try head.divergences(x, gradient: dx, pass)
        case .logitDifference: try head.differences(x, of: words!, gradient: dx, pass)
        case .direction: try device.measure(x, by: words!, gradient: dx, pass)
        }
    }
}

extension TokenMetric {
    fileprivate var isDivergence: Bool {
        if case .divergence = self { true } else { false }
    }
}
