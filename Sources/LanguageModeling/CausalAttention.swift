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
    func scratchCount(length: Int) -> Int { 2 * (Self.blockRows + headDimension) * length }

    /// What a lane works in.
    private struct Scratch {
        /// Probabilities and their gradients, `[blockRows, T]` each.
        let p, dp: UnsafeMutablePointer<Float>
        /// kᵀ and vᵀ of one key head, `[h, T]` each.
        let keys, values: UnsafeMutablePointer<Float>

        init(_ memory: UnsafeMutablePointer<Float>, _ length: Int, _ headDimension: Int) {
            p = memory
            dp = p + blockRows * length
            keys = dp + blockRows * length
            values = keys + headDimension * length
        }
    }

    /// One head's pointers into the rows of one sequence.
    private struct Head {
        let query: UnsafePointer<Float>
        let key: UnsafePointer<Float>
        let value: UnsafePointer<Float>
    }

    private func group(_ j: Int) -> Int { j / (headCount / keyValueHeadCount) }

    private func head(_ j: Int, _ rows: UnsafePointer<Float>) -> Head {
        Head(
            query: rows + j * headDimension, key: rows + (headCount + group(j)) * headDimension,
            value: rows + (headCount + keyValueHeadCount + group(j)) * headDimension)
    }

    /// S = q·k/√h of `count` queries and `keys` keys, given kᵀ `[h, keys]` with stride `stride`.
    private func scores(
        _ query: UnsafePointer<Float>, _ count: Int, _ keysTransposed: UnsafePointer<Float>, _ stride: Int,
        _ keys: Int, into s: UnsafeMutablePointer<Float>, _ strideS: Int
    ) {
        for tile in tiles(keys) {
            multiplyOnLane(
                count, tile.count, headDimension, 1 / Float(headDimension).squareRoot(), query, rowWidth, .normal,
                keysTransposed + tile.lowerBound, stride, .normal, 0, s + tile.lowerBound, strideS)
        }
    }

    /// o = β·o + α·P·v of `count` queries and `keys` keys.
    private func mix(
        _ p: UnsafePointer<Float>, _ strideP: Int, _ count: Int, _ keys: Int, _ value: UnsafePointer<Float>,
        _ strideV: Int, _ alpha: Float, _ beta: Float, into o: UnsafeMutablePointer<Float>, _ strideO: Int
    ) {
        for tile in tiles(keys) {
            multiplyOnLane(
                count, headDimension, tile.count, alpha, p + tile.lowerBound, strideP, .normal,
                value + tile.lowerBound * strideV, strideV, .normal, tile.lowerBound == 0 ? beta : 1, o, strideO)
        }
    }

    /// o += α·Pᵀ·v: `keys` rows from `count`.
    private func mixBack(
        _ p: UnsafePointer<Float>, _ strideP: Int, _ count: Int, _ keys: Int, _ value: UnsafePointer<Float>,
        _ strideV: Int, _ alpha: Float, into o: UnsafeMutablePointer<Float>, _ strideO: Int
    ) {
        for tile in tiles(keys) {
            multiplyOnLane(
                tile.count, headDimension, count, alpha, p + tile.lowerBound, strideP, .transposed, value, strideV,
                .normal, 1, o + tile.lowerBound * strideO, strideO)
        }
    }

    /// o = P·v per head: `output` `[n, H·h]` from `rows` `[n, (H + 2K)·h]`, n = sequences · length.
    package func forward(
        _ rows: UnsafePointer<Float>, sequences: Int, length: Int, scratch: Matrix, on lanes: Lanes = .shared,
        into output: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        lanes.forRanges(sequences * headCount) { lane, tasks in
            let scratch = Scratch(scratch.row(lane), length, headDimension)
            for task in tasks {
                let (sequence, j) = task.quotientAndRemainder(dividingBy: headCount)
                let head = head(j, rows + sequence * length * width)
                let out = output + sequence * length * outputWidth + j * headDimension
                // The heads of a group follow each other.
                if task == tasks.lowerBound || j == 0 || group(j) != group(j - 1) {
                    kernels.transpose(scratch.keys, length, head.key, width, length, headDimension)
                }
                for block in blocks(length) {
                    let (query, keys) = (head.query + block.lowerBound * width, block.upperBound)
                    scores(query, block.count, scratch.keys, length, keys, into: scratch.p, keys)
                    softmax(scratch.p, rows: block.count, keys: keys, firstVisible: block.lowerBound + 1)
                    mix(
                        scratch.p, keys, block.count, keys, head.value, width, 1, 0,
                        into: out + block.lowerBound * outputWidth, outputWidth)
                }
            }
        }
    }

    /// Keys and values of one sequence before the position where another run of it begins.
    package struct Past {
        /// Keys transposed, `[K·h, first]` with stride `stride`.
        package let keys: UnsafePointer<Float>
        package let stride: Int
        /// Values `[first, K·h]`.
        package let values: UnsafePointer<Float>
        /// How many positions.
        package let count: Int
    }

    /// The same as `forward` for suffixes whose first positions were run before: `rows` `[count, (H + 2K)·h]` are the
    /// positions from `past.count` on. Heads `heads`, on one lane.
    package func forward(
        heads: Range<Int>, _ rows: UnsafePointer<Float>, count: Int, after past: Past,
        scratch memory: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        let scratch = Scratch(memory, past.count + count, headDimension)
        for j in heads {
            let head = head(j, rows), first = group(j) * headDimension
            if j == heads.lowerBound || group(j) != group(j - 1) {
                kernels.transpose(scratch.keys, count, head.key, width, count, headDimension)
            }
            for block in blocks(count) {
                let own = block.upperBound, keys = past.count + own
                let query = head.query + block.lowerBound * width
                let out = output + block.lowerBound * outputWidth + j * headDimension
                let p = scratch.p
                scores(
                    query, block.count, past.keys + first * past.stride, past.stride, past.count, into: p, keys)
                scores(query, block.count, scratch.keys, count, own, into: p + past.count, keys)
                softmax(p, rows: block.count, keys: keys, firstVisible: past.count + block.lowerBound + 1)
                mix(p, keys, block.count, past.count, past.values + first, keyWidth, 1, 0, into: out, outputWidth)
                mix(
                    p + past.count, keys, block.count, own, head.value, width, 1, past.count > 0 ? 1 : 0, into: out,
                    outputWidth)
            }
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
        on lanes: Lanes = .shared, into drows: UnsafeMutablePointer<Float>
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
                let start = sequence * length
                let head = head(group * groupSize, rows + start * width)
                kernels.transpose(scratch.keys, length, head.key, width, length, headDimension)
                kernels.transpose(scratch.values, length, head.value, width, length, headDimension)
                for j in group * groupSize..<(group + 1) * groupSize {
                    backward(
                        j, rows + start * width, doutput + start * outputWidth, length, scratch,
                        into: drows + start * width)
                }
            }
        }
    }

    private func backward(
        _ j: Int, _ rows: UnsafePointer<Float>, _ doutput: UnsafePointer<Float>, _ length: Int, _ scratch: Scratch,
        into drows: UnsafeMutablePointer<Float>
    ) {
        let width = rowWidth
        let (head, gradient) = (head(j, rows), head(j, drows))
        let dquery = UnsafeMutablePointer(mutating: gradient.query)
        let dkey = UnsafeMutablePointer(mutating: gradient.key)
        let dvalue = UnsafeMutablePointer(mutating: gradient.value)
        let scale = 1 / Float(headDimension).squareRoot()
        for block in blocks(length) {
            let (count, keys) = (block.count, block.upperBound)
            let (p, dp) = (scratch.p, scratch.dp)
            let query = head.query + block.lowerBound * width
            let dout = doutput + block.lowerBound * outputWidth + j * headDimension
            scores(query, count, scratch.keys, length, keys, into: p, keys)
            softmax(p, rows: count, keys: keys, firstVisible: block.lowerBound + 1)
            // forward:  o = P·v    ⇒    dv += Pᵀ·do,  dP = do·vᵀ
            mixBack(p, keys, count, keys, dout, outputWidth, 1, into: dvalue, width)
            for tile in tiles(keys) {
                multiplyOnLane(
                    count, tile.count, headDimension, 1, dout, outputWidth, .normal, scratch.values + tile.lowerBound,
                    length, .normal, 0, dp + tile.lowerBound, keys)
            }
            // forward:  P = softmax(s) by rows    ⇒    ds = P ∘ (dP − Σ P∘dP)
            for query in 0..<count {
                let (p, dp) = (p + query * keys, dp + query * keys)
                let mean = kernels.dot(p, dp, keys)
                for key in 0..<keys { dp[key] = p[key] * (dp[key] - mean) }
            }
            // forward:  s = q·kᵀ/√h    ⇒    dq = ds·k/√h,  dk += dsᵀ·q/√h
            mix(
                dp, keys, count, keys, head.key, width, scale, 0, into: dquery + block.lowerBound * width, width)
            mixBack(dp, keys, count, keys, query, width, scale, into: dkey, width)
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
