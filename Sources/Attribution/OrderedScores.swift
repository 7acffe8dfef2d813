/// Scores of one latent in falling order, with the tokens where it was silent as so many zeros among them. Each score
/// may count several times, or not at all, as in a sample of sequences drawn again.
package struct OrderedScores {
    private let descending: ArraySlice<Float>
    private let weight: (Int) -> Int
    private let zeros: Int

    /// Scores in falling order that count once each. For a quantile the largest are enough, as far as its rank.
    package init(_ descending: [Float], zeros: Int) { self.init(descending[...], zeros: zeros) { _ in 1 } }

    /// Scores in falling order; the one at index i counts `weight(i)` times.
    package init(_ descending: ArraySlice<Float>, zeros: Int, weight: @escaping (Int) -> Int) {
        self.descending = descending
        self.zeros = zeros
        self.weight = weight
    }

    /// Calls `body` with each value and how often it counts, in falling order, until it returns false.
    private func forEach(_ body: (Float, Int) -> Bool) {
        var index = descending.startIndex
        while index < descending.endIndex, descending[index] > 0 {
            if !body(descending[index], weight(index)) { return }
            index += 1
        }
        if zeros > 0, !body(0, zeros) { return }
        while index < descending.endIndex {
            if !body(descending[index], weight(index)) { return }
            index += 1
        }
    }

    /// numpy's linear quantile of `count` numbers: with h = (count − 1)q it is a₍⌊h⌋₎ + (h − ⌊h⌋)(a₍⌊h⌋+1₎ − a₍⌊h⌋₎) on
    /// ascending order statistics.
    package func quantile(_ q: Double, count: Int) -> Double {
        let h = Double(count - 1) * q
        let low = Int(h.rounded(.down))
        // Counted from the top: the one above first.
        let fromTop = count - 1 - low
        var (seen, above, value) = (0, 0.0, 0.0)
        forEach { score, times in
            if seen <= fromTop - 1 && fromTop - 1 < seen + times { above = Double(score) }
            seen += times
            value = Double(score)
            return seen <= fromTop
        }
        return low + 1 < count ? value + (h - Double(low)) * (above - value) : value
    }

    /// Mean of the numbers left when ⌊count·p⌋ are cut from each end.
    package func trimmedMean(_ p: Double, count: Int) -> Double {
        let cut = Int(Double(count) * p)
        var (seen, sum) = (0, 0.0)
        forEach { score, times in
            let kept = min(seen + times, count - cut) - max(seen, cut)
            if kept > 0 { sum += Double(kept) * Double(score) }
            seen += times
            return true
        }
        return sum / Double(count - 2 * cut)
    }

    /// Σ of the scores' power `exponent` (1 or 2).
    package func sum(squared: Bool) -> Double {
        var sum = 0.0
        forEach { score, times in
            sum += Double(times) * (squared ? Double(score) * Double(score) : Double(score))
            return true
        }
        return sum
    }

    /// The largest that counts at all; nil of nothing.
    package var largest: Double? {
        var result: Double?
        forEach { score, times in
            if times > 0 { result = Double(score) }
            return times == 0
        }
        return result
    }
}
