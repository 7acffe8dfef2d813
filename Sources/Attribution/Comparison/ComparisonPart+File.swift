import LinearAlgebra
import TensorFiles

extension ComparisonPart {
    /// Writes it; the file appears whole or not at all. `key` says of which comparison it is.
    ///
    /// - Throws: `TensorFileError`.
    public func write(to path: String, key: PassKey) throws {
        var metadata = [
            "key": key.text, "costs": try JSONRecord.text(answers.map(\.cost), pretty: false), "sha256": digest(key),
        ]
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

    /// Costs are left out: times have no bits to keep.
    private func digest(_ key: PassKey) -> String {
        var digest = ContentDigest()
        digest.add(key.text)
        digest.add([sequences.lowerBound, sequences.upperBound])
        digest.add(latents)
        digest.add(tokens)
        digest.add(activations)
        digest.add(scoredTokens)
        for answer in answers {
            digest.add(answer.scores)
            for state in answer.states { digest.add(state) }
            digest.add(answer.failure ?? "")
        }
        return digest.hexadecimal
    }

    /// Reads the next part of a pass.
    ///
    /// - Throws: `TensorFileError` for a broken file; `AttributionError.otherPass`; what a scorer says of the
    ///   size of its state.
    public init(path: String, key: PassKey, next pass: ComparisonPass) throws {
        let file = try SafetensorsFile(path: path)
        try key.requireSame(as: file.metadata["key"], in: path)
        func broken(_ what: String) -> TensorFileError {
            .malformed(file: path, what: what, next: "delete it and compare again")
        }
        func integers<Integer: FixedWidthInteger>(_ name: String) throws -> [Integer] {
            try file.integers(name).map {
                guard let value = Integer(exactly: $0) else { throw broken("\(name) holds \($0)") }
                return value
            }
        }
        let range: [Int] = try integers("sequences")
        guard range.count == 2, range[0] >= 0, range[1] > range[0] else {
            throw broken("its sequences are \(range.prefix(3))")
        }
        self.init(sequences: range[0]..<range[1])
        guard sequences.lowerBound == pass.sequencesSeen, sequences.upperBound <= pass.sequenceCount else {
            throw broken("it holds sequences \(sequences), and those from \(pass.sequencesSeen) on come next")
        }
        latents = try integers("latents")
        tokens = try integers("tokens")
        activations = try file.matrix("activations").values
        scoredTokens = try integers("scored_tokens")
        if let reason = disorder(pass) { throw broken(reason) }
        let costs = try JSONRecord.decode([ScoringCost].self, from: file.metadata["costs"] ?? "", in: path)
        guard costs.count == pass.scorers.count, costs.allSatisfy(\.isPossible) else {
            throw broken("it has costs of \(costs.count) scorers of \(pass.scorers.count), or impossible ones")
        }
        for (i, compared) in pass.scorers.enumerated() {
            var answer = Answer()
            answer.cost = costs[i]
            answer.failure = file.metadata["failure.\(i)"]
            if file.tensors["scores.\(i)"] != nil { answer.scores = try file.matrix("scores.\(i)").values }
            while file.tensors["state.\(i).\(answer.states.count)"] != nil {
                answer.states.append(try integers("state.\(i).\(answer.states.count)"))
            }
            if let reason = try disorder(answer, of: compared, pass) { throw broken(reason) }
            answers.append(answer)
        }
        guard digest(key) == file.metadata["sha256"] else {
            throw broken("its numbers are not those that were written")
        }
    }

    /// What is wrong with the entries of the codes; nil if nothing is.
    private func disorder(_ pass: ComparisonPass) -> String? {
        let (count, length) = (latents.count, pass.length)
        guard tokens.count == count, activations.count == count, scoredTokens.count == sequences.count else {
            return
                "it has \(count) latents, \(tokens.count) tokens and \(activations.count) activations of entries, and counts of "
                + "\(scoredTokens.count) of \(sequences.count) sequences"
        }
        var fired = [Int](repeating: 0, count: sequences.count)
        for e in 0..<count {
            let (latent, token) = (Int(latents[e]), Int(tokens[e]))
            guard (0..<pass.spliced.candidateCount).contains(latent), token >= 0, sequences.contains(token / length)
            else { return "entry \(e) is of latent \(latent) at token \(token)" }
            let isNext = e == 0 || tokens[e - 1] < tokens[e]
            guard isNext || (tokens[e - 1] == tokens[e] && latents[e - 1] < latents[e]) else {
                return "entry \(e) is not in its place"
            }
            guard activations[e] > 0, activations[e].isFinite else { return "entry \(e) is \(activations[e])" }
            if isNext { fired[token / length - sequences.lowerBound] += 1 }
        }
        guard zip(fired, scoredTokens).allSatisfy({ $0 <= $1 && $1 <= length }) else {
            return "latents fire at more tokens than are scored, or more are scored than there are"
        }
        return nil
    }

    /// What is wrong with what a scorer is said to have said; nil if nothing is. One that failed
    /// may have stopped anywhere.
    private func disorder(_ answer: Answer, of compared: ComparedScorer, _ pass: ComparisonPass) throws -> String? {
        if answer.failure != nil {
            return answer.scores.isEmpty && answer.states.isEmpty ? nil : "it has numbers of a scorer that failed"
        }
        let scored = compared.scorer.scoresTokens ? latents.count : 0
        guard answer.scores.count == scored, answer.scores.allSatisfy(\.isFinite) else {
            return
                "\(printable(compared.label)) has \(answer.scores.count) scores of \(scored) entries, or infinite ones"
        }
        guard let accumulation = compared.scorer.accumulation else {
            return answer.states.isEmpty ? nil : "\(printable(compared.label)) has a state and needs none"
        }
        let wanted = compared.stateCount(of: sequences, count: pass.sequenceCount)
        let size = try accumulation.stateSize(pass.plan(compared))
        guard answer.states.count == wanted, answer.states.allSatisfy({ $0.count == size }) else {
            return
                "\(printable(compared.label)) has states of \(answer.states.map(\.count).prefix(3)) bytes, not \(wanted) of \(size)"
        }
        return nil
    }
}

extension ScoringCost {
    /// Whether it can be what scoring took, and be added up.
    var isPossible: Bool {
        let most = 1 << 50
        return seconds >= 0 && seconds < 1e12
            && [replayed_tokens, gradient_tokens, evaluations].allSatisfy { (0...most).contains($0) }
    }
}
