import Attribution
import LinearAlgebra
import TensorFiles

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
    var hook: String
    var subtractsDecoderBias: Bool
    var documentCount: Int
    /// Nil where the encoder was not needed; 0 where thresholds decide.
    var topK: Int?
    var hasTargetProbabilities: Bool
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
        hook = batch.hook.name
        subtractsDecoderBias = batch.subtractsDecoderBias
        documentCount = batch.documentOffsets.count - 1
        topK = batch.encoder?.topK
        hasTargetProbabilities = batch.targetProbabilities != nil
        preferredGroups = batch.evaluation?.preferredGroups
        remainingGroups = batch.evaluation?.remainingGroups
        self.plan = plan
    }

    /// Where each array of a batch is in its message.
    private enum Block: Int, CaseIterable {
        case codes = 1
        case decoder = 4
        case decoderBias, residual, reconstruction, gradient, loss, tokens, sequenceOffsets, scored, prefixWidths
        // Empty where they are not needed.
        case encoder, encoderBias, thresholds, targetProbabilities
        case documentOffsets
    }

    /// How many blocks a batch takes; what else goes with it comes after them.
    package static let blockCount = Block.documentOffsets.rawValue

    package static func blocks(_ batch: ScoringBatch) -> ArenaBlocks {
        var blocks = ArenaBlocks()
        let (N, m) = (batch.codes.rows, batch.codes.columns)
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
            case .encoder: blocks.add(batch.encoder?.weights, count: m * batch.decoder.columns)
            case .encoderBias: blocks.add(batch.encoder?.bias, count: m)
            case .thresholds: blocks.add(batch.encoder?.thresholds, count: m)
            case .targetProbabilities: blocks.add(batch.targetProbabilities ?? [])
            case .documentOffsets: blocks.add(batch.documentOffsets)
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
        guard let hook = HookPoint(hook) else { throw Arena.Malformed(reason: "no hook point") }
        batch.hook = hook
        batch.subtractsDecoderBias = subtractsDecoderBias
        batch.documentOffsets = try values(.documentOffsets, Int64.self, documentCount + 1)
        if hasTargetProbabilities { batch.targetProbabilities = try values(.targetProbabilities, Float.self, N) }
        batch.encoder = try topK.map { topK in
            func vector(_ block: Block) throws -> Matrix {
                let elements = try arena.buffer(block.rawValue, Float.self, count: codes.columns)
                return Matrix(rows: 1, columns: codes.columns, elements: pointer(elements), owner: arena)
            }
            return ScoringBatch.Encoder(
                weights: try matrix(.encoder, codes.columns), bias: try vector(.encoderBias),
                thresholds: topK == 0 ? try vector(.thresholds) : nil, topK: topK)
        }
        return batch
    }
}
