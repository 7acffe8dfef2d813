import CDMSAE
import LinearAlgebra
import SparseCoding

extension SelectionContext {
    /// Lends the context in its C form for the length of `body`; fields in step with `dmsae_selection_context`.
    package func withArgument<Result>(_ body: (UnsafePointer<dmsae_selection_context>) throws -> Result) rethrows
        -> Result
    {
        let mode: dmsae_selection_mode =
            switch self.mode {
            case .train: .DMSAE_MODE_TRAIN
            case .calibrate: .DMSAE_MODE_CALIBRATE
            case .infer: .DMSAE_MODE_INFER
            }
        let pointers = learnables.map { UnsafePointer($0.elements) }
        return try pointers.withUnsafeBufferPointer { pointers in
            // An array is passed as a pointer that is valid for this call.
            try lend(mode, pointers, prefixWidths.map(Int64.init), body)
        }
    }

    private func lend<Result>(
        _ mode: dmsae_selection_mode, _ pointers: UnsafeBufferPointer<UnsafePointer<Float>>, _ prefixWidths: [Int64],
        _ body: (UnsafePointer<dmsae_selection_context>) throws -> Result
    ) rethrows -> Result {
        try prefixWidths.withUnsafeBufferPointer { widths in
            guard let first = widths.baseAddress, !widths.isEmpty else { preconditionFailure("an SAE of no prefix") }
            var argument = dmsae_selection_context(
                struct_size: UInt32(MemoryLayout<dmsae_selection_context>.size), mode: mode, step: Int64(step),
                total_steps: Int64(totalSteps), batch_rows: Int64(batchRows), first_row: Int64(firstRow),
                latent_count: Int64(latentCount), mean_active: meanActive, batch_budget: Int64(batchBudget),
                core_begin: Int64(core.lowerBound), core_end: Int64(core.upperBound),
                core_is_exempt: coreIsExempt ? 1 : 0, reserved: 0,
                learnables: pointers.isEmpty ? nil : pointers.baseAddress, learnable_count: UInt32(pointers.count),
                reserved2: 0, prefix_widths: first, prefix_count: Int64(widths.count),
                thresholds: thresholds.map { UnsafePointer($0.elements) })
            return try body(&argument)
        }
    }
}
