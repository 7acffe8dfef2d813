/// Largest difference of a row's norm relative to the row's own norm: position 0 is an attention sink a hundred
/// times as long as the others and would hide them. Infinite where a value is not finite.
func worstRow(_ a: [Float], _ b: [Double], columns: Int) -> Double {
    guard a.count == b.count, !b.isEmpty else { return .infinity }
    return stride(from: 0, to: b.count, by: columns).reduce(0) { worst, start in
        var (difference, norm) = (0.0, 0.0)
        for i in start..<start + columns {
            difference += (Double(a[i]) - b[i]) * (Double(a[i]) - b[i])
            norm += b[i] * b[i]
        }
        let off = norm == 0 ? difference : (difference / norm).squareRoot()
        // max(worst, NaN) is worst.
        return off.isFinite ? max(worst, off) : .infinity
    }
}
