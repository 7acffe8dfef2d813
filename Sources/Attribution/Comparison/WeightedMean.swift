/// The mean of values with weights, and how sure it is: Σ wv / Σ w, an estimate of a ratio.
public struct WeightedMean: Sendable {
    /// Values that have a number.
    public let count: Int
    /// Σ wv / Σ w; NaN where no weight is.
    public let value: Double
    /// n = (Σ w)² / Σ w² (Kish), the number of equal weights that say as much: one value with most of the weight is hardly more than one.
    public let effectiveCount: Double
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
        let n = total * total / pairs.reduce(0.0) { $0 + $1.1 * $1.1 }
        effectiveCount = total > 0 ? n : 0
        variance = count > 1 ? n / (n - 1) * squares / (total * total) : .nan
    }

    /// Degrees of freedom; NaN for fewer than three values, or weights that say no more, whose spread says next to nothing.
    private var degrees: Double {
        // Of equal weights n is a whole number but for rounding.
        effectiveCount >= 3 - 1e-9 ? effectiveCount - 1 : .nan
    }

    /// With the 95% interval by Student's t; without limits where there are too few values for one.
    public var interval: Interval { Interval(value, variance: variance, degrees: degrees) }

    /// Of independent values: the difference of the means, with the 95% interval of Welch's t.
    public func less(_ other: WeightedMean) -> Interval {
        let sum = variance + other.variance
        let parts = variance * variance / degrees + other.variance * other.variance / other.degrees
        // Two sets without any spread are as sure as the smaller of them.
        let together = sum > 0 ? sum * sum / parts : min(degrees, other.degrees)
        return Interval(value - other.value, variance: sum, degrees: parts.isNaN ? .nan : together)
    }
}

extension Interval {
    /// Where a value of this variance lies by Student's t; without limits where `degrees` of freedom is NaN. Fractions of a degree are cut off,
    /// which widens it.
    fileprivate init(_ value: Double, variance: Double, degrees: Double) {
        guard variance >= 0, degrees >= 1 else {
            self.init(value, low: .nan, high: .nan)
            return
        }
        let half = StudentT.twoSided95(degrees: Int(min(degrees, 1e6) + 1e-9)) * variance.squareRoot()
        self.init(value, low: value - half, high: value + half)
    }
}
