import LinearAlgebra
import TensorFiles

extension ComparisonPart {
    /// Writes it; the file appears whole or not at all. `key` says of which comparison it is.
    ///
    /// - Throws: `TensorFileError`.
    public func write(to path: String, key: String) throws {
        var metadata = ["key": key, "costs": try JSONRecord.text(answers.map(\.cost), pretty: false)]
        for (i, answer) in answers.enumerated() { metadata["failure.\(i)"] = answer.failure }
        var writer = SafetensorsWriter(metadata: metadata)
        writer.add("sequences", integers: [Int64(sequences.lowerBound), Int64(sequences.upperBound)])
        writer.add("latents", integers32: latents)
        writer.add("tokens", integers32: tokens)
        writer.add("activations", activations)
        writer.add("scored_tokens", integers: scoredTokens.map(Int64.init))
        for (i, answer) in answers.enumerated() {
            if !answer.scores.isEmpty { writer.add("scores.\(i)", answer.scores) }
            for (k, state) in answer.states.enumerated() {
                writer.add("state.\(i).\(k)", type: .u8, shape: [state.count], bytes: state)
            }
        }
        try writer.write(to: path)
    }

    /// Reads one of a comparison of `scorers` scorers over `latentCount` candidates.
    ///
    /// - Throws: `TensorFileError` for a broken file; `AttributionError.otherPass`.
    public init(path: String, key: String, scorers: Int, latentCount: Int, length: Int) throws {
        let file = try SafetensorsFile(path: path)
        guard file.metadata["key"] == key else { throw AttributionError.otherPass(path: path) }
        func broken(_ what: String) -> TensorFileError {
            .malformed(file: path, what: what, next: "delete it and compare again")
        }
        let range = try file.integers("sequences")
        guard range.count == 2, range[0] >= 0, range[1] > range[0] else { throw broken("its sequences are \(range)") }
        let sequences = Int(range[0])..<Int(range[1])
        self.init(sequences: sequences)
        latents = try file.integers("latents").map { Int32(truncatingIfNeeded: $0) }
        tokens = try file.integers("tokens").map { Int32(truncatingIfNeeded: $0) }
        activations = try file.matrix("activations").values
        scoredTokens = try file.integers("scored_tokens").map { Int($0) }
        let count = latents.count
        guard tokens.count == count, activations.count == count, scoredTokens.count == sequences.count,
            latents.allSatisfy({ (0..<Int32(latentCount)).contains($0) }),
            tokens.allSatisfy({ sequences.contains(Int($0) / length) && $0 >= 0 })
        else { throw broken("its entries do not fit together") }
        let costs = try JSONRecord.decode([ScoringCost].self, from: file.metadata["costs"] ?? "", in: path)
        guard costs.count == scorers else { throw broken("it has costs of \(costs.count) scorers of \(scorers)") }
        for i in 0..<scorers {
            var answer = Answer()
            answer.cost = costs[i]
            answer.failure = file.metadata["failure.\(i)"]
            if file.tensors["scores.\(i)"] != nil { answer.scores = try file.matrix("scores.\(i)").values }
            guard answer.scores.isEmpty || answer.scores.count == count else {
                throw broken("it has \(answer.scores.count) scores of \(count) entries")
            }
            while let state = file.tensors["state.\(i).\(answer.states.count)"] {
                answer.states.append(try file.integers(state.name).map { UInt8(truncatingIfNeeded: $0) })
            }
            answers.append(answer)
        }
    }
}
