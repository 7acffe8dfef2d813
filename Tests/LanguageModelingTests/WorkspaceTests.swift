import Glibc
import LanguageModeling
import LinearAlgebra
import TestSupport
import Testing

/// Runs share their scratch with those before them and their lanes with each other; neither may be seen in the numbers.
@Suite struct WorkspaceTests {
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    private func batch(sequences: Int, length: Int, seed: Int = 0) -> TokenBatch {
        let ids = (0..<sequences * length).map { Int32(($0 + seed) * 37 % model.configuration.vocabularySize) }
        return TokenBatch(ids: ids, sequenceCount: sequences, length: length)
    }

    private struct Everything: Equatable {
        var residual, losses, lossesOfBoth, gradient: [Float]
    }

    private func everything(_ batch: TokenBatch) throws -> Everything {
        let x = try model.residual(of: batch, afterLayer: 0)
        let both = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 0)
        return Everything(
            residual: x.values, losses: try model.losses(of: batch, residual: x, afterLayer: 0),
            lossesOfBoth: both.losses, gradient: both.gradient.values)
    }

    @Test func whatWasRunBeforeLeavesNoTrace() throws {
        let batches = [(2, 40), (1, 1), (5, 7), (1, 120), (4, 40)].enumerated().map {
            batch(sequences: $1.0, length: $1.1, seed: $0)
        }
        let alone = try batches.map { batch in
            try WorkspaceTests().everything(batch)  // a model of its own, with nothing left in its scratch
        }
        for i in [0, 1, 2, 3, 4, 2, 0, 3, 1] {
            #expect(try everything(batches[i]) == alone[i], "batch \(i)")
            #expect(alone[i].losses == alone[i].lossesOfBoth)
        }
    }

    // Three to seven sequences are no multiple of most lane counts: some run on one lane, the rest on all together.
    // Tolerance 1e-5 of the largest: the products have other shapes, as in `SuffixReplayTests`.
    @Test(arguments: [1, 3, 7], [1, 24, 70])
    func asManySequencesAsThereMayBeGiveWhatEachGivesAlone(_ sequences: Int, _ length: Int) throws {
        let batch = batch(sequences: sequences, length: length)
        let together = try everything(batch)
        let parts = try (0..<sequences).map { try everything(batch.sequences($0..<$0 + 1)) }
        func check(_ part: KeyPath<Everything, [Float]>) {
            let expected = parts.flatMap { $0[keyPath: part] }.map(Double.init)
            #expect(together[keyPath: part].count == expected.count && !expected.isEmpty)
            // One token predicts nothing: loss and gradient are 0.
            guard expected.contains(where: { $0 != 0 }) else {
                #expect(together[keyPath: part].allSatisfy { $0 == 0 })
                return
            }
            #expect(relativeDifference(together[keyPath: part], expected) < 1e-5)
        }
        check(\.residual)
        check(\.losses)
        check(\.gradient)
    }

    @Test func severalCallersAtOnceDoNotMeet() throws {
        let batches = (0..<4).map { batch(sequences: 3, length: 30, seed: $0) }
        let expected = try batches.map { try everything($0) }
        // A pool of its own: its threads call the model as strangers to each other would.
        let found = UnsafeMutableBufferPointer<Everything?>.allocate(capacity: 4)
        found.initialize(repeating: nil)
        defer {
            found.deinitialize()
            found.deallocate()
        }
        Lanes(count: 4).run { caller in found[caller] = try? everything(batches[caller]) }
        // Whoever finds the lanes taken runs every part on its own thread, cut as always.
        #expect(found.map { $0 } == expected)
    }

    @Test(arguments: [1, 2, 3, 8]) func passesHoldEveryRunOnceAndSharesAreEqual(_ lanes: Int) {
        for (count, longest) in [(0, 1), (1, 600), (2, 3), (40, 100), (333, 512), (7, 2048)] {
            let rows = (0..<count).map { 1 + $0 * 7919 % longest }
            let passes = packed(rows, size: 512, lanes: lanes)
            #expect(passes.flatMap { $0 }.sorted() == Array(0..<count))
            #expect(passes.allSatisfy { !$0.isEmpty })
            let sizes = passes.map { $0.reduce(0) { $0 + rows[$1] } }
            // Graham's bound for what is dealt to the least loaded.
            #expect(sizes.allSatisfy { $0 <= 512 + longest })
            // Lane l runs the l-th of `lanes` equal shares: none may have much more to do than another.
            let each = passes.count / lanes
            let shares = (0..<lanes).map { sizes[$0 * each..<($0 + 1) * each].reduce(0, +) }
            #expect(shares.max()! - shares.min()! <= longest)
        }
    }
}
