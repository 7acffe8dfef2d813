import LinearAlgebra

/// What the loss at each token becomes when a scorer takes a latent away: Δ [m, B, T − 1], nats, position t
/// predicting t + 1.
///
/// A scorer hands out sums over sequences, its output marked `terms`; the host ran the model for it and knows what
/// the sums are made of. What a scorer asked of one latent alone is kept under that latent, and added up if it
/// asked several times, as for one token after the other. That this is what the scorer's terms are made of is
/// checked and not assumed.
package final class TokenLossChanges {
    /// Δ [m·B, T − 1], row (latent·B + sequence); NaN where nothing is known of the pair.
    package let values: Matrix
    private let sequenceCount: Int
    /// [m·B] whether a change was asked for, by latent and sequence.
    private var isAsked: [Bool]

    /// Room for a whole pass.
    package init(latents: Int, sequences: Int, length: Int) {
        values = Matrix(rows: latents * sequences, columns: length - 1)
        sequenceCount = sequences
        isAsked = [Bool](repeating: false, count: latents * sequences)
    }

    /// Adds Δ_t of positions from `first` on; `changes` may end with the last position of the sequence, which predicts
    /// nothing.
    package func add(latent: Int, sequence: Int, from first: Int, _ changes: [Double]) {
        let pair = latent * sequenceCount + sequence
        isAsked[pair] = true
        let row = values.row(pair)
        // One question a pair is kept exactly; of several, sums in single precision are to 1e-5 at 256 tokens.
        for (t, change) in zip(first..<values.columns, changes) { row[t] = Float(Double(row[t]) + change) }
    }

    /// Forgets what was asked about some sequences, for a call that is made again or was given up.
    func forget(_ sequences: Range<Int>) {
        for pair in isAsked.indices where isAsked[pair] && sequences.contains(pair % sequenceCount) {
            isAsked[pair] = false
            values.row(pair).update(repeating: 0, count: values.columns)
        }
    }

    /// Compares Σ_t Δ with the scorer's own `terms` [m, B] over some sequences, and makes NaN of pairs of which neither
    /// knows anything. A pair without a term and without a question has no effect: 0.
    ///
    /// - Throws: `AttributionError.termsAreNotChanges`.
    package func settle(_ terms: [Double], of sequences: Range<Int>, scorer: String, output: String) throws {
        precondition(terms.count == isAsked.count, "\(terms.count) terms for \(isAsked.count) pairs")
        for (pair, term) in terms.enumerated() where sequences.contains(pair % sequenceCount) {
            let row = UnsafeMutableBufferPointer(start: values.row(pair), count: values.columns)
            if term.isNaN && !isAsked[pair] {
                row.update(repeating: .nan)
                continue
            }
            let sum = row.reduce(0.0) { $0 + Double($1) }, size = row.reduce(0.0) { $0 + Double(abs($1)) }
            // Roundings of single numbers, see `add`; what is weighted or no sum of changes is off by far more.
            guard abs(sum - term) <= 1e-4 * size else {
                throw AttributionError.termsAreNotChanges(
                    scorer: scorer, output: output, latent: pair / sequenceCount, sequence: pair % sequenceCount,
                    sum: sum, term: term)
            }
        }
    }
}

extension EditGroup {
    /// The latent that all edits are of; nil if there are several, or none, or rows.
    var latent: Int? {
        var found: Int?
        for edit in edits {
            switch edit.change {
            case .rows: return nil
            case .scale(let latent, _), .set(let latent, _):
                if let found, found != latent { return nil }
                found = latent
            }
        }
        return found
    }
}
