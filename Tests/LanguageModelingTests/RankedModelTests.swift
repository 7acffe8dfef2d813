import LanguageModeling
import LinearAlgebra
import Ranks
import TensorFiles
import TestSupport
import Testing

/// A model whose sequences are shared out among ranks against the same alone.
///
/// Tolerance 1e-5 of the largest number: products have other shapes and round otherwise, one unit in the last place (6e-8) a term. A
/// sequence at another's place changes the first digit.
@Suite struct RankedModelTests {
    private static let tolerance = 1e-5
    private static let hooks = [HookPoint(block: 0, .residPost), HookPoint(block: 1, .mlpOut)]

    private func load() throws -> any LanguageModel { try loadLanguageModel(path: fixture("models/llama")) }

    /// Compares on `count` ranks what `ask` asks of the model alone and of the model among them.
    private func onBoth(
        _ count: Int, _ ask: @escaping (any LanguageModel) throws -> [Float],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let expected = try ask(try load())
        let found = try onRanks(
            count, serving: [ModelShare.kind: { try ModelShare.make($0, &$1) { _ in try load() } }]
        ) { group in
            let model = try RankedModel(among: group, RankMessage()) { try load() }
            #expect(model.record == ["ranks": "\(count)"])
            return try ask(model)
        }
        #expect(!expected.isEmpty && found.count == expected.count, sourceLocation: sourceLocation)
        #expect(
            relativeDifference(found, expected.map(Double.init)) < Self.tolerance, sourceLocation: sourceLocation)
    }

    private func batch(_ model: any LanguageModel, _ counts: [Int], length: Int) -> TokenBatch {
        let ids = (0..<counts.count * length).map { Int32($0 * 37 % model.configuration.vocabularySize) }
        return TokenBatch(ids: ids, counts: counts, length: length)
    }

    // Fewer sequences than ranks, as many, and a number that does not divide; one of them padded.
    @Test(arguments: [1, 2, 5], [2, 3]) func everyAnswerIsThatOfTheModel(_ sequences: Int, _ count: Int) throws {
        for hook in Self.hooks {
            try onBoth(count) { model in
                let batch = batch(model, [7] + [Int](repeating: 12, count: sequences - 1), length: 12)
                let x = try model.residual(of: batch, at: hook)
                let other = randomMatrix(x.rows, x.columns, seed: 4, from: -1, to: 1)
                var found = x.values
                found += try model.losses(of: batch, residual: other, at: hook)
                let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: other, at: hook)
                found += losses + gradient.values
                let direction = randomMatrix(1, x.columns, seed: 5, from: -1, to: 1).values
                let metrics: [TokenMetric] = [
                    .loss, .divergence(from: x), .logitDifference(3, 8), .direction(direction, layer: 1),
                ]
                let weights = randomMatrix(1, x.rows, seed: 6, from: 0, to: 2).values
                for metric in metrics {
                    found += try model.values(of: batch, residual: other, at: hook, metric: metric)
                    for (weights, rule) in [(nil, BackwardRule.plain), (weights, .relp)] {
                        let (values, gradient) = try model.valuesAndGradient(
                            of: batch, residual: other, at: hook, metric: metric, weights: weights, rule: rule)
                        found += values + gradient.values
                    }
                }
                found += try model.finalScales(of: batch, residual: other, at: hook)
                found += try model.logits(of: batch, residual: other, at: hook).values
                found += try model.headRows([4, -1]).values + model.directLogits(of: other.copy(rows: 0..<2)).values
                return found
            }
        }
    }

    @Test(arguments: [1, 2, 5], [2, 3]) func suffixesAreRunByWhoKeepsTheirSequences(
        _ sequences: Int, _ count: Int
    ) throws {
        for hook in Self.hooks {
            try onBoth(count) { model in
                let length = 12, batch = batch(model, [Int](repeating: length, count: sequences), length: length)
                let x = try model.residual(of: batch, at: hook), d = x.columns
                let added = randomMatrix(2, d, seed: 9, from: -1, to: 1)
                let rows = randomMatrix(length, d, seed: 10, from: -1, to: 1)
                var found: [Float] = []
                for _ in 0..<2 {
                    let replay = try model.replay(of: batch, residual: x, at: hook)
                    found += try replay.losses
                    let suffixes = (0..<7).map { i in
                        let (sequence, first) = (i * 3 % sequences, i * 5 % length)
                        guard i % 3 > 0 else {
                            return SequenceSuffix(sequence: sequence, first: first, residual: rows.elements)
                        }
                        return SequenceSuffix(
                            sequence: sequence, first: first,
                            additions: [(length - 1, 0), (first, 1), (first, 0)].map {
                                SequenceSuffix.Addition(position: $0.0, factor: Float(i), row: added.row($0.1))
                            })
                    }
                    var losses = [Float](repeating: .nan, count: suffixes.reduce(0) { $0 + length - $1.first })
                    try losses.withUnsafeMutableBufferPointer {
                        try replay.losses(of: suffixes, into: $0.baseAddress!)
                    }
                    found += losses
                }
                extendLifetime((added, rows, x))
                return found
            }
        }
    }

    /// After a refusal the ranks go on with what comes next.
    @Test func whatOneModelRefusesAllRefuse() throws {
        let words: [String] = try onRanks(
            2, serving: [ModelShare.kind: { try ModelShare.make($0, &$1) { _ in try load() } }]
        ) { group in
            let model = try RankedModel(among: group, RankMessage()) { try load() }
            let wrong = TokenBatch(ids: [1, 2, 3, 4_000_000], sequenceCount: 2, length: 2)
            let first = message { _ = try model.residual(of: wrong, at: Self.hooks[0]) }
            return [first, "\(try model.residual(of: wrong.sequences(0..<1), at: Self.hooks[0]).rows)"]
        }
        #expect(words[0].hasPrefix("rank 1: ") && words[0].contains("4000000"), "\(words[0])")
        #expect(words[1] == "2")
    }

    @Test func aRankWithoutTheModelIsNamed() throws {
        let words: String = try onRanks(
            2,
            serving: [
                ModelShare.kind: { try ModelShare.make($0, &$1) { _ in try loadLanguageModel(path: "/nowhere") } }
            ]
        ) { group in message { _ = try RankedModel(among: group, RankMessage()) { try load() } } }
        #expect(words.hasPrefix("rank 1: ") && words.contains("/nowhere"))
    }
}
