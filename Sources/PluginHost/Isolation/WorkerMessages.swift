import Attribution
import LinearAlgebra
import SparseCoding

// Headers and blocks of the messages between host and worker. Both ends are the same program, so there is no version.

/// What to create.
struct CreateRequest: Codable {
    var path: String
    /// Nil for the only one of its kind.
    var id: String?
    var isRule: Bool
    var parameters: [[String]]
    /// Whether settings pass as they are, as from a host that is older than their description.
    var isUnchecked = false
    /// Whether the worker looks at what the plugin changes in its process; see `ProcessWatch`.
    var isWatched = false
    /// Bytes of address space, 0 for no limit.
    var memory: UInt64
}

/// What was created.
struct CreateReply: Codable {
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

/// Why a call failed: the text that the same failure has in one process.
struct FailureReply: Codable {
    var text: String
    var isCancelled: Bool

    init(_ error: any Error) {
        text = "\(error)"
        isCancelled = if case PluginError.cancelled = error { true } else { false }
    }
}

/// A line for the log.
struct LogLine: Codable {
    var level: Int32
    /// Id of the plugin.
    var plugin: String
    var text: String
}

/// Nothing beside the kind and the blocks.
struct Empty: Codable {}

/// The shape of codes.
struct CodesHeader: Codable {
    var rows: Int
    var columns: Int

    init(_ codes: SparseCodes) { (rows, columns) = (codes.rows, codes.columns) }

    /// The codes in three blocks from `first`, which are checked (DMSAE-CSR-01 and 02 are what keeps a reader inside).
    func codes(_ arena: Arena, from first: Int) throws -> SparseCodes {
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
struct BatchHeader: Codable {
    var codes: CodesHeader
    var dimension: Int
    var firstToken: Int
    var firstSequence: Int
    var coreCount: Int
    var splicedWidth: Int
    var errorTermAdded: Bool
    var sequenceCount: Int
    var prefixCount: Int
    /// Nil where nobody answers.
    var preferredGroups: Int?
    var remainingGroups: Int?
    var plan: ScoringPlan?

    /// Blocks of a batch, in step with `batch`.
    static let blockCount = 13

    init(_ batch: ScoringBatch, plan: ScoringPlan?) {
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

    static func blocks(_ batch: ScoringBatch) -> ArenaBlocks {
        var blocks = ArenaBlocks()
        let N = batch.codes.rows
        blocks.add(batch.codes)
        blocks.add(batch.decoder, rows: batch.codes.columns)
        blocks.add(batch.decoderBias, rows: 1)
        for matrix in [batch.residual, batch.reconstruction, batch.gradient] { blocks.add(matrix, rows: N) }
        blocks.add(batch.loss)
        blocks.add(batch.tokens)
        blocks.add(batch.sequenceOffsets)
        blocks.add(batch.scored)
        blocks.add(batch.prefixWidths)
        return blocks
    }

    /// The batch of an arena, whose arrays stay where they are.
    func batch(_ arena: Arena) throws -> ScoringBatch {
        let (N, d) = (codes.rows, dimension)
        func matrix(_ block: Int, _ rows: Int) throws -> Matrix {
            let elements = try arena.buffer(block, Float.self, count: rows * d)
            return Matrix(rows: rows, columns: d, elements: pointer(elements), owner: arena)
        }
        var batch = ScoringBatch(
            codes: try codes.codes(arena, from: 1), decoder: try matrix(4, codes.columns),
            decoderBias: try matrix(5, 1), residual: try matrix(6, N), reconstruction: try matrix(7, N),
            gradient: try matrix(8, N), loss: try arena.values(9, Float.self, count: N),
            tokens: try arena.values(10, Int32.self, count: N),
            sequenceOffsets: try arena.values(11, Int64.self, count: sequenceCount + 1),
            scored: try arena.values(12, UInt8.self, count: N), firstToken: firstToken, coreCount: coreCount,
            prefixWidths: try arena.values(13, Int64.self, count: prefixCount), splicedWidth: splicedWidth,
            errorTermAdded: errorTermAdded)
        batch.firstSequence = firstSequence
        return batch
    }
}

struct SelectionHeader: Codable {
    var codes: CodesHeader?
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

    init(_ context: SelectionContext, _ candidates: SparseCodes?) {
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

    /// Blocks of a selection: the candidates', then `more`, then the learnable tensors'.
    static func blocks(_ context: SelectionContext, _ candidates: SparseCodes?, more: [UnsafeRawBufferPointer] = [])
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
    func context(_ arena: Arena) throws -> SelectionContext {
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
        /// A value of `dmsae_edit_operation`.
        var operation: Int
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
