import LinearAlgebra
import TensorFiles

/// What a model has at the words of a spelling task, and probes of their first letters: all that does not depend on an SAE.
package struct SpellingActivations: Sendable {
    /// x `[words, d]` of the words learnt from.
    package let train: Matrix
    /// Of those that are tested on.
    package let test: Matrix
    /// Of activations, one a letter.
    package let probes: LinearProbes
    /// Test words, counted from the first of them, whose letter its probe says.
    package let spelled: [Int]
    /// x of the spelled ones in other prompts.
    package let again: Matrix

    package init(train: Matrix, test: Matrix, probes: LinearProbes, spelled: [Int], again: Matrix) {
        (self.train, self.test, self.probes, self.spelled, self.again) = (train, test, probes, spelled, again)
    }

    /// What is being done, and how much of it there is.
    package enum Stage: Sendable {
        case train(words: Int), test(words: Int), probes(epochs: Int), again(words: Int)
    }

    /// Runs the model on the task's prompts and learns the probes. `begin` is told of stages, `progress` of what was done of one.
    ///
    /// - Throws: what the model and `progress` throw; `ProbingError`.
    package init(
        _ task: SpellingTask, _ prompts: LastTokens, seed: UInt64, begin: (Stage) -> Void,
        progress: (Int) throws -> Void
    ) throws {
        func run(_ rows: [Int], _ part: SpellingTask.Part) throws -> Matrix {
            let tokens = try task.tokens(
                ofWords: rows, for: part, tokenizer: prompts.tokenizer, beginning: prompts.beginning,
                most: prompts.model.configuration.contextLength)
            return try prompts.activations(of: tokens, named: "first letters", progress: progress)
        }
        let (learnt, tested) = (Array(task.rows(of: .train)), Array(task.rows(of: .test)))
        begin(.train(words: learnt.count))
        train = try run(learnt, .train)
        begin(.test(words: tested.count))
        test = try run(tested, .test)
        begin(.probes(epochs: LinearProbes.Plan.dense.epochs))
        probes = try LetterStream.dense.probes(
            DenseRows(train), letters: learnt.map { task.words[$0].letter },
            from: LetterStream.dense.start(features: train.columns, seed: seed), plan: .dense, seed: seed,
            progress: progress)
        spelled = Self.spelled(test, probes, letters: tested.map { task.words[$0].letter })
        begin(.again(words: spelled.count))
        again = try run(spelled.map { tested[$0] }, .again)
    }

    /// Rows whose own letter's probe is above 0.
    private static func spelled(_ test: Matrix, _ probes: LinearProbes, letters: [Int]) -> [Int] {
        let rows = DenseRows(test)
        return SpellingWord.letters.indices.flatMap { letter in
            let scores = probes.scores(rows, class: letter)
            return letters.indices.filter { letters[$0] == letter && scores[$0] > 0 }
        }.sorted()
    }

    /// Bytes that a task takes before any SAE: activations, and probes with Adam's moments.
    package static func need(words: Int, width: Int) -> MemoryNeed {
        var need = MemoryNeed(
            "measuring absorption on \(words) words of a model of width \(width) needs", advice: "lower --words")
        // Test words come twice; what is read of a file is copied.
        need.add("activations", words + words / 5, width, 4, 2)
        need.add("probes", 32, width + 1, 16)
        return need
    }
}

/// Numbers that probes of letters are drawn with: those of activations and those of latents have their own.
enum LetterStream: UInt32 {
    case dense = 1000
    case sparse = 2000

    /// Where probes of so many features begin.
    func start(features: Int, seed: UInt64) -> LinearProbes {
        .drawn(features: features, classes: SpellingWord.letters.count, seed: seed, stream: rawValue)
    }

    /// Probes of the letters of rows, in orders that the seed gives.
    func probes(
        _ rows: some ProbedRows, letters: [Int], from start: LinearProbes, plan: LinearProbes.Plan, seed: UInt64,
        progress: (Int) throws -> Void
    ) throws -> LinearProbes {
        try LinearProbes(
            rows, classes: letters, from: start, plan: plan,
            order: { epoch in
                CounterRandom(seed: seed, purpose: .spelling, step: rawValue + 2 + UInt32(epoch)).permutation(
                    rows.rowCount)
            }, progress: progress)
    }
}

extension SpellingActivations {
    private static let file = "spelling.safetensors"

    /// Keeps them in a folder, with what they were made of, words included.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    package func keep(in folder: String, of task: SpellingTask, cause: [String: String]) throws {
        var writer = SafetensorsWriter(metadata: cause)
        for (name, matrix) in [("train", train), ("test", test), ("again", again), ("weights", probes.weights)] {
            writer.add(name, matrix)
        }
        writer.add("biases", probes.biases)
        writer.add("spelled", integers: spelled.map(Int64.init))
        let text = Array(task.words.map(\.text).joined(separator: "\n").utf8)
        writer.add("words", type: .u8, shape: [text.count], bytes: text)
        try writer.write(to: folder + "/" + Self.file)
    }

    /// Those that a folder keeps; nil where there are none, or of something else.
    ///
    /// - Throws: `TensorFileError` of a file that is damaged.
    package init?(keptIn folder: String, of task: SpellingTask, width: Int, cause: [String: String]) throws {
        let path = folder + "/" + Self.file
        guard exists(path) else { return nil }
        let kept = try SafetensorsFile(path: path)
        guard kept.metadata == cause else { return nil }
        let letters = SpellingWord.letters.count
        func matrix(_ name: String, _ rows: Int) throws -> Matrix {
            try kept.require(name, shape: [rows, width])
            return try kept.finiteMatrix(name)
        }
        let tested = task.rows(of: .test).count
        try kept.require("biases", shape: [letters])
        let rows = try kept.integers("spelled").map { Int($0) }
        guard zip(rows, rows.dropFirst()).allSatisfy({ $0 < $1 }), rows.allSatisfy({ (0..<tested).contains($0) }) else {
            throw TensorFileError.unusable(
                file: path, what: "\"spelled\" is no list of rising rows of \"test\"", next: "delete it")
        }
        let biases = try kept.doubles("biases").map { Float($0) }
        guard biases.allSatisfy({ $0.isFinite }) else {
            throw TensorFileError.unusable(file: path, what: "\"biases\" holds no number", next: "delete it")
        }
        self.init(
            train: try matrix("train", task.trainCount), test: try matrix("test", tested),
            probes: LinearProbes(weights: try matrix("weights", letters), biases: biases), spelled: rows,
            again: try matrix("again", rows.count))
    }
}
