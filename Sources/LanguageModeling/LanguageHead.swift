import Glibc
import Kernels
import LinearAlgebra

/// Final norm, vocabulary projection and next-token loss.
///
/// The logits `[n, V]` are never whole: the vocabulary goes by in tiles with a running maximum m and a running
/// Z = Σ e^(logit − m), as attention does over keys in arXiv:2205.14135. The gradient Σ_v p_v W_v − W_target is
/// gathered in the same pass while the tile of logits is in the cache, rescaled whenever m grows.
package struct LanguageHead {
    package let norm: Norm
    /// W, `[V, d]`; the token embedding where the head is tied.
    package let weight: Matrix
    /// c: logits are c·tanh(W y / c).
    package let softCap: Float?

    /// A tile of logits is `tileRows` × `tileWords`, 2 MiB for every lane.
    private static let tileRows = 256
    private static let tileWords = 2048

    package init(norm: Norm, weight: Matrix, softCap: Float? = nil) {
        self.norm = norm
        self.weight = weight
        self.softCap = softCap
    }

    /// What the losses of up to `rows` tokens need, for lanes that work together.
    package struct Scratch {
        fileprivate let lanes: Lanes
        /// [n, d], the input after the norm.
        fileprivate let normed: Matrix
        /// [n, d], the loss's gradient by `normed`.
        fileprivate let dnormed: Matrix
        /// A tile of logits for every lane, and with a soft cap one of its slopes.
        fileprivate let tiles: Matrix

        package init(rows: Int, dModel: Int, isCapped: Bool = false, lanes: Lanes = .shared) {
            self.lanes = lanes
            normed = Matrix(rows: rows, columns: dModel)
            dnormed = Matrix(rows: rows, columns: dModel)
            tiles = Matrix(rows: lanes.count, columns: (isCapped ? 2 : 1) * tileRows * tileWords)
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
            MatrixView(normed.elements, rows: n, columns: d), weight.view.transposed,
            into: MutableMatrixView(logits, rows: n, columns: weight.rows))
        guard let softCap else { return }
        scratch.lanes.forRanges(n * weight.rows, grain: 16) { _, range in
            kernels.softCap(logits + range.lowerBound, nil, softCap, range.count)
        }
    }

    /// W (w ∘ x) `[n, V]` of rows `x` `[n, d]`, less their mean where the norm takes it off; w the norm's weights. Without a soft
    /// cap, which is the identity for small logits.
    package func directLogits(_ x: UnsafePointer<Float>, rows n: Int, into logits: UnsafeMutablePointer<Float>) {
        let d = weight.columns
        let scaled = Matrix(rows: n, columns: d)
        for r in 0..<n {
            let row = x + r * d
            let mean = norm.kind == .layer ? (0..<d).reduce(Float(0)) { $0 + row[$1] } / Float(d) : 0
            for i in 0..<d { scaled[r, i] = (row[i] - mean) * norm.weight[i] }
        }
        Lanes.shared.multiply(
            scaled.view, weight.view.transposed, into: MutableMatrixView(logits, rows: n, columns: weight.rows))
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
        var targetSlopes = [Float](repeating: 1, count: rows)
        let slopes = softCap == nil || dy == nil ? nil : tile + Self.tileRows * Self.tileWords
        for start in stride(from: 0, to: weight.rows, by: Self.tileWords) {
            let words = min(Self.tileWords, weight.rows - start)
            let (some, all) = (
                weight.view.rows(start..<start + words), MutableMatrixView(tile, rows: rows, columns: words)
            )
            multiplyOnLane(MatrixView(y, rows: rows, columns: d), some.transposed, into: all)
            if let softCap { kernels.softCap(tile, slopes, softCap, rows * words) }
            for (row, target) in targets.enumerated() {
                let logits = tile + row * words
                if (start..<start + words).contains(Int(target)) {
                    targetLogits[row] = logits[Int(target) - start]
                    if let slopes { targetSlopes[row] = slopes[row * words + Int(target) - start] }
                }
                let maximum = max(maxima[row], kernels.maximum(logits, words))
                let shrink = exp(Double(maxima[row]) - Double(maximum))
                totals[row] = totals[row] * shrink + kernels.exponentialSum(logits, maximum, words)
                maxima[row] = maximum
                if let dy, start > 0, shrink != 1 { kernels.scale(dy + row * d, Float(shrink), d) }
            }
            // forward:  loss = log Σ_v e^(W_v·y) − W_target·y    ⇒    dy = Σ_v p_v W_v − W_target; here the sum,
            // still without its 1/Z. With a soft cap every term has its logit's slope.
            if let dy {
                if let slopes { for i in 0..<rows * words { tile[i] *= slopes[i] } }
                multiplyOnLane(
                    all.view, some, into: MutableMatrixView(dy, rows: rows, columns: d), adding: start == 0 ? 0 : 1)
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
                kernels.combine(
                    dy + row * d, Float(1 / totals[row]), dy + row * d, -targetSlopes[row], weight.row(Int(target)), d)
            }
        }
    }
}
