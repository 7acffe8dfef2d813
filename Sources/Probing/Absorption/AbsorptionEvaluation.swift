import LinearAlgebra
import SparseCoding

/// First-letter absorption of an SAE (Chanin et al., arXiv:2409.14507), as sae-bench 0.6 measures it: on words whose first letter the
/// activation shows, do the latents that usually say the letter fire, or do latents of the single word stand in for them?
package struct AbsorptionEvaluation {
    /// SAEBench's settings.
    package struct Settings: Sendable {
        /// Latents that a sparse probe of a letter has at most.
        package var mostLatents = 10
        /// What F1 has to gain by one more.
        package var f1Jump = 0.03
        /// Letters count whose probe of activations has a larger F1 on test words.
        package var leastProbeF1 = 0.6
        /// Fewer such letters measure nothing.
        package var leastLetters = 20
        /// Words of a batch of the probes that order latents. Adam moves a weight by the rate at most, so that few steps order by the start.
        package var probeBatch = LinearProbes.Plan.sparse.batch
        package var seed: UInt64 = 42

        package init() {}
    }

    /// What is being done, and how much of it there is.
    package enum Stage: Sendable {
        case encode(words: Int), compare(letters: Int), set(name: String, steps: Int)
    }

    private let task: SpellingTask
    private let activations: SpellingActivations
    private let settings: Settings
    private let letters: (train: [Int], test: [Int])
    /// Codes [words, latents], to learn from.
    private let train: FeatureRows
    private let columns: FeatureSplitting.Columns
    private let again: FeatureRows
    /// Firings of each latent on the words learnt from.
    private let firings: [Int]
    /// cos(u, W_dec) `[letters, latents]`, u the direction of a letter's probe of activations.
    private let cosines: Matrix
    /// F1 of those probes on test words; nil for a letter without any to learn from.
    package let probeF1: [Double?]

    /// The letters that count.
    package var counted: [Int] { probeF1.indices.filter { probeF1[$0] ?? 0 > settings.leastProbeF1 } }

    /// Encodes the words. `begin` is told of stages, `progress` of what was done of one.
    ///
    /// - Throws: `ProbingError.tooFewLetters`; `ResourceError`; what the encoder and `progress` throw.
    package init(
        _ task: SpellingTask, _ activations: SpellingActivations, _ sae: SparseAutoencoder, _ settings: Settings,
        begin: (Stage) -> Void, progress: (Int) throws -> Void
    ) throws {
        (self.task, self.activations, self.settings) = (task, activations, settings)
        let letters = (
            train: task.rows(of: .train).map { task.words[$0].letter },
            test: task.rows(of: .test).map { task.words[$0].letter }
        )
        self.letters = letters
        let test = DenseRows(activations.test)
        probeF1 = SpellingWord.letters.indices.map { letter in
            guard letters.train.contains(letter), letters.test.contains(letter) else { return nil }
            return ProbeMetrics.f1(
                activations.probes.scores(test, class: letter), letters.test.map { $0 == letter })
        }
        let known = probeF1.count { $0 ?? 0 > settings.leastProbeF1 }
        guard known >= settings.leastLetters else {
            throw ProbingError.tooFewLetters(
                found: known, wanted: settings.leastLetters, least: settings.leastProbeF1)
        }
        let parts = [activations.train, activations.test, activations.again]
        begin(.encode(words: parts.reduce(0) { $0 + $1.rows }))
        let codes = try parts.map { try Self.encode($0, sae, progress: progress) }
        (train, again) = (codes[0], codes[2])
        columns = FeatureSplitting.Columns(train: codes[0], test: codes[1])
        firings = codes[0].firings
        begin(.compare(letters: SpellingWord.letters.count))
        cosines = try Self.cosines(activations.probes.weights, sae.decoder, progress: progress)
    }

    /// Codes of rows, some thousands at a time.
    private static func encode(_ x: Matrix, _ sae: SparseAutoencoder, progress: (Int) throws -> Void) throws
        -> FeatureRows
    {
        var result = FeatureRows(columnCount: sae.dSAE)
        let (encoder, codes) = (SparseEncoder(), SparseCodes())
        for first in stride(from: 0, to: x.rows, by: 2048) {
            let rows = first..<min(first + 2048, x.rows)
            try encoder.encode(x.copy(rows: rows), with: sae, into: codes)
            if first == 0 {
                var need = MemoryNeed("codes of \(x.rows) words need", advice: "lower --words")
                // Columns and values, by word and by latent.
                need.add("codes", codes.count, x.rows / rows.count + 1, 12, 2)
                try need.check()
            }
            result.append(codes)
            try progress(rows.count)
        }
        return result
    }

    /// cos of each row of `directions` with each of `rows`; 0 for rows of zeros.
    private static func cosines(_ directions: Matrix, _ rows: Matrix, progress: (Int) throws -> Void) throws -> Matrix {
        let result = Matrix(rows: directions.rows, columns: rows.rows)
        func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>) -> Double {
            var sum = 0.0
            for i in 0..<rows.columns { sum += Double(a[i]) * Double(b[i]) }
            return sum
        }
        for letter in 0..<directions.rows {
            let u = directions.row(letter), own = dot(u, u)
            Lanes.shared.forRanges(rows.rows) { _, range in
                for j in range {
                    let w = rows.row(j), norm = (own * dot(w, w)).squareRoot()
                    result[letter, j] = norm > 0 ? Float(dot(u, w) / norm) : 0
                }
            }
            try progress(1)
        }
        return result
    }

    /// One letter of a set.
    package struct Letter: Sendable {
        package let letter: Int
        package let splitting: FeatureSplitting
        /// Spelled words of the letter, by their place among the task's words.
        package let words: [(word: Int, absorption: WordAbsorption)]

        /// Σ fractions over spelled words.
        package var meanFraction: Double {
            words.reduce(0.0) { $0 + $1.absorption.fraction } / Double(words.count)
        }
        package var fullCount: Int { words.count { $0.absorption.isFull } }
        package var fullRate: Double { Double(fullCount) / Double(words.count) }
    }

    /// The main latents of each letter that counts, of those of a set, and how far other latents absorb them: any of the SAE, or of its
    /// prefix where the set is one.
    ///
    /// - Throws: `ProbingError.unsolved`; what `progress` throws.
    package func letters(
        of set: ProbedLatents, begin: (Stage) -> Void, progress: (Int) throws -> Void
    ) throws -> [Letter] {
        let latents = set.members(firings: firings)
        begin(.set(name: set.name, steps: LinearProbes.Plan.sparse.epochs + counted.count))
        var plan = LinearProbes.Plan.sparse
        plan.batch = settings.probeBatch
        // Weights of few latents begin as small as in the probe of all.
        let start = LetterStream.sparse.start(features: train.columnCount, seed: settings.seed).columns(latents)
        let probes = try LetterStream.sparse.probes(
            train.columns(latents), letters: letters.train, from: start, plan: plan, seed: settings.seed,
            progress: progress)
        let first = task.rows(of: .test).lowerBound
        return try counted.map { letter in
            let splitting = try FeatureSplitting(
                latents: latents,
                weights: Array(UnsafeBufferPointer(start: probes.weights.row(letter), count: latents.count)), columns,
                trainLabels: letters.train.map { $0 == letter }, testLabels: letters.test.map { $0 == letter },
                most: settings.mostLatents, threshold: settings.f1Jump, letter: SpellingWord.letters[letter])
            let cosines = Array(UnsafeBufferPointer(start: self.cosines.row(letter), count: self.cosines.columns))
            let spelled = activations.spelled.indices.filter { letters.test[activations.spelled[$0]] == letter }
            try progress(1)
            return Letter(
                letter: letter, splitting: splitting,
                words: spelled.map { row in
                    let absorption = WordAbsorption(
                        projection: projection(ofRow: row, letter), cosines: cosines, main: splitting.latents,
                        below: set.prefix ?? self.cosines.columns
                    ) { body in again.forEach(inRow: row, body) }
                    return (first + activations.spelled[row], absorption)
                })
        }
    }

    /// ⟨x, u⟩.
    private func projection(ofRow row: Int, _ letter: Int) -> Double {
        let x = activations.again.row(row), u = activations.probes.weights.row(letter)
        var (product, square) = (0.0, 0.0)
        for i in 0..<activations.again.columns {
            product += Double(x[i]) * Double(u[i])
            square += Double(u[i]) * Double(u[i])
        }
        return product / square.squareRoot()
    }
}
