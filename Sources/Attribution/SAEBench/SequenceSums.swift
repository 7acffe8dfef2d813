import LinearAlgebra

/// What core metrics are made of, summed over the tokens of a sequence.
enum TokenSum: Int, CaseIterable {
    /// Tokens that are reconstructed, and over them: ‖x − x̂‖², ‖x‖², ‖x̂‖², ⟨x, x̂⟩.
    case tokens, error, square, squareOut, product
    /// 1 − ‖x − x̂‖² / ‖x − x̄_batch‖², cosine, norms and their ratio.
    case legacy, cosine, normIn, normOut, ratio
    /// f > 0, those in the core, and Σ f.
    case active, activeCore, activation
    /// Tokens with a loss, and losses of the model itself, of the spliced and of the ablated one.
    case lossTokens, loss, splicedLoss, ablatedLoss
    /// Tokens with a divergence, and divergences.
    case divergenceTokens, splicedDivergence, ablatedDivergence
}

/// Those sums, sequence by sequence: sequences are drawn again without running anything.
struct SequenceSums: Sendable {
    /// d.
    private let width: Int
    /// [S, TokenSum] and Σ x [S, d].
    private var (sums, inputs): ([Double], [Double]) = ([], [])

    init(dIn: Int) { width = dIn }

    /// S.
    var count: Int { sums.count / TokenSum.allCases.count }

    /// Begins another sequence.
    mutating func addSequence() {
        sums += [Double](repeating: 0, count: TokenSum.allCases.count)
        inputs += [Double](repeating: 0, count: width)
    }

    /// Adds to a sum of the last sequence.
    mutating func add(_ sum: TokenSum, _ value: Double) {
        sums[sums.count - TokenSum.allCases.count + sum.rawValue] += value
    }

    /// Adds x [d] to that of the last sequence.
    mutating func add(input x: UnsafePointer<Float>) {
        inputs.withUnsafeMutableBufferPointer { inputs in
            let last = inputs.count - width
            for c in 0..<width { inputs[last + c] += Double(x[c]) }
        }
    }

    /// The sums over all sequences, each as often as its weight says.
    func total(weights: [Int]? = nil) -> Total {
        let kinds = TokenSum.allCases.count
        var (values, input) = ([Double](repeating: 0, count: kinds), [Double](repeating: 0, count: width))
        for s in 0..<count {
            let weight = Double(weights?[s] ?? 1)
            if weight == 0 { continue }
            for i in 0..<kinds { values[i] += weight * sums[s * kinds + i] }
            inputs.withUnsafeBufferPointer { inputs in
                for c in 0..<width { input[c] += weight * inputs[s * width + c] }
            }
        }
        return Total(values: values, squaredInput: input.reduce(0) { $0 + $1 * $1 })
    }

    /// Sums over some sequences.
    struct Total: Sendable {
        fileprivate let values: [Double]
        /// ‖Σ x‖².
        fileprivate let squaredInput: Double

        subscript(_ sum: TokenSum) -> Double { values[sum.rawValue] }

        private func mean(_ sum: TokenSum, per tokens: TokenSum = .tokens) -> Double { self[sum] / self[tokens] }

        /// Every metric that is a function of sums, by name; batches have no part in them.
        var metrics: [String: Double] {
            let n = self[.tokens]
            let loss = (
                own: mean(.loss, per: .lossTokens), spliced: mean(.splicedLoss, per: .lossTokens),
                ablated: mean(.ablatedLoss, per: .lossTokens)
            )
            let divergence = (
                spliced: mean(.splicedDivergence, per: .divergenceTokens),
                ablated: mean(.ablatedDivergence, per: .divergenceTokens)
            )
            return [
                "ce_loss_without_sae": loss.own, "ce_loss_with_sae": loss.spliced,
                "ce_loss_with_ablation": loss.ablated,
                "ce_loss_score": (loss.ablated - loss.spliced) / (loss.ablated - loss.own),
                "kl_div_with_sae": divergence.spliced, "kl_div_with_ablation": divergence.ablated,
                "kl_div_score": (divergence.ablated - divergence.spliced) / divergence.ablated,
                "explained_variance": 1 - self[.error] / (self[.square] - squaredInput / n),
                "explained_variance_legacy": mean(.legacy), "mse_per_token": mean(.error), "cossim": mean(.cosine),
                "l2_norm_in": mean(.normIn), "l2_norm_out": mean(.normOut), "l2_ratio": mean(.ratio),
                "relative_reconstruction_bias": self[.squareOut] / self[.product],
                "l0": mean(.active), "l0_core": mean(.activeCore),
                "l0_non_core": (self[.active] - self[.activeCore]) / n, "l1": mean(.activation),
            ]
        }
    }

    /// Each metric over the sequences as they are, with where 95 of 100 lie when as many sequences are drawn again with
    /// replacement, `draws` times, at least once.
    func intervals(draws: Int, seed: UInt64, lanes: Lanes = .shared) -> [String: Interval] {
        var drawn = [[String: Double]](repeating: [:], count: draws)
        drawn.withUnsafeMutableBufferPointer { drawn in
            let drawn = SendablePointer(drawn.baseAddress!)
            lanes.forRanges(draws) { _, range in
                for draw in range {
                    let weights = Resampling(sequences: count, seed: seed, purpose: .bootstrap, draw: draw)
                        .withReplacement()
                    drawn.pointer[draw] = total(weights: weights).metrics
                }
            }
        }
        return total().metrics.reduce(into: [:]) { result, metric in
            result[metric.key] = Interval(metric.value, draws: drawn.map { $0[metric.key] ?? .nan })
        }
    }
}
