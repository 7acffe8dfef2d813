import ArgumentParser
import Distillation
import LanguageModeling
import LinearAlgebra
import SparseCoding

extension TrainCommand {
    /// What is trained on, before its scale is known.
    enum Rows {
        case stored(TrainingRows)
        case live(LiveActivations, of: Corpus)

        var dIn: Int {
            switch self {
            case .stored(let rows): rows.dIn
            case .live(let activations, _): activations.dIn
            }
        }

        var blocks: LiveBlocks? { if case .live(let activations, _) = self { activations.blocks } else { nil } }

        /// What decides about them, for records.
        var settings: [String: String] {
            guard case .live(let activations, _) = self else { return [:] }
            return activations.settings.merging(["order": activations.order]) { $1 }
        }
    }

    /// Opens it.
    ///
    /// - Throws: what reading activations, model and text throws.
    func rows() throws -> Rows {
        guard let activations else {
            let (activations, text) = try live.activations(on: place)
            return .live(activations, of: text)
        }
        guard !noShuffle || !ActivationStore.isAt(activations) else {
            throw ValidationError("--no-shuffle needs files of activations, not a store")
        }
        return .stored(
            try TrainingRows(
                activations, batch: batch, order: noShuffle ? .ofFile : .shuffled(seed: UInt64(seed)),
                isScaled: inputScale == .measured, progress: Terminal.shared, stop: Interruption.request))
    }

    /// What the training will take. A start and a core cost what others do: an SAE of the same shape is timed.
    func cost(
        _ rows: Rows, _ beginning: Beginning, _ plan: TrainingPlan, _ rule: any SparsityRule,
        _ device: any TrainingDevice
    ) throws -> CostEstimate {
        var cost = CostEstimate()
        let pace: Calibration
        switch rows {
        case .live(let activations, _):
            pace = try activations.calibration()
            cost.add("model", Int(Double(steps) * Double(batch) / pace.kept), "tokens", seconds: pace.model)
        case .stored(let rows):
            let x = Matrix(rows: batch, columns: rows.dIn)
            try rows.read(0, x)
            pace = Calibration(rows: x)
        }
        let sae = SparseAutoencoder(dIn: rows.dIn, layout: beginning.layout, coreIsDense: coreMode != .sparse)
        sae.initialize(seed: UInt64(seed), core: beginning.frozen, coreDecoder: coreDecoderInit)
        let step = try pace.step(
            of: sae, plan: plan, rule: rule, on: device, progress: Terminal.shared, stop: Interruption.request)
        cost.add("training", steps, "steps of \(batch) rows", seconds: step)
        let bytes = 8 * Double(beginning.layout.latentCount) * Double(rows.dIn)
        cost.add(disk: "SAE", bytes)
        cost.add(disk: "two checkpoints", 6 * bytes)
        cost.add(memoryNeed(beginning, rows.blocks, on: device))
        return cost
    }

    /// The same with its scale: of live activations that of the first block, or the one that a training which is gone on with has.
    func measured(_ rows: Rows, _ kept: String) throws -> TrainingRows {
        switch rows {
        case .stored(let rows): return rows
        case .live(let activations, _):
            try activations.measureScale(known: resume ? TrainingCheckpoints.inputScale(in: kept) : nil)
            return TrainingRows(activations, seed: UInt64(seed), isScaled: inputScale == .measured)
        }
    }
}
