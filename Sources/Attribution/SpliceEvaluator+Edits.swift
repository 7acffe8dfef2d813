import LanguageModeling
import LinearAlgebra

/// What a group's edits make of its sequence from the first token that they change.
enum EditedContent {
    /// Rows [T − first, d], where an edit brings its own.
    case rows(Matrix)
    /// Decoder rows times what the edits add to activations.
    case additions([SequenceSuffix.Addition])
}

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

    /// The edits of a group of which `first` is the first changed token: as additions where no edit brings rows.
    func content(of group: EditGroup, from first: Int) -> EditedContent {
        var additions: [SequenceSuffix.Addition] = []
        for edit in group.edits {
            for t in edit.tokens where changes(edit, at: t) {
                guard let (factor, latent) = addition(edit.change, at: t) else {
                    return .rows(edited(group, from: first))
                }
                additions.append(
                    SequenceSuffix.Addition(
                        position: t - group.sequence * length, factor: factor, row: batch.decoder.row(latent)))
            }
        }
        return .additions(additions)
    }

    /// x̂ from token `first` to the end of the group's sequence with the edits made.
    func edited(_ group: EditGroup, from first: Int) -> Matrix {
        let d = dimension
        let rows = batch.reconstruction.copy(rows: first..<(group.sequence + 1) * length)
        for edit in group.edits {
            for t in edit.tokens where changes(edit, at: t) {
                let row = rows.row(t - first)
                if case .rows(let source) = edit.change {
                    row.update(from: source + (t - edit.tokens.lowerBound) * d, count: d)
                }
                guard let (change, latent) = addition(edit.change, at: t) else { continue }
                let w = batch.decoder.row(latent)
                for c in 0..<d { row[c] += change * w[c] }
            }
        }
        return rows
    }

    /// What a change adds to x̂ at a token: how much of which latent's decoder row.
    private func addition(_ change: Edit.Change, at t: Int) -> (factor: Float, latent: Int)? {
        switch change {
        case .rows: nil
        case .scale(let latent, let factor): ((factor - 1) * (activation(t, latent) ?? 0), latent)
        case .set(let latent, let value): (value - (activation(t, latent) ?? 0), latent)
        }
    }
}
