import Attribution
import CDMSAE
import LinearAlgebra
import PluginABI
import SparseCoding

// Headers and blocks of the messages between host and worker. Both ends are the same program, so there is no version.

/// What to create.
package struct CreateRequest: Codable {
    package var path: String
    /// Nil for the only one of its kind.
    package var id: String?
    package var isRule: Bool
    package var parameters: [[String]]
    /// Whether settings pass as they are, as from a host that is older than their description.
    package var isUnchecked = false
    /// Whether the program's part of the worker wants to see the process before the plugin's file is loaded.
    package var isWatched = false
    /// Bytes of address space, 0 for no limit.
    package var memory: UInt64

    /// A request of what every request says.
    package init(
        path: String, id: String?, isRule: Bool, parameters: [PluginReference.Parameter], memory: UInt64
    ) {
        self.path = path
        self.id = id
        self.isRule = isRule
        self.parameters = parameters.map { [$0.key, $0.value] }
        self.memory = memory
    }
}

/// What was created.
package struct CreateReply: Codable {
    var id: String
    var version: String
    var isReentrant: Bool
    var parameters: [[String]]
    var scope: Int32?
    /// What a rule learns; nil if it does not.
    var tensors: [LearnableTensor]?
    /// Version of the state that its inference form is made from; nil for a rule without one.
    var inferenceVersion: Int?
    var scoresTokens: Bool
    var outputs: [ScorerOutput]?
    var stateVersion: Int?
}

/// A line for the log.
struct LogLine: Codable {
    var level: Int32
    /// Id of the plugin.
    var plugin: String
    var text: String
}

/// Nothing beside the kind and the blocks.
package struct Empty: Codable {}

/// The shape of codes.
package struct CodesHeader: Codable {
    package var rows: Int
    package var columns: Int

    init(_ codes: SparseCodes) { (rows, columns) = (codes.rows, codes.columns) }

    /// The codes in three blocks from `first`, which are checked (DMSAE-CSR-01 and 02 are what keeps a reader inside).
    package func codes(_ arena: Arena, from first: Int) throws -> SparseCodes {
        let offsets = try arena.buffer(first, Int64.self, count: rows + 1)
        guard offsets.first == 0, zip(offsets, offsets.dropFirst()).allSatisfy({ $0 <= $1 }) else {
            throw Arena.Malformed(reason: "row offsets")
        }
        let count = Int(offsets[rows])
        let indices = try arena.buffer(first + 1, Int32.self, count: count)
        let values = try arena.buffer(first + 2, Float.self, count: count)
        return SparseCodes(
            rows: rows, columns: columns, rowOffsets: pointer(offsets), columnIndices: pointer(indices),
            values: pointer(values), owner: arena)
    }
}

/// The start of a block as the classes want it; they only read it.
private func pointer<Element>(_ buffer: UnsafeBufferPointer<Element>) -> UnsafeMutablePointer<Element> {
    UnsafeMutablePointer(mutating: buffer.baseAddress ?? UnsafePointer(bitPattern: 64)!)
}

extension ArenaBlocks {
    /// Adds the three arrays of codes.
    mutating func add(_ codes: SparseCodes) {
        add(codes.rowOffsets, bytes: 8 * (codes.rows + 1), owner: codes)
        add(codes.columnIndices, bytes: 4 * codes.count, owner: codes)
        add(codes.values, bytes: 4 * codes.count, owner: codes)
    }

    /// Adds the first rows of a matrix.
    mutating func add(_ matrix: Matrix, rows: Int) {
        add(matrix.elements, bytes: 4 * rows * matrix.columns, owner: matrix)
    }
}

/// What a batch is beside its arrays.
package struct BatchHeader: Codable {
    package var codes: CodesHeader
    var dimension: Int
    var firstToken: Int
    var firstSequence: Int
    var coreCount: Int
    var splicedWidth: Int
    var errorTermAdded: Bool
    package var sequenceCount: Int
    var prefixCount: Int
    /// Nil where nobody answers.
    var preferredGroups: Int?
    var remainingGroups: Int?
    package var plan: ScoringPlan?

    package init(_ batch: ScoringBatch, plan: ScoringPlan?) {
        codes = CodesHeader(batch.codes)
        dimension = batch.decoder.columns
        firstToken = batch.firstToken
        firstSequence = batch.firstSequence
        coreCount = batch.coreCount
        splicedWidth = batch.splicedWidth
        errorTermAdded = batch.errorTermAdded
        sequenceCount = batch.sequenceOffsets.count - 1
        prefixCount = batch.prefixWidths.count
        preferredGroups = batch.evaluation?.preferredGroups
        remainingGroups = batch.evaluation?.remainingGroups
        self.plan = plan
    }

    /// Where each array of a batch is in its message.
    private enum Block: Int, CaseIterable {
        case codes = 1
        case decoder = 4
        case decoderBias, residual, reconstruction, gradient, loss, tokens, sequenceOffsets, scored, prefixWidths
    }

    /// How many blocks a batch takes; what else goes with it comes after them.
    package static let blockCount = Block.prefixWidths.rawValue

    package static func blocks(_ batch: ScoringBatch) -> ArenaBlocks {
        var blocks = ArenaBlocks()
        let N = batch.codes.rows
        for block in Block.allCases {
            switch block {
            case .codes: blocks.add(batch.codes)
            case .decoder: blocks.add(batch.decoder, rows: batch.codes.columns)
            case .decoderBias: blocks.add(batch.decoderBias, rows: 1)
            case .residual: blocks.add(batch.residual, rows: N)
            case .reconstruction: blocks.add(batch.reconstruction, rows: N)
            case .gradient: blocks.add(batch.gradient, rows: N)
            case .loss: blocks.add(batch.loss)
            case .tokens: blocks.add(batch.tokens)
            case .sequenceOffsets: blocks.add(batch.sequenceOffsets)
            case .scored: blocks.add(batch.scored)
            case .prefixWidths: blocks.add(batch.prefixWidths)
            }
        }
        return blocks
    }

    /// The batch of an arena, whose arrays stay where they are.
    func batch(_ arena: Arena) throws -> ScoringBatch {
        let (N, d) = (codes.rows, dimension)
        func matrix(_ block: Block, _ rows: Int) throws -> Matrix {
            let elements = try arena.buffer(block.rawValue, Float.self, count: rows * d)
            return Matrix(rows: rows, columns: d, elements: pointer(elements), owner: arena)
        }
        func values<Element: BitwiseCopyable>(_ block: Block, _ type: Element.Type, _ count: Int) throws -> [Element] {
            try arena.values(block.rawValue, type, count: count)
        }
        var batch = ScoringBatch(
            codes: try codes.codes(arena, from: Block.codes.rawValue), decoder: try matrix(.decoder, codes.columns),
            decoderBias: try matrix(.decoderBias, 1), residual: try matrix(.residual, N),
            reconstruction: try matrix(.reconstruction, N), gradient: try matrix(.gradient, N),
            loss: try values(.loss, Float.self, N), tokens: try values(.tokens, Int32.self, N),
            sequenceOffsets: try values(.sequenceOffsets, Int64.self, sequenceCount + 1),
            scored: try values(.scored, UInt8.self, N), firstToken: firstToken, coreCount: coreCount,
            prefixWidths: try values(.prefixWidths, Int64.self, prefixCount), splicedWidth: splicedWidth,
            errorTermAdded: errorTermAdded)
        batch.firstSequence = firstSequence
        return batch
    }
}

/// A selection.
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
    /// Learnable tensors of the context, whose blocks are the last ones.
    var learnableCount: Int

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
        learnableCount = context.learnables.count
    }

    /// Where a selection with candidates has them, and what comes after them.
    package static let candidates = 1, afterCandidates = 4

    /// Blocks of a selection: the candidates', then `more`, then the learnable tensors'.
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
        return blocks
    }

    /// The context, its learnable tensors in the last blocks of the arena.
    package func context(_ arena: Arena) throws -> SelectionContext {
        var context = plainContext
        let first = arena.blocks.count - learnableCount
        guard first >= 1, learnableCount >= 0 else { throw Arena.Malformed(reason: "no learnable tensors") }
        context.learnables = try (0..<learnableCount).map { i in
            let elements = try arena.buffer(first + i, Float.self, count: latentCount)
            return Matrix(rows: 1, columns: latentCount, elements: pointer(elements), owner: arena)
        }
        return context
    }

    private var plainContext: SelectionContext {
        SelectionContext(
            mode: SelectionMode(rawValue: mode) ?? .train, step: step, totalSteps: totalSteps, batchRows: batchRows,
            firstRow: firstRow, latentCount: latentCount, meanActive: meanActive, batchBudget: batchBudget, core: core,
            coreIsExempt: coreIsExempt)
    }
}

/// A factor on pre-activations, as its bits, which JSON keeps.
struct Rescaling: Codable {
    var factor: UInt64
    var latentCount: Int
}

/// The form in which an SAE is used; thresholds are in a block.
struct FormReply: Codable {
    /// Nil for thresholds.
    var topK: Int?
}

/// A number of entries.
struct Count: Codable {
    var count: Int
}

/// An evaluation that a worker asks for; rows and gradients are in blocks.
struct EvaluationRequest: Codable {
    /// An edit; a float as its bits, which JSON keeps.
    struct Change: Codable {
        var tokens: Range<Int>
        /// A `dmsae_edit_operation`.
        var operation: dmsae_edit_operation.RawValue
        var latent: Int
        var value: UInt32
    }

    struct Group: Codable {
        var sequence: Int
        var edits: [Change]
        var wantsLosses: Bool
    }

    var groups: [Group] = []
    /// Sequences of points or paths.
    var sequences: [Int] = []
    var length = 0
}

/// The answer to one; numbers are in blocks.
struct EvaluationAnswer: Codable {
    /// What the host threw.
    enum Failure: Codable {
        case badEdit(String)
        case budgetExhausted(asked: Int, remaining: Int)
        case other(String)
    }

    var failure: Failure?
    var remaining: Int?
}
