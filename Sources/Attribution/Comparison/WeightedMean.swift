/// The mean of values with weights, and how sure it is: Σ wv / Σ w, an estimate of a ratio.
public struct WeightedMean: Sendable {
    /// Values that have a number.
    public let count: Int
    /// Σ wv / Σ w; NaN where no weight is.
    public let value: Double
    /// The variance of `value`, as of values drawn with their weights, to first order (Cochran, Sampling Techniques, 6.3):
    /// n / (n − 1) · Σ (w (v − value))² / (Σ w)². With equal weights it is the variance of a mean, s² / n.
    public let variance: Double

    /// Of values and weights of one length; values that are NaN are left out.
    public init(_ values: [Double], weights: [Double]) {
        let pairs = zip(values, weights).filter { !$0.0.isNaN && $0.1 > 0 }
        count = pairs.count
        let total = pairs.reduce(0.0) { $0 + $1.1 }
        let mean = pairs.reduce(0.0) { $0 + $1.0 * $1.1 } / total
        value = total > 0 ? mean : .nan
        let squares = pairs.reduce(0.0) { sum, pair in
            let part = pair.1 * (pair.0 - mean)
            return sum + part * part
        }
        variance = count > 1 ? Double(count) / Double(count - 1) * squares / (total * total) : .nan
    }

    /// With the 95% interval by Student's t; without limits for fewer than three values.
    public var interval: Interval {
        Interval(value, variance: variance, degrees: count >= 3 ? Double(count - 1) : .nan)
    }

    /// Of independent values: the difference of the means, with the 95% interval of Welch's t.
    public func less(_ other: WeightedMean) -> Interval {
        let sum = variance + other.variance
        let parts = variance * variance / Double(count - 1) + other.variance * other.variance / Double(other.count - 1)
        let isKnown = count >= 3 && other.count >= 3
        return Interval(value - other.value, variance: sum, degrees: isKnown ? sum * sum / parts : .nan)
    }
}

extension Interval {
    /// Where a value of this variance lies by Student's t; without limits where `degrees` of freedom is NaN. Fractions of a degree are cut off,
    /// which widens it.
    fileprivate init(_ value: Double, variance: Double, degrees: Double) {
        guard variance > 0, degrees >= 1 else {
            // No spread at all is a certainty only where there are enough values.
            let limit = variance == 0 ? value : .nan
            self.init(value, low: limit, high: limit)
            return
        }
        let half = StudentT.twoSided95(degrees: Int(min(degrees, 1e6))) * variance.squareRoot()
        self.init(value, low: value - half, high: value + half)
    }
}
