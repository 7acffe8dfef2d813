import Attribution
import LinearAlgebra
import PluginWorkers

// What outputs say of other outputs: of what the score is made, how far it may be off, of how many terms it is.
extension PluginCheck {
    static let errorChecks = [
        PluginCheck(
            id: "terms", rules: ["DMSAE-OUTPUT-03"],
            promise: "the score is what its terms, expansions and sizes add up to, of all sequences and of a sample"
        ) { subject in
            let score = try subject.accumulation()
            let y = try required(
                score.outputs.firstIndex { $0.role == .terms }, "it does not say what its score is made of")
            let e = score.outputs.firstIndex { $0.role == .expansions },
                x = score.outputs.firstIndex { $0.role == .sizes }
            try subject.ofAllAndOfSome(sequences: 8) { pass in
                let results = try subject.accumulated(pass, by: score, shards: [0..<pass.count])[0]
                let S = pass.count, largest = results[0].reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
                for j in 0..<pass.plan.latentCount {
                    let row = j * S..<(j + 1) * S
                    let made = ratio(results[y][row], e.map { results[$0][row] }, x.map { results[$0][row] })
                    let found = results[0][j]
                    guard let made, !found.isNaN else { continue }
                    try expect(
                        abs(made - found) <= 1e-6 * max(largest, abs(made)),
                        "the score of latent \(j) is \(found), and what it says it is made of gives \(made)")
                }
            }
        },
        PluginCheck(
            id: "counts", rules: [], promise: "what counts terms is a whole number, 0 or more, of every latent"
        ) { subject in
            let score = try subject.accumulation()
            let counts = score.outputs.indices.filter { score.outputs[$0].countOf != nil }
            try applies(!counts.isEmpty, "no output counts the terms of another")
            let results = try subject.accumulated(SequencePass(QuadraticModel(seed: subject.seed, sequences: 4)))[0]
            for i in counts {
                let of = results[score.outputs[i].countOf ?? 0]
                for (j, count) in results[i].enumerated() {
                    let name = "element \(j) of output \(score.outputs[i].name)"
                    try expect(
                        count >= 0 && count == count.rounded() && count < 1e15, "\(name) is \(count), which is no count"
                    )
                    try expect(
                        count > 0 || of[j].isNaN || of[j] == 0, "\(name) is 0, and there is a value, \(of[j])")
                }
            }
        },
        PluginCheck(
            id: "standard-errors", rules: ["DMSAE-SCORER-11"],
            promise:
                "a standard error is as large as its output scatters, by its draws or from text to text, never below 0"
        ) { subject in
            let score = try subject.accumulation()
            let errors = score.outputs.indices.filter { score.outputs[$0].standardErrorOf != nil }
            try applies(!errors.isEmpty, "no output is a standard error")
            for error in errors { try StandardError(subject, score, error).judge() }
        },
    ]

    /// (Σ x / S)·(Σ e·y)/(Σ e·x), or the mean of y; nil where nothing was asked.
    private static func ratio(_ y: ArraySlice<Double>, _ e: ArraySlice<Double>?, _ x: ArraySlice<Double>?) -> Double? {
        guard let e, let x else {
            return y.contains(where: \.isNaN) ? nil : y.reduce(0, +) / Double(y.count)
        }
        let asked = zip(y, zip(e, x)).filter { $0.1.0 > 0 }
        let size = asked.reduce(0) { $0 + $1.1.0 * $1.1.1 }
        guard size > 0 else { return nil }
        return x.reduce(0, +) / Double(y.count) * asked.reduce(0) { $0 + $1.1.0 * $1.0 } / size
    }
}

extension PluginCheck.Subject {
    /// Runs `body` on a pass without a limit, and, of a plugin that asks, on one that may ask for a third of that.
    func ofAllAndOfSome(sequences: Int, _ body: (SequencePass) throws -> Void) throws {
        let model = QuadraticModel(
            seed: seed, sequences: sequences, latents: 60, dimensions: 16, perToken: 6, activations: 1e-3,
            hasUnitRows: true)
        try body(SequencePass(model))
        guard has("needs-evaluation"), model.asked > 3 else { return }
        model.limit(to: model.asked / 3)
        do {
            try body(SequencePass(model))
        } catch let error where PluginFailure.answered(error) != nil {
            // It cannot do with less than everything, and says so.
        }
    }
}
