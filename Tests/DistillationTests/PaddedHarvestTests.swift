import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// A harvest of sequences that are shorter than their rows.
@Suite struct PaddedHarvestTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    /// Rows of 20 tokens, of which 5, 20, 1 and 12 are none of padding.
    private func padded(_ batch: TokenBatch) -> TokenBatch {
        TokenBatch(ids: batch.ids, counts: [5, 20, 1, 12], length: 20)
    }

    private func harvest(_ folder: String, stopIn cut: Int? = nil) throws -> ActivationStoreRecord {
        var settings = HarvestSettings(tokens: 1600, seed: 5, modelName: "llama")
        settings.shardRows = 200
        let (source, stop) = (randomTokens(sequences: 4, length: 20), StopRequest())
        var batch = 0
        return try Harvest(
            model: model, hook: .residPost(1), policy: SplicePolicy(keepFirst: 1, specialTokens: [3], sinkRatio: nil),
            settings: settings
        ).run(
            next: {
                if batch == cut { stop.raise() }
                batch += 1
                return try source().map(padded)
            }, to: folder, progress: SilentProgress(), stop: stop
        ).record
    }

    @Test func paddingIsNotStored() throws {
        let record = try harvest(folder.path)
        let source = randomTokens(sequences: 4, length: 20)
        var (kept, special) = (Set<[UInt32]>(), 0)
        for _ in 0..<20 {
            let batch = padded(try #require(try source()))
            let x = try model.residual(of: batch, afterLayer: 1)
            for r in 0..<80 where r % 20 < batch.counts![r / 20] {
                if r % 20 == 0 || batch.ids[r] == 3 {
                    special += 1
                } else {
                    kept.insert((0..<48).map { x[r, $0].bitPattern })
                }
            }
        }
        #expect(record.droppedPadding == 20 * (80 - 38) && record.droppedSpecial == special && record.droppedSinks == 0)
        var stored = Set<[UInt32]>()
        for i in record.shardRows.indices {
            let x = try SafetensorsFile(path: folder.file("shard-0000\(i).safetensors")).matrix("x")
            for r in 0..<x.rows { stored.insert((0..<48).map { x[r, $0].bitPattern }) }
        }
        #expect(stored == kept && record.rows == 20 * 38 - special)
    }

    @Test func paddingIsCountedOnceWhereAHarvestGoesOn() throws {
        let elsewhere = TemporaryFolder()
        let whole = try harvest(elsewhere.path)
        #expect(whole.shardRows.count > 2)
        #expect(throws: DistillationError.interrupted) { try harvest(folder.path, stopIn: 15) }
        #expect(Harvest.tokensDone(in: folder.path) ?? 0 > 0)
        #expect(try harvest(folder.path) == whole)
    }
}
