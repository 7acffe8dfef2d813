import LinearAlgebra
import SparseCoding

extension CUDAArithmetic {
    private var prefixCount: Int { sae.layout.prefixes.count }

    package func computeLosses(projecting: Bool) throws {
        try context.activate()
        self.projecting = projecting
        let (slab, n) = (Slab(d4), prefixCount)
        let residual = dead.isEmpty ? nil : try batch.makeResidual()
        try context.launch(
            try kernel("reconstruct", "reconstruct"), rows, slab.count, threads: slab.threads, batch.x.array,
            decoderBias.array, decoder.array, d4, selection.rowOffsets, selection.keptColumns, selection.keptValues,
            prefixes, factors, n, batch.sums, batch.squares,
            residual.map { $0.array as any KernelArgument } ?? NullPointer())
        try context.launch(
            try kernel("sumSquares", "bias"), n, threads: 1024, batch.squares, rows * slab.count, numbers)
        try differentiate(parts: setting.learned == nil ? 3 : 1)
    }

    private func differentiate(parts: Int) throws(CUDAError) {
        let shape = RowShape(d4)
        try context.launch(
            try kernel("differentiate\(shape.perThread)", "differentiate"), latents, threads: shape.threads,
            decoder.array, batch.sums, batch.centered.array, rows, d4, prefixes, selection.offsets,
            selection.entryRows, selection.entryValues, selection.deltas, setting.frozenCount, projecting, parts,
            decoderGradient.array, encoderGradient.array, encoderBiasGradient.array, decoderSquares, encoderSquares,
            touched)
    }

    package func replaceCodeGradients(
        _ learned: LearnedGradients, _ context: SelectionContext, dead: [Int]
    ) throws {
        let device = self.context
        try device.activate()
        guard let shown = selection.shown, shown.count > 0 else { return }
        let blocks = (shown.count + 255) / 256
        let gradients = try DeviceArray<Float>(shown.count, on: device)
        try device.launch(
            try kernel("gatherDeltas", "differentiate"), blocks, threads: 256, selection.deltas, selection.places,
            shown.places, shown.count, gradients)
        let code = try gradients.values()
        try pass.selected.withUnsafeBufferPointer { selected in
            try code.withUnsafeBufferPointer { code in
                try learned.backward(
                    pass.candidates, UnsafeBufferPointer(rebasing: selected[..<shown.count]), context,
                    codeGradient: code
                ) { replaced in
                    try gradients.upload(replaced.baseAddress!, shown.count)
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
        if !dead.isEmpty { try addAuxiliaryGradients() }
        let slab = Slab(d4)
        let rowParts = (rows + BatchArrays.partRows - 1) / BatchArrays.partRows
        try context.launch(
            try kernel("sumRows", "bias"), rowParts, slab.count, threads: slab.threads, batch.sums, rows, d4,
            batch.rowParts)
        var latentParts = 0
        if sae.subtractsDecoderBias {
            latentParts = (latents + LatentParts.latents - 1) / LatentParts.latents
            try context.launch(
                try kernel("sumLatents", "bias"), latentParts, slab.count, threads: slab.threads, encoder.array,
                encoderBiasGradient.array, latents, d4, try latentSums.array(latentParts * stride, on: context))
        }
        let blocks = (stride + 255) / 256
        try context.launch(
            try kernel("addParts", "bias"), blocks, threads: 256, batch.rowParts, rowParts,
            try latentSums.array(max(latentParts, 1) * stride, on: context), latentParts, Float(1), stride,
            decoderBiasGradient.array, biasSquares)
        let sum = try kernel("sumSquares", "bias")
        for (i, (squares, count)) in [(decoderSquares, latents), (encoderSquares, latents), (biasSquares, blocks)]
            .enumerated()
        {
            try context.launch(sum, 1, threads: 1024, squares, count, DeviceSlice(of: numbers, at: n + i))
        }
        try numbers.download(readNumbers.elements, n + 6)
    }

    package func results() throws -> StepResults {
        try context.activate()
        try context.synchronize()
        let (n, numbers) = (prefixCount, readNumbers.elements)
        return StepResults(
            squares: (0..<n).map { numbers[$0] }, auxiliary: dead.isEmpty ? 0 : numbers[n + 3],
            gradientNorm: (numbers[n] + numbers[n + 1] + numbers[n + 2]).squareRoot())
    }
}

/// [parts, D] of Σ over latents, made when it is first needed.
final class LatentParts {
    /// `LATENTS` in bias.cu.
    static let latents = 128
    private var made: DeviceArray<Float>?

    func array(_ count: Int, on context: CUDAContext) throws(CUDAError) -> DeviceArray<Float> {
        if let made, made.count >= count { return made }
        let array = try DeviceArray<Float>(count, on: context)
        made = array
        return array
    }
}
