import Attribution
import Distillation
import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Sequences of random ids below 320, the small model's vocabulary: batch i of a source is a function of i.
func randomTokens(sequences: Int, length: Int, from first: Int = 0, count: Int = .max) -> TokenSource {
    let random = CounterRandom(seed: 9, purpose: .test)
    var next = first
    return {
        guard count == .max || next < first + count else { return nil }
        let ids = (0..<(sequences * length)).map {
            Int32(random.block(UInt64(next * sequences * length + $0)).x % 320)
        }
        next += 1
        return TokenBatch(ids: ids, sequenceCount: sequences, length: length)
    }
}

@Suite struct ActivationStoreTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel
    /// Keeps the first position, ids 3 and 4, and sinks; the model's norms differ little, so the ratio is low.
    private let policy = SplicePolicy(keepFirst: 1, specialTokens: [3, 4], sinkRatio: 1.2)

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    private func harvest(tokens: Int = 1600, seed: UInt64 = 5, shardRows: Int = 500, batches: Int = .max) throws
        -> ActivationStore
    {
        var settings = HarvestSettings(tokens: tokens, seed: seed, modelName: "llama")
        settings.shardRows = shardRows
        return try Harvest(model: model, hook: .residPost(1), policy: policy, settings: settings).run(
            next: randomTokens(sequences: 4, length: 20, count: batches), to: folder.path, progress: SilentProgress(),
            stop: StopRequest())
    }

    /// A harvest of 1,600 tokens in batches of 80, a shard being full after the eighth or ninth.
    private func harvest(
        to folder: String, stoppedBefore cut: Int? = nil, every seconds: Double = 1e9, killed: Bool = false
    ) throws -> ActivationStore {
        struct Killed: Error {}
        var settings = HarvestSettings(tokens: 1600, seed: 5, modelName: "llama")
        settings.shardRows = 500
        settings.checkpoints = CheckpointPolicy(seconds: seconds, clock: TickingClock().read)
        let source = randomTokens(sequences: 4, length: 20), stop = StopRequest()
        var batch = 0
        return try Harvest(model: model, hook: .residPost(1), policy: policy, settings: settings).run(
            next: {
                if batch == cut {
                    if killed { throw Killed() }
                    stop.raise()
                }
                batch += 1
                return try source()
            }, to: folder, progress: SilentProgress(), stop: stop)
    }

    private func expectWhole(_ record: ActivationStoreRecord) throws {
        #expect(try harvest(to: folder.path).record == record)
        try ActivationStore(folder.path).verify(progress: SilentProgress(), stop: StopRequest())
        #expect(
            folder.names == ["shard-00000", "shard-00001", "shard-00002"].map { $0 + ".safetensors" } + ["store.json"])
    }

    @Test(arguments: [1, 7, 10, 18, 19]) func aHarvestThatIsStoppedGoesOnWhereItWas(_ cut: Int) throws {
        let elsewhere = TemporaryFolder()
        let whole = try harvest(to: elsewhere.path).record
        #expect(whole.shardRows.count == 3)
        #expect(throws: DistillationError.interrupted) { try harvest(to: folder.path, stoppedBefore: cut) }
        #expect(Harvest.tokensDone(in: folder.path) == 80 * cut)
        try expectWhole(whole)
    }

    /// Rows are kept after every other batch, and after every whole shard.
    @Test(arguments: [0, 1, 2, 8, 13, 17, 19]) func aHarvestThatIsKilledGoesOnFromWhatItKept(_ cut: Int) throws {
        let elsewhere = TemporaryFolder()
        let whole = try harvest(to: elsewhere.path).record
        #expect(throws: (any Error).self) { try harvest(to: folder.path, stoppedBefore: cut, every: 2, killed: true) }
        let done = Harvest.tokensDone(in: folder.path)
        #expect(cut < 2 ? done == nil : (80 * (cut - 3)...80 * cut).contains(done ?? -1))
        try expectWhole(whole)
    }

    @Test func whatAHarvestKeptAndWasChangedIsMadeAgain() throws {
        let elsewhere = TemporaryFolder()
        let whole = try harvest(to: elsewhere.path).record
        func damage(_ name: String) throws {
            var bytes = contents(of: folder.file(name))
            bytes[bytes.count - 1] ^= 1
            try AtomicFile.write(bytes, to: folder.file(name))
        }
        for name in [
            "unfinished-1440.safetensors", "shard-00001.safetensors", "shard-00000.safetensors", "harvest.json",
        ] {
            #expect(throws: DistillationError.interrupted) { try harvest(to: folder.path, stoppedBefore: 18) }
            try damage(name)
            try expectWhole(whole)
            unlink(folder.file("store.json"))
        }
        // A count that became another, in a file that reads as well as before.
        #expect(throws: DistillationError.interrupted) { try harvest(to: folder.path, stoppedBefore: 18) }
        let text = String(decoding: contents(of: folder.file("harvest.json")), as: UTF8.self)
        let changed = text.replacing(#/"special" : (\d+)/#) { #""special" : \#($0.1)7"# }
        #expect(changed != text)
        try AtomicFile.write(changed, to: folder.file("harvest.json"))
        try expectWhole(whole)
        unlink(folder.file("store.json"))
        #expect(throws: DistillationError.interrupted) { try harvest(to: folder.path, stoppedBefore: 18) }
        var settings = HarvestSettings(tokens: 1600, seed: 6, modelName: "llama")
        settings.shardRows = 500
        #expect(
            message {
                _ = try Harvest(model: model, hook: .residPost(1), policy: policy, settings: settings).run(
                    next: { nil }, to: folder.path, progress: SilentProgress(), stop: StopRequest())
            }.contains("the harvest into \(folder.path) was started with seed = 5, now it is 6"))
    }

    private func rows(_ x: Matrix) -> [[UInt32]] {
        (0..<x.rows).map { r in (0..<x.columns).map { x[r, $0].bitPattern } }
    }

    private func shard(_ i: Int) throws -> Matrix {
        try SafetensorsFile(path: folder.file("shard-0000\(i).safetensors")).matrix("x")
    }

    private func sorted(_ rows: [[UInt32]]) -> [[UInt32]] { rows.sorted { $0.lexicographicallyPrecedes($1) } }

    @Test func aHarvestKeepsWhatIsNeitherFirstNorSpecialNorASink() throws {
        let record = try harvest().record
        // The same, one position at a time.
        var kept: [[UInt32]] = []
        var (special, sinks, square) = (0, 0, 0.0)
        let source = randomTokens(sequences: 4, length: 20)
        for _ in 0..<20 {
            let batch = try #require(try source())
            let x = try model.residual(of: batch, afterLayer: 1)
            let norms = (0..<80).map { r in
                (0..<48).reduce(0.0) { $0 + Double(x[r, $1]) * Double(x[r, $1]) }.squareRoot()
            }
            let median = norms.sorted()[40]
            for r in 0..<80 {
                if r % 20 == 0 || batch.ids[r] == 3 || batch.ids[r] == 4 {
                    special += 1
                } else if norms[r] > Double(Float(1.2)) * median {
                    sinks += 1
                } else {
                    kept.append((0..<48).map { x[r, $0].bitPattern })
                    square += norms[r] * norms[r]
                }
            }
        }
        #expect(special > 80 && sinks > 0, "there was something of each to leave out")
        #expect(record.droppedSpecial == special && record.droppedSinks == sinks && record.rows == kept.count)
        #expect(record.tokens == 1600 && record.contextLength == 20 && record.layer == 1 && record.dIn == 48)
        #expect(record.shardRows == [500, 500, kept.count - 1000])
        let scale = (square / Double(kept.count)).squareRoot()
        // Norms are summed in single precision.
        #expect(abs(record.inputScale - scale) <= 1e-6 * scale)
        // Each shard holds its rows, in another order than they came.
        var first = 0
        for (i, count) in record.shardRows.enumerated() {
            let part = Array(kept[first..<(first + count)])
            let found = rows(try shard(i))
            expectSame(sorted(found), sorted(part), "shard \(i)")
            let isShuffled = found != part
            #expect(isShuffled)
            first += count
        }
    }

    @Test func theShuffleIsAFunctionOfTheSeed() throws {
        func shards(_ seed: UInt64) throws -> [[UInt32]] {
            _ = try harvest(seed: seed)
            return rows(try shard(0)) + rows(try shard(1))
        }
        let first = try shards(5)
        expectSame(try shards(5), first)
        let isOther = try shards(6) != first
        #expect(isOther)
    }

    @Test func aTextThatIsTooShortSaysSo() {
        #expect(
            message { _ = try harvest(batches: 3) }
                == "the text has 240 of the 1600 tokens wanted for harvesting; give more text or ask for fewer tokens")
        #expect(!exists(folder.file("store.json")), "what was cut short is no store")
    }

    @Test func aHarvestStopsWhenAsked() throws {
        let stop = StopRequest()
        stop.raise()
        #expect(throws: DistillationError.interrupted) {
            try Harvest(
                model: model, hook: .residPost(1), policy: policy,
                settings: HarvestSettings(tokens: 1600, seed: 1, modelName: "llama")
            ).run(
                next: randomTokens(sequences: 4, length: 20), to: folder.path, progress: SilentProgress(), stop: stop)
        }
    }

    /// Which chunk every batch of an epoch is, and whether its rows are the chunk's divided by the scale.
    private func epoch(_ store: ActivationStore, _ number: Int, seed: UInt64) throws -> [Int] {
        var chunks: [[UInt32]: Int] = [:]
        var contents: [Matrix] = []
        for (s, count) in store.record.shardRows.enumerated() {
            let x = try shard(s)
            for first in stride(from: 0, to: count - 63, by: 64) {
                let chunk = x.copy(rows: first..<(first + 64))
                for i in 0..<chunk.count { chunk[i] /= 8 }
                chunks[rows(chunk)[0]] = contents.count
                contents.append(chunk)
            }
        }
        let reader = try store.reader(batch: 128, seed: seed)
        let perEpoch = store.batchesPerEpoch(128)
        #expect(perEpoch == contents.count / 2)
        let target = Matrix(rows: 128, columns: 48)
        return try (0..<perEpoch).flatMap { step in
            reader.read(step: number * perEpoch + step, scale: 8, into: target)
            return try [0..<64, 64..<128].map { half in
                let part = target.copy(rows: half)
                let chunk = try #require(chunks[rows(part)[0]])
                // Division by a power of two is exact.
                expectSame(part.values, contents[chunk].values, "chunk \(chunk)")
                return chunk
            }
        }
    }

    @Test func anEpochVisitsEveryChunkOnceInAnOrderThatIsAFunctionOfSeedAndEpoch() throws {
        let store = try harvest()
        let first = try epoch(store, 0, seed: 1)
        // 7 + 7 + 5 chunks or so: one is left out where their number is odd.
        #expect(Set(first).count == first.count && first.count >= 16)
        #expect(try epoch(store, 0, seed: 1) == first)
        #expect(try epoch(ActivationStore(folder.path), 0, seed: 1) == first)
        #expect(try epoch(store, 1, seed: 1) != first)
        #expect(try epoch(store, 0, seed: 2) != first)
        #expect(first != first.sorted())
    }

    @Test func anyStepCanBeReadFirst() throws {
        let store = try harvest()
        func batch(_ steps: [Int]) throws -> [Float] {
            let reader = try store.reader(batch: 64, seed: 1)
            let target = Matrix(rows: 64, columns: 48)
            for step in steps { reader.read(step: step, scale: 3, into: target) }
            return target.values
        }
        expectSame(try batch(Array(0...50)), try batch([50]))
    }

    @Test func batchesThatCannotBeFilledAreRefused() throws {
        let store = try harvest()
        #expect(
            message { _ = try store.reader(batch: 100, seed: 1) }
                == "recipe key train.batch is \"100\"; it must be a multiple of 64")
        let chunks = store.record.shardRows.reduce(0) { $0 + $1 / 64 }
        #expect(
            message { _ = try store.reader(batch: 6400, seed: 1) }
                == "\(chunks * 64) rows of activations do not fill one batch of 6400; "
                + "harvest more tokens or lower the batch")
    }

    @Test func aTruncatedShardIsRefusedByName() throws {
        _ = try harvest()
        let path = folder.file("shard-00001.safetensors")
        #expect(truncate(path, contents(of: path).count - 100) == 0)
        let text = message { _ = try ActivationStore(folder.path) }
        #expect(text.contains(path) && text.contains("; "), "\(text)")
        #expect(remove(path) == 0)
        #expect(message { _ = try ActivationStore(folder.path) }.hasPrefix("cannot read \(path): "))
    }

    @Test(arguments: [
        ("\"shardRows\" : [\n    500,", "\"shardRows\" : [\n    -500,"),
        ("\"shardRows\" : [\n    500,", "\"shardRows\" : [\n    9223372036854775807,"),
        ("\"dIn\" : 48", "\"dIn\" : 0"), ("\"layer\" : 1", "\"layer\" : -1"),
        ("\"inputScale\" : ", "\"inputScale\" : -"), ("\"rows\" : 1", "\"rows\" : 2"),
    ]) func aRecordThatContradictsItselfIsRefused(_ old: String, _ new: String) throws {
        _ = try harvest()
        let path = folder.file("store.json")
        let text = String(decoding: contents(of: path), as: UTF8.self)
        let at = try #require(text.firstRange(of: old), "\(text)")
        try AtomicFile.write(text[..<at.lowerBound] + new + text[at.upperBound...], to: path)
        #expect(
            message { _ = try ActivationStore(folder.path) }
                == "activation store \(folder.path): store.json is not as the harvest wrote it; harvest it again")
        // As one would write it who knows how the seal is made.
        try JSONRecord.write(try JSONRecord.read(ActivationStoreRecord.self, from: path).sealed(), to: path)
        #expect(
            message { _ = try ActivationStore(folder.path) }
                == "activation store \(folder.path): store.json contradicts itself; harvest it again")
    }

    @Test func aStoreOfAnEarlierVersionIsSaidToBeOne() throws {
        try AtomicFile.write(#"{"format": 1, "dIn": 48}"#, to: folder.file("store.json"))
        #expect(
            message { _ = try ActivationStore(folder.path) }
                == "activation store \(folder.path): it is of format 1, and this version of dmsae reads 2; harvest it again"
        )
    }

    @Test func aShardThatWasChangedIsFoundBeforeAnythingIsMadeOfIt() throws {
        let store = try harvest()
        try store.verify(progress: SilentProgress(), stop: StopRequest())
        let path = folder.file("shard-00001.safetensors")
        var bytes = contents(of: path)
        bytes[bytes.count - 3] ^= 1
        try AtomicFile.write(bytes, to: path)
        let changed = try ActivationStore(folder.path)
        #expect(
            message { try changed.verify(progress: SilentProgress(), stop: StopRequest()) }
                == "activation store \(folder.path): \(path) was changed after the harvest; harvest it again")
    }
}
