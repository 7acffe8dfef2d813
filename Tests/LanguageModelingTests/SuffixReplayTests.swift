import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Suffixes run with kept keys and values against whole runs of the same residual stream.
///
/// Tolerance 1e-5 of the largest loss: the products have other shapes and round otherwise, one unit in the last place
/// (6e-8) a term. A key too many or too few, or a position off by one, changes the first digit.
@Suite struct SuffixReplayTests {
    private func model() throws -> any LanguageModel { try loadLanguageModel(path: fixture("models/llama")) }

    private func batch(_ model: any LanguageModel, sequences: Int, length: Int) -> TokenBatch {
        let ids = (0..<sequences * length).map { Int32($0 * 37 % model.configuration.vocabularySize) }
        return TokenBatch(ids: ids, sequenceCount: sequences, length: length)
    }

    /// The losses of suffixes (sequence, first) of `x` after `change` was added to their rows, by replay and by whole
    /// runs of the one sequence.
    private func bothWays(
        _ model: any LanguageModel, _ batch: TokenBatch, _ x: Matrix, layer: Int, _ edits: [(Int, Int)]
    ) throws -> (replayed: [Float], whole: [Double], unchangedBefore: Bool) {
        let replay = try model.replay(of: batch, residual: x, afterLayer: layer)
        var whole: [Double] = []
        var unchangedBefore = true
        let rows = edits.enumerated().map { i, edit in
            let suffix = x.copy(rows: edit.0 * batch.length + edit.1..<(edit.0 + 1) * batch.length)
            for (j, change) in noise(suffix.count, seed: UInt64(i + 1)).enumerated() { suffix[j] += change }
            return suffix
        }
        for (edit, suffix) in zip(edits, rows) {
            let from = edit.0 * batch.length
            let edited = x.copy(rows: from..<from + batch.length)
            edited.row(edit.1).update(from: suffix.elements, count: suffix.count)
            let alone = TokenBatch(Array(batch.ids[from..<from + batch.length]))
            let losses = try model.losses(of: alone, residual: edited, afterLayer: layer)
            whole += losses[edit.1...].map(Double.init)
            let before = try replay.losses[from..<from + edit.1].map(Double.init)
            if !before.isEmpty, relativeDifference(Array(losses[..<edit.1]), before) > 1e-5 { unchangedBefore = false }
        }
        var replayed = [Float](repeating: .nan, count: whole.count)
        try replayed.withUnsafeMutableBufferPointer { losses in
            try replay.losses(
                of: zip(edits, rows).map { SequenceSuffix(sequence: $0.0, first: $0.1, residual: $1.elements) },
                into: losses.baseAddress!)
        }
        return (replayed, whole, unchangedBefore)
    }

    // 11: less than one block of queries; 128: two, so that a block sees keys of both kinds.
    @Test(arguments: [11, 128]) func raggedSuffixesGiveTheLossesOfWholeRuns(_ length: Int) throws {
        let model = try model()
        let batch = batch(model, sequences: 3, length: length)
        for layer in 0..<model.configuration.layerCount {
            let x = try model.residual(of: batch, afterLayer: layer)
            let edits = [(2, 0), (0, length - 1), (1, length / 2), (1, 3), (0, length - 2), (2, length / 2)]
            let (replayed, whole, unchangedBefore) = try bothWays(model, batch, x, layer: layer, edits)
            #expect(relativeDifference(replayed, whole) < 1e-5, "layer \(layer)")
            #expect(unchangedBefore, "losses before an edit, layer \(layer)")
        }
    }

    @Test func moreSuffixesThanOnePassHolds() throws {
        let model = try model()
        let batch = batch(model, sequences: 4, length: 70)
        let x = try model.residual(of: batch, afterLayer: 0)
        let preferred = try model.replay(of: batch, residual: x, afterLayer: 0).preferredRows
        let edits = (0..<4 * preferred / 70 + 3).map { ($0 % 4, $0 * 13 % 70) }
        let (replayed, whole, _) = try bothWays(model, batch, x, layer: 0, edits)
        #expect(relativeDifference(replayed, whole) < 1e-5)
    }

    @Test func theRunItselfIsThatOfLosses() throws {
        let model = try model()
        let batch = batch(model, sequences: 2, length: 40)
        let x = try model.residual(of: batch, afterLayer: 1)
        let replay = try model.replay(of: batch, residual: x, afterLayer: 1)
        #expect(try replay.losses == model.losses(of: batch, residual: x, afterLayer: 1))
        let kept = try replay.losses
        let suffix = SequenceSuffix(sequence: 1, first: 5, residual: x.row(45))
        var (first, second) = ([Float](repeating: 0, count: 35), [Float](repeating: 0, count: 35))
        try first.withUnsafeMutableBufferPointer { try replay.losses(of: [suffix], into: $0.baseAddress!) }
        try second.withUnsafeMutableBufferPointer { try replay.losses(of: [suffix], into: $0.baseAddress!) }
        #expect(first == second, "the same call, the same bits")
        #expect(relativeDifference(first, kept[45...].map(Double.init)) < 1e-5, "no change, no difference")
    }

    /// What is added, and the rows that it comes to, are one question.
    @Test(arguments: [HookPoint.Kind.residPost, .mlpOut]) func additionsHaveTheBitsOfTheirRows(_ kind: HookPoint.Kind)
        throws
    {
        let (model, hook) = (try model(), HookPoint(block: 1, kind))
        let batch = batch(model, sequences: 2, length: 40)
        let x = try model.residual(of: batch, at: hook), d = x.columns
        let added = randomMatrix(2, d, seed: 9, from: -1, to: 1)
        // The second position twice, and not in order.
        let edits: [(position: Int, row: Int, factor: Float)] = [(31, 0, 0.5), (12, 1, -2), (31, 1, 0.3)]
        let rows = x.copy(rows: 40 + 12..<80)
        for edit in edits {
            for c in 0..<d { rows[edit.position - 12, c] += edit.factor * added[edit.row, c] }
        }
        let additions = edits.map {
            SequenceSuffix.Addition(position: $0.position, factor: $0.factor, row: added.row($0.row))
        }
        let replay = try model.replay(of: batch, residual: x, at: hook)
        let found = try [
            SequenceSuffix(sequence: 1, first: 12, residual: rows.elements),
            SequenceSuffix(sequence: 1, first: 12, additions: additions),
        ].map { suffix in
            var losses = [Float](repeating: .nan, count: 28)
            try losses.withUnsafeMutableBufferPointer { try replay.losses(of: [suffix], into: $0.baseAddress!) }
            return losses
        }
        expectSame(found[0], found[1], "losses")
        let changed = relativeDifference(found[1], Array(try replay.losses[52..<80].map(Double.init)))
        #expect(changed > 1e-3, "the additions do something")
        extendLifetime(added)
        extendLifetime(rows)
    }

    @Test(.enabled(if: smolLM2Path != nil, "needs SmolLM2-135M")) func suffixesOfTheRealModel() throws {
        let model = try loadLanguageModel(path: smolLM2Path!)
        let batch = batch(model, sequences: 2, length: 128)
        let x = try model.residual(of: batch, afterLayer: 15)
        let (replayed, whole, unchangedBefore) = try bothWays(
            model, batch, x, layer: 15, [(0, 0), (0, 100), (1, 64), (1, 126)])
        #expect(relativeDifference(replayed, whole) < 1e-5)
        #expect(unchangedBefore)
    }
}
