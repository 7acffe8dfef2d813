/// L Lᵀ of a symmetric positive definite matrix, in Double: BLAS is held in single precision here, in which a weak penalty is lost beside
/// activations of norm 100.
package struct Cholesky {
    /// `[m, m]`, L below and on the diagonal.
    private var elements: [Double]
    private let size: Int

    private typealias Wide = SIMD8<Double>

    /// Factors a matrix `[m, m]`, of which the lower half is read; nil for one that is not positive definite.
    package init?(_ matrix: [Double], size m: Int) {
        (elements, size) = (matrix, m)
        let isDefinite = elements.withUnsafeMutableBufferPointer { buffer -> Bool in
            let a = buffer.baseAddress!
            // Four rows at a time: each row above them is read once for the four.
            for first in stride(from: 0, to: m, by: 4) {
                let last = min(first + 4, m)
                for j in 0..<first {
                    let row = UnsafePointer(a + j * m), diagonal = row[j]
                    for i in first..<last { a[i * m + j] = (a[i * m + j] - Self.dot(row, a + i * m, j)) / diagonal }
                }
                for i in first..<last {
                    for j in first..<i {
                        a[i * m + j] = (a[i * m + j] - Self.dot(a + j * m, a + i * m, j)) / a[j * m + j]
                    }
                    let left = a[i * m + i] - Self.dot(a + i * m, a + i * m, i)
                    guard left > 0, left.isFinite else { return false }
                    a[i * m + i] = left.squareRoot()
                }
            }
            return true
        }
        if !isDefinite { return nil }
    }

    static func dot(_ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ count: Int) -> Double {
        var (sum, other) = (Wide(repeating: 0), Wide(repeating: 0))
        let (x, y) = (UnsafeRawPointer(a), UnsafeRawPointer(b))
        var i = 0
        while i + 16 <= count {
            sum +=
                x.loadUnaligned(fromByteOffset: 8 * i, as: Wide.self)
                * y.loadUnaligned(fromByteOffset: 8 * i, as: Wide.self)
            other +=
                x.loadUnaligned(fromByteOffset: 8 * i + 64, as: Wide.self)
                * y.loadUnaligned(fromByteOffset: 8 * i + 64, as: Wide.self)
            i += 16
        }
        var result = (sum + other).sum()
        while i < count {
            result += a[i] * b[i]
            i += 1
        }
        return result
    }

    /// The x of A x = b.
    package func solve(_ b: [Double]) -> [Double] {
        var x = b
        let m = size
        elements.withUnsafeBufferPointer { a in
            x.withUnsafeMutableBufferPointer { x in
                let (a, x) = (a.baseAddress!, x.baseAddress!)
                for i in 0..<m { x[i] = (x[i] - Self.dot(a + i * m, x, i)) / a[i * m + i] }
                for i in stride(from: m - 1, through: 0, by: -1) {
                    x[i] /= a[i * m + i]
                    for j in 0..<i { x[j] -= x[i] * a[i * m + j] }
                }
            }
        }
        return x
    }
}
