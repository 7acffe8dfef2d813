import LinearAlgebra
import SparseCoding

extension CUDAArithmetic {
    private var prefixCount: Int { sae.layout.prefixes.count }

    package func computeLosses(projecting: Bool) throws {
        try context.activate()
        self.projecting = projecting
        let (slab, n) = (Slab(d4), prefixCount)
        let residual =
            isReviving ? try batch.makeResidual().array as any KernelArgument : NullPointer()
        if let sums {
            try context.launch(
                try kernel("reconstructGroups", "reconstruct"), rows, slab.count, threads: slab.threads, decoder.array,
                d4, selection.rowOffsets, selection.keptColumns, selection.keptValues, prefixes, n, batch.sums)
            try sums.sum(batch.sums, n * rows * stride)
            try context.launch(
                try kernel("leaveResiduals", "reconstruct"), rows, slab.count, threads: slab.threads, batch.x.array,
                decoderBias.array, d4, factors, n, batch.sums, batch.squares, residual)
        } else {
            try context.launch(
                try kernel("reconstruct", "reconstruct"), rows, slab.count, threads: slab.threads, batch.x.array,
                decoderBias.array, decoder.array, d4, selection.rowOffsets, selection.keptColumns,
                selection.keptValues, prefixes, factors, n, batch.sums, batch.squares, residual)
        }
        try differentiate(parts: setting.learned == nil ? 3 : 1)
    }

    private func differentiate(parts: Int) throws(CUDAError) {
        let shape = RowShape(d4)
        try context.launch(
            try kernel("differentiate\(shape.perThread)", "differentiate"), latents, threads: shape.threads,
            decoder.array, batch.sums, batch.centered.array, rows, d4, prefixes, selection.offsets,
            selection.entryRows, selection.entryValues, selection.deltas, setting.frozenCount, projecting, parts,
            decoderGradient.array, encoderGradient.array, encoderBiasGradient.array, latentSquares, touched)
    }

    package func replaceCodeGradients(
        _ learned: any StepLearning, _ context: SelectionContext, dead: [Int]
    ) throws {
        let device = self.context
        try device.activate()
        // Where nothing was shown the rule still has its penalty, and other ranks may have shown some.
        let shown = selection.shown!
        let blocks = (shown.count + 255) / 256
        let gradients = try DeviceArray<Float>(shown.count, on: device)
        try device.launch(
            try kernel("gatherDeltas", "differentiate"), blocks, threads: 256, selection.deltas, selection.places,
            shown.places, shown.count, gradients)
        let code = shown.count > 0 ? try gradients.values() : []
        try sparseEncoder.selected.withUnsafeBufferPointer { selected in
            try code.withUnsafeBufferPointer { code in
                try learned.backward(
                    sparseEncoder.candidates, UnsafeBufferPointer(rebasing: selected[..<shown.count]), context,
                    codeGradient: code
                ) { replaced in
                    if shown.count > 0 { try gradients.upload(replaced.baseAddress!, shown.count) }
                    try device.synchronize()
                }
            }
        }
        try device.launch(
            try kernel("scatterDeltas", "differentiate"), blocks, threads: 256, gradients, selection.places,
            shown.places, shown.count, selection.deltas)
        guard !dead.isEmpty, let auxiliary else { return }
        try device.launch(
            try kernel("clearDeltas", "differentiate"), min(dead.count, 4096), threads: 64, auxiliary.latents,
            dead.count, selection.offsets, selection.deltas)
    }

    package func computeEncoderGradients() throws {
        try context.activate()
        let n = prefixCount
        if setting.learned != nil { try differentiate(parts: 2) }
        if isReviving { try addAuxiliaryGradients() }
        let (slab, parts) = (Slab(d4), latentParts)
        let rowParts = (rows + BatchArrays.partRows - 1) / BatchArrays.partRows
        try context.launch(
            try kernel("sumRows", "bias"), rowParts, slab.count, threads: slab.threads, batch.sums, rows, d4,
            batch.rowParts)
        if sae.subtractsDecoderBias {
            try context.launch(
                try kernel("sumLatents", "bias"), parts.count, slab.count, threads: slab.threads, encoder.array,
                encoderBiasGradient.array, latents, parts.share, d4, parts.sums)
        }
        // What the losses give of it is the same on every rank, and is to count once.
        try context.launch(
            try kernel("addParts", "bias"), biasSquares.count, threads: 256, batch.rowParts,
            peers?.isFirst ?? true ? rowParts : 0,
            parts.sums, sae.subtractsDecoderBias ? parts.count : 0, Float(1), stride, decoderBiasGradient.array,
            biasSquares)
        if let sums {
            try sums.sum(decoderBiasGradient.array, stride)
            try context.launch(
                try kernel("addParts", "bias"), biasSquares.count, threads: 256, decoderBiasGradient.array, 1,
                parts.sums, 0, Float(1), stride, decoderBiasGradient.array, biasSquares)
        }
        try context.launch(
            try kernel("sumParts", "bias"), squareParts.count, threads: 1024, latentSquares, latents, squareParts)
        try context.launch(
            try kernel("finishNumbers", "bias"), n + 2, threads: 1024, batch.squares, rows * slab.count, n, squareParts,
            squareParts.count, biasSquares, biasSquares.count, numbers)
        try numbers.download(readNumbers.elements, n + 6)
    }

    package func results() throws -> StepResults {
        try context.activate()
        try context.synchronize()
        let (n, numbers) = (prefixCount, readNumbers.elements)
        // All ranks have the same gradient of b_dec.
        let square = numbers[n] + (peers?.isFirst ?? true ? numbers[n + 1] : 0)
        let own = StepResults(
            squares: (0..<n).map { numbers[$0] }, auxiliary: isReviving ? numbers[n + 3] : 0,
            gradientNorm: square.squareRoot())
        return try peers?.whole(own, gradientSquare: square) ?? own
    }
}

/// [parts, D] of Σ over latents.
final class LatentParts {
    /// Latents of a part, and parts: enough of them for the multiprocessors, and few enough that adding them up is quick.
    let share: Int
    let count: Int
    let sums: DeviceArray<Float>

    init(_ latents: Int, stride: Int, on context: CUDAContext) throws(CUDAError) {
        // `LATENTS` in bias.cu at most.
        share = min(128, max(8, latents / 512))
        count = (latents + share - 1) / share
        sums = try DeviceArray(count * stride, on: context)
    }
}
