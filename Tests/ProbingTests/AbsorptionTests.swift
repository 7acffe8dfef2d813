import Glibc
import LanguageModeling
import LinearAlgebra
import Probing
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// First-letter absorption: pieces against sae-bench 0.6's own functions (Fixtures/probing/make_absorption.py) and naive versions, the whole on
/// activations in which it is known who absorbs what. Tests/Peers/absorption.py holds the command against SAEBench.
@Suite struct AbsorptionTests {
    private let golden: Golden

    init() throws { golden = try Golden("probing/absorption.safetensors") }

    @Test func `words are tokens of letters alone`() throws {
        for (text, letter) in [("the", 19), (" the", 19), (" Zeb", 25), ("A", 0), ("qUA", 16)] {
            let word = try #require(SpellingWord(Array(text.utf8)))
            #expect(word.text == text && word.letter == letter)
        }
        for text in ["", " ", "  a", "a ", "th3", "é", "a-b", "@bc", "[ab", "`a", "{", "\na"] {
            #expect(SpellingWord(Array(text.utf8)) == nil, "\(text)")
        }
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let naive = try (0..<Int32(tokenizer.vocabularySize)).compactMap { id in
            let text = try tokenizer.decodeText([id])
            let bare = text.hasPrefix(" ") ? String(text.dropFirst()) : text
            let isWord = !bare.isEmpty && bare.unicodeScalars.allSatisfy { $0.isASCII && $0.properties.isAlphabetic }
            return isWord ? text : nil
        }
        let words = SpellingWord.all(of: tokenizer)
        #expect(words.map(\.text) == naive && words.count > 100)
    }

    private func words(_ count: Int) -> [SpellingWord] {
        (0..<count).map { i in
            let letters = [i % 26, i / 26 % 26].map { UInt8(ascii: "a") + UInt8($0) }
            return SpellingWord((i % 3 == 0 ? [] : [0x20]) + letters)!
        }
    }

    @Test func `prompts have examples of their part, none of them the word`() throws {
        let task = try SpellingTask(words(200), limit: 100, examples: 10, seed: 3)
        #expect(task.words.count == 100 && task.trainCount == 80 && Set(task.words.map(\.text)).count == 100)
        let own = (train: Set(task.words[..<80].map(\.text)), test: Set(task.words[80...].map(\.text)))
        var prompts = Set<String>()
        for part in [SpellingTask.Part.train, .test, .again] {
            for row in task.rows(of: part) {
                let prompt = task.prompt(ofWord: row, for: part)
                prompts.insert(prompt)
                let lines = prompt.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
                #expect(lines.count == 12 && lines[0] == "")
                #expect(lines[11] == task.words[row].text + " has the first letter:")
                let examples = try lines[1...10].map { line in
                    let word = String(line.dropLast(" has the first letter: X".count))
                    let letter = try #require(word.first { $0 != " " })
                    #expect(line == "\(word) has the first letter: \(letter.uppercased())")
                    return word
                }
                #expect(Set(examples).count == 10 && !examples.contains(task.words[row].text))
                if part != .again { #expect(Set(examples).isSubset(of: part == .train ? own.train : own.test)) }
            }
        }
        #expect(prompts.count == 120)
        #expect(
            (80..<100).contains { row in
                task.prompt(ofWord: row, for: .again).split(separator: "\n").dropLast()
                    .contains { line in own.train.contains { line.hasPrefix($0 + " has") } }
            })
        let again = try SpellingTask(words(200), limit: 100, examples: 10, seed: 3)
        #expect(
            again.words == task.words && again.prompt(ofWord: 7, for: .train) == task.prompt(ofWord: 7, for: .train))
        #expect(try SpellingTask(words(200), limit: 100, examples: 10, seed: 4).words != task.words)
        #expect(throws: ProbingError.tooFewWords(count: 50, wanted: 55)) {
            try SpellingTask(words(50), limit: 100, examples: 10, seed: 3)
        }
    }

    @Test func `a prompt's tokens end with its word`() throws {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let task = try SpellingTask(SpellingWord.all(of: tokenizer), limit: 60, examples: 2, seed: 1)
        let rows = Array(task.rows(of: .test))
        let found = try task.tokens(ofWords: rows, for: .test, tokenizer: tokenizer, beginning: 1, most: 1000)
        let question = tokenizer.encode("x has the first letter:").count - tokenizer.encode("x").count
        #expect(try task.tokenPosition(tokenizer) == -1 - question)
        for (row, ids) in zip(rows, found) {
            let whole = tokenizer.encode(task.prompt(ofWord: row, for: .test))
            #expect(ids == [1] + whole.dropLast(question))
            #expect(try tokenizer.decodeText(Array(ids.dropFirst())).hasSuffix("\n" + task.words[row].text))
        }
        let longest = try #require(found.max { $0.count < $1.count })
        #expect(
            throws: ProbingError.promptTooLong(
                word: task.words[rows[found.firstIndex(of: longest)!]].text, tokens: longest.count,
                most: longest.count - 1)
        ) {
            try task.tokens(
                ofWords: rows, for: .test, tokenizer: tokenizer, beginning: 1, most: longest.count - 1)
        }
    }

    private func start() throws -> LinearProbes {
        LinearProbes(
            weights: try golden.matrix("start.weights"), biases: try golden.matrix("start.biases").values)
    }

    private func learn(_ x: Matrix, _ plan: LinearProbes.Plan, lanes: Lanes = .shared) throws -> LinearProbes {
        let orders = try golden.file.integers("orders").map { Int32($0) }, n = x.rows
        return try LinearProbes(
            DenseRows(x), classes: try golden.file.integers("classes").map { Int($0) }, from: start(), plan: plan,
            order: { Array(orders[$0 * n..<($0 + 1) * n]) }, lanes: lanes)
    }

    private var plans: [(name: String, plan: LinearProbes.Plan)] {
        var (dense, sparse) = (LinearProbes.Plan.dense, LinearProbes.Plan.sparse)
        (dense.epochs, dense.batch) = (6, 10)
        (sparse.epochs, sparse.batch, sparse.l1) = (6, 20, 0.5)
        return [("dense", dense), ("sparse", sparse)]
    }

    private func inputs(_ name: String) throws -> Matrix {
        let x = try golden.matrix("x").copy()
        if name == "sparse" { for i in 0..<x.count { x[i] = max(0, x[i]) } }
        return x
    }

    @Test func `probes are learnt as SAEBench's train_multi_probe learns them`() throws {
        for (name, plan) in plans {
            let x = try inputs(name)
            let found = try learn(x, plan)
            // Steps of .01 in single precision, in other orders: an ulp a step, and eps beside small moments.
            try golden.check("\(name).weights", found.weights.values, tolerance: 2e-5)
            try golden.check("\(name).biases", found.biases, tolerance: 2e-5)
            let naive = try self.naive(x, plan)
            checkClose(found.weights.values, naive.weights, tolerance: 2e-5, name)
            checkClose(found.biases, naive.biases, tolerance: 2e-5, name)
            // Rows of few features, and other lanes.
            #expect(try learn(x, plan, lanes: Lanes(count: 3)).weights.values == found.weights.values)
        }
        #expect(LinearProbes.Plan.dense.epochs == 50 && LinearProbes.Plan.sparse.l1 == 0.01)
    }

    /// In Double, from the formula.
    private func naive(_ x: Matrix, _ plan: LinearProbes.Plan) throws -> (weights: [Double], biases: [Double]) {
        let classes = try golden.file.integers("classes").map { Int($0) }
        let orders = try golden.file.integers("orders").map { Int($0) }
        let (n, p, start) = (x.rows, x.columns, try start())
        var theta = start.weights.values.map(Double.init) + start.biases.map(Double.init)
        let c = start.biases.count
        var (first, second, steps) = (theta.map { _ in 0.0 }, theta.map { _ in 0.0 }, 0)
        for epoch in 0..<plan.epochs {
            let rate =
                plan.learningRate
                * pow(plan.lastLearningRate / plan.learningRate, Double(epoch) / Double(plan.epochs))
            for from in stride(from: 0, to: n, by: plan.batch) {
                let batch = orders[epoch * n + from..<epoch * n + min(from + plan.batch, n)]
                var g = theta.indices.map { i in
                    plan.l2 * theta[i]
                        + (i < c * p ? plan.l1 / Double(c) * (theta[i] > 0 ? 1 : theta[i] < 0 ? -1 : 0) : 0)
                }
                for r in batch {
                    for k in 0..<c {
                        let z = (0..<p).reduce(theta[c * p + k]) { $0 + theta[k * p + $1] * Double(x[r, $1]) }
                        let members = classes.count { $0 == k }
                        let slope =
                            classes[r] == k
                            ? -Double(n - members) / Double(members) / (1 + exp(z)) : 1 / (1 + exp(-z))
                        let share = slope / Double(batch.count * c)
                        for j in 0..<p { g[k * p + j] += share * Double(x[r, j]) }
                        g[c * p + k] += share
                    }
                }
                steps += 1
                for i in theta.indices {
                    first[i] = 0.9 * first[i] + 0.1 * g[i]
                    second[i] = 0.999 * second[i] + 0.001 * g[i] * g[i]
                    let root = (second[i] / (1 - pow(0.999, Double(steps)))).squareRoot()
                    theta[i] -= rate * first[i] / (1 - pow(0.9, Double(steps))) / (root + 1e-8)
                }
            }
        }
        return (Array(theta[..<(c * p)]), Array(theta[(c * p)...]))
    }

    @Test func `rows of few features give the probes of whole rows`() throws {
        let (name, plan) = plans[1], x = try inputs(name)
        let orders = try golden.file.integers("orders").map { Int32($0) }
        let found = try LinearProbes(
            FeatureRows(x), classes: try golden.file.integers("classes").map { Int($0) }, from: start(), plan: plan,
            order: { Array(orders[$0 * 48..<($0 + 1) * 48]) })
        #expect(try learn(x, plan).weights.values == found.weights.values)
        // A class that no row is of leaves numbers, and the others what they are.
        let more = try start()
        let wide = LinearProbes(
            weights: Matrix(rows: 12, columns: 5, more.weights.values + [0, 0, 0, 0, 0]), biases: more.biases + [0])
        let none = try LinearProbes(
            DenseRows(x), classes: try golden.file.integers("classes").map { Int($0) }, from: wide, plan: plan,
            order: { Array(orders[$0 * 48..<($0 + 1) * 48]) })
        #expect(none.weights.values.allSatisfy { $0.isFinite } && none.biases.allSatisfy { $0.isFinite })
    }

    @Test func `drawn starts lie within torch's bounds`() {
        let drawn = LinearProbes.drawn(features: 400, classes: 26, seed: 1, stream: 1000)
        let values = drawn.weights.values.map(Double.init)
        #expect(values.allSatisfy { abs($0) <= 0.05 } && drawn.biases.allSatisfy { abs($0) <= 0.05 })
        let square = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
        // 10,400 draws: the variance of a uniform is known to 1%.
        #expect(isNear(square * 12 / 0.01, 1, within: 0.04))
        #expect(
            LinearProbes.drawn(features: 400, classes: 26, seed: 2, stream: 1000).weights.values != drawn.weights.values
        )
    }

    @Test func `sparse probes weigh both classes alike, as scikit-learn's do`() throws {
        let codes = try golden.matrix("latents")
        let labels = try golden.file.integers("classes").map { $0 == 1 }
        let columns = FeatureSplitting.Columns(train: FeatureRows(codes), test: FeatureRows(codes))
        let found = try #require(columns.probe(of: [0, 1, 2], labels))
        let wanted = try golden.file.doubles("regression")
        // A gap of 1e-8 of an objective of 33, convex by λ = 1: ‖Δw‖ ≤ √(2 · 33e-8).
        for (a, b) in zip(found.weights + [found.intercept], wanted) { #expect(isNear(a, b, within: 1e-3)) }
        let f1 = ProbeMetrics.f1(found.scores(FeatureRows(codes)), labels)
        #expect(isNear(f1, try golden.file.doubles("regression.f1")[0], within: 1e-12) && f1 > 0)
        #expect(ProbeMetrics.f1([-1, -1], [false, false]) == 0)
        // The same, row by row.
        let balance = labels.map { Double(labels.count) / Double(2 * labels.count { $0 }) * ($0 ? 1 : 0) }
        let counts = zip(labels, balance).map { label, weight in
            label ? weight : Double(labels.count) / Double(2 * labels.count { !$0 })
        }
        let plain = try #require(
            LogisticRegression.path(RowForm(FeatureRows(codes)), labels, counts: counts, C: [1])[0])
        for (a, b) in zip(plain.weights + [plain.intercept], wanted) { #expect(isNear(a, b, within: 1e-3)) }
    }

    @Test func `a letter takes latents as long as each tells more`() throws {
        // Latents 3 and 1 say half of the words each, 4 hardly any more, 0 others.
        let n = 400
        let labels = (0..<n).map { $0 % 4 == 0 }
        let codes = Matrix(rows: n, columns: 5)
        for r in 0..<n {
            if labels[r] { codes[r, r % 8 == 0 ? 3 : 1] = 2 } else { codes[r, 0] = 1 }
            if r < 4 { codes[r, 4] = 1 }
        }
        let columns = FeatureSplitting.Columns(train: FeatureRows(codes), test: FeatureRows(codes))
        func split(_ latents: [Int], _ weights: [Float], most: Int = 10, threshold: Double = 0.03) throws
            -> FeatureSplitting
        {
            try FeatureSplitting(
                latents: latents, weights: weights, columns, trainLabels: labels, testLabels: labels, most: most,
                threshold: threshold, letter: "a")
        }
        let found = try split([0, 1, 2, 3, 4], [-1, 0.5, 0, 0.9, 0.1])
        #expect(found.latents == [3, 1] && found.f1.count == 3)
        #expect(isNear(found.f1[0], 2.0 / 3, within: 1e-12) && found.f1[1] == 1 && found.mainF1 == 1)
        #expect(try split([0, 1, 2, 3, 4], [-1, 0.5, 0, 0.9, 0.1], most: 1).latents == [3])
        #expect(try split([0, 1, 2, 3, 4], [-1, 0.5, 0, 0.9, 0.1], threshold: 0.5).latents == [3])
        // One that says nothing is still the first, and of equal weights the lower.
        let silent = try split([2, 4], [0.3, 0.3], most: 1)
        #expect(silent.latents == [2] && silent.f1[0] == 0)
    }

    @Test func `words are absorbed as SAEBench's calculator has it`() throws {
        let u = try golden.file.doubles("absorption.direction"), norm = u.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let (x, codes) = (try golden.matrix("absorption.activations"), try golden.matrix("absorption.codes"))
        let decoder = try golden.matrix("absorption.decoder")
        let main = try golden.file.integers("absorption.main").map { Int($0) }
        let cosines = (0..<decoder.rows).map { j in
            Float((0..<5).reduce(0.0) { $0 + Double(decoder[j, $1]) * u[$1] } / norm)
        }
        let rows = FeatureRows(codes)
        let fractions = try golden.file.doubles("absorption.fraction")
        let full = try golden.file.integers("absorption.full")
        for r in 0..<x.rows {
            let P = (0..<5).reduce(0.0) { $0 + Double(x[r, $1]) * u[$1] } / norm
            let found = WordAbsorption(projection: P, cosines: cosines, main: main, below: 14) {
                rows.forEach(inRow: r, $0)
            }
            #expect(isNear(found.fraction, fractions[r], within: 1e-5), "word \(r)")
            #expect(found.isFull == (full[r] == 1), "word \(r)")
            #expect(found.absorbers.isEmpty == (found.fraction == 0 && !found.isFull) && found.absorbers.count <= 3)
            // The largest others, from their definition.
            let shares = (0..<14).filter { !main.contains($0) && cosines[$0] >= 0.1 && codes[r, $0] > 0 }
                .map { (latent: $0, share: Double(codes[r, $0]) * Double(cosines[$0])) }.sorted { $0.share > $1.share }
            if found.fraction > 0 { #expect(found.absorbers == shares.prefix(3).map(\.latent)) }
        }
        // A part of the SAE knows nothing of the rest, and a probe that sees nothing finds nothing absorbed.
        let alone = WordAbsorption(projection: 1, cosines: [0, 0.5, 0.9], main: [0], below: 2) { $0(2, 5) }
        #expect(alone == WordAbsorption(projection: 1, cosines: [0, 0.5, 0.9], main: [0], below: 3) { _ in })
        let none = WordAbsorption(projection: 0, cosines: [0, 0.5, 0.9], main: [0], below: 3) { $0(2, 5) }
        #expect(none.fraction == 0 && !none.isFull && none.absorbers == [])
    }

    /// Words of three letters in 16 dimensions: each letter has a direction, and a latent. Every fourth word with an a has another direction
    /// besides, on which the latent of a is silent and latent 3, of the second group, fires instead, for both.
    private func example() throws -> (
        task: SpellingTask, activations: SpellingActivations, sae: SparseAutoencoder, absorbed: Set<String>
    ) {
        let all = (0..<600).map { i in
            SpellingWord(
                [
                    " ", "abc".map(String.init)[i % 3], "\(UnicodeScalar(UInt8(97 + i / 26)))",
                    "\(UnicodeScalar(UInt8(97 + i % 26)))",
                ]
                .joined().utf8.map { $0 })!
        }
        let task = try SpellingTask(all, limit: 600, examples: 3, seed: 9)
        var absorbed = Set<String>()
        func rows(_ words: some Sequence<Int>, seed: UInt64) -> Matrix {
            let words = Array(words)
            let x = randomMatrix(words.count, 16, seed: seed, from: -0.1, to: 0.1)
            for (r, word) in words.enumerated() {
                let text = task.words[word].text
                x[r, task.words[word].letter] += 3
                guard text.hasPrefix(" a"), text.utf8.reduce(0, { $0 &+ Int($1) }) % 4 == 0 else { continue }
                absorbed.insert(text)
                x[r, 10] += 3
            }
            return x
        }
        let (train, test) = (rows(task.rows(of: .train), seed: 1), rows(task.rows(of: .test), seed: 2))
        var plan = LinearProbes.Plan.dense
        plan.epochs = 30
        let probes = try LinearProbes(
            DenseRows(train), classes: task.rows(of: .train).map { task.words[$0].letter },
            from: .drawn(features: 16, classes: 26, seed: 1, stream: 1000), plan: plan,
            order: { CounterRandom(seed: 1, purpose: .test, step: UInt32($0)).permutation(train.rows) })
        let tested = Array(task.rows(of: .test))
        let spelled = tested.indices.filter {
            probes.scores(DenseRows(test), class: task.words[tested[$0]].letter)[$0] > 0
        }
        let sae = SparseAutoencoder(dIn: 16, layout: try PrefixLayout(groups: [2, 5], coreCount: 1))
        sae.coreIsDense = false
        for j in 0..<3 { (sae.encoder[j, j], sae.decoder[j, j]) = (1, 1) }
        sae.encoder[0, 10] = -5
        (sae.encoder[3, 10], sae.decoder[3, 0], sae.decoder[3, 10]) = (1.5, 0.8, 0.6)
        sae.inference = .threshold(0.5)
        return (
            task,
            SpellingActivations(
                train: train, test: test, probes: probes, spelled: spelled,
                again: rows(spelled.map { tested[$0] }, seed: 3)), sae, absorbed
        )
    }

    @Test func `it is known which words are absorbed, by which latent`() throws {
        let (task, activations, sae, absorbed) = try example()
        var settings = AbsorptionEvaluation.Settings()
        (settings.leastLetters, settings.probeBatch) = (3, 16)
        #expect(absorbed.count > 20)
        let evaluation = try AbsorptionEvaluation(
            task, activations, sae, settings, begin: { _ in }, progress: { _ in })
        #expect(evaluation.counted == [0, 1, 2] && evaluation.probeF1[3] == nil)
        #expect(evaluation.probeF1.prefix(3).allSatisfy { $0 ?? 0 > 0.95 })
        let sets = ProbedLatents.sets(latents: 7, core: 1, firstGroup: 3, draws: 2, seed: 1)
        let all = [sets[0]] + ProbedLatents.prefixes([3]) + sets.dropFirst()
        var steps: [String] = []
        let found = try all.map { set in
            (
                set: set,
                letters: try evaluation.letters(
                    of: set, begin: { if case .set(let name, _) = $0 { steps.append(name) } }, progress: { _ in })
            )
        }
        #expect(steps == all.map(\.name))
        let letters = found[0].letters
        // Latent 3 tells the other words of a: then nothing is absorbed. So it is taken as long as F1 gains.
        #expect(letters[1].splitting.latents == [1] && letters[2].splitting.latents == [2])
        #expect(letters[1].meanFraction == 0 && letters[2].fullCount == 0)
        #expect(Set(letters[0].splitting.latents) == [0, 3] && letters[0].meanFraction == 0)

        // Where one latent is all that a letter may have, the words that it misses are absorbed, wholly.
        settings.mostLatents = 1
        let one = try AbsorptionEvaluation(task, activations, sae, settings, begin: { _ in }, progress: { _ in })
        let a = try one.letters(of: sets[0], begin: { _ in }, progress: { _ in })[0]
        #expect(a.splitting.latents == [0])
        for (word, absorption) in a.words {
            let isAbsorbed = absorbed.contains(task.words[word].text)
            #expect(absorption.isFull == isAbsorbed && absorption.fraction == (isAbsorbed ? 1 : 0))
            #expect(absorption.absorbers == (isAbsorbed ? [3] : []))
        }
        #expect(a.fullCount > 3 && a.words.count > 20 && a.meanFraction == a.fullRate)
        #expect(a.fullRate == Double(a.fullCount) / Double(a.words.count))
        // An SAE that ends before latent 3 has nobody to absorb them.
        let cut = try one.letters(of: all[1], begin: { _ in }, progress: { _ in })[0]
        #expect(cut.splitting.latents == [0] && cut.fullCount == 0 && cut.meanFraction == 0)

        let again = try all.map { ($0, try one.letters(of: $0, begin: { _ in }, progress: { _ in })) }
        let summary = AbsorptionSummary(
            again.map { (set: $0.0, letters: $0.1) }, task, probeF1: one.probeF1, layout: sae.layout)
        #expect(summary.sets.first?.set == "all" && summary.sets[1].set == "prefix 3")
        #expect(isNear(summary.sets[0].absorption_fraction.value, a.meanFraction / 3, within: 1e-12))
        #expect(summary.groups.map(\.group) == ["core", "group 1", "group 2"])
        #expect(summary.groups.map(\.latents) == [1, 1, 5])
        #expect(summary.groups.map(\.main_latents) == [1, 1, 1])
        #expect(summary.groups.map(\.absorbed_words) == [a.fullCount, 0, 0])
        #expect(summary.groups.map(\.absorbing_words) == [0, 0, a.fullCount])
        #expect(Set(summary.words.map(\.word)).isSubset(of: absorbed) && summary.words.count == a.fullCount)
        let core = try #require(summary.differences.first { $0.set == "core" && $0.from == "all" })
        let draws = again.filter { $0.0.control?.of == "core" && $0.0.control?.from == "all" }
        let mine = again.first { $0.0.name == "core" }!.1
        let changes = (0..<3).map { i in
            mine[i].meanFraction - draws.reduce(0.0) { $0 + $1.1[i].meanFraction } / Double(draws.count)
        }
        #expect(isNear(core.absorption_fraction.value, changes.reduce(0, +) / 3, within: 1e-12))
        #expect(core.draws == 2 && core.less_absorbed_letters == changes.count { $0 < 0 })
    }

    @Test func `too few letters measure nothing`() throws {
        let (task, activations, sae, _) = try example()
        #expect(throws: ProbingError.tooFewLetters(found: 3, wanted: 20, least: 0.6)) {
            try AbsorptionEvaluation(task, activations, sae, .init(), begin: { _ in }, progress: { _ in })
        }
    }

    @Test func `means and deviations are those of a sample of letters`() {
        let details = [(0.1, 0.0, 0, 10, 1), (0.4, 0.25, 1, 4, 3), (0.1, 0.5, 2, 4, 2)].map {
            AbsorptionOutput.Detail(
                first_letter: "a", mean_absorption_fraction: $0.0, full_absorption_rate: $0.1,
                num_full_absorption: $0.2,
                num_probe_true_positives: $0.3, num_split_features: $0.4)
        }
        let mean = AbsorptionOutput.mean(details)
        #expect(isNear(mean.mean_absorption_fraction_score, 0.2, within: 1e-12))
        #expect(isNear(mean.std_dev_absorption_fraction_score, 0.03.squareRoot(), within: 1e-12))
        #expect(isNear(mean.mean_full_absorption_score, 0.25, within: 1e-12))
        #expect(isNear(mean.std_dev_full_absorption_score, 0.25, within: 1e-12))
        #expect(mean.mean_num_split_features == 2 && mean.std_dev_num_split_features == 1)
    }

    @Test func `activations are kept with what they were made of, and checked when they are read`() throws {
        let (task, made, _, _) = try example()
        let folder = TemporaryFolder()
        let cause = ["model": "a"]
        #expect(try SpellingActivations(keptIn: folder.path, of: task, width: 16, cause: cause) == nil)
        try made.keep(in: folder.path, of: task, cause: cause)
        let kept = try #require(try SpellingActivations(keptIn: folder.path, of: task, width: 16, cause: cause))
        #expect(kept.train.values == made.train.values && kept.test.values == made.test.values)
        #expect(kept.again.values == made.again.values && kept.spelled == made.spelled)
        #expect(kept.probes.weights.values == made.probes.weights.values && kept.probes.biases == made.probes.biases)
        #expect(try SpellingActivations(keptIn: folder.path, of: task, width: 16, cause: ["model": "b"]) == nil)
        #expect(throws: TensorFileError.self) {
            try SpellingActivations(keptIn: folder.path, of: task, width: 17, cause: cause)
        }
        let wrong = SpellingActivations(
            train: made.train, test: made.test, probes: made.probes, spelled: [made.test.rows],
            again: made.again.copy(rows: 0..<1))
        try wrong.keep(in: folder.path, of: task, cause: cause)
        #expect(throws: TensorFileError.self) {
            try SpellingActivations(keptIn: folder.path, of: task, width: 16, cause: cause)
        }
    }
}
