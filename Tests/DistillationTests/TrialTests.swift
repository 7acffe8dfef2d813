import Attribution
import Distillation
import Glibc
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Final SAEs with cores from everywhere, on a model of random weights, d = 48.
@Suite struct TrialTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    private func recipe(_ trials: String...) throws -> Recipe {
        var recipe = Recipe()
        recipe.layer = 1
        recipe.context = 16
        recipe.harvestTokens = 2048
        recipe.width = 128
        recipe.groups = [48, 80]
        recipe.k = 12
        recipe.batch = 128
        recipe.steps = 20
        recipe.learningRate = 3e-3
        recipe.scoreTokens = 512
        recipe.aggregate = "mean"
        recipe.tau = 0.4
        recipe.cycles = 1
        recipe.finalK = [20]
        recipe.evaluationTokens = 256
        if !trials.isEmpty { try recipe.set("final.trials=[" + trials.joined(separator: ", ") + "]") }
        return recipe
    }

    private func distil(_ name: String, _ recipe: Recipe, resuming: Bool = false) throws -> DistillationRecord {
        let parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [1, 2],
            text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) }, evaluationText: nil,
            rule: NaiveBatchTopK(), scorer: NaiveGradientTimesActivation(), version: "test")
        return try Distillation(
            recipe, parts: parts, folder: folder.file(name), progress: SilentProgress(), stop: StopRequest()
        ).distillOnce(resuming: resuming)
    }

    private func sae(_ name: String) throws -> SparseAutoencoder { try SAEFolder.read(folder.file(name)).sae }

    /// [c, d] what an SAE has frozen.
    private func core(_ name: String) throws -> Matrix {
        let sae = try sae(name)
        return sae.encoder.copy(rows: 0..<sae.layout.coreCount)
    }

    private func norms(_ m: Matrix) -> [Double] {
        (0..<m.rows).map { i in (0..<m.columns).reduce(0.0) { $0 + Double(m[i, $1]) * Double(m[i, $1]) }.squareRoot() }
    }

    @Test func aRandomCoreIsOfLatentsThatWereNotSelected() throws {
        let record = try distil("run", try recipe("dmsae", "random", "{core: random, name: other, seed: 2}"))
        #expect(record.trials.map(\.sae.frozenCore) == [record.coreSize, record.coreSize, record.coreSize])
        #expect(record.trials[0].sae.seed == record.trials[1].sae.seed)
        #expect(record.trials[0].sae.seed != record.trials[2].sae.seed)
        let first = try sae("run/cycle-0/sae")
        let selected = Set(
            try JSONRecord.read(Core.self, from: folder.file("run/cycle-0/core.json")).latents.map(\.index))
        var draws: [Set<Int>] = []
        for name in ["random", "other"] {
            let listed = try Core.read(folder.file("run/final/k-20/\(name)/core.json"), of: first)
            let drawn = listed.core.latents.map(\.index)
            #expect(listed.isChecked && selected.isDisjoint(with: drawn) && drawn.allSatisfy { $0 < 48 })
            let rows = try core("run/final/k-20/\(name)")
            for (i, j) in drawn.enumerated() {
                #expect(rows.copy(rows: i..<i + 1).values == first.encoder.copy(rows: j..<j + 1).values)
            }
            draws.append(Set(drawn))
        }
        #expect(draws[0] != draws[1] && draws.map(\.count) == [record.coreSize, record.coreSize])
    }

    /// What is not said stays what it was: the same bytes, whether trials are named or not.
    @Test func namedTrialsAreTheSameAsThoseOfAuto() throws {
        var auto = try recipe()
        auto.randomCore = true
        let record = try distil("auto", auto)
        #expect(record.trials.map(\.trial.name) == ["dmsae", "baseline", "random"])
        #expect(record.trials.map(\.trial.budget) == [.total, nil, .total])
        let named = try distil("named", try recipe("distilled", "none", "random"))
        #expect(named == record)
        for name in ["dmsae", "baseline", "random"] {
            let file = "/final/k-20/\(name)/sae_weights.safetensors"
            expectSame(contents(of: folder.file("named" + file)), contents(of: folder.file("auto" + file)), name)
        }
    }

    @Test func randomDirectionsHaveTheNormsOfTheCoreTheyStandFor() throws {
        _ = try distil("run", try recipe("dmsae", "unit", "\"unit,seed=2,name=other\""))
        let (own, unit, other) = (
            try core("run/final/k-20/dmsae"), try core("run/final/k-20/unit"), try core("run/final/k-20/other")
        )
        // Both norms are rounded to single precision.
        checkClose(norms(unit), norms(own), tolerance: 1e-6, "norms")
        let drawn = Directions.random(own.rows, dIn: 48, seed: 1).rows
        checkClose(norms(drawn), [Double](repeating: 1, count: own.rows), tolerance: 1e-6, "unit")
        for i in 0..<own.rows {
            let cosine = (0..<48).reduce(0.0) { $0 + Double(unit[i, $1]) * Double(drawn[i, $1]) } / norms(own)[i]
            #expect(abs(cosine - 1) < 1e-6)
        }
        #expect(other.values != unit.values)
    }

    @Test func aCoreComesFromACycleAnotherRunOrAFile() throws {
        let first = try distil("first", try recipe("dmsae"))
        let run = folder.file("first")
        let record = try distil(
            "second",
            try recipe(
                "cycle:0", "run:\(run)", "file:\(run)/cycle-0/core.json",
                "{core: \"file:\(run)/cycle-1/core.safetensors\", name: vectors}"))
        func rows(_ path: String) throws -> [Float] { try Core.encoderRows(at: folder.file(path), dIn: 48).values }
        #expect(try core("second/final/k-20/cycle-0").values == rows("second/cycle-0/core.json"))
        #expect(try core("second/final/k-20/run").values == rows("first/final/core.json"))
        #expect(try core("second/final/k-20/file").values == rows("first/cycle-0/core.json"))
        #expect(try core("second/final/k-20/vectors").values == rows("first/cycle-1/core.json"))
        #expect(record.trials[1].sae.evaluation == first.trials[0].sae.evaluation)
        #expect(
            record.trials[1].trial.hashes
                == ["core": try SHA256.hexadecimal(ofFile: run + "/final/core.safetensors")])
    }

    /// Of an SAE and its image with other latents in between, those that are in both.
    @Test func aPooledCoreIsOfLatentsThatReappear() throws {
        let a = try smallSAE(dIn: 48, groups: [48, 80], seed: 5), b = try smallSAE(dIn: 48, groups: [48, 80], seed: 9)
        // Latent 2j of the first is, at another length, latent 100 − j of the second.
        let shared = Array(stride(from: 0, to: 48, by: 2))
        for j in shared { for c in 0..<48 { b.encoder[100 - j / 2, c] = 3 * a.encoder[j, c] } }
        for (name, sae) in [("a", a), ("b", b)] {
            sae.inference = .threshold(0.5)
            try createFolder(folder.file(name))
            try SAEFolder.write(sae, SAEProvenance(), to: folder.file(name))
        }
        let record = try distil("run", try recipe("pooled:\(folder.file("a")),\(folder.file("b"))".quoted))
        let rows = try core("run/final/k-20/pooled")
        #expect(rows.rows == record.coreSize && record.coreSize <= shared.count)
        for i in 0..<rows.rows {
            let row = rows.copy(rows: i..<i + 1).values
            #expect(shared.contains { a.encoder.copy(rows: $0..<$0 + 1).values == row })
        }
    }

    @Test func aTrialIsTrainedOnAsManyTokensAtTheKThatItSays() throws {
        let record = try distil(
            "run",
            try recipe(
                "dmsae", "{core: none, name: long, tokens: total-compute}",
                "{core: none, name: short, tokens: 1300, k: 30}",
                "{core: distilled, name: free, budget: non-core, core_mode: sparse}"))
        // Cycles 0 and 1 and a final SAE; whole batches.
        #expect(record.trials.map(\.trial.tokens) == [2560, 3 * 2560, 2560, 1280])
        #expect(record.trials.map(\.trial.folder).last == "final/k-30/short")
        #expect(record.trials.map(\.sae.lastStep?.step) == [19, 59, 19, 9])
        let (free, provenance) = try SAEFolder.read(folder.file("run/final/k-20/free"))
        #expect(!free.coreIsDense && provenance.plan?.budget == .nonCore)
        #expect(try SAEFolder.read(folder.file("run/final/k-30/short")).provenance.plan?.k == 30)
    }

    @Test func aTrialIsAddedLaterAndNoneIsTakenForAnother() throws {
        let first = try distil("run", try recipe("dmsae", "baseline"))
        let path = folder.file("run/final/k-20/baseline/sae_weights.safetensors")
        let before = contents(of: path)
        let more = try distil("run", try recipe("baseline", "unit", "dmsae"), resuming: true)
        #expect(more.trials.map(\.trial.name) == ["baseline", "unit", "dmsae"] && more.trials[2] == first.trials[0])
        expectSame(contents(of: path), before)
        let whole = try distil("whole", try recipe("baseline", "unit", "dmsae"))
        #expect(more == whole)
        let text = message {
            _ = try distil("run", try recipe("{core: none, name: baseline, tokens: total-compute}"), resuming: true)
        }
        #expect(
            text
                == "the trial into \(folder.file("run/final/k-20/baseline")) was started with tokens = 2560, now it is 7680; resume "
                + "it with what it was started with, or choose another --out")
    }

    @Test func whatATrialIsMadeOfIsLookedForBeforeAnything() throws {
        for (source, says) in [
            ("file:/nowhere/core.json", "cannot read /nowhere/core.json"),
            ("run:/nowhere", "/nowhere: it holds no final/core.json of a distillation"),
        ] {
            let text = message { _ = try distil("run", try recipe("dmsae", source)) }
            #expect(text.hasPrefix(says), "\(text)")
            #expect(!exists(folder.file("run")))
        }
        var writer = SafetensorsWriter()
        writer.add("W_enc", Matrix(rows: 47, columns: 3))
        try writer.write(to: folder.file("core.safetensors"))
        let text = message { _ = try distil("run", try recipe("file:\(folder.file("core.safetensors"))")) }
        #expect(text.contains("core.safetensors") && text.contains("47"), "\(text)")
        #expect(!exists(folder.file("run")))
    }
}

extension String {
    fileprivate var quoted: String { "\"" + self + "\"" }
}
