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
    package let weight: WeightMatrix
    /// c: logits are c·tanh(W y / c).
    package let softCap: Float?

    /// A tile of logits is `tileRows` × `tileWords`, 2 MiB for every lane.
    private static let tileRows = 256
    private static let tileWords = 2048

    package init(norm: Norm, weight: WeightMatrix, softCap: Float? = nil) {
        self.norm = norm
        self.weight = weight
        self.softCap = softCap
    }

    /// What the losses of up to `rows` tokens need, for lanes that work together.
    package struct Scratch {
        let lanes: Lanes
        /// [n, d], the input after the norm.
        fileprivate let normed: Matrix
        /// [n, d], the loss's gradient by `normed`.
        fileprivate let dnormed: Matrix
        /// A tile of logits for every lane, and with a soft cap one of its slopes.
        fileprivate let tiles: Matrix
        /// Room for every lane to widen weights in.
        let panels: Matrix

        package init(
            rows: Int, dModel: Int, isCapped: Bool = false, panelCount: Int = 0, lanes: Lanes = .shared
        ) {
            self.lanes = lanes
            normed = Matrix(rows: rows, columns: dModel)
            dnormed = Matrix(rows: rows, columns: dModel)
            panels = Matrix(rows: lanes.count, columns: panelCount)
            tiles = Matrix(rows: lanes.count, columns: (isCapped ? 2 : 1) * tileRows * tileWords)
        }
    }

    /// Losses `[n]` in nats of residual rows `x` `[n, d]`; a target of −1 has loss 0. Where `dx` `[n, d]` is given,
    /// it receives the gradient of their sum, or of Σ v_t loss_t with weights v `[n]`, under a rule.
    package func losses(
        _ x: UnsafePointer<Float>, targets: ArraySlice<Int32>, into losses: UnsafeMutablePointer<Float>,
        gradient dx: UnsafeMutablePointer<Float>? = nil, weights: [Float]? = nil, rule: BackwardRule = .plain,
        _ scratch: Scratch
    ) {
        let (n, d) = (targets.count, weight.columns)
        let (normed, dnormed, tiles) = (scratch.normed, scratch.dnormed, scratch.tiles)
        norm.forward(x, rows: n, into: normed.elements, on: scratch.lanes)
        scratch.lanes.forRanges(n, grain: 16) { lane, range in
            rangeLosses(
                normed.row(range.lowerBound), targets.dropFirst(range.lowerBound).prefix(range.count),
                losses + range.lowerBound, dx == nil ? nil : dnormed.row(range.lowerBound), tiles.row(lane),
                panel: scratch.panels.row(lane))
        }
        guard let dx else { return }
        dx.update(repeating: 0, count: n * d)
        if let weights { for r in 0..<n where weights[r] != 1 { kernels.scale(dnormed.row(r), weights[r], d) } }
        norm.addBackward(
            x, dnormed.elements, rows: n, to: dx, isConstant: rule.contains(.constantNorms), on: scratch.lanes)
    }

    /// Logits `[n, V]` of residual rows `x` `[n, d]`.
    package func logits(
        _ x: UnsafePointer<Float>, rows n: Int, into logits: UnsafeMutablePointer<Float>, _ scratch: Scratch
    ) {
        let (d, normed) = (weight.columns, scratch.normed)
        norm.forward(x, rows: n, into: normed.elements, on: scratch.lanes)
        weight.apply(
            to: MatrixView(normed.elements, rows: n, columns: d),
            into: MutableMatrixView(logits, rows: n, columns: weight.rows), panel: scratch.panels.elements,
            on: scratch.lanes)
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
        let panel = Matrix(rows: 1, columns: weight.panelCount)
        weight.apply(
            to: scaled.view, into: MutableMatrixView(logits, rows: n, columns: weight.rows), panel: panel.elements,
            on: .shared)
        extendLifetime((scaled, panel))
    }

    /// What is known of a row's softmax while the vocabulary goes by.
    private struct Softmax {
        /// m, and Z = Σ e^(logit − m).
        var (maximum, total) = (-Float.infinity, 0.0)
        var (targetLogit, targetSlope) = (Float(0), Float(1))
    }

    /// The rows of a lane. Tiles of words outside, of rows inside: words are widened once for all rows.
    private func rangeLosses(
        _ y: UnsafePointer<Float>, _ targets: ArraySlice<Int32>, _ losses: UnsafeMutablePointer<Float>,
        _ dy: UnsafeMutablePointer<Float>?, _ tile: UnsafeMutablePointer<Float>, panel: UnsafeMutablePointer<Float>
    ) {
        let (count, d) = (targets.count, weight.columns)
        let targets = Array(targets)
        var softmaxes = [Softmax](repeating: Softmax(), count: count)
        for words in ranges(weight.rows, by: min(Self.tileWords, WeightMatrix.panelRows(columns: d))) {
            let some = weight.view(words, panel: panel)
            for rows in ranges(count, by: Self.tileRows) {
                tileLosses(
                    y + rows.lowerBound * d, targets[rows], &softmaxes[rows], words, some,
                    dy.map { $0 + rows.lowerBound * d }, tile)
            }
        }
        for (row, target) in targets.enumerated() {
            guard target >= 0 else {
                losses[row] = 0
                if let dy { (dy + row * d).update(repeating: 0, count: d) }
                continue
            }
            let softmax = softmaxes[row]
            losses[row] = Float(Double(softmax.maximum) - Double(softmax.targetLogit) + log(softmax.total))
            if let dy {
                let own = weight.view(Int(target)..<Int(target) + 1, panel: panel)
                kernels.combine(
                    dy + row * d, Float(1 / softmax.total), dy + row * d, -softmax.targetSlope, own.pointer, d)
            }
        }
    }

    /// 0..<count in ranges of `step`, the last of them shorter.
    private func ranges(_ count: Int, by step: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: step).map { $0..<min($0 + step, count) }
    }

    /// Some rows `y` `[n, d]` by some words `[w, d]`.
    private func tileLosses(
        _ y: UnsafePointer<Float>, _ targets: ArraySlice<Int32>, _ softmaxes: inout ArraySlice<Softmax>,
        _ words: Range<Int>, _ some: MatrixView, _ dy: UnsafeMutablePointer<Float>?,
        _ tile: UnsafeMutablePointer<Float>
    ) {
        let (rows, d, count) = (targets.count, weight.columns, words.count)
        let slopes = softCap == nil || dy == nil ? nil : tile + Self.tileRows * Self.tileWords
        let all = MutableMatrixView(tile, rows: rows, columns: count)
        multiplyOnLane(MatrixView(y, rows: rows, columns: d), some.transposed, into: all)
        if let softCap { kernels.softCap(tile, slopes, softCap, rows * count) }
        for (row, (target, i)) in zip(targets, softmaxes.indices).enumerated() {
            let logits = tile + row * count
            if words.contains(Int(target)) {
                softmaxes[i].targetLogit = logits[Int(target) - words.lowerBound]
                if let slopes { softmaxes[i].targetSlope = slopes[row * count + Int(target) - words.lowerBound] }
            }
            let before = softmaxes[i].maximum
            let maximum = max(before, kernels.maximum(logits, count))
            let shrink = exp(Double(before) - Double(maximum))
            softmaxes[i].total = softmaxes[i].total * shrink + kernels.exponentialSum(logits, maximum, count)
            softmaxes[i].maximum = maximum
            if let dy, words.lowerBound > 0, shrink != 1 { kernels.scale(dy + row * d, Float(shrink), d) }
        }
        // forward:  loss = log Σ_v e^(W_v·y) − W_target·y    ⇒    dy = Σ_v p_v W_v − W_target; here the sum,
        // still without its 1/Z. With a soft cap every term has its logit's slope.
        guard let dy else { return }
        if let slopes { for i in 0..<rows * count { tile[i] *= slopes[i] } }
        multiplyOnLane(
            all.view, some, into: MutableMatrixView(dy, rows: rows, columns: d),
            adding: words.lowerBound == 0 ? 0 : 1)
    }
}
