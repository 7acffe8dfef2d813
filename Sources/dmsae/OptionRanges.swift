import ArgumentParser

/// Numbers that users give are checked where they enter, so that no sum or product of them overflows later.
enum OptionRange {
    /// More tokens than anyone runs through a model here, and few enough that no sum of them overflows.
    static let tokens = 1...(1 << 40)
    /// Of the text, before the part that is used.
    static let skip = 0...(1 << 40)
    /// Tokens of one sequence.
    static let context = 2...(1 << 24)
    /// Sequences at a time, or rows of a file.
    static let sequences = 1...(1 << 32)
    /// Seconds or GiB, with room for everybody.
    static let seconds = 0.001...1e9
}

/// Refuses a number outside its range.
///
/// - Throws: `ValidationError` that names the option, the number and the bound it breaks.
func require<Number: Comparable>(_ option: String, _ value: Number, in range: ClosedRange<Number>) throws {
    guard !range.contains(value) else { return }
    // NaN is neither.
    let wanted =
        if value < range.lowerBound {
            "at least \(range.lowerBound)"
        } else if value > range.upperBound {
            "at most \(range.upperBound)"
        } else {
            "a number from \(range.lowerBound) to \(range.upperBound)"
        }
    throw ValidationError("\(option) is \(value); it must be \(wanted)")
}
