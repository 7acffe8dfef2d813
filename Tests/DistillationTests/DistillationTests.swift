import Attribution
import Distillation
import Glibc
import LanguageModeling
import LinearAlgebra
import SparseCoding
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// A whole distillation on a model of random weights, d = 48, with the naive rule and scorer.
@Suite struct DistillationTests {
    private let folder = TemporaryFolder()
    private let model: any LanguageModel

    init() throws { model = try loadLanguageModel(path: fixture("models/llama")) }

    private var recipe: Recipe {
        var recipe = Recipe()
        recipe.layer = 1
        recipe.context = 16
        recipe.sequences = 8
        recipe.harvestTokens = 2048
        recipe.width = 128
        recipe.groups = [48, 80]
        recipe.k = 12
        recipe.batch = 128
        recipe.steps = 40
        recipe.learningRate = 3e-3
        recipe.scoreTokens = 512
        recipe.aggregate = "mean"
        recipe.tau = 0.4
        recipe.cycles = 2
        recipe.finalK = [10, 20]
        recipe.evaluationTokens = 256
        return recipe
    }

    private func distillation(
        _ name: String, _ recipe: Recipe, start: StartingSAE? = nil, stop: StopRequest = StopRequest()
    ) throws -> Distillation {
        var parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [1, 2],
            text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) }, evaluationText: nil,
            rule: NaiveBatchTopK(), scorer: NaiveGradientTimesActivation(), version: "test")
        parts.start = start
        return try Distillation(
            recipe, parts: parts, folder: folder.file(name), progress: SilentProgress(), stop: stop)
    }

    /// Everything that is a function of the recipe.
    private static let files =
        ["store/store.json", "store/shard-00000.safetensors", "final/core.json", "final/core.safetensors"]
        + (0...2).flatMap { t in
            [
                "done.json", "metrics.json", "core.json", "core.safetensors", "scores.safetensors", "sae/cfg.json",
                "sae/sae_weights.safetensors",
            ].map { "cycle-\(t)/\($0)" }
        }
        + [10, 20].flatMap { k in
            ["dmsae", "baseline"].flatMap { name in
                ["trial.json", "metrics.json", "cfg.json", "sae_weights.safetensors", "done.json"].map {
                    "final/k-\(k)/\(name)/\($0)"
                }
            }
        }

    private func expectSameFiles(_ a: String, _ b: String, sourceLocation: SourceLocation = #_sourceLocation) {
        for file in Self.files {
            expectSame(
                contents(of: folder.file("\(b)/\(file)")), contents(of: folder.file("\(a)/\(file)")), file,
                sourceLocation: sourceLocation)
        }
    }

    @Test func theSameRecipeGivesTheSameBytesAlsoWhenInterrupted() throws {
        let whole = try distillation("whole", recipe).distillOnce(resuming: false)
        checkRecord(whole)
        let again = try distillation("again", recipe).distillOnce(resuming: false)
        #expect(again == whole)
        expectSameFiles("whole", "again")

        // Stopped after cycle 1, in the middle of the run.
        let stop = StopRequest()
        var seen: [Int] = []
        #expect(throws: DistillationError.interrupted) {
            try distillation("cut", recipe, stop: stop).distillOnce(resuming: false) {
                seen.append($0.cycle)
                if $0.cycle == 1 { stop.raise() }
            }
        }
        #expect(seen == [0, 1] && !exists(folder.file("cut/cycle-2/metrics.json")))
        var resumed: [CycleRecord] = []
        let rest = try distillation("cut", recipe).distillOnce(resuming: true) { resumed.append($0) }
        #expect(rest == whole && resumed == whole.cycles)
        expectSameFiles("whole", "cut")

        // A finished run has nothing left to do and says the same.
        let before = contents(of: folder.file("cut/final/k-20/dmsae/sae_weights.safetensors"))
        #expect(try distillation("cut", recipe).distillOnce(resuming: true) == whole)
        expectSame(contents(of: folder.file("cut/final/k-20/dmsae/sae_weights.safetensors")), before)

        var other = recipe
        other.seed = 2
        #expect(try distillation("other", other).distillOnce(resuming: false) != whole)
    }

    private func checkRecord(_ record: DistillationRecord) {
        #expect(record.cycles.map(\.cycle) == [0, 1, 2])
        #expect(record.cycles[0].jaccard == nil && record.cycles[0].sae.frozenCore == 0)
        for (last, next) in zip(record.cycles, record.cycles.dropFirst()) {
            #expect(next.sae.frozenCore == last.coreSize && next.carriedOver <= min(last.coreSize, next.coreSize))
        }
        #expect(Set(record.cycles.map(\.sae.seed)).count == 3, "a seed per cycle")
        #expect(record.coreSize == record.cycles[2].carriedOver && record.coreSize > 0)
        #expect(
            record.trials.map(\.trial.folder)
                == [10, 20].flatMap { k in ["dmsae", "baseline"].map { "final/k-\(k)/\($0)" } })
        #expect(record.trials.map(\.sae.frozenCore) == [record.coreSize, 0, record.coreSize, 0])
        #expect(Set(record.trials.map(\.sae.seed)).count == 1)
    }

    @Test func theCoreOfACycleIsFrozenInTheNext() throws {
        _ = try distillation("run", recipe).distillOnce(resuming: false)
        for t in 1...2 {
            let core = try Core.encoderRows(at: folder.file("run/cycle-\(t - 1)/core.json"), dIn: 48)
            let (sae, provenance) = try SAEFolder.read(folder.file("run/cycle-\(t)/sae"))
            #expect(sae.encoder.copy(rows: 0..<core.rows).values == core.values)
            #expect(sae.layout.coreCount == core.rows && provenance.layer == 1 && provenance.model == "llama")
        }
        let stable = try JSONRecord.read(Core.self, from: folder.file("run/final/core.json"))
        let rows = try Core.encoderRows(at: folder.file("run/final/core.json"), dIn: 48)
        let (last, _) = try SAEFolder.read(folder.file("run/cycle-2/sae"))
        #expect(stable.encoderRows(of: last).values == rows.values)
        let (dmsae, _) = try SAEFolder.read(folder.file("run/final/k-10/dmsae"))
        #expect(dmsae.encoder.copy(rows: 0..<rows.rows).values == rows.values)
    }

    /// An SAE that a cycle 0 trained, in the place of another's, leads to the same cycles.
    @Test func anSAEThatIsGivenTakesThePlaceOfCycle0() throws {
        let whole = try distillation("whole", recipe).distillOnce(resuming: false)
        let (sae, provenance) = try SAEFolder.read(folder.file("whole/cycle-0/sae"))
        var given = recipe
        (given.width, given.groups, given.k, given.layer) = (4096, nil, 64, 15)
        (given.keepFirst, given.sinks) = (2, 7)
        var (other, of) = (given, provenance)
        of.sinks = 5.3
        try other.adopt(try StartingSAE(sae, of, path: "sae"))
        #expect(other.sinks == 5.3)
        let start = try StartingSAE(sae, provenance, path: "sae")
        try given.adopt(start)
        #expect(given == recipe)
        let record = try distillation("given", given, start: start).distillOnce(resuming: false)
        #expect(record.cycles.dropFirst() == whole.cycles.dropFirst() && record.trials == whole.trials)
        var first = whole.cycles[0]
        (first.sae.seed, first.sae.lastStep, first.sae.deadLatents) = (nil, nil, nil)
        #expect(record.cycles[0] == first)
        for file in ["cycle-0/sae/sae_weights.safetensors", "cycle-2/sae/sae_weights.safetensors"] {
            expectSame(contents(of: folder.file("given/" + file)), contents(of: folder.file("whole/" + file)), file)
        }
        #expect(try distillation("given", given, start: start).distillOnce(resuming: true) == record)
    }

    @Test func anSAEThatLeavesSomethingOpenIsAskedFor() throws {
        let flat = SparseAutoencoder(dIn: 48, layout: try PrefixLayout(groups: [128]))
        flat.initialize(seed: 1)
        #expect(
            message { _ = try StartingSAE(flat, SAEProvenance(), path: "flat") }
                == "flat cannot be the SAE of cycle 0 (distill.cycle0): its threshold is not set; train it on with "
                + "`dmsae train --init`, which measures one")
        flat.inference = .threshold(0.1)
        let start = try StartingSAE(flat, SAEProvenance(), path: "flat")
        func refusal(_ settings: String...) throws -> String {
            var recipe = Recipe()
            for setting in settings { try recipe.set(setting) }
            return message { try recipe.adopt(start) }
        }
        #expect(
            try refusal()
                == "flat cannot be the SAE of cycle 0 (distill.cycle0): its files do not say which groups of latents are "
                + "nested; give sae.groups in the recipe")
        #expect(try refusal("sae.groups=[48, 80]").hasSuffix("active; give train.k in the recipe"))
        #expect(try refusal("sae.groups=[48, 80]", "train.k=9").hasSuffix("give layer in the recipe"))
        #expect(
            try refusal("sae.width=64")
                == "recipe key sae.width is \"64\"; it must be 128, as flat has it (distill.cycle0), or left out")
        let nested = try smallSAE(dIn: 48, groups: [40, 88], core: 6)
        nested.inference = .threshold(0.5)
        // A row of norm 2 is one of norm 1 with twice the activations.
        let encoder = nested.encoder.copy(rows: 9..<10).values
        for c in 0..<48 { nested.decoder[9, c] *= 2 }
        let other = try StartingSAE(nested, SAEProvenance(), path: "nested")
        #expect(other.sae.layout.prefixes == nested.layout.prefixes && other.sae.layout.coreCount == 0)
        // What was exempt has no threshold. The norm is one of single precision.
        let wanted = [Double](repeating: 0, count: 6) + [0.5, 0.5, 0.5, 1] + [Double](repeating: 0.5, count: 118)
        checkClose(try other.sae.inferenceThresholds().values, wanted, tolerance: 1e-6, "thresholds")
        checkClose(
            other.sae.encoder.copy(rows: 9..<10).values, encoder.map { 2 * Double($0) }, tolerance: 1e-6, "folded")
        var recipe = Recipe()
        try recipe.set("sae.groups=[64, 64]")
        #expect(
            message { try recipe.adopt(other) }
                == "recipe key sae.groups is \"[64, 64]\"; it must be [40, 88], as nested has it (distill.cycle0), or left out"
        )
    }

    @Test func anSAEThatIsGivenBringsItsPlaceInTheModelUnlessOneIsGiven() throws {
        let sae = try smallSAE(dIn: 48, groups: [40, 88])
        sae.inference = .threshold(0.5)
        for (kind, hook) in [(HookPoint.Kind.mlpOut, HookPoint(block: 2, .mlpOut)), (.residPost, nil)] {
            var provenance = SAEProvenance()
            provenance.hookPoint = HookPoint(block: 2, kind)
            provenance.k = 8
            let start = try StartingSAE(sae, provenance, path: "own")
            var recipe = Recipe()
            try recipe.adopt(start)
            #expect(recipe.layer == 2 && recipe.hook == hook && recipe.hookPoint == provenance.hookPoint)
            var other = Recipe()
            try other.set("hook=blocks.1.hook_attn_out")
            try other.adopt(start)
            #expect(other.layer == 1 && other.hookPoint == HookPoint(block: 1, .attnOut))
        }
    }

    @Test func aCoreIsFrozenAsTheRecipeSays() throws {
        var recipe = recipe
        (recipe.coreMode, recipe.finalCoreMode, recipe.corePrefixLoss, recipe.coreBias) = (
            .sparse, .dense, true, .transfer
        )
        // Nothing moves: what carries over is seen as it was.
        (recipe.learningRate, recipe.finalK) = (1e-12, [20])
        let before = try smallSAE(dIn: 48, groups: [48, 80])
        before.inference = .threshold(0.5)
        let start = try StartingSAE(before, SAEProvenance(), path: "sae")
        let record = try distillation("run", recipe, start: start).distillOnce(resuming: false)
        let after = try SAEFolder.read(folder.file("run/cycle-1/sae")).sae
        let core = try JSONRecord.read(Core.self, from: folder.file("run/cycle-0/core.json"))
        #expect(!after.coreIsDense && after.layout.coreIsPrefix && after.layout.coreCount == core.latents.count)
        #expect(after.layout.prefixes.count == 3 && after.layout.prefixes[0] == core.latents.count)
        #expect(record.cycles[1].candidates == after.layout.prefixes[1])
        // Divided and multiplied by the input scale, and moved by forty updates of 1e-12.
        checkClose(
            Array(after.encoderBias.values[..<core.latents.count]),
            core.latents.map { Double(before.encoderBias[$0.index]) }, tolerance: 1e-6, "b_enc")
        let dmsae = try SAEFolder.read(folder.file("run/final/k-20/dmsae")).sae
        #expect(dmsae.coreIsDense && dmsae.layout.coreCount == record.coreSize)
        #expect(try SAEFolder.read(folder.file("run/final/k-20/baseline")).sae.layout.prefixes.count == 2)
    }

    @Test func cyclesAreAsShortAsTheRecipeSaysAndFinalSAEsAreNot() throws {
        var short = recipe
        (short.cycleSteps, short.finalK) = (15, [20])
        try short.set("final.trials=[dmsae, {core: none, name: long, tokens: total-compute}]")
        let record = try distillation("run", short).distillOnce(resuming: false)
        #expect(record.cycles.map { $0.sae.lastStep?.step } == [14, 14, 14])
        #expect(record.trials.map { $0.sae.lastStep?.step } == [39, 3 * 15 + 40 - 1])
        #expect(try SAEFolder.read(folder.file("run/cycle-1/sae")).1.steps == 15)
    }

    @Test func cyclesEndWithTheFirstCoreThatIsAlikeEnough() throws {
        var open = recipe
        open.cycles = 5
        let whole = try distillation("open", open).distillOnce(resuming: false)
        let alike = try whole.cycles.compactMap { try #require($0.cycle == 0 ? 1 : $0.jaccard) }
        // Some cycle before the last is the most alike so far.
        let least = try #require(alike[1...4].max())
        let last = try #require((1...4).first { alike[$0] >= least })
        open.stopAt = least
        let record = try distillation("run", open).distillOnce(resuming: false)
        #expect(record.cycles == Array(whole.cycles[...last]) && record.coreSize == record.cycles[last].carriedOver)
        #expect(!exists(folder.file("run/cycle-\(last + 1)")))
        let stable = try JSONRecord.read(Core.self, from: folder.file("run/final/core.json"))
        #expect(stable.cycle == last)
        // What reads it back knows that it is done.
        let steps = try FinishedSteps(folder: folder.file("run"))
        #expect(steps.seeds[0].stableCore?.latents == stable.latents && steps.seeds[0].trials == record.trials)
        #expect(try distillation("run", open).distillOnce(resuming: true) == record)
    }

    @Test func aWarmCycleGoesOnFromTheLastOne() throws {
        var warm = recipe
        (warm.nonCore, warm.learningRate, warm.finalK) = (.warm, 1e-12, [20])
        _ = try distillation("run", warm).distillOnce(resuming: false)
        let (last, next) = (
            try SAEFolder.read(folder.file("run/cycle-0/sae")).sae, try SAEFolder.read(folder.file("run/cycle-1/sae"))
        )
        let core = try JSONRecord.read(Core.self, from: folder.file("run/cycle-0/core.json")).latents.map(\.index)
        let left = (0..<128).filter { !core.contains($0) }
        // Divided and multiplied by the input scale, and moved by forty updates of 1e-12; rows to unit norm.
        for (j, source) in zip(core.count..<128, left) {
            checkClose(
                next.sae.encoder.copy(rows: j..<j + 1).values,
                last.encoder.copy(rows: source..<source + 1).values.map(Double.init), tolerance: 1e-6, "W_enc \(j)")
            checkClose(
                next.sae.decoder.copy(rows: j..<j + 1).values,
                last.decoder.copy(rows: source..<source + 1).values.map(Double.init), tolerance: 1e-6, "W_dec \(j)")
        }
        checkClose(next.sae.decoderBias.values, last.decoderBias.values.map(Double.init), tolerance: 1e-6, "b_dec")
        #expect(next.1.settings?["non-core start"] == "warm" && next.1.plan?.decoderBiasStart == .keep)
        // Final SAEs begin anew.
        let final = try SAEFolder.read(folder.file("run/final/k-20/dmsae")).1
        #expect(final.settings?["non-core start"] == nil && final.plan?.decoderBiasStart == .geometricMedian)
    }

    @Test func aCoreIsHeldAtItsRateInCyclesAndFinalSAEs() throws {
        var held = recipe
        // Most candidates are selected: a core at so low a rate loses its place otherwise.
        (held.coreRate, held.steps, held.finalK, held.tau) = (0.2, 120, [40], 0.95)
        try held.set(
            "final.trials=[dmsae, baseline, {core: distilled, name: free, core_mode: sparse}, {core: random, core_rate: 0.4}]"
        )
        let record = try distillation("run", held).distillOnce(resuming: false)
        for cycle in record.cycles.dropFirst() {
            // On other text than it was trained on.
            #expect(abs(cycle.sae.evaluation.l0_core / Double(cycle.sae.frozenCore) - 0.2) < 0.08, "\(cycle.cycle)")
        }
        #expect(record.trials.map(\.trial.coreRate) == [0.2, nil, nil, 0.4])
        let random = record.trials[3].sae
        #expect(abs(random.evaluation.l0_core / Double(random.frozenCore) - 0.4) < 0.12)
        #expect(record.cycles[0].sae.evaluation.firing_core == nil)
        #expect(record.cycles[1].sae.evaluation.firing_core?.latents == record.cycles[0].coreSize)
    }

    @Test func candidatesAreAllLatentsWhereTheRecipeSaysSo() throws {
        var all = recipe
        (all.candidates, all.finalK) = (.all, [20])
        let record = try distillation("run", all).distillOnce(resuming: false)
        #expect(record.cycles.map(\.candidates) == [128, 128, 128])
        let core = try JSONRecord.read(Core.self, from: folder.file("run/cycle-0/core.json"))
        #expect(core.latents.contains { $0.index >= 48 } && core.origin?["candidates"] == "all")
        _ = try distillation("inner", recipe).distillOnce(resuming: false)
        #expect(
            try JSONRecord.read(Core.self, from: folder.file("inner/cycle-0/core.json")).origin?["candidates"] == nil)
    }

    // MARK: Run folders

    @Test func aFolderInUseIsNotOverwritten() throws {
        let stop = StopRequest()
        stop.raise()
        // Stopped at once, but the folder is taken.
        #expect(throws: DistillationError.interrupted) {
            try distillation("run", recipe, stop: stop).distillOnce(resuming: false)
        }
        #expect(
            message { _ = try distillation("run", recipe).distillOnce(resuming: false) }
                == "\(folder.file("run")) already holds a run; continue it with --resume, or choose another --out")
        #expect(
            message { _ = try distillation("nothing", recipe).distillOnce(resuming: true) }
                == "\(folder.file("nothing")) holds no run to resume; leave out --resume to start one")
        var other = recipe
        other.k = 13
        #expect(
            message { _ = try distillation("run", other).distillOnce(resuming: true) }
                == "the run in \(folder.file("run")) was started with train.k = 12, now it is 13; "
                + "resume it with its own recipe or choose another --out")
    }

    @Test func aLayerTheModelDoesNotHaveIsRefusedBeforeAnythingIsWritten() throws {
        var bad = recipe
        bad.layer = 3
        let text = message { _ = try distillation("run", bad).distillOnce(resuming: false) }
        #expect(text.hasPrefix("layer 3 does not exist: the model has 3 layers"), "\(text)")
        #expect(!exists(folder.file("run")))
    }

    @Test func aCycleThatCarriesNothingOverEndsTheRunAndSaysWhy() throws {
        /// Likes every latent that is not in the core.
        final class Unfaithful: AttributionScorer {
            let name = "unfaithful"
            let version = "0"
            func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) {
                for e in scores.indices {
                    scores[e] = Int(batch.codes.columnIndices[e]) < batch.coreCount ? 0 : 1
                }
            }
        }
        var short = recipe
        short.cycles = 1
        let parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [],
            text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) }, evaluationText: nil,
            rule: NaiveBatchTopK(), scorer: Unfaithful(), version: "test")
        let text = message {
            _ = try Distillation(
                short, parts: parts, folder: folder.file("run"), progress: SilentProgress(), stop: StopRequest()
            ).distillOnce(resuming: false)
        }
        #expect(text.hasPrefix("cycle 1: none of the "), "\(text)")
        #expect(
            text.hasSuffix(
                "so the core is empty; give a k near the size of the core (the paper carried nothing over at k ≤ 80, and at 640), "
                    + "train longer, or lower τ"
            ),
            "\(text)")
        #expect(exists(folder.file("run/cycle-1/metrics.json")), "what was finished stays")
    }

    @Test func aTextThatEndsBeforeItWasScoredSaysForWhat() throws {
        let parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [],
            text: { skip, _ in
                let first = (skip + 127) / 128
                return randomTokens(sequences: 8, length: 16, from: first, count: max(0, 18 - first))
            }, evaluationText: nil, rule: NaiveBatchTopK(), scorer: NaiveGradientTimesActivation(), version: "test")
        let text = message {
            _ = try Distillation(
                recipe, parts: parts, folder: folder.file("run"), progress: SilentProgress(), stop: StopRequest()
            ).distillOnce(resuming: false)
        }
        #expect(
            text == "the text has 256 of the 512 tokens wanted for scoring; give more text or ask for fewer tokens")
    }

    @Test func aHarvestThatWasCutIsMadeAgainAndNoResultIsTakenWithoutItsRecord() throws {
        let run = RunFolder(folder.file("run"))
        let cut = try run.folder("store") + "/shard-00000.safetensors"
        try AtomicFile.write("half a shard", to: cut)
        _ = try distillation("run", recipe).distillOnce(resuming: false)
        #expect(contents(of: cut).count > 12)
        try #require(remove(folder.file("run/run.json")) == 0)
        for resuming in [false, true] {
            let text = message { _ = try distillation("run", recipe).distillOnce(resuming: resuming) }
            #expect(
                text == "\(run.path) has store/store.json but no run.json, which says what it was made from; "
                    + "choose another --out, or delete the folder")
        }
    }

    @Test func aFolderThatIsMovedMeanwhileEndsTheRunAndIsWhereItGoesOn() throws {
        let (path, elsewhere) = (folder.file("run"), folder.file("elsewhere"))
        let text = message {
            _ = try distillation("run", recipe).distillOnce(resuming: false) {
                guard $0.cycle == 0 else { return }
                #expect(rename(path, elsewhere) == 0)
                // Another run has the name now.
                #expect(mkdir(path, 0o777) == 0)
            }
        }
        #expect(
            text
                == "\(path) was moved to \(elsewhere) while it was being written; nothing more is written: what is "
                + "finished is there, go on with --out \(elsewhere) --resume")
        #expect(rmdir(path) == 0, "nothing was written there")
        let record = try distillation("elsewhere", recipe).distillOnce(resuming: true)
        #expect(try record == distillation("whole", recipe).distillOnce(resuming: false))
        expectSameFiles("whole", "elsewhere")
        let gone = message {
            _ = try distillation("run", recipe).distillOnce(resuming: false) {
                guard $0.cycle == 0 else { return }
                try? removeAll(path)
            }
        }
        #expect(
            gone == "\(path) was removed while it was being written; nothing more is written: run the command again")
        #expect(!exists(path))
    }

    private func removeAll(_ path: String) throws {
        try #require(try TestSupport.run("/bin/rm", ["-r", path]).status == 0)
    }

    @Test func anSAEThatIsUsedAtAnotherSparsityThanItWasTrainedAtIsWarnedOf() throws {
        /// The largest of each row, without saying how that is done without it.
        final class Rows: SparsityRule {
            let name = "rows"
            let version = "0"
            let scope = SelectionScope.row
            func upperCount(_ context: SelectionContext) -> Int { context.batchBudget / context.batchRows }
            func select(
                from candidates: SparseCodes, _ context: SelectionContext,
                selected: UnsafeMutableBufferPointer<UInt8>
            ) {
                for r in 0..<candidates.rows {
                    let entries = candidates.entries(ofRow: r).sorted { candidates.values[$0] > candidates.values[$1] }
                    for e in entries.prefix(upperCount(context)) { selected[e] = 1 }
                }
            }
        }
        final class Warnings: ProgressSink {
            let texts = Mutex<[String]>([])
            func begin(_ task: String, total: Int, unit: String) {}
            func advance(by count: Int, detail: String) {}
            func end() {}
            func note(_ text: String) {}
            func warn(_ text: String) { texts.withLock { $0.append(text) } }
        }
        var short = recipe
        short.cycles = 1
        short.finalK = [12]
        for (rule, isWarned) in [(Rows() as any SparsityRule, true), (NaiveBatchTopK(), false)] {
            let parts = DistillationParts(
                model: model, modelName: "llama", specialTokens: [1, 2],
                text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) },
                evaluationText: nil, rule: rule, scorer: NaiveGradientTimesActivation(), version: "test")
            let sink = Warnings()
            _ = try Distillation(
                short, parts: parts, folder: folder.file(rule.name), progress: sink, stop: StopRequest()
            ).distillOnce(resuming: false)
            let warnings = sink.texts.withLock { $0 }.filter { $0.contains("in the last batch the sparsity rule") }
            #expect(warnings.isEmpty != isWarned, "\(warnings)")
            if isWarned {
                let first = try #require(warnings.first)
                #expect(
                    first.hasPrefix(
                        "cycle-0: in the last batch the sparsity rule rows kept 12.0 latents a token, and the SAE as it is "
                            + "used without the rule keeps "), "\(first)")
            }
        }
    }

    @Test func theLogOfAnotherRunIsNotGoneOnWith() throws {
        _ = try distillation("run", recipe).distillOnce(resuming: false)
        var other = recipe
        other.seed = 2
        _ = try distillation("other", other).distillOnce(resuming: false)
        let log = folder.file("run/events.jsonl")
        try AtomicFile.write(contents(of: folder.file("other/events.jsonl")), to: log)
        #expect(
            message { _ = try distillation("run", recipe).distillOnce(resuming: true) }.hasPrefix(
                "\(log) is not the log of the run that it lies in"))
        #expect(contents(of: log) == contents(of: folder.file("other/events.jsonl")))
        // Alone in a folder it is no start of a run either.
        let lone = RunFolder(folder.file("lone"))
        try AtomicFile.write(contents(of: log), to: try lone.folder("") + "/events.jsonl")
        #expect(
            message { _ = try distillation("lone", recipe).distillOnce(resuming: false) }.hasPrefix(
                "\(lone.path) has events.jsonl but no run.json"))
    }

    @Test func aCoreSaysWhatItIsOf() throws {
        _ = try distillation("run", recipe).distillOnce(resuming: false)
        let path = folder.file("run/cycle-1/core.json")
        let origin = try #require(try JSONRecord.read(Core.self, from: path).origin)
        #expect(origin["layer"] == "1" && origin["model"] == "llama" && origin["tau"] == "0.4")
        #expect(
            origin["SAE.sha256"]
                == (try SHA256.hexadecimal(ofFile: folder.file("run/cycle-1/sae/sae_weights.safetensors"))))
        let scores = try SafetensorsFile(path: folder.file("run/cycle-1/scores.safetensors")).metadata
        #expect(scores["SAE.sha256"] == origin["SAE.sha256"] && scores["decoder_norms"] == "unit")
        #expect(try Core.place(at: path) == ModelPlace(name: "llama", sha256: nil, hook: .residPost(1)))
    }

    /// A rule is asked for its form when all is trained: what it says then must not cost the weights.
    @Test func aRuleThatFailsAtTheEndLeavesTheWeights() throws {
        final class Formless: SparsityRule, SparsityRuleInference {
            let inner = NaiveBatchTopK()
            let name = "formless"
            let version = "0"
            var scope: SelectionScope { inner.scope }
            var inference: (any SparsityRuleInference)? { self }
            func upperCount(_ context: SelectionContext) -> Int { inner.upperCount(context) }
            func select(
                from candidates: SparseCodes, _ context: SelectionContext,
                selected: UnsafeMutableBufferPointer<UInt8>
            ) { inner.select(from: candidates, context, selected: selected) }
            let stateVersion = 1
            func stateSize(latentCount: Int) -> Int { 0 }
            func merge(latentCount: Int, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) {}
            func calibrate(
                _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
                state: UnsafeMutableRawBufferPointer
            ) {}
            func form(_ context: SelectionContext, state: UnsafeRawBufferPointer) throws -> InferenceForm {
                throw DistillationError.stepDiffers("no form today")
            }
        }
        let parts = DistillationParts(
            model: model, modelName: "llama", specialTokens: [1, 2],
            text: { skip, _ in randomTokens(sequences: 8, length: 16, from: (skip + 127) / 128) }, evaluationText: nil,
            rule: Formless(), scorer: NaiveGradientTimesActivation(), version: "test")
        let text = message {
            _ = try Distillation(
                recipe, parts: parts, folder: folder.file("run"), progress: SilentProgress(), stop: StopRequest()
            ).distillOnce(resuming: false)
        }
        let kept = folder.file("run/cycle-0/sae")
        #expect(
            text
                == "the training is done, but the sparsity rule formless could not say in which form the SAE is used: no form "
                + "today. The weights are in \(kept), without thresholds; go on from them with `dmsae train --init \(kept)` "
                + "and a rule that can")
        let (sae, provenance) = try SAEFolder.read(kept)
        #expect(sae.inference == nil && provenance.steps == 40)
        // But for the form they are those of the rule that does the same.
        _ = try distillation("whole", recipe).distillOnce(resuming: false)
        let whole = try SAEFolder.read(folder.file("whole/cycle-0/sae")).sae
        #expect(sae.encoder.values == whole.encoder.values && sae.encoderBias.values == whole.encoderBias.values)
        #expect(sae.decoder.values == whole.decoder.values && sae.decoderBias.values == whole.decoderBias.values)
    }

    @Test func anUnwritableFolderIsNamed() throws {
        try AtomicFile.write("in the way", to: folder.file("file"))
        let text = message { _ = try distillation("file/run", recipe).distillOnce(resuming: false) }
        #expect(text.hasPrefix("cannot write \(folder.file("file")): it is a file, not a folder"), "\(text)")
    }
}

extension Distillation {
    /// The outcome of a recipe of one seed.
    func distillOnce(resuming: Bool, onCycle: (CycleRecord) -> Void = { _ in }) throws -> DistillationRecord {
        let all = try distill(resuming: resuming) { onCycle($1) }
        return try #require(all.count == 1 ? all.first : nil)
    }
}
