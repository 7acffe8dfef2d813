import LinearAlgebra

/// A row-major matrix of single precision on a card. Rows are padded with zeros to a multiple of four floats, so that kernels
/// read four at a time; what pads stays 0.
final class DeviceMatrix {
    let rows: Int
    let columns: Int
    let array: DeviceArray<Float>

    /// Floats of a padded row.
    var stride: Int { Self.stride(columns) }

    static func stride(_ columns: Int) -> Int { (columns + 3) / 4 * 4 }

    /// A matrix of zeros.
    init(rows: Int, columns: Int, on context: CUDAContext) throws(CUDAError) {
        (self.rows, self.columns) = (rows, columns)
        array = try DeviceArray(rows * Self.stride(columns), on: context)
        try array.clear()
    }

    var slice: DeviceSlice { DeviceSlice(array, stride: stride) }

    /// From row r on.
    func slice(fromRow r: Int) -> DeviceSlice { DeviceSlice(array, at: r * stride, stride: stride) }

    /// Takes the values of a matrix of the same shape, and waits until it has them.
    func assign(_ source: Matrix) throws(CUDAError) {
        precondition(source.rows == rows && source.columns == columns, "shapes differ")
        if stride == columns {
            try array.upload(source.elements, source.count)
            return try array.context.synchronize()
        }
        try forBlocks { (block, first, count) throws(CUDAError) in
            for r in 0..<count { (block + r * stride).update(from: source.row(first + r), count: columns) }
            try array.upload(block, count * stride, at: first * stride)
            try array.context.synchronize()
        }
    }

    /// Writes the values into a matrix of the same shape, and waits until they are there.
    func copy(to target: Matrix) throws(CUDAError) {
        precondition(target.rows == rows && target.columns == columns, "shapes differ")
        if stride == columns {
            try array.download(target.elements, target.count)
            return try array.context.synchronize()
        }
        try forBlocks { (block, first, count) throws(CUDAError) in
            try array.download(block, count * stride, from: first * stride)
            try array.context.synchronize()
            for r in 0..<count { target.row(first + r).update(from: block + r * stride, count: columns) }
        }
    }

    /// Padded rows on the host, some at a time.
    private func forBlocks(
        _ body: (UnsafeMutablePointer<Float>, Int, Int) throws(CUDAError) -> Void
    ) throws(CUDAError) {
        let size = min(rows, 4096)
        let block = UnsafeMutablePointer<Float>.allocate(capacity: max(size * stride, 1))
        defer { block.deallocate() }
        block.initialize(repeating: 0, count: size * stride)
        for first in Swift.stride(from: 0, to: rows, by: max(size, 1)) {
            try body(block, first, min(size, rows - first))
        }
    }
}
