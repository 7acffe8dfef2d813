import Glibc

extension Interval {
    /// The mean of a few numbers, as differences of pairs, and the 95% interval of it by Student's t; without limits for fewer than
    /// three, whose spread says next to nothing.
    public init(meanOf values: [Double]) {
        let n = Double(values.count)
        let mean = values.reduce(0, +) / n
        guard values.count >= 3 else {
            self.init(mean, low: .nan, high: .nan)
            return
        }
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1)
        let half = StudentT.twoSided95(degrees: values.count - 1) * (variance / n).squareRoot()
        self.init(mean, low: mean - half, high: mean + half)
    }

    /// Whether it has limits.
    public var hasLimits: Bool { low.isFinite && high.isFinite }
}

/// Student's distribution of t.
package enum StudentT {
    /// The t that |t| exceeds in 5 of 100 cases, by halving.
    package static func twoSided95(degrees: Int) -> Double {
        var (low, high) = (0.0, Double.pi / 2)
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if probability(within: middle, degrees: degrees) < 0.95 { low = middle } else { high = middle }
        }
        return tan((low + high) / 2) * Double(degrees).squareRoot()
    }

    /// P(|t| ≤ √ν tan θ), a finite sum for whole ν (Abramowitz and Stegun 26.7.3 and 26.7.4).
    package static func probability(within angle: Double, degrees: Int) -> Double {
        let (sine, cosine) = (sin(angle), cos(angle))
        let isOdd = degrees % 2 == 1
        // cos θ · 2/3 cos² θ · 4/5 cos² θ …, or 1 · 1/2 cos² θ · 3/4 cos² θ …
        var (term, sum) = (isOdd ? cosine : 1, 0.0)
        var next = isOdd ? 3.0 : 2.0
        for _ in 0..<(isOdd ? (degrees - 1) / 2 : degrees / 2) {
            sum += term
            term *= (next - 1) / next * cosine * cosine
            next += 2
        }
        return isOdd ? 2 / .pi * (angle + sine * sum) : sine * sum
    }
}
