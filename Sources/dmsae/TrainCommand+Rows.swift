import ArgumentParser
import Distillation
import LanguageModeling
import LinearAlgebra

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
