import LanguageModeling

/// Keys and values of a block on their way: of whole sequences to where they are kept, or of the positions before a pass's from there.
struct DevicePast {
    /// What happens with them.
    enum Direction {
        /// Those of the pass, whole sequences from this one on, are kept.
        case keeping(firstSequence: Int)
        /// The pass continues these sequences `[B]`.
        case continuing(sequences: DeviceSlice)
    }

    let kept: DeviceKeyValues
    let direction: Direction

    /// To be called when queries, keys and values of a pass are in `packed`, and none of them has been read.
    func exchange(
        _ packed: DeviceArray<Float>, _ places: HeadPlaces, _ shape: CausalAttention, _ pass: DevicePass
    ) throws(CUDAError) {
        let (context, h) = (pass.device.context, shape.headDimension)
        let matrices = pass.sequences * shape.keyValueHeadCount
        for (own, all) in [(places.key, kept.keys), (places.value, kept.values)] {
            switch direction {
            case .keeping(let first):
                try all.copy(
                    packed, matrices * pass.length * h, from: own,
                    at: first * shape.keyValueHeadCount * pass.length * h)
            case .continuing(let sequences):
                guard pass.first > 0 else { continue }
                try context.launch(
                    try pass.device.kernel("fillPast", "heads"), matrices, (pass.first * h + 4095) / 4096, threads: 256,
                    all, sequences, shape.keyValueHeadCount, pass.keyLength, pass.first, h,
                    DeviceSlice(of: packed, at: own))
            }
        }
    }
}

/// A block's keys and values `[B·K, T, h]` of a whole batch.
struct DeviceKeyValues {
    let keys, values: DeviceArray<Float>

    init(_ shape: CausalAttention, tokens: Int, on context: CUDAContext) throws(CUDAError) {
        keys = try DeviceArray(tokens * shape.keyWidth, on: context)
        values = try DeviceArray(tokens * shape.keyWidth, on: context)
    }
}
