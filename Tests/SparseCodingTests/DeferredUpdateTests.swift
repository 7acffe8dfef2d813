import Glibc
import LinearAlgebra
import Synchronization
import TestSupport
import Testing

import SparseCoding

/// Rows are brought up to date once each, before they are computed with, whoever does it and whenever.
@Suite struct DeferredUpdateTests {
    /// How often each row was updated, by lanes that take their time.
    private final class Counts: Sendable {
        let counts: Mutex<[Int]>

        init(_ latents: Int) { counts = Mutex([Int](repeating: 0, count: latents)) }

        func update(_ range: Range<Int>) {
            usleep(300)
            counts.withLock { for j in range { $0[j] += 1 } }
        }

        func all(_ range: Range<Int>, are count: Int) -> Bool {
            counts.withLock { $0[range].allSatisfy { $0 == count } }
        }
    }

    /// Ranges as tiles have them, with a bound that is none of the chunks'; more lanes than chunks too, and lanes that do not come.
    @Test(arguments: [1, 2, 3, 17], [20, 512, 1300, 3000]) func rowsAreUpdatedOnceAndBefore(_ count: Int, latents: Int)
    {
        let (lanes, counts) = (Lanes(count: count), Counts(latents))
        let due = DeferredUpdate(latents: latents, lanes: lanes)
        for round in 1...4 {
            due.begin { counts.update($0) }
            let isReady = Mutex(true)
            lanes.run { lane in
                if round == 2 && lane % 2 == 0 { return }
                var start = 0
                for end in [37, 549] + stride(from: 1061, to: latents, by: 512) + [latents] where end <= latents {
                    due.bring(start..<end)
                    let isDone = counts.all(start..<end, are: round)
                    isReady.withLock { $0 = $0 && isDone }
                    start = end
                }
            }
            #expect(isReady.withLock { $0 }, "a lane came to rows that were due")
            due.complete()
            #expect(counts.all(0..<latents, are: round), "round \(round)")
        }
    }

    @Test func whatNobodyAskedForIsDoneBeforeTheNextBegins() {
        let counts = Counts(1300)
        let due = DeferredUpdate(latents: 1300, lanes: Lanes(count: 2))
        due.begin { counts.update($0) }
        due.bring(0..<512)
        due.begin { counts.update($0) }
        #expect(counts.all(0..<1300, are: 1))
        due.complete()
        due.complete()
        #expect(counts.all(0..<1300, are: 2))
    }

    /// Steps whose rows are updated at once, because the state is asked for, and steps whose rows wait. Ten rows of the dense core are
    /// frozen, so that a look at the core's encoder before the first tile would notice rows that are due.
    @Test(arguments: [1, 2, 3], [false, true])
    func aTrainingHasTheBitsOfOneThatUpdatesAtOnce(_ count: Int, byRow: Bool) throws {
        func trained(exporting: Bool) throws -> (bits: [UInt32], records: [StepRecord]) {
            let sae = SparseAutoencoder(dIn: 20, layout: try PrefixLayout(groups: [100, 1200], coreCount: 37))
            sae.initialize(seed: 3, core: randomMatrix(37, 20, seed: 50))
            var settings = TrainingSettings(k: 30, batchSize: 600, steps: 8)
            (settings.learningRate, settings.deadAfterTokens, settings.warmupSteps) = (0.1, 1200, 0)
            settings.budget = .total
            let trainer = try Trainer(
                sae, plan: try TrainingPlan(settings, dIn: 20, layout: sae.layout),
                rule: byRow ? NaiveTopK() : NaiveBatchTopK(), frozenCount: 10, on: Lanes(count: count))
            let records = try (0..<8).map { step in
                let record = try trainer.update(randomMatrix(600, 20, seed: 100 + UInt64(step)))
                if exporting { _ = try trainer.exportedState() }
                return record
            }
            try trainer.bringBack()
            return (
                [sae.encoder, sae.decoder].flatMap { $0.values.map(\.bitPattern) }, records
            )
        }
        let (atOnce, waiting) = (try trained(exporting: true), try trained(exporting: false))
        #expect(atOnce.records == waiting.records)
        expectSame(atOnce.bits, waiting.bits, "encoder and decoder")
        #expect(
            waiting.records.contains { $0.deadCount > 0 }
                && waiting.records.allSatisfy { $0.meanActiveCore > 1 })
    }
}
