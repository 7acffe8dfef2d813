import LanguageModeling
import LinearAlgebra
import Probing
import SparseCoding
import TensorFiles
import TestSupport
import Testing

@Suite struct ProbedTaskTests {
    @Test func `latents are ranked by the difference of their means, over what they have where they fire`() {
        let rows = FeatureRows(
            Matrix(
                rows: 4, columns: 5,
                [
                    1, 10, 0, 0, 2,
                    1, 10, 0, 5, 2,
                    0, 10, 0, 5, 2,
                    0, 20, 0, 0, 2,
                ]))
        let labels = [true, true, false, false]
        // Differences of means: 1, 5, 0, 0, 0; over means where they fire: 1, 5/12.5, 0, 0, 0.
        #expect(LatentRanking.normalized.order(rows, labels) == [0, 1, 2, 3, 4])
        #expect(LatentRanking.plain.order(rows, labels) == [1, 0, 2, 3, 4])
    }

    @Test func `rows and columns of features are those of the matrix`() {
        let X = randomMatrix(5, 4, seed: 1)
        X[2, 1] = 0
        let some = FeatureRows(X).columns([3, 1]).rows([4, 2, 2])
        #expect(some.rowCount == 3 && some.columnCount == 2)
        #expect(some.product([1, 10]) == [4, 2, 2].map { Double(X[$0, 3]) + 10 * Double(X[$0, 1]) })
        #expect(some.transposedProduct([1, 0, 2])[1] == Double(X[4, 1]))
    }

    @Test func `controls are as many latents from outside their set, and the same for a seed`() {
        let sets = ProbedLatents.sets(latents: 200, core: 8, firstGroup: 40, draws: 3, seed: 5)
        #expect(
            sets.map(\.name).prefix(5) == [
                "all", "core", "random 1 of first group for core", "random 2 of first group for core",
                "random 3 of first group for core",
            ])
        #expect(sets.count == 13 && sets[1].latents == Array(0..<8) && sets[9].name == "first group")
        for set in sets {
            guard let control = set.control, set.mostFrequent == nil else { continue }
            let (count, end) = (control.of == "core" ? 8 : 40, control.from == "all" ? 200 : 40)
            #expect(set.latents.count == count && Set(set.latents).count == count)
            #expect(set.latents.allSatisfy { (count..<end).contains($0) } && set.latents == set.latents.sorted())
        }
        #expect(Set(sets.map(\.latents)).count == 13)
        let again = ProbedLatents.sets(latents: 200, core: 8, firstGroup: 40, draws: 3, seed: 5)
        #expect(again.map(\.latents) == sets.map(\.latents))
        #expect(
            sets[8].name == "most frequent for core" && sets[8].latents == Array(8..<200) && sets[8].mostFrequent == 8)
        // Without a core, or one as large as half of all there is, no controls of it.
        #expect(ProbedLatents.sets(latents: 64, core: 0, firstGroup: 64, draws: 3, seed: 5).map(\.name) == ["all"])
        #expect(
            ProbedLatents.sets(latents: 64, core: 40, firstGroup: 48, draws: 1, seed: 5).map(\.name)
                == ["all", "core", "first group"])
    }

    /// An SAE of 48 inputs whose latents 0 and 1 say which class a row is of, and the others nothing.
    private func example() throws -> (task: ProbingTask, x: Matrix, sae: SparseAutoencoder) {
        let x = randomMatrix(400, 48, seed: 2)
        let labels = (0..<400).map { $0 % 2 == 0 }
        let sae = SparseAutoencoder(
            dIn: 48, layout: try PrefixLayout(groups: [20, 44], coreCount: 2), coreIsDense: false)
        sae.initialize(seed: 3)
        for r in 0..<400 { x[r, 0] = (labels[r] ? 2 : 0.5) + 0.5 * x[r, 1] }
        for c in 0..<48 { (sae.encoder[0, c], sae.encoder[1, c]) = (c == 0 ? 1 : 0, c == 0 ? -1 : 0) }
        sae.encoderBias[1] = 2
        sae.inference = .threshold(0)
        let task = ProbingTask(name: "t", prompts: labels.map { _ in Array("a".utf8) }, labels: labels)
        return (task, x, sae)
    }

    @Test func `every set is probed with its own latents, best first`() throws {
        let (task, x, sae) = try example()
        let sets = ProbedLatents.sets(latents: 64, core: 2, firstGroup: 20, draws: 2, seed: 1)
        let found = try ProbedTask(task, x, sae, sets: sets, ks: [1, 4], ranking: .normalized)
        #expect(found.trainCount == 300 && found.sets.count == sets.count)
        for (set, probes) in zip(sets, found.sets) {
            for probe in probes { #expect(Set(probe.latents).isSubset(of: set.latents)) }
            let counts = probes.map(\.latents.count)
            switch set.name {
            case "all": #expect(counts == [1, 4, 64])
            case "first group": #expect(counts == [1, 4])
            default:
                #expect(counts == ((set.mostFrequent ?? set.latents.count) == 2 ? [1, 2] : [1, 4]), "\(set.name)")
            }
        }
        #expect([0, 1].contains(found.sets[0][0].latents[0]) && found.sets[0][0].probe.test_auc > 0.95)
        let random = zip(sets, found.sets).filter { $0.0.control?.of == "core" }
        for (_, probes) in random { #expect(probes.allSatisfy { $0.probe.test_auc < 0.9 }) }
        #expect(found.dense.test_auc > 0.95)
        // Two others, by hand, of those that fire on most rows to learn from.
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        let dense = codes.dense(), train = try ProbeSplit(labels: task.labels, task: "t").train
        let counts = (0..<64).map { j in train.count { dense[$0, j] > 0 } }
        let frequent = (2..<64).sorted { (counts[$0], $1) > (counts[$1], $0) }.prefix(2)
        let place = try #require(sets.firstIndex { $0.name == "most frequent for core" })
        #expect(Set(found.sets[place][1].latents) == Set(frequent))

        let summary = ProbeSummary([found, found, found], sets: sets, settings: [:])
        let core = try #require(summary.differences.first { $0.set == "core" && $0.from == "first group" && $0.k == 1 })
        let draws = zip(sets, found.sets).filter { $0.0.control?.of == "core" && $0.0.control?.from == "first group" }
        let mean = draws.reduce(0.0) { $0 + $1.1[0].probe.test_auc } / 2
        #expect(isNear(core.test_auc.value, found.sets[1][0].probe.test_auc - mean, within: 1e-12))
        #expect(core.draws == 2 && core.tasks == 3 && core.better_tasks == 3 && draws.count == 2)
        #expect(summary.means[0].set == "dense" && summary.means[0].test_auc.value == found.dense.test_auc)
        #expect(summary.tasks[0].sets["all"]?["64"] == found.sets[0][2].probe.test_auc)
        #expect(summary.means.contains { $0.set == "random of all for core" && $0.k == 2 })
    }

    @Test func `C is the one whose rows held back are told apart best`() throws {
        let (task, x, sae) = try example()
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        let split = try ProbeSplit(labels: task.labels, task: "t")
        let features = FeatureRows(codes).columns(Array(2..<12))
        let probe = try Probe(features, task.labels, split, task: "t")
        let labels = split.train.map { task.labels[$0] }
        let areas = Probe.strengths.map { C in
            let learnt = features.rows(split.train.prefix(240))
            let found = LogisticRegression.path(FeatureForm(learnt), Array(labels.prefix(240)), C: [C])[0]!
            return ProbeMetrics.auc(found.scores(features.rows(split.train.suffix(60))), Array(labels.suffix(60)))!
        }
        #expect(probe.val_auc == areas.max() && probe.C == Probe.strengths[areas.lastIndex(of: areas.max()!)!])
        let all = LogisticRegression.path(FeatureForm(features.rows(split.train)), labels, C: [probe.C])[0]!
        let test = split.test.map { task.labels[$0] }
        #expect(isNear(probe.test_auc, ProbeMetrics.auc(all.scores(features.rows(split.test)), test)!, within: 1e-3))
    }

    @Test func `a probe sees the last token, behind at most as many as the model takes, whatever goes with it`() throws
    {
        let model = try loadLanguageModel(path: fixture("models/llama"))
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        // The fixture's tokenizer has more words than the model has embeddings: texts of few letters.
        let texts = ["a b a", "b", String(repeating: "a b ", count: 200), "", "a"]
        let task = ProbingTask(name: "t", prompts: texts.map { Array($0.utf8) }, labels: texts.map { _ in true })
        let last = LastTokens(model: model, tokenizer: tokenizer, hook: .residPost(1), beginning: 1)
        let x = try last.activations(of: task) { _ in }
        for (row, ids) in try last.tokens(of: task).enumerated() {
            #expect(ids.first == 1 && ids.count <= 128)
            #expect(ids.dropFirst().elementsEqual(tokenizer.encode(texts[row]).suffix(127)))
            let alone = try model.residual(of: TokenBatch(ids), at: .residPost(1))
            for c in 0..<48 { #expect(isNear(Double(x[row, c]), Double(alone[ids.count - 1, c]), within: 1e-5)) }
        }
        let without = LastTokens(model: model, tokenizer: tokenizer, hook: .residPost(1), beginning: nil)
        #expect(throws: ProbingError.emptyPrompt(task: "t", row: 4)) { try without.activations(of: task) { _ in } }
    }

    @Test func `activations of another model, place or text are not taken for these`() throws {
        let folder = TemporaryFolder()
        let task = ProbingTask(name: "t", prompts: [[97], [98]], labels: [true, false])
        let kept = KeptActivations(folder: folder.path, cause: ["model": "a", "hook": "b"])
        #expect(try kept.read(task, dIn: 3) == nil)
        let x = randomMatrix(2, 3, seed: 1)
        try kept.write(task, x)
        #expect(try kept.read(task, dIn: 3)?.values == x.values)
        #expect(try KeptActivations(folder: folder.path, cause: ["model": "c", "hook": "b"]).read(task, dIn: 3) == nil)
        #expect(throws: TensorFileError.self) { try kept.read(task, dIn: 4) }
    }
}
