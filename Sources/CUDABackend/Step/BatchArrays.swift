import LinearAlgebra

/// What has a row for each token of a batch.
final class BatchArrays {
    let rows: Int
    /// x [B, D] of this batch.
    var x: DeviceMatrix { slots[current].x }
    /// x − b_dec [B, D].
    let centered: DeviceMatrix
    /// [n, B, D] Σ over later prefixes of their weighted residuals.
    let sums: DeviceArray<Float>
    /// [n, B·slabs]
    let squares: DeviceArray<Double>
    /// r_n [B, D], while latents are dead.
    private(set) var residual: DeviceMatrix?
    /// [parts, D] of Σ over rows.
    let rowParts: DeviceArray<Float>
    /// One is computed with while the next batch comes into the other.
    private let slots: [Slot]
    private var current = 0
    /// The host's matrix that is on its way into the other slot.
    private var prepared: ObjectIdentifier?
    /// Where matrices begin that the card reads by itself.
    private var pinned: Set<UnsafeMutablePointer<Float>> = []
    private let context: CUDAContext

    /// Rows of a part: `ROWS` in bias.cu.
    static let partRows = 64

    private struct Slot {
        let x: DeviceMatrix
        let staging: PinnedArray<Float>
        let loaded: DeviceEvent
    }

    init(rows: Int, dIn: Int, prefixes: Int, on context: CUDAContext) throws(CUDAError) {
        self.rows = rows
        self.context = context
        let stride = DeviceMatrix.stride(dIn)
        func slot() throws(CUDAError) -> Slot {
            let slot = Slot(
                x: try DeviceMatrix(rows: rows, columns: dIn, on: context),
                staging: try PinnedArray(rows * stride, on: context), loaded: try DeviceEvent(on: context))
            slot.staging.elements.initialize(repeating: 0, count: rows * stride)
            return slot
        }
        slots = [try slot(), try slot()]
        centered = try DeviceMatrix(rows: rows, columns: dIn, on: context)
        sums = try DeviceArray(prefixes * rows * stride, on: context)
        squares = try DeviceArray(prefixes * rows * Slab(stride / 4).count, on: context)
        rowParts = try DeviceArray((rows + Self.partRows - 1) / Self.partRows * stride, on: context)
        // The zeros of the matrices are set on another stream than the one that copies.
        try context.synchronize()
    }

    /// Makes x [B, D] this batch; it is there already if it was prepared.
    func load(_ x: Matrix) throws(CUDAError) {
        if prepared != ObjectIdentifier(x) { try prepare(x) }
        prepared = nil
        current = 1 - current
        try slots[current].loaded.wait(in: context.stream)
    }

    /// A matrix that needs no copy on the host on its way.
    func makeMatrix(rows: Int, columns: Int) throws(CUDAError) -> Matrix {
        guard columns == DeviceMatrix.stride(columns) else { return Matrix(rows: rows, columns: columns) }
        let array = try PinnedArray<Float>(rows * columns, on: context)
        array.elements.initialize(repeating: 0, count: rows * columns)
        // One that is gone leaves its address: whatever lies there later is copied rightly all the same, only not beside.
        pinned.insert(array.elements)
        return Matrix(rows: rows, columns: columns, elements: array.elements, owner: array)
    }

    /// Copies x to the card beside what its stream has to do. The other slot is free: the step that computed with it had its
    /// numbers read before this one began.
    func prepare(_ x: Matrix) throws(CUDAError) {
        let slot = slots[1 - current]
        let stride = slot.x.stride
        var source = x.elements
        if !pinned.contains(source) {
            let elements = SendablePointer(slot.staging.elements)
            Lanes.shared.forRanges(x.rows) { _, rows in
                for r in rows { (elements.pointer + r * stride).update(from: x.row(r), count: x.columns) }
            }
            source = slot.staging.elements
        }
        try slot.x.array.upload(source, x.rows * stride, on: context.copies)
        try slot.loaded.record(on: context.copies)
        prepared = ObjectIdentifier(x)
    }

    /// Room for r_n.
    func makeResidual() throws(CUDAError) -> DeviceMatrix {
        if let residual { return residual }
        let made = try DeviceMatrix(rows: rows, columns: centered.columns, on: context)
        residual = made
        return made
    }
}
