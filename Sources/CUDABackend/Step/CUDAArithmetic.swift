import KernelTable
import LinearAlgebra
import SparseCoding

/// A training step on a card: see `StepArithmetic`. Parameters, moments and all of the batch's sizes stay there; to the host come
/// a few numbers a step, how often each latent fired, and what a rule of the host's chooses from.
///
/// The host waits twice a step, for what was found, and for losses and norm; among ranks for each sum, too. Copies of the next batch run behind the update.
package final class CUDAArithmetic: StepArithmetic {
    let context: CUDAContext
    let products: MatrixProducts
    let setting: StepSetting
    let sae: SparseAutoencoder
    private let moments: AdamMoments
    let latents: Int
    let dIn: Int
    /// Floats of a padded row, and a quarter of them.
    let stride: Int
    let d4: Int
    let exempt: Int

    // Parameters, moments and gradients.
    let encoder, decoder, encoderBias, decoderBias: DeviceMatrix
    private let first,
        second: (encoder: DeviceMatrix, decoder: DeviceMatrix, encoderBias: DeviceMatrix, decoderBias: DeviceMatrix)
    let encoderGradient, decoderGradient, encoderBiasGradient, decoderBiasGradient: DeviceMatrix
    /// [F] whether a latent has a gradient.
    let touched: DeviceArray<UInt8>
    /// [F] squares of the norm of a latent's gradients.
    let latentSquares: DeviceArray<Double>

    // The batch.
    var batch: BatchArrays
    var selection: SelectionArrays
    var rows = 0
    /// What the host reads of a selection: candidates and marks, of a rule that is asked.
    let sparseEncoder: SparseEncoder
    /// The other ranks and what their cards add up with this one, if latents are cut.
    let peers: LatentPeers?
    private(set) var sums: (any PeerSums)?
    package internal(set) var repeatCount = 0
    var startingFloor = StartingFloor()
    /// Tests set it in the place of what the last batch suggests.
    package var forcedFloor: Float?
    let prefixes: DeviceArray<Int32>
    let factors: DeviceArray<Float>
    /// n squares, then the squares of latents' gradients and of the decoder bias', one unused, then `loss` of the auxiliary one.
    let numbers: DeviceArray<Double>
    let readNumbers: PinnedArray<Double>
    /// Squares of the decoder bias' gradient, a block each.
    let biasSquares: DeviceArray<Double>
    /// Squares of latents' gradients, a thousand each.
    let squareParts: DeviceArray<Double>
    let latentParts: LatentParts
    /// [1, F] of a rule that learns.
    var learnedFloors: DeviceMatrix?
    var auxiliary: AuxiliaryArrays?
    /// The dead latents of this batch, and whether there are any on any rank.
    var dead: [Int] = []
    var isReviving = false
    /// What the last batch's losses are to be computed with.
    var projecting = true

    /// Takes over a state: its parameters and moments are copied to the card.
    ///
    /// - Throws: `CUDAError`; `RankError`.
    init(
        _ state: TrainerState, _ setting: StepSetting, on context: CUDAContext, precision: ProductPrecision,
        among peers: LatentPeers? = nil
    ) throws {
        let sae = state.sae
        let memory = StepMemory(
            dIn: sae.dIn, layout: sae.layout, k: setting.plan.k, batch: setting.plan.batchSize,
            exempt: sae.exemptCore.count, ranks: peers?.group.count ?? 1)
        try memory.check()
        try context.require(memory.need(advice: "lower --width or --batch, or use --device cpu"))
        self.context = context
        self.setting = setting
        self.peers = peers
        sparseEncoder = SparseEncoder(lanes: .shared, peers: peers)
        self.sae = sae
        moments = state.moments
        (latents, dIn, exempt) = (sae.dSAE, sae.dIn, sae.exemptCore.count)
        stride = DeviceMatrix.stride(sae.dIn)
        d4 = stride / 4
        products = try MatrixProducts(context, precision: precision)
        func matrix(_ rows: Int, _ columns: Int) throws(CUDAError) -> DeviceMatrix {
            try DeviceMatrix(rows: rows, columns: columns, on: context)
        }
        (encoder, decoder) = (try matrix(sae.dSAE, sae.dIn), try matrix(sae.dSAE, sae.dIn))
        (encoderBias, decoderBias) = (try matrix(1, sae.dSAE), try matrix(1, sae.dIn))
        (encoderGradient, decoderGradient) = (try matrix(sae.dSAE, sae.dIn), try matrix(sae.dSAE, sae.dIn))
        (encoderBiasGradient, decoderBiasGradient) = (try matrix(1, sae.dSAE), try matrix(1, sae.dIn))
        first = (
            try matrix(sae.dSAE, sae.dIn), try matrix(sae.dSAE, sae.dIn), try matrix(1, sae.dSAE),
            try matrix(1, sae.dIn)
        )
        second = (
            try matrix(sae.dSAE, sae.dIn), try matrix(sae.dSAE, sae.dIn), try matrix(1, sae.dSAE),
            try matrix(1, sae.dIn)
        )
        touched = try DeviceArray(latents, on: context)
        latentSquares = try DeviceArray(latents, on: context)
        squareParts = try DeviceArray((latents + 1023) / 1024, on: context)
        batch = try BatchArrays(
            rows: setting.plan.batchSize, dIn: sae.dIn, prefixes: sae.layout.prefixes.count, on: context)
        selection = try SelectionArrays(
            rows: setting.plan.batchSize, latents: latents, candidates: memory.candidates, on: context)
        let n = sae.layout.prefixes.count
        prefixes = try DeviceArray(n, on: context)
        factors = try DeviceArray(n, on: context)
        numbers = try DeviceArray(n + 6, on: context)
        readNumbers = try PinnedArray(n + 6, on: context)
        biasSquares = try DeviceArray((stride + 31) / 32, on: context)
        latentParts = try LatentParts(latents, stride: stride, on: context)
        for (source, target) in tensors { try target.assign(source) }
        forget(0..<tensors.count)
        try upload(sae.layout.prefixes.map(Int32.init), to: prefixes)
        // When all that can fail is done: those who met wait for each other.
        sums = try peers.map { try joinedSums($0.group, of: n * setting.plan.batchSize * stride, on: context) }
    }

    /// The state's matrices in their order, each with the one on the card that it began as and will end as.
    private var tensors: [(Matrix, DeviceMatrix)] {
        let (m, v) = (moments.first, moments.second)
        return [
            (sae.encoder, encoder), (sae.decoder, decoder), (sae.encoderBias, encoderBias),
            (sae.decoderBias, decoderBias),
            (m.encoder, first.encoder), (m.decoder, first.decoder), (m.encoderBias, first.encoderBias),
            (m.decoderBias, first.decoderBias), (v.encoder, second.encoder), (v.decoder, second.decoder),
            (v.encoderBias, second.encoderBias), (v.decoderBias, second.decoderBias),
        ]
    }

    func upload<Element>(_ values: [Element], to target: DeviceArray<Element>) throws(CUDAError) {
        try values.withUnsafeBufferPointer { (buffer) throws(CUDAError) in
            try target.upload(buffer.baseAddress!, buffer.count)
            try context.synchronize()
        }
    }

    func kernel(_ name: String, _ file: String) throws(CUDAError) -> Kernel {
        try context.kernels.kernel(name, in: file)
    }

    // MARK: StepArithmetic

    package func decoderBiasChanged() throws {
        try context.activate()
        try decoderBias.assign(sae.decoderBias)
    }

    package func setCoreBias(_ biases: [Float]) throws {
        try context.activate()
        try upload(biases, to: encoderBias.array)
    }

    package func export(_ numbers: Range<Int>) throws {
        try context.activate()
        for (target, source) in tensors[numbers] { try source.copy(to: target) }
    }

    package func finish() throws { try export(TrainerState.parameters) }

    package func forget(_ numbers: Range<Int>) { for (matrix, _) in tensors[numbers] { matrix.discard() } }

    package func begin(_ x: Matrix, silent: [Int]?) throws {
        try context.activate()
        if x.rows > batch.rows {
            // Such a batch comes from tests only; what was made for the plan's is too small.
            batch = try BatchArrays(rows: x.rows, dIn: dIn, prefixes: sae.layout.prefixes.count, on: context)
            selection = try SelectionArrays(
                rows: x.rows, latents: latents, candidates: selection.capacity, on: context)
        }
        if rows != x.rows {
            rows = x.rows
            let scale = Double(sae.layout.prefixes.count) * Double(rows)
            try upload(setting.plan.groupWeights.map { Float(-2 * $0 / scale) }, to: factors)
        }
        (dead, isReviving) = ([], false)
        try batch.load(x)
        let slab = Slab(d4)
        try context.launch(
            try kernel("center", "center"), rows, slab.count, threads: slab.threads, batch.x.array, decoderBias.array,
            sae.subtractsDecoderBias ? Float(-1) : 0, batch.centered.array, d4)
    }

    package var preparesAhead: Bool { true }

    package func makeBatch() throws -> Matrix {
        try context.activate()
        return try batch.makeMatrix(rows: setting.plan.batchSize, columns: dIn)
    }

    package func prepare(_ x: Matrix) throws {
        guard x.rows <= batch.rows else { return }
        try context.activate()
        try batch.prepare(x)
    }

    package func update(_ step: AdamStep) throws {
        try context.activate()
        let shape = RowShape(d4)
        try context.launch(
            try kernel("adamRows\(shape.perThread)", "adam"), 2 * latents, threads: shape.threads, decoder.array,
            first.decoder.array, second.decoder.array, decoderGradient.array, encoder.array, first.encoder.array,
            second.encoder.array, encoderGradient.array, touched, latents, setting.frozenCount, d4, step.beta1,
            step.beta2, step.epsilon, step.stepSize, step.inverseRootCorrection, step.gradientScale)
        try context.launch(
            try kernel("adamBiases", "adam"), (latents + dIn + 255) / 256, threads: 256, encoderBias.array,
            first.encoderBias.array, second.encoderBias.array, encoderBiasGradient.array, latents, decoderBias.array,
            first.decoderBias.array, second.decoderBias.array, decoderBiasGradient.array, dIn, step.beta1, step.beta2,
            step.epsilon, step.stepSize, step.inverseRootCorrection, step.gradientScale)
    }

    package func lastCentered() throws -> Matrix {
        try context.activate()
        let all = Matrix(rows: batch.rows, columns: dIn)
        if rows > 0 { try batch.centered.copy(to: all) }
        return all.copy(rows: 0..<rows)
    }

    package func inspect() throws -> StepInspection {
        try context.activate()
        try context.synchronize()
        let gradients = SparseAutoencoder(dIn: dIn, layout: sae.layout)
        for (source, target) in [
            (encoderGradient, gradients.encoder), (decoderGradient, gradients.decoder),
            (encoderBiasGradient, gradients.encoderBias), (decoderBiasGradient, gradients.decoderBias),
        ] { try source.copy(to: target) }
        // Rows that were never written hold the batch before.
        for (j, isTouched) in try touched.values().enumerated() where isTouched == 0 {
            gradients.encoder.row(j).update(repeating: 0, count: dIn)
            gradients.decoder.row(j).update(repeating: 0, count: dIn)
        }
        return StepInspection(
            codes: try selection.codes(rows: rows, latents: latents), auxiliary: try auxiliaryCodes(),
            auxiliaryDenominator: !isReviving ? 0 : try numbers.values()[sae.layout.prefixes.count + 4],
            gradients: gradients)
    }
}

/// How a row of d4 times four floats is laid over the threads of a block, all of it at a time.
struct RowShape {
    /// A kernel is there for each.
    let perThread: Int
    let threads: Int

    init(_ d4: Int) {
        let needed = (d4 + 255) / 256
        perThread = [1, 2, 3, 4, 6, 8].first { $0 >= needed } ?? 8
        threads = ((d4 + needed - 1) / needed + 31) / 32 * 32
    }
}

/// How a row is cut into slabs of a block each, four floats a thread.
struct Slab {
    let threads: Int
    let count: Int

    init(_ d4: Int) {
        count = (d4 + 255) / 256
        threads = ((d4 + count - 1) / count + 31) / 32 * 32
    }
}
