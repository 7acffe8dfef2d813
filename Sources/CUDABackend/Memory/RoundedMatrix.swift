/// A row-major matrix of bfloat16 on a card. Rows are padded with zeros to a multiple of eight numbers, so that each begins where the
/// card reads 16 bytes at a time.
final class RoundedMatrix {
    let rows: Int
    let columns: Int
    let array: DeviceArray<UInt16>

    /// Numbers of a padded row.
    var stride: Int { Self.stride(columns) }

    static func stride(_ columns: Int) -> Int { (columns + 7) / 8 * 8 }

    /// A matrix whose numbers are not defined yet.
    init(rows: Int, columns: Int, on context: CUDAContext) throws(CUDAError) {
        (self.rows, self.columns) = (rows, columns)
        array = try DeviceArray(rows * Self.stride(columns), on: context)
    }

    var slice: DeviceSlice { DeviceSlice(array, stride: stride) }
}
