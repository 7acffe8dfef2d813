import ArgumentParser
import Distillation
import LinearAlgebra
import SAEFormats
import SparseCoding

extension TrainCommand {
    /// What is known of the SAE that is started from.
    struct Start {
        let provenance: SAEProvenance
        let scale: LatentScale
    }

    /// In units of the training.
    func coreBiases(_ count: Int, inputScale: Float) throws -> Matrix? {
        guard let core, coreBias == .transfer else { return nil }
        return Matrix(vector: try Core.encoderBiases(at: core, count: count).values.map { $0 / inputScale })
    }

    /// What the SAE is made of, before the scale of its inputs is known.
    struct Beginning {
        let loaded: (sae: SparseAutoencoder, provenance: SAEProvenance)?
        let scale: LatentScale
        /// Encoder rows of the core.
        let frozen: Matrix?
        let layout: PrefixLayout
        let dIn: Int
    }

    /// Reads it, and asks for the memory of the training.
    func beginning(dIn: Int, blocks: LiveBlocks?, on device: any TrainingDevice) throws -> Beginning {
        let loaded = try self.`init`.map { try SAEFormats.read($0) }
        if let loaded, loaded.sae.dIn != dIn {
            throw SparseCodingError.inputWidth(found: dIn, wanted: loaded.sae.dIn)
        }
        // The trainer makes decoder rows unit rows; what they lose the encoder must get.
        let norms = try loaded?.sae.foldDecoderNorms()
        // An SAE with a core keeps it, frozen, unless another is given.
        let inherited = loaded.flatMap { $0.sae.layout.coreCount > 0 ? $0.sae : nil }
        let frozen =
            try core.map { try Core.encoderRows(at: $0, dIn: dIn) }
            ?? inherited.map { $0.encoder.copy(rows: 0..<$0.layout.coreCount) }
        let total = width ?? groups.map { PrefixLayout.sum($0.values) } ?? loaded?.sae.dSAE
        guard let total else { throw ValidationError("give --width, --groups or --init") }
        try require("--width", total, in: 1...Int.max)
        let sizes = groups?.values ?? loaded?.sae.layout.groups ?? PrefixLayout.standardGroups(width: total)
        let layout = try PrefixLayout(
            groups: sizes, width: total, coreCount: frozen?.rows ?? 0,
            coreIsPrefix: corePrefixLoss || core == nil && loaded?.sae.layout.coreIsPrefix == true)
        let result = Beginning(
            loaded: loaded, scale: norms == nil ? .unit : .folded, frozen: frozen, layout: layout, dIn: dIn)
        try memoryNeed(result, blocks, on: device).check()
        if let loaded, loaded.sae.dSAE != total {
            throw SparseCodingError.groupsDoNotSum(groups: sizes, width: loaded.sae.dSAE)
        }
        return result
    }

    /// Memory of the training, beside the model's.
    func memoryNeed(_ beginning: Beginning, _ blocks: LiveBlocks?, on device: any TrainingDevice) -> MemoryNeed {
        var need = TrainingPlan.memory(
            dIn: beginning.dIn, layout: beginning.layout, k: k, batch: batch, copies: beginning.loaded == nil ? 0 : 1,
            ranks: device.rankCount,
            advice: blocks == nil ? "lower --width or --batch" : "lower --width, --batch or --buffer")
        blocks?.addMemory(to: &need, dIn: beginning.dIn)
        return need
    }

    /// The SAE to be trained, in units of the training.
    func startingPoint(
        _ beginning: Beginning, inputScale: Float
    ) throws -> (SparseAutoencoder, Start?) {
        let (layout, frozen) = (beginning.layout, beginning.frozen)
        guard let loaded = beginning.loaded else {
            let sae = SparseAutoencoder(dIn: beginning.dIn, layout: layout, coreIsDense: coreMode != .sparse)
            sae.initialize(
                seed: UInt64(seed), core: frozen, coreDecoder: coreDecoderInit,
                coreBias: try coreBiases(layout.coreCount, inputScale: inputScale))
            return (sae, nil)
        }
        if let path = self.`init` { Terminal.shared.warn(remarksOf: path, loaded.provenance) }
        // A core that is given is as it is asked for; one that is inherited is what it was.
        let sae = loaded.sae.copy(
            layout: layout, coreIsDense: core == nil ? loaded.sae.coreIsDense : coreMode != .sparse)
        if let frozen { sae.replaceCoreEncoder(frozen) }
        return (sae, Start(provenance: loaded.provenance, scale: beginning.scale))
    }
}
