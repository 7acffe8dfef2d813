import LinearAlgebra
import SparseCoding

/// What a rule is asked about a selection: its context, and where the codes lie if it is shown any.
package struct SelectionHeader: Codable {
    package var codes: CodesHeader?
    var mode: Int32
    var step: Int
    var totalSteps: Int
    var batchRows: Int
    var firstRow: Int
    var latentCount: Int
    var meanActive: Double
    var batchBudget: Int
    var core: Range<Int>
    var coreIsExempt: Bool
    var prefixWidths: [Int]
    /// Learnable tensors of the context, whose blocks are the last ones but for that of thresholds.
    var learnableCount: Int
    /// Whether the last block is of thresholds.
    var hasThresholds: Bool

    package init(_ context: SelectionContext, _ candidates: SparseCodes?) {
        codes = candidates.map(CodesHeader.init)
        mode = context.mode.rawValue
        step = context.step
        totalSteps = context.totalSteps
        batchRows = context.batchRows
        firstRow = context.firstRow
        latentCount = context.latentCount
        meanActive = context.meanActive
        batchBudget = context.batchBudget
        core = context.core
        coreIsExempt = context.coreIsExempt
        prefixWidths = context.prefixWidths
        learnableCount = context.learnables.count
        hasThresholds = context.thresholds != nil
    }

    /// Where a selection with candidates has them, and what comes after them.
    package static let candidates = 1, afterCandidates = 4

    /// Blocks of a selection: the candidates', then `more`, then the learnable tensors' and the thresholds'.
    package static func blocks(
        _ context: SelectionContext, _ candidates: SparseCodes?, more: [UnsafeRawBufferPointer] = []
    )
        -> ArenaBlocks
    {
        var blocks = ArenaBlocks()
        if let candidates { blocks.add(candidates) }
        for part in more {
            blocks.add(part.baseAddress ?? UnsafeRawPointer(bitPattern: 64)!, bytes: part.count, owner: ())
        }
        for tensor in context.learnables { blocks.add(tensor, rows: 1) }
        if let thresholds = context.thresholds { blocks.add(thresholds, rows: 1) }
        return blocks
    }

    /// The context, its learnable tensors in the last blocks of the arena.
    package func context(_ arena: Arena) throws -> SelectionContext {
        var context = plainContext
        let first = arena.blocks.count - learnableCount - (hasThresholds ? 1 : 0)
        guard first >= 1, learnableCount >= 0 else { throw Arena.Malformed(reason: "no learnable tensors") }
        guard !prefixWidths.isEmpty else { throw Arena.Malformed(reason: "no prefixes") }
        func vector(_ block: Int) throws -> Matrix {
            let elements = try arena.buffer(block, Float.self, count: latentCount)
            return Matrix(rows: 1, columns: latentCount, elements: pointer(elements), owner: arena)
        }
        context.learnables = try (0..<learnableCount).map { try vector(first + $0) }
        context.prefixWidths = prefixWidths
        if hasThresholds { context.thresholds = try vector(first + learnableCount) }
        return context
    }

    private var plainContext: SelectionContext {
        SelectionContext(
            mode: SelectionMode(rawValue: mode) ?? .train, step: step, totalSteps: totalSteps, batchRows: batchRows,
            firstRow: firstRow, latentCount: latentCount, meanActive: meanActive, batchBudget: batchBudget, core: core,
            coreIsExempt: coreIsExempt)
    }
}
