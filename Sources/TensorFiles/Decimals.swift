/// A number with `places` decimals; `String(format:)` would need all of Foundation.
public func decimals(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    guard abs(value) * scale < 1e15 else { return "\(value)" }
    let rounded = Int((abs(value) * scale).rounded())
    let sign = value < 0 && rounded > 0 ? "-" : ""
    guard places > 0 else { return sign + String(rounded) }
    let fraction = String(rounded % Int(scale))
    return sign + String(rounded / Int(scale)) + "."
        + String(repeating: "0", count: places - fraction.count) + fraction
}

/// The same for people to read on a page: a true minus sign, and "–" for what has no value.
public func short(_ value: Double, _ places: Int = 3) -> String {
    value.isFinite ? decimals(value, places).replacing("-", with: "−") : "–"
}
