import LinearAlgebra
import SparseCoding

/// Trainings on a card.
package struct CUDATraining: TrainingDevice, @unchecked Sendable {
    private let context: CUDAContext
    private let precision: ProductPrecision

    package init(_ context: CUDAContext, precision: ProductPrecision) {
        self.context = context
        self.precision = precision
    }

    package var record: [String: String] { context.record(precision) }

    package func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed? {
        StepMemory(dIn: dIn, layout: layout, k: k, batch: batch, exempt: layout.coreCount)
            .need(advice: "lower --width or --batch, or use --device cpu")
    }

    /// 0 where the card does not say: nothing is taken beside one training then, which meets what is wrong with it.
    package var freeMemory: Int? { (try? context.memory().free) ?? 0 }

    package func arithmetic(
        _ state: TrainerState, _ setting: StepSetting, among peers: LatentPeers?
    ) throws -> any StepArithmetic {
        try CUDAArithmetic(state, setting, on: context, precision: precision, among: peers)
    }
}
