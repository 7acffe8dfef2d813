import CIntrinsics

func keepAtLeast(
    _ columns: UnsafePointer<Int32>, _ values: UnsafePointer<Float>, _ count: Int, _ least: Float,
    _ keptColumns: UnsafeMutablePointer<Int32>, _ keptValues: UnsafeMutablePointer<Float>
) -> Int {
    Int(dmsae_keep_at_least(columns, values, Int64(count), least, keptColumns, keptValues))
}

func countAtLeast(_ values: UnsafePointer<Float>, _ count: Int, _ least: Float) -> Int {
    Int(dmsae_count_at_least(values, Int64(count), least))
}

func extent(_ values: UnsafePointer<Float>, _ count: Int) -> SIMD2<Float> {
    var least: Float = 0, most: Float = 0
    dmsae_extent(values, Int64(count), &least, &most)
    return SIMD2(least, most)
}

func gatherWithin(
    _ values: UnsafePointer<Float>, _ count: Int, _ least: Float, _ most: Float, _ within: UnsafeMutablePointer<Float>
) -> Int {
    Int(dmsae_gather_within(values, Int64(count), least, most, within))
}

func countMarked(_ values: UnsafePointer<Float>, _ marks: UnsafePointer<UInt8>, _ count: Int, _ least: inout Float)
    -> Int
{
    Int(dmsae_count_marked(values, marks, Int64(count), &least))
}
