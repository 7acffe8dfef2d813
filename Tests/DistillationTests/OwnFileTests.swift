import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Our own files, changed as a stranger would: every reader says what is wrong or goes on, and none of them stops the program.
@Suite struct OwnFileTests {
    private let folder = TemporaryFolder()

    private func sae() throws -> SparseAutoencoder {
        let sae = SparseAutoencoder(dIn: 8, layout: try PrefixLayout(groups: [8, 24], coreCount: 3))
        sae.initialize(seed: 1)
        sae.inference = .threshold(0.5)
        return sae
    }

    @Test func stores() throws {
        let store = folder.file("store")
        try createFolder(store)
        var record = try JSONRecord.decode(
            ActivationStoreRecord.self,
            from: """
                {"format": 2, "dIn": 8, "rows": 128, "shardRows": [128], "shardHashes": ["00"], "inputScale": 2, "tokens": 200,
                "skippedTokens": 0, "droppedSpecial": 60, "droppedSinks": 12, "keepFirst": 1, "specialTokens": [0, 1],
                "sinkRatio": 10, "model": "m", "layer": 1, "contextLength": 20, "seed": 1, "hashes": {"model": "x"}, "seal": ""}
                """, in: "here")
        var writer = SafetensorsWriter()
        writer.add("x", randomMatrix(128, 8, seed: 1))
        try writer.write(to: store + "/shard-00000.safetensors")
        // As a stranger who knows the seal would, too.
        for isSealed in [false, true] {
            record = try record.sealed()
            try JSONRecord.write(record, to: store + "/store.json")
            try fuzzJSON(store + "/store.json") {
                if isSealed, var other = try? JSONRecord.read(ActivationStoreRecord.self, from: store + "/store.json") {
                    other = try other.sealed()
                    try JSONRecord.write(other, to: store + "/store.json")
                }
                let target = Matrix(rows: 64, columns: 8)
                let opened = try ActivationStore(store)
                let reader = try opened.reader(batch: 64, seed: 1)
                guard opened.record.dIn == 8 else { return }
                for step in 0..<4 { reader.read(step: step, scale: Float(opened.record.inputScale), into: target) }
            }
        }
    }

    @Test func placesOfLiveTrainings() throws {
        let path = folder.file("place.json")
        let origin = ActivationOrigin(
            model: "m", hookPoint: .residPost(1), contextLength: 20, policy: SplicePolicy(), hashes: [:])
        let live = try LiveActivations(
            of: { randomTokens(sequences: 4, length: 20, count: 3) },
            model: try loadLanguageModel(path: fixture("models/llama")), origin: origin,
            blocks: LiveBlocks(tokens: 160, sequences: 4, context: 20), others: [:], progress: SilentProgress(),
            stop: StopRequest())
        try live.measureScale()
        let rows = TrainingRows(live, seed: 1, isScaled: true)
        let batches = try #require(rows.batches)
        let target = Matrix(rows: 64, columns: 48)
        for step in 0..<4 { try rows.read(step, target) }
        let place = try #require(try batches.place(of: 4))
        try AtomicFile.write(place, to: path)
        try fuzzJSON(path) {
            struct NoPlace: Error {}
            let text = String(decoding: contents(of: path), as: UTF8.self)
            guard batches.goOn(at: 4, from: text) else { throw NoPlace() }
            try rows.read(4, target)
        }
    }

    @Test func cores() throws {
        let sae = try sae()
        let latents = (0..<6).map { i in
            "{\"index\": \(i * 5), \(i == 0 ? "\"previousIndex\": 0, " : "") \"born\": 0, \"selectedIn\": [0], \"score\": 1}"
        }
        let core = try JSONRecord.decode(
            Core.self,
            from: """
                {"cycle": 0, "candidates": 32, "coverage": 0.5, "previousSize": 3, "latents": [\(latents.joined(separator: ","))]}
                """, in: "here")
        try core.write(encoder: core.encoderRows(of: sae), biases: core.encoderBiases(of: sae), to: folder.path)
        try fuzzJSON(folder.file("core.json")) {
            let read = try Core.read(folder.file("core.json"), width: 32)
            _ = try Core.encoderRows(at: folder.file("core.json"), dIn: 8)
            _ = (read.stable, read.jaccard, read.carriedOver, read.encoderRows(of: sae))
        }
    }

    @Test func configurationsOfSAEs() throws {
        var provenance = SAEProvenance()
        provenance.layer = 1
        provenance.plan = try TrainingPlan(
            TrainingSettings(k: 4, batchSize: 8, steps: 20), dIn: 8, layout: try PrefixLayout(groups: [8, 24]))
        provenance.ruleSettings = ["a": "1"]
        try SAEFolder.write(try sae(), provenance, to: folder.path)
        try fuzzJSON(folder.file("cfg.json"), rounds: 600) {
            let (sae, provenance) = try SAEFolder.read(folder.path)
            if let plan = provenance.plan { _ = (0..<3).map { plan.learningRate(at: $0) } }
            let x = randomMatrix(4, 8, seed: 1)
            try SparseEncoder().encode(x, with: sae, into: SparseCodes())
        }
    }

    @Test func recordsOfRuns() throws {
        let run = RunFolder(folder.path)
        let record = try runRecord()
        _ = try run.open(record, resuming: false)
        try fuzzJSON(folder.file("run.json")) { _ = try run.open(record, resuming: true) }
    }
}
