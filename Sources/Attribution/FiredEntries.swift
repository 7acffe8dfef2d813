import LinearAlgebra

/// Where the candidates of a pass fired: entries of its codes, token by token.
package struct FiredEntries {
    /// m, the candidates.
    package let latentCount: Int
    /// [entries] index of the latent.
    package var latents: [Int32] = []
    /// [entries] token of the pass.
    package var tokens: [Int32] = []
    /// [entries] activations f.
    package var activations: [Float] = []
    /// [S] scored tokens.
    package var scoredTokens: [Int] = []
    /// T, tokens of a sequence.
    package let length: Int

    /// Nothing yet of `latentCount` candidates, in sequences of `length` tokens.
    package init(latentCount: Int, length: Int) {
        self.latentCount = latentCount
        self.length = length
    }

    /// Adds the entries of the next sequences, in which `scored` [N] marks the tokens that are scored.
    package mutating func add(_ codes: SparseCodes, scored: [UInt8]) {
        let first = sequenceCount * length
        for t in 0..<codes.rows {
            for e in codes.entries(ofRow: t) {
                latents.append(codes.columnIndices[e])
                tokens.append(Int32(first + t))
                activations.append(codes.values[e])
            }
        }
        for s in 0..<codes.rows / length {
            scoredTokens.append(scored[s * length..<(s + 1) * length].reduce(0) { $0 + Int($1) })
        }
    }

    package var sequenceCount: Int { scoredTokens.count }

    package func sequence(_ entry: Int) -> Int { Int(tokens[entry]) / length }

    /// [m] share of the scored tokens at which each latent fires.
    package var frequency: [Double] {
        var counts = [Double](repeating: 0, count: latentCount)
        for j in latents { counts[Int(j)] += 1 }
        let total = Double(max(1, scoredTokens.reduce(0, +)))
        return counts.map { $0 / total }
    }

    /// Entries by latent, in the order of tokens: those of latent j are order[offsets[j]..<offsets[j + 1]].
    package func byLatent() -> (offsets: [Int], order: [Int32]) {
        var offsets = [Int](repeating: 0, count: latentCount + 1)
        for j in latents { offsets[Int(j) + 1] += 1 }
        for j in 0..<latentCount { offsets[j + 1] += offsets[j] }
        var (next, order) = (offsets, [Int32](repeating: 0, count: latents.count))
        for e in latents.indices {
            let j = Int(latents[e])
            order[next[j]] = Int32(e)
            next[j] += 1
        }
        return (offsets, order)
    }
}
