import Attribution
import LinearAlgebra
import PluginWorkers

/// A standard error that a scorer gives, held against how its output scatters.
///
/// What it is the error of is not said by the headers: of what the scorer draws, given the text, or of the text itself.
/// So the output is looked at in passes over the same sequences in other orders, whose draws are others, and in passes
/// over other sequences; the error has to be that of one of the two, within a factor of 1.6 over all latents together.
struct StandardError {
    private let subject: PluginCheck.Subject
    private let score: any AccumulatingScore
    private let error: Int
    private let value: Int
    private let passes = 10, length = 12

    /// Output `error` of `score`.
    init(_ subject: PluginCheck.Subject, _ score: any AccumulatingScore, _ error: Int) {
        (self.subject, self.score, self.error) = (subject, score, error)
        value = score.outputs[error].standardErrorOf ?? 0
    }

    private var name: String { score.outputs[error].name }

    /// - Throws: `PluginCheck.Broken`.
    func judge() throws {
        let model = QuadraticModel(
            seed: subject.seed, sequences: passes * length, latents: 60, dimensions: 16, perToken: 6, activations: 1e-3,
            hasUnitRows: true)
        try judge(model, budget: nil)
        guard subject.has("needs-evaluation"), model.asked > passes else { return }
        // Four questions a latent, where that is less than it asked when it could: of two or fewer no spread is known.
        let budget = 4 * model.batch.codes.columns
        guard budget * 10 < model.asked / passes * 9 else { return }
        do {
            try judge(model, budget: budget)
        } catch let error where PluginFailure.answered(error) != nil {
            // It cannot do with less than everything, and says so.
        }
    }

    private func judge(_ model: QuadraticModel, budget: Int?) throws {
        func run(_ order: [Int]) throws -> [[Double]] {
            if let budget { model.limit(to: budget) }
            return try subject.accumulated(SequencePass(model, order: order), by: score, shards: [0..<length])[0]
        }
        let same = try (0..<passes).map { shift in try run((0..<length).map { ($0 + shift * 3) % length }) }
        for results in same { try isAnError(results) }
        let drawn = scatter(same)
        guard drawn.elements > 0 else { return }
        if isClose(drawn.ofErrors, drawn.ofValues, drawn.size) { return }
        let others = try (0..<passes).map { p in try run((0..<length).map { p * length + $0 }) }
        let text = scatter(others)
        if isClose(text.ofErrors, text.ofValues, text.size) { return }
        func root(_ square: Double) -> Double { square.squareRoot() }
        throw PluginCheck.Broken(
            reason: "output \(name) is \(root(drawn.ofErrors)) (root mean square over latents), and output "
                + "\(score.outputs[value].name) scatters by \(root(drawn.ofValues)) from draw to draw and by "
                + "\(root(text.ofValues)) from text to text" + (budget == nil ? "" : ", with \(budget ?? 0) questions"))
    }

    /// Whether errors are those of what scatters so, of outputs of a size; nothing scatters by rounding.
    private func isClose(_ errors: Double, _ values: Double, _ size: Double) -> Bool {
        let nothing = 1e-12 * size
        if values <= nothing || errors <= nothing { return values <= nothing && errors <= nothing }
        return (1 / 2.56...2.56).contains(errors / values)
    }

    /// Mean squares, over all elements for which several passes have both a value and an error; none where a draw or
    /// two is all that most of them are from, which says little of their error.
    private func scatter(_ results: [[[Double]]]) -> (ofErrors: Double, ofValues: Double, size: Double, elements: Int) {
        var sums = (errors: 0.0, values: 0.0, size: 0.0, elements: 0)
        let draws = results.flatMap { pass in pass[value].indices.compactMap { drawn(pass, $0) } }.filter { $0 > 0 }
        guard draws.reduce(0, +) >= 3 * draws.count else { return (0, 0, 0, 0) }
        for i in results[0][value].indices {
            let pairs = results.map { ($0[value][i], $0[error][i]) }.filter { !$0.0.isNaN && !$0.1.isNaN }
            guard pairs.count > 3 else { continue }
            let count = Double(pairs.count), mean = pairs.reduce(0) { $0 + $1.0 } / count
            sums.values += pairs.reduce(0) { $0 + ($1.0 - mean) * ($1.0 - mean) } / (count - 1)
            sums.errors += pairs.reduce(0) { $0 + $1.1 * $1.1 } / count
            sums.size += mean * mean
            sums.elements += 1
        }
        let n = Double(max(1, sums.elements))
        return (sums.errors / n, sums.values / n, sums.size / n, sums.elements)
    }

    /// How many sequences were left to chance and asked for the score of latent j; nil where it is not said.
    private func drawn(_ results: [[Double]], _ j: Int) -> Int? {
        guard value == 0, let draws = score.outputs.firstIndex(where: { $0.role == .expansions }) else { return nil }
        return results[draws][j * length..<(j + 1) * length].count { $0 > 0 && abs($0 - 1) > 1e-9 }
    }

    /// Never negative; unknown only where few were asked.
    private func isAnError(_ results: [[Double]]) throws {
        for (i, found) in results[error].enumerated() where found < 0 {
            throw PluginCheck.Broken(reason: "element \(i) of output \(name) is \(found)")
        }
        let known = results[value].indices.filter { !results[value][$0].isNaN }
        let unknown = known.filter { results[error][$0].isNaN }
        if unknown.count == known.count && !known.isEmpty && drawn(results, 0) == nil {
            throw PluginCheck.Broken(
                reason: "output \(name) is nan for each of \(known.count) latents that have a value")
        }
        // A spread is known from two draws on.
        for j in unknown {
            let asked = drawn(results, j) ?? 0
            try expect(asked < 3, "element \(j) of output \(name) is nan, and \(asked) sequences were drawn")
        }
    }
}
