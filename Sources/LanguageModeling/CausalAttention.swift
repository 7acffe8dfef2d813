import Kernels
import LinearAlgebra

/// Causal softmax attention with grouped queries (arXiv:2305.13245), the only part of a block that mixes positions.
///
/// Rows hold queries, keys and values side by side, `[n, (H + 2K)·h]`: H query heads, K key heads, K value heads of
/// h numbers. Query head j reads key head j·K/H. Nothing of size T×T is kept between forward and backward: the
/// probabilities of a block of queries are made again, which costs less than to store and fetch them.
///
/// s = α·q·k, with a soft cap c·tanh(s/c) of that, and a query sees itself and what is before it, with a window the last W of
/// those.
package struct CausalAttention: Sendable, Equatable {
    package let headCount: Int
    package let keyValueHeadCount: Int
    package let headDimension: Int
    /// α, 1/√h unless told otherwise.
    package let scale: Float
    /// c.
    package let softCap: Float?
    /// W, in positions.
    package let window: Int?

    /// Queries handled at once: enough for a good matrix product, few enough that the keys after the last query of
    /// the block, which are computed in vain, stay a small part.
    package static let blockRows = 64

    package init(
        headCount: Int, keyValueHeadCount: Int, headDimension: Int, scale: Float? = nil, softCap: Float? = nil,
        window: Int? = nil
    ) {
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headDimension = headDimension
        self.scale = scale ?? 1 / Float(headDimension).squareRoot()
        self.softCap = softCap
        self.window = window
    }

    /// Numbers in a row of queries, keys and values.
    package var rowWidth: Int { (headCount + 2 * keyValueHeadCount) * headDimension }
    /// Numbers in a row of results.
    package var outputWidth: Int { headCount * headDimension }
    /// Numbers in a row of keys, or of values.
    package var keyWidth: Int { keyValueHeadCount * headDimension }

    /// A product of a block of queries goes over this many keys at a time: OpenBLAS multiplies what has less than 10⁶
    /// multiply-adds without packing it first, a third faster, unless the right factor is to be transposed. Hence
    /// also the transposed copies of keys and values.
    private var tileKeys: Int { max(16, 8192 / headDimension) }

    /// Scratch for sequences of up to `length`.
    package func scratch(length: Int, lanes: Lanes = .shared) -> Matrix {
        Matrix(rows: lanes.count, columns: scratchCount(length: length))
    }

    /// Numbers of it for each lane.
    func scratchCount(length: Int) -> Int {
        ((softCap == nil ? 2 : 3) * Self.blockRows + 2 * headDimension) * length
    }

    /// What a lane works in.
    private struct Scratch {
        /// Probabilities and their gradients, `[blockRows, T]` each.
        let p, dp: UnsafeMutablePointer<Float>
        /// kᵀ and vᵀ of one key head, `[h, T]` each.
        let keys, values: UnsafeMutablePointer<Float>
        /// Slopes of the soft cap, `[blockRows, T]`; there is room only where there is a cap.
        let slopes: UnsafeMutablePointer<Float>

        init(_ memory: UnsafeMutablePointer<Float>, _ length: Int, _ headDimension: Int) {
            p = memory
            dp = p + blockRows * length
            keys = dp + blockRows * length
            values = keys + headDimension * length
            slopes = values + headDimension * length
        }
    }

    /// A query head and its key and value heads, as columns of rows of queries, keys and values.
    private struct Head {
        let query, key, value: Range<Int>
    }

    private func group(_ j: Int) -> Int { j / (headCount / keyValueHeadCount) }

    private func head(_ j: Int) -> Head {
        func columns(_ head: Int) -> Range<Int> { head * headDimension..<(head + 1) * headDimension }
        return Head(
            query: columns(j), key: columns(headCount + group(j)),
            value: columns(headCount + keyValueHeadCount + group(j)))
    }

    /// The keys `0..<block.upperBound` that a block of queries sees, less those before the window of its first one. `offset` is the
    /// position of query 0.
    package func visibleKeys(_ block: Range<Int>, offset: Int = 0) -> Range<Int> {
        let end = offset + block.upperBound
        guard let window else { return 0..<end }
        return max(0, offset + block.lowerBound + 1 - window)..<end
    }

    /// S = α·q·k `[q, k]` of queries `[q, h]` and transposed keys `[h, k]`.
    private func scores(_ query: MatrixView, _ keysTransposed: MatrixView, into s: MutableMatrixView) {
        for tile in tiles(s.columns) {
            multiplyOnLane(query, keysTransposed.columns(tile), into: s.columns(tile), scale: scale)
        }
    }

    /// o = β·o + α·P·v `[q, h]` of probabilities `[q, k]` and values `[k, h]`.
    private func mix(
        _ p: MatrixView, _ value: MatrixView, into o: MutableMatrixView, scale alpha: Float = 1, adding beta: Float = 0
    ) {
        for tile in tiles(p.columns) {
            multiplyOnLane(
                p.columns(tile), value.rows(tile), into: o, scale: alpha, adding: tile.lowerBound == 0 ? beta : 1)
        }
    }

    /// o += α·Pᵀ·v `[k, h]` of probabilities `[q, k]` and rows `[q, h]`.
    private func addBack(
        _ p: MatrixView, _ value: MatrixView, to o: MutableMatrixView, scale alpha: Float = 1
    ) {
        for tile in tiles(p.columns) {
            multiplyOnLane(p.columns(tile).transposed, value, into: o.rows(tile), scale: alpha, adding: 1)
        }
    }

    /// o = P·v per head: `output` `[n, H·h]` from `rows` `[n, (H + 2K)·h]`, n = sequences · length.
    package func forward(
        _ rows: UnsafePointer<Float>, sequences: Int, length: Int, scratch: Matrix, on lanes: Lanes = .shared,
        into output: UnsafeMutablePointer<Float>
    ) {
        lanes.forRanges(sequences * headCount) { lane, tasks in
            let scratch = Scratch(scratch.row(lane), length, headDimension)
            for task in tasks {
                let (sequence, j) = task.quotientAndRemainder(dividingBy: headCount)
                let (head, start) = (head(j), sequence * length)
                let own = MatrixView(rows + start * rowWidth, rows: length, columns: rowWidth)
                let out = MutableMatrixView(output + start * outputWidth, rows: length, columns: outputWidth)
                    .columns(head.query)
                // The heads of a group follow each other.
                if task == tasks.lowerBound || j == 0 || group(j) != group(j - 1) {
                    transpose(own.columns(head.key), into: scratch.keys)
                }
                let keys = MatrixView(scratch.keys, rows: headDimension, columns: length)
                for block in blocks(length) {
                    let seen = visibleKeys(block)
                    let p = MutableMatrixView(scratch.p, rows: block.count, columns: seen.count)
                    scores(own.columns(head.query).rows(block), keys.columns(seen), into: p)
                    cap(p, slopes: nil)
                    softmax(p, visible: block.lowerBound + 1 - seen.lowerBound)
                    mix(p.view, own.columns(head.value).rows(seen), into: out.rows(block))
                }
            }
        }
    }

    /// Keys and values of one sequence before the position where another run of it begins.
    package struct Past {
        /// Keys transposed, `[K·h, first]`.
        package let keys: MatrixView
        /// Values `[first, K·h]`.
        package let values: MatrixView
        /// How many positions.
        package var count: Int { values.rows }
    }

    /// The same as `forward` for suffixes whose first positions were run before: `rows` `[count, (H + 2K)·h]` are the
    /// positions from `past.count` on. Heads `heads`, on one lane.
    package func forward(
        heads: Range<Int>, _ rows: UnsafePointer<Float>, count: Int, after past: Past,
        scratch memory: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>
    ) {
        let scratch = Scratch(memory, past.count + count, headDimension)
        let own = MatrixView(rows, rows: count, columns: rowWidth)
        let keys = MatrixView(scratch.keys, rows: headDimension, columns: count)
        for j in heads {
            let head = head(j), group = group(j)
            let earlier = group * headDimension..<(group + 1) * headDimension
            if j == heads.lowerBound || group != self.group(j - 1) {
                transpose(own.columns(head.key), into: scratch.keys)
            }
            for block in blocks(count) {
                let all = visibleKeys(block, offset: past.count)
                // Of the past and of the suffix, each counted from its own start.
                let old = min(all.lowerBound, past.count)..<past.count
                let new = max(0, all.lowerBound - past.count)..<block.upperBound
                let query = own.columns(head.query).rows(block)
                let out = MutableMatrixView(output, rows: count, columns: outputWidth).columns(head.query).rows(block)
                let p = MutableMatrixView(scratch.p, rows: block.count, columns: all.count)
                let (before, after) = (p.columns(0..<old.count), p.columns(old.count..<p.columns))
                scores(query, past.keys.rows(earlier).columns(old), into: before)
                scores(query, keys.columns(new), into: after)
                cap(p, slopes: nil)
                softmax(p, visible: past.count + block.lowerBound + 1 - all.lowerBound)
                mix(before.view, past.values.columns(earlier).rows(old), into: out)
                mix(after.view, own.columns(head.value).rows(new), into: out, adding: old.isEmpty ? 0 : 1)
            }
        }
    }

    /// Some columns of rows, `[n, h]`, as h rows one after the other.
    private func transpose(_ rows: MatrixView, into target: UnsafeMutablePointer<Float>) {
        kernels.transpose(target, rows.rows, rows.pointer, rows.stride, rows.rows, rows.columns)
    }

    /// Scores `[q, k]` to capped scores, with their slopes where there is room for them.
    private func cap(_ s: MutableMatrixView, slopes: UnsafeMutablePointer<Float>?) {
        if let softCap { kernels.softCap(s.pointer, slopes, softCap, s.rows * s.columns) }
    }

    /// Rows of scores `[q, k]` to probabilities: row r sees the keys before number `visible + r`, of those the last W.
    private func softmax(_ p: MutableMatrixView, visible: Int) {
        for r in 0..<p.rows {
            let row = p.pointer + r * p.stride
            let end = visible + r
            let first = window.map { max(0, end - $0) } ?? 0
            let total = kernels.exponentialSum(row + first, kernels.maximum(row + first, end - first), end - first)
            kernels.scale(row + first, Float(1 / total), end - first)
            row.update(repeating: 0, count: first)
            (row + end).update(repeating: 0, count: p.columns - end)
        }
    }

    /// Gradient `drows` `[n, (H + 2K)·h]` of `rows`, given `doutput` `[n, H·h]`. With `isConstant` the probabilities count as
    /// constants: queries and keys have none.
    ///
    /// One lane takes a key head with all its queries, since those add to the same key and value gradients.
    package func backward(
        _ rows: UnsafePointer<Float>, _ doutput: UnsafePointer<Float>, sequences: Int, length: Int, scratch: Matrix,
        isConstant: Bool = false, on lanes: Lanes = .shared, into drows: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        let groupSize = headCount / keyValueHeadCount
        lanes.forRanges(sequences * length, grain: 16) { _, range in
            (drows + range.lowerBound * width).update(repeating: 0, count: range.count * width)
        }
        lanes.forRanges(sequences * keyValueHeadCount) { lane, tasks in
            let scratch = Scratch(scratch.row(lane), length, headDimension)
            for task in tasks {
                let (sequence, group) = task.quotientAndRemainder(dividingBy: keyValueHeadCount)
                let (start, head) = (sequence * length, head(group * groupSize))
                let own = MatrixView(rows + start * width, rows: length, columns: width)
                transpose(own.columns(head.key), into: scratch.keys)
                transpose(own.columns(head.value), into: scratch.values)
                for j in group * groupSize..<(group + 1) * groupSize {
                    backward(
                        j, own, MatrixView(doutput + start * outputWidth, rows: length, columns: outputWidth), scratch,
                        isConstant: isConstant,
                        into: MutableMatrixView(drows + start * width, rows: length, columns: width))
                }
            }
        }
    }

    /// One query head's part of `drows` `[T, (H + 2K)·h]`, of a sequence's `rows` alike and `doutput` `[T, H·h]`. `scratch` holds
    /// the transposed keys and values of its group.
    private func backward(
        _ j: Int, _ rows: MatrixView, _ doutput: MatrixView, _ scratch: Scratch, isConstant: Bool,
        into drows: MutableMatrixView
    ) {
        let (head, length) = (head(j), rows.rows)
        let keys = MatrixView(scratch.keys, rows: headDimension, columns: length)
        let values = MatrixView(scratch.values, rows: headDimension, columns: length)
        let (dkey, dvalue) = (drows.columns(head.key), drows.columns(head.value))
        for block in blocks(length) {
            let (count, seen) = (block.count, visibleKeys(block))
            let p = MutableMatrixView(scratch.p, rows: count, columns: seen.count)
            let dp = MutableMatrixView(scratch.dp, rows: count, columns: seen.count)
            let query = rows.columns(head.query).rows(block), dout = doutput.columns(head.query).rows(block)
            scores(query, keys.columns(seen), into: p)
            cap(p, slopes: scratch.slopes)
            softmax(p, visible: block.lowerBound + 1 - seen.lowerBound)
            // forward:  o = P·v    ⇒    dv += Pᵀ·do,  dP = do·vᵀ
            addBack(p.view, dout, to: dvalue.rows(seen))
            if isConstant { continue }
            for tile in tiles(seen.count) {
                multiplyOnLane(dout, values.columns(seen).columns(tile), into: dp.columns(tile))
            }
            softmaxBackward(p, dp)
            // forward:  s = c·tanh(s₀/c)    ⇒    ds₀ = ds·(1 − tanh²)
            if softCap != nil { for i in 0..<count * seen.count { dp.pointer[i] *= scratch.slopes[i] } }
            // forward:  s₀ = α·q·kᵀ    ⇒    dq = α·ds₀·k,  dk += α·ds₀ᵀ·q
            mix(
                dp.view, rows.columns(head.key).rows(seen), into: drows.columns(head.query).rows(block), scale: scale)
            addBack(dp.view, query, to: dkey.rows(seen), scale: scale)
        }
    }

    /// forward:  P = softmax(s) by rows    ⇒    ds = P ∘ (dP − Σ P∘dP), in the place of dP.
    private func softmaxBackward(_ p: MutableMatrixView, _ dp: MutableMatrixView) {
        let keys = p.columns
        for query in 0..<p.rows {
            let (p, dp) = (p.pointer + query * keys, dp.pointer + query * keys)
            let mean = kernels.dot(p, dp, keys)
            for key in 0..<keys { dp[key] = p[key] * (dp[key] - mean) }
        }
    }

    private func blocks(_ length: Int) -> some Sequence<Range<Int>> {
        stride(from: 0, to: length, by: Self.blockRows).lazy.map { $0..<min($0 + Self.blockRows, length) }
    }

    private func tiles(_ keys: Int) -> some Sequence<Range<Int>> {
        let size = tileKeys
        return stride(from: 0, to: keys, by: size).lazy.map { $0..<min($0 + size, keys) }
    }
}
