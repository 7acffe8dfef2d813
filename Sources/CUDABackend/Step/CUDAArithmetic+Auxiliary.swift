import LinearAlgebra
import SparseCoding

/// What dead latents take: z [B, dead] dense, since they are few or many, and a block of them with its gradients.
final class AuxiliaryArrays {
    /// Dead latents that there is room for.
    let capacity: Int
    let latents: DeviceArray<Int32>
    /// z [B, dead].
    let codes: DeviceArray<Float>
    /// r − ê [B, D].
    let left: DeviceMatrix
    /// Rows of a block's dead latents: encoder or decoder, then their gradients.
    let rows, decoderRows, encoderRows: DeviceMatrix
    /// ∂L/∂z [B, block].
    let deltas: DeviceArray<Float>
    let along: DeviceArray<Double>
    let biases: DeviceArray<Float>
    let mean: DeviceMatrix
    let rowSquares: DeviceArray<Double>
    let spare: DeviceArray<Double>
    /// [B, most] what was chosen of each token, and [B] how many they are: what ranks choose from.
    let columns: DeviceArray<Int32>
    let values: DeviceArray<Float>
    let marks: DeviceArray<UInt8>
    let counts: DeviceArray<Int32>

    /// Dead latents of a block.
    static let block = 8192

    /// - Parameter most: dead latents that a token reconstructs with, where ranks choose among them; 0 where there are none.
    init(dead: Int, rows count: Int, dIn: Int, most: Int, on context: CUDAContext) throws(CUDAError) {
        let (block, stride) = (min(dead, Self.block), DeviceMatrix.stride(dIn))
        var need = MemoryNeed(
            "reviving \(dead) dead latents on batches of \(count) needs", advice: "lower --batch, or use --device cpu")
        need.add("codes of dead latents", 4, count, dead)
        need.add("gradients of dead latents", 4 * count + 12 * stride, block)
        need.add("batches", 4 * stride, count)
        need.add("choices of ranks", 9 * count, most)
        try context.require(need)
        capacity = dead
        latents = try DeviceArray(dead, on: context)
        codes = try DeviceArray(count * dead, on: context)
        left = try DeviceMatrix(rows: count, columns: dIn, on: context)
        rows = try DeviceMatrix(rows: block, columns: dIn, on: context)
        decoderRows = try DeviceMatrix(rows: block, columns: dIn, on: context)
        encoderRows = try DeviceMatrix(rows: block, columns: dIn, on: context)
        deltas = try DeviceArray(count * block, on: context)
        along = try DeviceArray(block, on: context)
        biases = try DeviceArray(block, on: context)
        mean = try DeviceMatrix(rows: 1, columns: dIn, on: context)
        rowSquares = try DeviceArray(count, on: context)
        spare = try DeviceArray(max(2, (stride + 31) / 32), on: context)
        columns = try DeviceArray(count * most, on: context)
        values = try DeviceArray(count * most, on: context)
        marks = try DeviceArray(count * most, on: context)
        counts = try DeviceArray(count, on: context)
    }
}

extension CUDAArithmetic {
    package func chooseAuxiliary(dead: [Int]) throws {
        try context.activate()
        (self.dead, isReviving) = (dead, true)
        if (auxiliary?.capacity ?? 0) < max(dead.count, 1) {
            // The older ones go first: both might not fit.
            try context.synchronize()
            auxiliary = nil
            let room = min(latents, max(1, dead.count + dead.count / 4))
            auxiliary = try AuxiliaryArrays(
                dead: room, rows: batch.rows, dIn: dIn, most: peers == nil ? 0 : min(setting.plan.auxiliaryCount, room),
                on: context)
        }
        let arrays = auxiliary!
        try upload(dead.map(Int32.init), to: arrays.latents)
        try forBlocks { (block) throws(CUDAError) in
            try gather(encoder, block, into: arrays.rows)
            try products.multiply(
                batch.centered.slice, arrays.rows.slice.transposed, into: codes(block), m: rows, n: block.count,
                k: dIn, on: context.stream)
        }
        if !dead.isEmpty {
            try context.launch(
                try kernel("chooseLargest", "auxiliary"), rows, threads: 256, arrays.codes, dead.count, dead.count,
                arrays.latents, encoderBias.array, min(setting.plan.auxiliaryCount, dead.count))
        }
        guard let peers else { return }
        let most = min(setting.plan.auxiliaryCount, dead.count)
        let chosen = try peers.largest(
            setting.plan.auxiliaryCount, ofEachRow: { try self.chosen(arrays, most) }, dead: dead.count)
        guard let chosen, most > 0 else { return }
        var marks = [UInt8](repeating: 0, count: rows * most)
        for b in 0..<rows {
            for (i, e) in chosen.codes.entries(ofRow: b).enumerated() { marks[b * most + i] = chosen.marks[e] }
        }
        try upload(marks, to: arrays.marks)
        try context.launch(
            try kernel("dropUnmarked", "auxiliary"), (rows + 7) / 8, threads: 256, arrays.codes, dead.count, dead.count,
            rows, most, arrays.marks)
    }

    /// What was chosen of each token, no more than `most`, on the host.
    private func chosen(_ arrays: AuxiliaryArrays, _ most: Int) throws(CUDAError) -> SparseCodes {
        guard most > 0 else { return SparseCodes(rows: rows, columns: latents) }
        try context.launch(
            try kernel("listChosen", "auxiliary"), (rows + 7) / 8, threads: 256, arrays.codes, dead.count, dead.count,
            rows, most, arrays.latents, arrays.columns, arrays.values, arrays.counts)
        let counts = try arrays.counts.values(rows)
        let (columns, values) = (try arrays.columns.values(rows * most), try arrays.values.values(rows * most))
        let codes = SparseCodes(rows: rows, columns: latents, capacity: counts.reduce(0) { $0 + Int($1) })
        var at = 0
        for b in 0..<rows {
            for i in 0..<Int(counts[b]) {
                (codes.columnIndices[at], codes.values[at]) = (columns[b * most + i], values[b * most + i])
                at += 1
            }
            codes.rowOffsets[b + 1] = Int64(at)
        }
        return codes
    }

    /// L_aux and the gradients of dead latents, those of the batch's other entries being there.
    func addAuxiliaryGradients() throws {
        let arrays = auxiliary!
        let loss = DeviceSlice(of: numbers, at: sae.layout.prefixes.count + 3)
        try leaveOver(arrays, loss)
        let slab = Slab(d4)
        try forBlocks { (block) throws(CUDAError) in
            try gather(decoder, block, into: arrays.rows)
            let (z, dz) = (codes(block), DeviceSlice(arrays.deltas, stride: block.count))
            try products.multiply(
                arrays.left.slice, arrays.rows.slice.transposed, into: dz, m: rows, n: block.count, k: dIn,
                on: context.stream)
            try context.launch(
                try kernel("maskGradient", "auxiliary"), rows, (block.count + 255) / 256, threads: 256, dz, dz.stride,
                z, z.stride, block.count, loss)
            try context.launch(
                try kernel("sumAuxiliary", "auxiliary"), (block.count + 63) / 64, threads: 64, dz, dz.stride, z,
                z.stride, rows, block.count, arrays.along, arrays.biases)
            try products.multiply(
                z.transposed, arrays.left.slice, into: arrays.decoderRows.slice, m: block.count, n: dIn, k: rows,
                on: context.stream)
            try products.multiply(
                dz.transposed, batch.centered.slice, into: arrays.encoderRows.slice, m: block.count, n: dIn,
                k: rows, on: context.stream)
            try context.launch(
                try kernel("scatterAuxiliary", "auxiliary"), block.count, threads: min(256, slab.threads),
                latent(block.lowerBound), decoder.array, d4, arrays.decoderRows.array, arrays.encoderRows.array,
                arrays.along, arrays.biases, loss, setting.frozenCount, projecting, decoderGradient.array,
                encoderGradient.array, encoderBiasGradient.array, latentSquares, touched)
        }
    }

    /// r − ê, L_aux and what the gradients are to be multiplied by.
    private func leaveOver(_ arrays: AuxiliaryArrays, _ loss: DeviceSlice) throws {
        let residual = try batch.makeResidual(), slab = Slab(d4)
        let parts = (rows + BatchArrays.partRows - 1) / BatchArrays.partRows
        try context.launch(
            try kernel("sumRows", "bias"), parts, slab.count, threads: slab.threads, residual.array, rows, d4,
            batch.rowParts)
        try context.launch(
            try kernel("addParts", "bias"), (stride + 31) / 32, threads: 256, batch.rowParts, parts, batch.rowParts,
            0, Float(rows), stride, arrays.mean.array, arrays.spare)
        try squares(of: residual, minus: arrays.mean, into: 1)
        // Of ranks the first begins with r, and the others' reconstructions are added.
        if peers?.isFirst ?? true {
            try arrays.left.array.copy(residual.array, rows * stride)
        } else {
            try arrays.left.array.clear(rows * stride)
        }
        try forBlocks { (block) throws(CUDAError) in
            try gather(decoder, block, into: arrays.rows)
            try products.multiply(
                codes(block), arrays.rows.slice, into: arrays.left.slice, m: rows, n: dIn, k: block.count, factor: -1,
                keeping: 1, on: context.stream)
        }
        try sums?.sum(arrays.left.array, rows * stride)
        try squares(of: arrays.left, minus: nil, into: 0)
        try context.launch(
            try kernel("finishAuxiliary", "auxiliary"), 1, threads: 1, arrays.spare,
            DeviceSlice(of: arrays.spare, at: 1), rows, setting.plan.auxiliaryWeight, loss)
    }

    /// spare[i] = Σ_b ‖x_b − shift‖².
    private func squares(of x: DeviceMatrix, minus shift: DeviceMatrix?, into i: Int) throws(CUDAError) {
        let arrays = auxiliary!
        try context.launch(
            try kernel("squareRows", "auxiliary"), rows, threads: 256, x.array,
            shift.map { $0.array as any KernelArgument } ?? NullPointer(), d4, arrays.rowSquares)
        try context.launch(
            try kernel("sumSquares", "bias"), 1, threads: 1024, arrays.rowSquares, rows,
            DeviceSlice(of: arrays.spare, at: i))
    }

    private func forBlocks(_ body: (Range<Int>) throws(CUDAError) -> Void) throws(CUDAError) {
        var first = 0
        while first < dead.count {
            let end = min(first + AuxiliaryArrays.block, dead.count)
            try body(first..<end)
            first = end
        }
    }

    private func gather(_ source: DeviceMatrix, _ block: Range<Int>, into target: DeviceMatrix) throws(CUDAError) {
        let slab = Slab(d4)
        try context.launch(
            try kernel("gatherRows", "auxiliary"), block.count, slab.count, threads: slab.threads, source.array,
            latent(block.lowerBound), d4, target.array)
    }

    private func latent(_ i: Int) -> DeviceSlice { DeviceSlice(of: auxiliary!.latents, at: i) }

    /// z of a block, columns of [B, dead].
    private func codes(_ block: Range<Int>) -> DeviceSlice {
        DeviceSlice(auxiliary!.codes, at: block.lowerBound, stride: dead.count)
    }

    /// z by token, for tests.
    func auxiliaryCodes() throws(CUDAError) -> SparseCodes {
        guard !dead.isEmpty, let auxiliary else { return SparseCodes(rows: rows, columns: latents) }
        let values = try auxiliary.codes.values(rows * dead.count)
        let dense = Matrix(rows: rows, columns: latents)
        for b in 0..<rows { for (i, j) in dead.enumerated() { dense[b, j] = values[b * dead.count + i] } }
        return SparseCodes(dense: dense)
    }
}
