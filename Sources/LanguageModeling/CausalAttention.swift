import Kernels
import LinearAlgebra

/// Causal softmax attention with grouped queries (arXiv:2305.13245), the only part of a block that mixes positions.
///
/// Rows hold queries, keys and values side by side, `[n, (H + 2K)·h]`: H query heads, K key heads, K value heads of
/// h numbers. Query head j reads key head j·K/H. Nothing of size T×T is kept between forward and backward: the
/// probabilities of a block of queries are made again, which costs less than to store and fetch them.
package struct CausalAttention {
    let headCount: Int
    let keyValueHeadCount: Int
    let headDimension: Int

    /// Queries handled at once: enough for a good matrix product, few enough that the keys after the last query of
    /// the block, which are computed in vain, stay a small part.
    package static let blockRows = 64

    package init(headCount: Int, keyValueHeadCount: Int, headDimension: Int) {
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headDimension = headDimension
    }

    /// Numbers in a row of queries, keys and values.
    package var rowWidth: Int { (headCount + 2 * keyValueHeadCount) * headDimension }
    /// Numbers in a row of results.
    package var outputWidth: Int { headCount * headDimension }

    /// Scratch for sequences of `length`: two tiles of probabilities for every lane.
    package static func scratch(length: Int) -> Matrix {
        Matrix(rows: Lanes.shared.count, columns: 2 * blockRows * length)
    }

    /// One head's pointers into the rows of one sequence.
    private struct Head {
        let query: UnsafePointer<Float>
        let key: UnsafePointer<Float>
        let value: UnsafePointer<Float>
    }

    private func head(_ j: Int, _ rows: UnsafePointer<Float>) -> Head {
        let group = j / (headCount / keyValueHeadCount)
        return Head(
            query: rows + j * headDimension, key: rows + (headCount + group) * headDimension,
            value: rows + (headCount + keyValueHeadCount + group) * headDimension)
    }

    /// P = softmax over keys ≤ query of q·k/√h for queries `block`, `[block.count, block.upperBound]`; zero after
    /// the diagonal.
    private func probabilities(_ head: Head, _ block: Range<Int>, into p: UnsafeMutablePointer<Float>) {
        let (width, keys) = (rowWidth, block.upperBound)
        multiplyOnLane(
            block.count, keys, headDimension, 1 / Float(headDimension).squareRoot(),
            head.query + block.lowerBound * width, width, .normal, head.key, width, .transposed, 0, p, keys)
        softmax(p, rows: block.count, keys: keys, firstVisible: block.lowerBound + 1)
    }

    /// o = P·v per head: `output` `[n, H·h]` from `rows` `[n, (H + 2K)·h]`, n = sequences · length.
    package func forward(
        _ rows: UnsafePointer<Float>, sequences: Int, length: Int, scratch: Matrix,
        into output: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        Lanes.shared.forRanges(sequences * headCount) { lane, tasks in
            let p = scratch.row(lane)
            for task in tasks {
                let (sequence, j) = task.quotientAndRemainder(dividingBy: headCount)
                let head = head(j, rows + sequence * length * width)
                let out = output + sequence * length * outputWidth + j * headDimension
                for block in blocks(length) {
                    probabilities(head, block, into: p)
                    multiplyOnLane(
                        block.count, headDimension, block.upperBound, 1, p, block.upperBound, .normal, head.value,
                        width, .normal, 0, out + block.lowerBound * outputWidth, outputWidth)
                }
            }
        }
    }

    /// Keys and values of one sequence before the position where another run of it begins.
    package struct Past {
        /// Rows of keys and values side by side, `[first, 2K·h]`.
        package let keyValues: UnsafePointer<Float>
        /// How many.
        package let count: Int
    }

    /// Numbers in a row of keys and values.
    package var keyValueWidth: Int { 2 * keyValueHeadCount * headDimension }

    /// The same for one head of one sequence whose first positions were run before: `rows` `[count, (H + 2K)·h]` are
    /// the positions from `past.count` on. `p` is scratch for `blockRows` × (past.count + count).
    package func forward(
        head j: Int, _ rows: UnsafePointer<Float>, count: Int, after past: Past,
        scratch p: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>
    ) {
        let head = head(j, rows)
        let group = j / (headCount / keyValueHeadCount)
        let pastKey = past.keyValues + group * headDimension
        let pastValue = pastKey + keyValueHeadCount * headDimension
        let scale = 1 / Float(headDimension).squareRoot()
        for block in blocks(count) {
            let own = block.upperBound, keys = past.count + own
            let query = head.query + block.lowerBound * rowWidth
            let out = output + block.lowerBound * outputWidth + j * headDimension
            if past.count > 0 {
                multiplyOnLane(
                    block.count, past.count, headDimension, scale, query, rowWidth, .normal, pastKey, keyValueWidth,
                    .transposed, 0, p, keys)
            }
            multiplyOnLane(
                block.count, own, headDimension, scale, query, rowWidth, .normal, head.key, rowWidth, .transposed, 0,
                p + past.count, keys)
            softmax(p, rows: block.count, keys: keys, firstVisible: past.count + block.lowerBound + 1)
            if past.count > 0 {
                multiplyOnLane(
                    block.count, headDimension, past.count, 1, p, keys, .normal, pastValue, keyValueWidth, .normal, 0,
                    out, outputWidth)
            }
            multiplyOnLane(
                block.count, headDimension, own, 1, p + past.count, keys, .normal, head.value, rowWidth, .normal,
                past.count > 0 ? 1 : 0, out, outputWidth)
        }
    }

    /// Rows of scores `[rows, keys]` to probabilities: row r sees the first `firstVisible + r` keys.
    private func softmax(_ p: UnsafeMutablePointer<Float>, rows: Int, keys: Int, firstVisible: Int) {
        for r in 0..<rows {
            let row = p + r * keys
            let visible = firstVisible + r
            let total = kernels.exponentialSum(row, kernels.maximum(row, visible), visible)
            kernels.scale(row, Float(1 / total), visible)
            (row + visible).update(repeating: 0, count: keys - visible)
        }
    }

    /// Gradient `drows` `[n, (H + 2K)·h]` of `rows`, given `doutput` `[n, H·h]`.
    ///
    /// One lane takes a key head with all its queries, since those add to the same key and value gradients.
    package func backward(
        _ rows: UnsafePointer<Float>, _ doutput: UnsafePointer<Float>, sequences: Int, length: Int, scratch: Matrix,
        into drows: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        let groupSize = headCount / keyValueHeadCount
        Lanes.shared.forRanges(sequences * length, grain: 16) { _, range in
            (drows + range.lowerBound * width).update(repeating: 0, count: range.count * width)
        }
        Lanes.shared.forRanges(sequences * keyValueHeadCount) { lane, tasks in
            for task in tasks {
                let (sequence, group) = task.quotientAndRemainder(dividingBy: keyValueHeadCount)
                let start = sequence * length
                for j in group * groupSize..<(group + 1) * groupSize {
                    backward(
                        j, rows + start * width, doutput + start * outputWidth, length, scratch.row(lane),
                        into: drows + start * width)
                }
            }
        }
    }

    private func backward(
        _ j: Int, _ rows: UnsafePointer<Float>, _ doutput: UnsafePointer<Float>, _ length: Int,
        _ scratch: UnsafeMutablePointer<Float>, into drows: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        let (head, gradient) = (head(j, rows), head(j, drows))
        let dquery = UnsafeMutablePointer(mutating: gradient.query)
        let dkey = UnsafeMutablePointer(mutating: gradient.key)
        let dvalue = UnsafeMutablePointer(mutating: gradient.value)
        let scale = 1 / Float(headDimension).squareRoot()
        for block in blocks(length) {
            let (count, keys) = (block.count, block.upperBound)
            let p = scratch
            let dp = scratch + Self.blockRows * length
            let dout = doutput + block.lowerBound * outputWidth + j * headDimension
            probabilities(head, block, into: p)
            // forward:  o = P·v    ⇒    dv += Pᵀ·do,  dP = do·vᵀ
            multiplyOnLane(
                keys, headDimension, count, 1, p, keys, .transposed, dout, outputWidth, .normal, 1, dvalue, width)
            multiplyOnLane(
                count, keys, headDimension, 1, dout, outputWidth, .normal, head.value, width, .transposed, 0, dp, keys)
            // forward:  P = softmax(s) by rows    ⇒    ds = P ∘ (dP − Σ P∘dP)
            for query in 0..<count {
                let (p, dp) = (p + query * keys, dp + query * keys)
                let mean = kernels.dot(p, dp, keys)
                for key in 0..<keys { dp[key] = p[key] * (dp[key] - mean) }
            }
            // forward:  s = q·kᵀ/√h    ⇒    dq = ds·k/√h,  dk += dsᵀ·q/√h
            multiplyOnLane(
                count, headDimension, keys, scale, dp, keys, .normal, head.key, width, .normal, 0,
                dquery + block.lowerBound * width, width)
            multiplyOnLane(
                keys, headDimension, count, scale, dp, keys, .transposed, head.query + block.lowerBound * width,
                width, .normal, 1, dkey, width)
        }
    }

    private func blocks(_ length: Int) -> some Sequence<Range<Int>> {
        stride(from: 0, to: length, by: Self.blockRows).lazy.map { $0..<min($0 + Self.blockRows, length) }
    }
}
