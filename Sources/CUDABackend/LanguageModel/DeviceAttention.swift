import LanguageModeling

/// Causal softmax attention on a card: see `CausalAttention`. Scores are made by batched products, a block of queries and some
/// pairs of sequence and key head at a time, so that of T×T there is never more than a fixed amount.
struct DeviceAttention {
    let shape: CausalAttention

    /// How many queries and pairs go together, and the floats that their scores take.
    struct Tile {
        let queries: Int
        let pairs: Int
        let count: Int

        init(_ shape: CausalAttention, pairs: Int, length: Int, keys: Int, floats: Int) {
            // More queries would compute more scores of keys behind them, in vain.
            let perQuery = shape.groupSize * DeviceMatrix.stride(keys)
            queries = max(1, min(length, 256, floats / perQuery))
            self.pairs = max(1, min(pairs, floats / (queries * perQuery)))
            count = self.pairs * queries * perQuery
        }
    }

    /// Scores of a tile, in turn: a range of pairs, of queries, the keys that these see.
    private struct Part {
        let pairs, queries, keys: Range<Int>
        let shape: CausalAttention
        /// Queries of a pair, and keys.
        let length, keyLength: Int
        /// Keys before that of the first query's own token.
        var visible: Int { keyLength - length + queries.lowerBound - keys.lowerBound }

        /// Rows of a pair's matrix of scores.
        var rows: Int { queries.count * shape.groupSize }
        var stride: Int { DeviceMatrix.stride(keys.count) }

        func scores(_ array: DeviceArray<Float>) -> DeviceSlice {
            DeviceSlice(array, stride: stride, batchStride: rows * stride)
        }

        /// Queries, or what has their layout `[B·K, T, G, h]`.
        func queries(_ array: DeviceArray<Float>) -> DeviceSlice {
            let (size, h) = (shape.groupSize, shape.headDimension)
            return DeviceSlice(
                array, at: (pairs.lowerBound * length + queries.lowerBound) * size * h, stride: h,
                batchStride: length * size * h)
        }

        /// Keys, or what has their layout `[B·K, P + T, h]` from `first` on.
        func keys(_ array: DeviceArray<Float>, at first: Int) -> DeviceSlice {
            let h = shape.headDimension
            return DeviceSlice(
                array, at: first + (pairs.lowerBound * keyLength + keys.lowerBound) * h, stride: h,
                batchStride: keyLength * h)
        }
    }

    private func forEachPart(_ pass: DevicePass, _ body: (Part) throws(CUDAError) -> Void) throws(CUDAError) {
        let (pairs, length) = (pass.sequences * shape.keyValueHeadCount, pass.length)
        let tile = Tile(
            shape, pairs: pairs, length: length, keys: pass.keyLength, floats: pass.workspace.scores.count)
        for first in stride(from: 0, to: pairs, by: tile.pairs) {
            for query in stride(from: 0, to: length, by: tile.queries) {
                let queries = query..<min(query + tile.queries, length)
                try body(
                    Part(
                        pairs: first..<min(first + tile.pairs, pairs), queries: queries,
                        keys: shape.visibleKeys(pass.first + queries.lowerBound..<pass.first + queries.upperBound),
                        shape: shape, length: length, keyLength: pass.keyLength))
            }
        }
    }

    /// `output` `[B·K, T, G, h]` from queries, keys and values one after the other (see heads.cu).
    func forward(
        _ packed: DeviceArray<Float>, into output: DeviceArray<Float>, _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, h) = (pass.device, shape.headDimension)
        let places = HeadPlaces(shape, pass)
        try forEachPart(pass) { (part) throws(CUDAError) in
            try probabilities(part, packed, places, slopes: nil, pass)
            try device.products.multiply(
                part.scores(pass.workspace.scores), part.keys(packed, at: places.value), into: part.queries(output),
                m: part.rows, n: h, k: part.keys.count, batches: part.pairs.count, on: device.context.stream)
        }
    }

    /// The gradient `dpacked` of `packed` from that of the output; where the weights of attention count as constants, queries and keys
    /// have none.
    func backward(
        _ packed: DeviceArray<Float>, _ doutput: DeviceArray<Float>, into dpacked: DeviceArray<Float>,
        _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, h, stream) = (pass.device, shape.headDimension, pass.device.context.stream)
        let (places, workspace, products) = (HeadPlaces(shape, pass), pass.workspace, pass.device.products)
        let (p, dp) = (workspace.scores, workspace.scoreGradients!)
        let isConstant = pass.rule.contains(.constantAttention)
        let slopes = shape.softCap == nil || isConstant ? nil : workspace.slopes
        try dpacked.clear(places.end)
        try forEachPart(pass) { (part) throws(CUDAError) in
            let (rows, keys, batches) = (part.rows, part.keys.count, part.pairs.count)
            try probabilities(part, packed, places, slopes: slopes, pass)
            // forward:  o = P·v    ⇒    dv += Pᵀ·do,  dP = do·vᵀ
            try products.multiply(
                part.scores(p).transposed, part.queries(doutput), into: part.keys(dpacked, at: places.value), m: keys,
                n: h, k: rows, batches: batches, keeping: 1, on: stream)
            if isConstant { return }
            try products.multiply(
                part.queries(doutput), part.keys(packed, at: places.value).transposed, into: part.scores(dp), m: rows,
                n: keys, k: h, batches: batches, on: stream)
            try device.context.launch(
                try device.kernel("softmaxRowsBackward", "softmax"), DeviceArithmetic.warpBlocks(rows * batches),
                threads: 256, p, dp, part.stride, keys, rows * batches, DeviceArithmetic.pointer(slopes))
            // forward:  s₀ = α·q·kᵀ    ⇒    dq = α·ds₀·k,  dk += α·ds₀ᵀ·q
            try products.multiply(
                part.scores(dp), part.keys(packed, at: places.key), into: part.queries(dpacked), m: rows, n: h,
                k: keys, batches: batches, factor: shape.scale, on: stream)
            try products.multiply(
                part.scores(dp).transposed, part.queries(packed), into: part.keys(dpacked, at: places.key), m: keys,
                n: h, k: rows, batches: batches, factor: shape.scale, keeping: 1, on: stream)
        }
    }

    /// P of a part, in the workspace's scores.
    private func probabilities(
        _ part: Part, _ packed: DeviceArray<Float>, _ places: HeadPlaces, slopes: DeviceArray<Float>?,
        _ pass: DevicePass
    ) throws(CUDAError) {
        let (device, scores) = (pass.device, pass.workspace.scores)
        try device.products.multiply(
            part.queries(packed), part.keys(packed, at: places.key).transposed, into: part.scores(scores), m: part.rows,
            n: part.keys.count, k: shape.headDimension, batches: part.pairs.count, factor: shape.scale,
            on: device.context.stream)
        let rows = part.rows * part.pairs.count
        try device.context.launch(
            try device.kernel("softmaxRows", "softmax"), DeviceArithmetic.warpBlocks(rows), threads: 256, scores,
            part.stride, part.keys.count, rows, part.rows, shape.groupSize,
            part.visible + 1, shape.window ?? 0, shape.softCap ?? 0,
            DeviceArithmetic.pointer(slopes))
    }
}

/// Where keys and values of a pass begin behind its queries.
struct HeadPlaces {
    let key, value, end: Int

    init(_ shape: CausalAttention, _ pass: DevicePass) {
        key = pass.tokenCount * shape.outputWidth
        value = key + pass.sequences * pass.keyLength * shape.keyWidth
        end = value + pass.sequences * pass.keyLength * shape.keyWidth
    }
}

extension CausalAttention {
    /// G, query heads that read one key head.
    var groupSize: Int { headCount / keyValueHeadCount }
}
