/// In what a logistic regression is solved: weights of features, or weights of rows where those are fewer.
///
/// z = M v + b. λ = 1/C, g = ∂/∂z of the losses, D their curvature. Steps may be damped, by a share of the largest curvature, which shortens them
/// where rounding leaves no way down.
package protocol LogisticForm: Sendable {
    /// Numbers in v.
    var parameterCount: Int { get }
    /// M v `[n]`.
    func scores(_ v: [Double]) -> [Double]
    /// ⟨w, w'⟩ of v and a v' with M v' = `scores`.
    func inner(_ v: [Double], _ other: [Double], scores: [Double]) -> Double
    /// ‖∂/∂w‖² at v.
    func squaredGradient(_ g: [Double], _ v: [Double], lambda: Double) -> Double
    /// Newton's step in v and b where Σ g = 0; nil where rounding leaves none.
    func step(
        _ g: [Double], _ D: [Double], _ v: [Double], lambda: Double, damping: Double
    ) -> (v: [Double], b: Double)?
    /// w of v.
    func weights(_ v: [Double]) -> [Double]
    /// What the intercept of features is above b.
    func offset(_ v: [Double]) -> Double
}

func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for i in a.indices { sum += a[i] * b[i] }
    return sum
}

/// v = w, one number a feature.
package struct FeatureForm: LogisticForm {
    private let X: FeatureRows

    /// Of these features.
    package init(_ X: FeatureRows) { self.X = X }

    package var parameterCount: Int { X.columnCount }
    package func scores(_ v: [Double]) -> [Double] { X.product(v) }
    package func inner(_ v: [Double], _ other: [Double], scores: [Double]) -> Double { dot(v, other) }
    package func weights(_ v: [Double]) -> [Double] { v }
    package func offset(_ v: [Double]) -> Double { 0 }

    private func gradient(_ g: [Double], _ v: [Double], lambda: Double) -> [Double] {
        zip(X.transposedProduct(g), v).map { $0 + lambda * $1 }
    }

    package func squaredGradient(_ g: [Double], _ v: [Double], lambda: Double) -> Double {
        let gradient = gradient(g, v, lambda: lambda)
        return dot(gradient, gradient)
    }

    package func step(
        _ g: [Double], _ D: [Double], _ v: [Double], lambda: Double, damping: Double
    ) -> (v: [Double], b: Double)? {
        let p = parameterCount
        var H = [Double](repeating: 0, count: p * p)
        for i in 0..<p { H[i * p + i] = lambda }
        H.withUnsafeMutableBufferPointer { H in
            for r in 0..<X.rowCount {
                X.forEach(inRow: r) { i, x in X.forEach(inRow: r) { j, y in if j <= i { H[i * p + j] += D[r] * x * y } }
                }
            }
        }
        damp(&H, size: p, damping)
        guard let cholesky = Cholesky(H, size: p) else { return nil }
        // (H  c; cᵀ  ΣD) (δw; δb) = −(∇; 0) with c = Xᵀ D, b taken out first.
        let c = X.transposedProduct(D)
        let (u, r) = (cholesky.solve(c), cholesky.solve(gradient(g, v, lambda: lambda)))
        let left = D.reduce(0, +) - dot(c, u)
        let b = left > 0 ? dot(c, r) / left : 0
        return (zip(r, u).map { -$0 - b * $1 }, b)
    }
}

/// Adds a share of the largest number on the diagonal `[m, m]` to all of it.
private func damp(_ matrix: inout [Double], size m: Int, _ damping: Double) {
    guard damping > 0 else { return }
    let added = damping * (0..<m).reduce(0.0) { max($0, matrix[$1 * m + $1]) }
    for i in 0..<m { matrix[i * m + i] += added }
}

/// v = a with w = X̄ᵀ a, one number a row: the penalty leaves no other w. M = K = X̄ X̄ᵀ, where X̄ is X less the mean of all rows: b takes it up, and
/// with C = 10⁵ what all rows share, as a residual stream's largest direction, would leave of K nothing but itself.
package struct RowForm: LogisticForm {
    private let X: FeatureRows
    /// Of all rows that products were made of.
    private let mean: [Double]
    /// K `[n, n]`, in rows of `stride`.
    private let K: [Double]
    private let stride: Int

    /// Of these features; products of rows are made here.
    package init(_ X: FeatureRows) {
        let n = X.rowCount
        let mean = X.transposedProduct([Double](repeating: 1, count: n)).map { $0 / Double(n) }
        self.init(X, mean: mean, K: Self.products(X, mean), stride: n)
    }

    private init(_ X: FeatureRows, mean: [Double], K: [Double], stride: Int) {
        (self.X, self.mean, self.K, self.stride) = (X, mean, K, stride)
    }

    /// The same of the first rows alone.
    func first(_ n: Int) -> RowForm { RowForm(X.rows(0..<n), mean: mean, K: K, stride: stride) }

    /// Numbers of X̄ that are kept as they are: 128 MiB.
    private static let mostKept = 1 << 24

    /// Where X̄ is small enough to be kept. Else (x_i − m)ᵀ(x_j − m) = (x_i − m)ᵀ x_j − (x_i − m)ᵀ m, of which rounding leaves less.
    private static func products(_ X: FeatureRows, _ mean: [Double]) -> [Double] {
        let (n, p) = (X.rowCount, X.columnCount)
        var result = [Double](repeating: 0, count: n * n)
        if n * p <= mostKept {
            var rows = [Double]()
            rows.reserveCapacity(n * p)
            for i in 0..<n {
                for m in mean { rows.append(-m) }
                X.forEach(inRow: i) { rows[i * p + $0] += $1 }
            }
            rows.withUnsafeBufferPointer { rows in
                guard let first = rows.baseAddress else { return }
                for i in 0..<n {
                    for j in 0...i {
                        let sum = Cholesky.dot(first + i * p, first + j * p, p)
                        (result[i * n + j], result[j * n + i]) = (sum, sum)
                    }
                }
            }
            return result
        }
        for i in 0..<n {
            var row = mean.map { -$0 }
            X.forEach(inRow: i) { row[$0] += $1 }
            let shared = dot(row, mean)
            row.withUnsafeBufferPointer { row in
                for j in 0...i {
                    var sum = 0.0
                    X.forEach(inRow: j) { sum += row[$0] * $1 }
                    (result[i * n + j], result[j * n + i]) = (sum - shared, sum - shared)
                }
            }
        }
        return result
    }

    package var parameterCount: Int { X.rowCount }
    package func weights(_ v: [Double]) -> [Double] {
        let sum = v.reduce(0, +)
        return zip(X.transposedProduct(v), mean).map { $0 - sum * $1 }
    }
    package func offset(_ v: [Double]) -> Double { -dot(weights(v), mean) }
    package func inner(_ v: [Double], _ other: [Double], scores: [Double]) -> Double { dot(v, scores) }

    package func scores(_ v: [Double]) -> [Double] {
        K.withUnsafeBufferPointer { K in
            v.indices.map { i in
                var sum = 0.0
                for j in v.indices { sum += K[i * stride + j] * v[j] }
                return sum
            }
        }
    }

    package func squaredGradient(_ g: [Double], _ v: [Double], lambda: Double) -> Double {
        let r = zip(g, v).map { $0 + lambda * $1 }
        return max(0, dot(r, scores(r)))
    }

    /// With S = D^½ and B = S K S + λ I, which is well conditioned where D vanishes (Rasmussen and Williams 2006, 3.4.3):
    /// δa = −S B⁻¹ (S⁻¹ (g + λ a) + S 1 δb), and Σ (a + δa) = 0 gives δb.
    package func step(
        _ g: [Double], _ D: [Double], _ v: [Double], lambda: Double, damping: Double
    ) -> (v: [Double], b: Double)? {
        let n = parameterCount
        let S = D.map { max($0, 1e-20).squareRoot() }
        var B = [Double](repeating: 0, count: n * n)
        B.withUnsafeMutableBufferPointer { B in
            K.withUnsafeBufferPointer { K in
                for i in 0..<n {
                    for j in 0...i { B[i * n + j] = S[i] * K[i * stride + j] * S[j] }
                    B[i * n + i] += lambda
                }
            }
        }
        damp(&B, size: n, damping)
        guard let cholesky = Cholesky(B, size: n) else { return nil }
        let r = cholesky.solve(v.indices.map { (g[$0] + lambda * v[$0]) / S[$0] })
        let u = cholesky.solve(S)
        let left = dot(S, u)
        let b = left > 0 ? (v.reduce(0, +) - dot(S, r)) / left : 0
        return (v.indices.map { -S[$0] * (r[$0] + b * u[$0]) }, b)
    }
}
