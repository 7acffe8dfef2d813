import LinearAlgebra

/// What has a row for each token of a batch.
final class BatchArrays {
    let rows: Int
    /// x and x − b_dec [B, D].
    let x: DeviceMatrix
    let centered: DeviceMatrix
    /// [n, B, D] Σ over later prefixes of their weighted residuals.
    let sums: DeviceArray<Float>
    /// [n, B·slabs]
    let squares: DeviceArray<Double>
    /// r_n [B, D], while latents are dead.
    private(set) var residual: DeviceMatrix?
    /// [parts, D] of Σ over rows.
    let rowParts: DeviceArray<Float>
    private let staging: PinnedArray<Float>
    private let loaded: DeviceEvent
    private let context: CUDAContext

    /// Rows of a part: `ROWS` in bias.cu.
    static let partRows = 64

    init(rows: Int, dIn: Int, prefixes: Int, on context: CUDAContext) throws(CUDAError) {
        self.rows = rows
        self.context = context
        x = try DeviceMatrix(rows: rows, columns: dIn, on: context)
        centered = try DeviceMatrix(rows: rows, columns: dIn, on: context)
        sums = try DeviceArray(prefixes * rows * x.stride, on: context)
        squares = try DeviceArray(prefixes * rows * Slab(x.stride / 4).count, on: context)
        rowParts = try DeviceArray((rows + Self.partRows - 1) / Self.partRows * x.stride, on: context)
        staging = try PinnedArray(rows * x.stride, on: context)
        staging.elements.initialize(repeating: 0, count: staging.count)
        loaded = try DeviceEvent(on: context)
        // The zeros of the matrices are set on another stream than the one that copies.
        try context.synchronize()
    }

    /// Copies x [B, D] to the card, beside what its stream still has to do: the last step's update, which reads no x.
    func load(_ x: Matrix) throws(CUDAError) {
        let (stride, elements) = (self.x.stride, SendablePointer(staging.elements))
        Lanes.shared.forRanges(x.rows) { _, rows in
            for r in rows { (elements.pointer + r * stride).update(from: x.row(r), count: x.columns) }
        }
        try self.x.array.upload(staging.elements, x.rows * stride, on: context.copies)
        try loaded.record(on: context.copies)
        try loaded.wait(in: context.stream)
    }

    /// Room for r_n.
    func makeResidual() throws(CUDAError) -> DeviceMatrix {
        if let residual { return residual }
        let made = try DeviceMatrix(rows: rows, columns: x.columns, on: context)
        residual = made
        return made
    }
}
