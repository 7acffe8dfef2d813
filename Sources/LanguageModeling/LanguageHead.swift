import Glibc
import Kernels
import LinearAlgebra

/// Final norm, vocabulary projection and next-token loss.
///
/// The logits `[n, V]` are never whole: the vocabulary goes by in tiles with a running maximum m and a running
/// Z = Σ e^(logit − m), as attention does over keys in arXiv:2205.14135. The gradient Σ_v p_v W_v − W_target is
/// gathered in the same pass while the tile of logits is in the cache, rescaled whenever m grows.
package struct LanguageHead {
    let norm: RootMeanSquareNorm
    /// W, `[V, d]`; the token embedding where the head is tied.
    let weight: Matrix

    /// A tile of logits is `tileRows` × `tileWords`, 2 MiB for every lane.
    private static let tileRows = 256
    private static let tileWords = 2048

    package init(norm: RootMeanSquareNorm, weight: Matrix) {
        self.norm = norm
        self.weight = weight
    }

    /// What the losses of up to `rows` tokens need, for lanes that work together.
    package struct Scratch {
        fileprivate let lanes: Lanes
        /// [n, d], the input after the norm.
        fileprivate let normed: Matrix
        /// [n, d], the loss's gradient by `normed`.
        fileprivate let dnormed: Matrix
        /// A tile of logits for every lane.
        fileprivate let tiles: Matrix

        package init(rows: Int, dModel: Int, lanes: Lanes = .shared) {
            self.lanes = lanes
            normed = Matrix(rows: rows, columns: dModel)
            dnormed = Matrix(rows: rows, columns: dModel)
            tiles = Matrix(rows: lanes.count, columns: tileRows * tileWords)
        }
    }

    /// Losses `[n]` in nats of residual rows `x` `[n, d]`; a target of −1 has loss 0. Where `dx` `[n, d]` is given,
    /// it receives the gradient of their sum.
    package func losses(
        _ x: UnsafePointer<Float>, targets: ArraySlice<Int32>, into losses: UnsafeMutablePointer<Float>,
        gradient dx: UnsafeMutablePointer<Float>? = nil, _ scratch: Scratch
    ) {
        let (n, d) = (targets.count, weight.columns)
        let (normed, dnormed, tiles) = (scratch.normed, scratch.dnormed, scratch.tiles)
        norm.forward(x, rows: n, into: normed.elements, on: scratch.lanes)
        scratch.lanes.forRanges(n, grain: 16) { lane, range in
            for first in stride(from: range.lowerBound, to: range.upperBound, by: Self.tileRows) {
                let rows = first..<min(first + Self.tileRows, range.upperBound)
                tileLosses(
                    normed.row(first), targets.dropFirst(first).prefix(rows.count), losses + first,
                    dx == nil ? nil : dnormed.row(first), tiles.row(lane))
            }
        }
        guard let dx else { return }
        dx.update(repeating: 0, count: n * d)
        norm.addBackward(x, dnormed.elements, rows: n, to: dx, on: scratch.lanes)
    }

    /// Logits `[n, V]` of residual rows `x` `[n, d]`.
    package func logits(
        _ x: UnsafePointer<Float>, rows n: Int, into logits: UnsafeMutablePointer<Float>, _ scratch: Scratch
    ) {
        let (d, normed) = (weight.columns, scratch.normed)
        norm.forward(x, rows: n, into: normed.elements, on: scratch.lanes)
        scratch.lanes.multiply(
            n, weight.rows, d, 1, normed.elements, d, .normal, weight.elements, d, .transposed, 0, logits, weight.rows)
    }

    /// W (w ∘ x) `[n, V]` of rows `x` `[n, d]`, w the norm's weights.
    package func directLogits(_ x: UnsafePointer<Float>, rows n: Int, into logits: UnsafeMutablePointer<Float>) {
        let d = weight.columns
        let scaled = Matrix(rows: n, columns: d)
        for r in 0..<n { for i in 0..<d { scaled[r, i] = x[r * d + i] * norm.weight[i] } }
        Lanes.shared.multiply(
            n, weight.rows, d, 1, scaled.elements, d, .normal, weight.elements, d, .transposed, 0, logits, weight.rows)
        extendLifetime(scaled)
    }

    private func tileLosses(
        _ y: UnsafePointer<Float>, _ targets: ArraySlice<Int32>, _ losses: UnsafeMutablePointer<Float>,
        _ dy: UnsafeMutablePointer<Float>?, _ tile: UnsafeMutablePointer<Float>
    ) {
        let (rows, d) = (targets.count, weight.columns)
        var maxima = [Float](repeating: -.infinity, count: rows)
        var totals = [Double](repeating: 0, count: rows)
        var targetLogits = [Float](repeating: 0, count: rows)
        for start in stride(from: 0, to: weight.rows, by: Self.tileWords) {
            let words = min(Self.tileWords, weight.rows - start)
            multiplyOnLane(
                rows, words, d, 1, y, d, .normal, weight.row(start), d, .transposed, 0, tile, words)
            for (row, target) in targets.enumerated() {
                let logits = tile + row * words
                if (start..<start + words).contains(Int(target)) { targetLogits[row] = logits[Int(target) - start] }
                let maximum = max(maxima[row], kernels.maximum(logits, words))
                let shrink = exp(Double(maxima[row]) - Double(maximum))
                totals[row] = totals[row] * shrink + kernels.exponentialSum(logits, maximum, words)
                maxima[row] = maximum
                if let dy, start > 0, shrink != 1 { kernels.scale(dy + row * d, Float(shrink), d) }
            }
            // forward:  loss = log Σ_v e^(W_v·y) − W_target·y    ⇒    dy = Σ_v p_v W_v − W_target; here the sum,
            // still without its 1/Z
            if let dy {
                multiplyOnLane(
                    rows, d, words, 1, tile, words, .normal, weight.row(start), d, .normal, start == 0 ? 0 : 1, dy, d)
            }
        }
        for (row, target) in targets.enumerated() {
            guard target >= 0 else {
                losses[row] = 0
                if let dy { (dy + row * d).update(repeating: 0, count: d) }
                continue
            }
            losses[row] = Float(Double(maxima[row]) - Double(targetLogits[row]) + log(totals[row]))
            if let dy {
                kernels.combine(dy + row * d, Float(1 / totals[row]), dy + row * d, -1, weight.row(Int(target)), d)
            }
        }
    }
}
