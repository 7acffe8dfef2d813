import LinearAlgebra

// Reconstructions with edits made, from the first token that they change.
extension SpliceEvaluator {
    /// f[t, j], nil where the latent is inactive.
    private func activation(_ t: Int, _ latent: Int) -> Float? {
        let codes = batch.codes
        var entries = codes.entries(ofRow: t)
        while !entries.isEmpty {
            let middle = entries.lowerBound + entries.count / 2
            let column = Int(codes.columnIndices[middle])
            if column == latent { return codes.values[middle] }
            entries = column < latent ? middle + 1..<entries.upperBound : entries.lowerBound..<middle
        }
        return nil
    }

    private func changes(_ edit: Edit, at t: Int) -> Bool {
        guard batch.scored[t] != 0 else { return false }
        return switch edit.change {
        case .scale(let latent, let factor): factor != 1 && activation(t, latent) != nil
        case .set(let latent, let value): value != activation(t, latent) ?? 0
        case .rows: true
        }
    }

    /// The first token, counted in the batch, that any of `edits` changes.
    func firstChange(_ edits: [Edit]) -> Int? {
        edits.compactMap { edit in edit.tokens.first { changes(edit, at: $0) } }.min()
    }

    /// x̂ from token `first` to the end of the group's sequence with the edits made.
    func edited(_ group: EditGroup, from first: Int) -> Matrix {
        let d = dimension
        let rows = batch.reconstruction.copy(rows: first..<(group.sequence + 1) * length)
        for edit in group.edits {
            for t in edit.tokens where changes(edit, at: t) {
                let row = rows.row(t - first)
                switch edit.change {
                case .rows(let source): row.update(from: source + (t - edit.tokens.lowerBound) * d, count: d)
                case .scale(let latent, let factor):
                    let a = activation(t, latent) ?? 0
                    add((factor - 1) * a, latent, to: row)
                case .set(let latent, let value): add(value - (activation(t, latent) ?? 0), latent, to: row)
                }
            }
        }
        return rows
    }

    private func add(_ change: Float, _ latent: Int, to row: UnsafeMutablePointer<Float>) {
        let w = batch.decoder.row(latent)
        for c in 0..<dimension { row[c] += change * w[c] }
    }
}
