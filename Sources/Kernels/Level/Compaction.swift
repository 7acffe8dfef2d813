func compactAbove(
    _ x: UnsafePointer<Float>, _ bias: UnsafePointer<Float>, _ thresholds: UnsafePointer<Float>, _ floor: Float,
    _ count: Int, _ positions: UnsafeMutablePointer<Int32>, _ values: UnsafeMutablePointer<Float>
) -> Int {
    let f = V(repeating: floor)
    var found = 0
    var i = 0
    while i + 16 <= count {
        let p = load(x, i) + load(bias, i)
        let above = (p .> load(thresholds, i)) .& (p .> f)
        // Candidates are rare: one test skips most groups of sixteen.
        if any(above) {
            for k in 0..<16 where above[k] {
                positions[found] = Int32(truncatingIfNeeded: i &+ k)
                values[found] = p[k]
                found &+= 1
            }
        }
        i += 16
    }
    while i < count {
        let p = x[i] + bias[i]
        if p > thresholds[i] && p > floor {
            positions[found] = Int32(truncatingIfNeeded: i)
            values[found] = p
            found &+= 1
        }
        i += 1
    }
    return found
}
