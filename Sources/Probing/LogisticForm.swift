/// In what a logistic regression is solved: weights of features, or weights of rows where those are fewer.
///
/// z = M v + b. λ = 1/C, g = ∂/∂z of the losses, D their curvature.
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
    func step(_ g: [Double], _ D: [Double], _ v: [Double], lambda: Double) -> (v: [Double], b: Double)?
    /// w of v.
    func weights(_ v: [Double]) -> [Double]
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

    private func gradient(_ g: [Double], _ v: [Double], lambda: Double) -> [Double] {
        zip(X.transposedProduct(g), v).map { $0 + lambda * $1 }
    }

    package func squaredGradient(_ g: [Double], _ v: [Double], lambda: Double) -> Double {
        let gradient = gradient(g, v, lambda: lambda)
        return dot(gradient, gradient)
    }

    package func step(_ g: [Double], _ D: [Double], _ v: [Double], lambda: Double) -> (v: [Double], b: Double)? {
        let p = parameterCount
        var H = [Double](repeating: 0, count: p * p)
        for i in 0..<p { H[i * p + i] = lambda }
        H.withUnsafeMutableBufferPointer { H in
            for r in 0..<X.rowCount {
                X.forEach(inRow: r) { i, x in X.forEach(inRow: r) { j, y in if j <= i { H[i * p + j] += D[r] * x * y } }
                }
            }
        }
        guard let cholesky = Cholesky(H, size: p) else { return nil }
        // (H  c; cᵀ  ΣD) (δw; δb) = −(∇; 0) with c = Xᵀ D, b taken out first.
        let c = X.transposedProduct(D)
        let (u, r) = (cholesky.solve(c), cholesky.solve(gradient(g, v, lambda: lambda)))
        let left = D.reduce(0, +) - dot(c, u)
        let b = left > 0 ? dot(c, r) / left : 0
        return (zip(r, u).map { -$0 - b * $1 }, b)
    }
}

/// v = a with w = Xᵀ a, one number a row: the penalty leaves no other w. M = K = X Xᵀ.
package struct RowForm: LogisticForm {
    private let X: FeatureRows
    /// K `[n, n]`, in rows of `stride`.
    private let K: [Double]
    private let stride: Int

    /// Of these features; products of rows are made here.
    package init(_ X: FeatureRows) {
        let (products, n) = (Self.products(X), X.rowCount)
        (self.X, K, stride) = (X, products, n)
    }

    private init(_ X: FeatureRows, K: [Double], stride: Int) { (self.X, self.K, self.stride) = (X, K, stride) }

    /// The same of the first rows alone.
    func first(_ n: Int) -> RowForm { RowForm(X.rows(0..<n), K: K, stride: stride) }

    private static func products(_ X: FeatureRows) -> [Double] {
        let n = X.rowCount
        var result = [Double](repeating: 0, count: n * n)
        var dense = [Double](repeating: 0, count: X.columnCount)
        dense.withUnsafeMutableBufferPointer { dense in
            for i in 0..<n {
                X.forEach(inRow: i) { dense[$0] = $1 }
                for j in 0...i {
                    var sum = 0.0
                    X.forEach(inRow: j) { sum += dense[$0] * $1 }
                    (result[i * n + j], result[j * n + i]) = (sum, sum)
                }
                X.forEach(inRow: i) { column, _ in dense[column] = 0 }
            }
        }
        return result
    }

    package var parameterCount: Int { X.rowCount }
    package func weights(_ v: [Double]) -> [Double] { X.transposedProduct(v) }
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
    package func step(_ g: [Double], _ D: [Double], _ v: [Double], lambda: Double) -> (v: [Double], b: Double)? {
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
        guard let cholesky = Cholesky(B, size: n) else { return nil }
        let r = cholesky.solve(v.indices.map { (g[$0] + lambda * v[$0]) / S[$0] })
        let u = cholesky.solve(S)
        let left = dot(S, u)
        let b = left > 0 ? (v.reduce(0, +) - dot(S, r)) / left : 0
        return (v.indices.map { -S[$0] * (r[$0] + b * u[$0]) }, b)
    }
}
