import LanguageModeling
import LinearAlgebra

/// What the suffixes of a pass change, on a card: see edit.cu. Arrays are used again as long as they are large enough.
final class DeviceEdits {
    private let context: CUDAContext
    private var integers: DeviceArray<Int32>
    private var factors, directions, brought: DeviceArray<Float>
    /// What is on its way to the card.
    private var sent = Sent()

    /// The changes of a pass's rows as they travel.
    private struct Sent {
        /// [n] row of the batch, and of those that were brought along or −1; [n + 1] where the additions of a row begin; the sequence of each
        /// suffix; the direction of each addition.
        var own: [Int32] = [], given: [Int32] = [], offsets: [Int32] = [], sequences: [Int32] = []
        var additions: [Int32] = []
        var factors: [Float] = []
        /// Padded rows, each direction once.
        var directions: [Float] = [], brought: [Float] = []
        /// All integers, one after the other.
        var integers: [Int32] = []
    }

    init(on context: CUDAContext) throws(CUDAError) {
        self.context = context
        integers = try DeviceArray(0, on: context)
        (factors, directions, brought) = (
            try DeviceArray(0, on: context), try DeviceArray(0, on: context), try DeviceArray(0, on: context)
        )
    }

    /// The sequence of each suffix.
    var sequences: DeviceSlice { DeviceSlice(of: integers, at: 3 * sent.own.count + 1) }

    /// Takes suffixes of sequences of `length` tokens that a pass runs from position `first` on. The card has to be done with the last ones.
    func load(
        _ suffixes: [SequenceSuffix], from first: Int, length: Int, columns d: Int
    ) throws(CUDAError) {
        let rows = length - first, n = suffixes.count * rows, stride = DeviceMatrix.stride(d)
        var sent = Sent()
        (sent.own, sent.given) = ([Int32](repeating: 0, count: n), [Int32](repeating: -1, count: n))
        sent.offsets = [Int32](repeating: 0, count: n + 1)
        func append(_ row: UnsafePointer<Float>, to target: inout [Float]) {
            target.append(contentsOf: UnsafeBufferPointer(start: row, count: d))
            target.append(contentsOf: repeatElement(0, count: stride - d))
        }
        for (i, suffix) in suffixes.enumerated() {
            sent.sequences.append(Int32(suffix.sequence))
            for t in 0..<rows { sent.own[i * rows + t] = Int32(suffix.sequence * length + first + t) }
            switch suffix.content {
            case .rows(let residual):
                for t in suffix.first..<length {
                    sent.given[i * rows + t - first] = Int32(sent.brought.count / stride)
                    append(residual + (t - suffix.first) * d, to: &sent.brought)
                }
            case .additions(let additions):
                for addition in additions {
                    precondition(
                        (suffix.first..<length).contains(addition.position), "an addition at \(addition.position)")
                    sent.offsets[i * rows + addition.position - first + 1] += 1
                }
            }
        }
        for r in 0..<n { sent.offsets[r + 1] += sent.offsets[r] }
        let count = Int(sent.offsets[n])
        var next = sent.offsets, places: [UnsafePointer<Float>: Int32] = [:]
        (sent.additions, sent.factors) = ([Int32](repeating: 0, count: count), [Float](repeating: 0, count: count))
        for (i, suffix) in suffixes.enumerated() {
            guard case .additions(let additions) = suffix.content else { continue }
            for addition in additions {
                let row = i * rows + addition.position - first, at = Int(next[row])
                next[row] += 1
                let place = places[addition.row] ?? Int32(places.count)
                if places.updateValue(place, forKey: addition.row) == nil {
                    append(addition.row, to: &sent.directions)
                }
                (sent.additions[at], sent.factors[at]) = (place, addition.factor)
            }
        }
        sent.integers = sent.own + sent.given + sent.offsets + sent.sequences + sent.additions
        self.sent = sent
        try send(self.sent.integers, to: &integers)
        try send(self.sent.factors, to: &factors)
        try send(self.sent.directions, to: &directions)
        try send(self.sent.brought, to: &brought)
    }

    private func send<Element>(_ source: [Element], to target: inout DeviceArray<Element>) throws(CUDAError) {
        guard !source.isEmpty else { return }
        if target.count < source.count { target = try DeviceArray(source.count + source.count / 2, on: context) }
        try source.withUnsafeBufferPointer { (source) throws(CUDAError) in
            try target.upload(source.baseAddress!, source.count)
        }
    }

    /// The rows of what was loaded, in the stream of the pass: of `values` `[B·T, d]`, and added to `base`, if there is one.
    func make(_ values: DeviceMatrix, _ base: DeviceMatrix?, _ pass: DevicePass) throws(CUDAError) {
        let n = sent.own.count, d4 = values.stride / 4, slab = Slab(d4)
        func integers(_ first: Int) -> DeviceSlice { DeviceSlice(of: self.integers, at: first) }
        try context.launch(
            try pass.device.kernel("editRows", "edit"), n, slab.count, threads: slab.threads, values.array,
            DeviceArithmetic.pointer(base), integers(0), brought, integers(n), integers(2 * n),
            integers(3 * n + 1 + sent.sequences.count), factors, directions, pass.workspace.stream.array, d4)
    }
}
