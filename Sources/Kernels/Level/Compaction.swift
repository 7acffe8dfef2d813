import CIntrinsics

func compactAbove(
    _ x: UnsafePointer<Float>, _ bias: UnsafePointer<Float>, _ thresholds: UnsafePointer<Float>, _ floor: Float,
    _ count: Int, _ start: Int32, _ positions: UnsafeMutablePointer<Int32>, _ values: UnsafeMutablePointer<Float>
) -> Int {
    Int(dmsae_compact_above(x, bias, thresholds, floor, Int64(count), start, positions, values))
}
