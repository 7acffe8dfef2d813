import Glibc
import LinearAlgebra
import Probing
import TestSupport
import Testing

/// Solutions against scikit-learn's (newton-cholesky, tolerance 1e-12), against the gradient of the objective, and one form against the
/// other.
@Suite struct LogisticRegressionTests {
    /// `RandomState(0).randn(40, 3).round(2)`.
    private static let values: [Float] = [
        1.76, 0.4, 0.98, 2.24, 1.87, -0.98, 0.95, -0.15, -0.1, 0.41, 0.14, 1.45, 0.76, 0.12, 0.44, 0.33, 1.49, -0.21,
        0.31, -0.85, -2.55, 0.65, 0.86, -0.74, 2.27, -1.45, 0.05, -0.19, 1.53, 1.47, 0.15, 0.38, -0.89, -1.98, -0.35,
        0.16, 1.23, 1.2, -0.39, -0.3, -1.05, -1.42, -1.71, 1.95, -0.51, -0.44, -1.25, 0.78, -1.61, -0.21, -0.9, 0.39,
        -0.51, -1.18, -0.03, 0.43, 0.07, 0.3, -0.63, -0.36, -0.67, -0.36, -0.81, -1.73, 0.18, -0.4, -1.63, 0.46, -0.91,
        0.05, 0.73, 0.13, 1.14, -1.23, 0.4, -0.68, -0.87, -0.58, -0.31, 0.06, -1.17, 0.9, 0.47, -1.54, 1.49, 1.9, 1.18,
        -0.18, -1.07, 1.05, -0.4, 1.22, 0.21, 0.98, 0.36, 0.71, 0.01, 1.79, 0.13, 0.4, 1.88, -1.35, -1.27, 0.97, -1.17,
        1.94, -0.41, -0.75, 1.92, 1.48, 1.87, 0.91, -0.86, 1.91, -0.27, 0.8, 0.95, -0.16, 0.61, 0.92,
    ]
    private static let labels = [
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1,
        1, 0, 0,
    ].map { $0 == 1 }
    private let X = FeatureRows(Matrix(rows: 40, columns: 3, Self.values))

    @Test func `weights and intercepts are scikit-learn's, in either form`() throws {
        let expected: [(C: Double, weights: [Double], intercept: Double, auc: Double)] = [
            (
                0.01, [0.13870632454819445, -0.003978113157337247, 0.044516558219096364], 0.18024716726187032,
                0.934343434
            ),
            (1, [2.019082332337959, -0.1972855737873938, 0.36117545233073645], 0.03186797215712863, 0.934343434),
            (100, [4.758776593238725, -0.5369743331516225, 0.8093497498383332], 0.02787535766281195, 0.949494949),
        ]
        let C = expected.map(\.C)
        for path in [
            LogisticRegression.path(FeatureForm(X), Self.labels, C: C),
            LogisticRegression.path(RowForm(X), Self.labels, C: C), LogisticRegression.path(X, Self.labels, C: C),
        ] {
            for (found, wanted) in zip(path, expected) {
                let found = try #require(found)
                // A gap of 1e-8 of the objective is some 1e-5 of weights; features are rounded to single precision.
                for (a, b) in zip(found.weights, wanted.weights) { #expect(isNear(a, b, within: 2e-4)) }
                #expect(isNear(found.intercept, wanted.intercept, within: 2e-4) && found.gap <= 1e-8)
                let auc = try #require(ProbeMetrics.auc(found.scores(X), Self.labels))
                #expect(isNear(auc, wanted.auc, within: 1e-8))
            }
        }
    }

    /// ∂/∂(w, b) of the objective, from its definition.
    private func gradient(_ X: Matrix, _ labels: [Bool], _ found: LogisticRegression, C: Double) -> [Double] {
        var result = found.weights.map { $0 / C } + [0]
        for r in 0..<X.rows {
            let z = found.weights.indices.reduce(found.intercept) { $0 + found.weights[$1] * Double(X[r, $1]) }
            let g = 1 / (1 + exp(-z)) - (labels[r] ? 1 : 0)
            for c in 0..<X.columns { result[c] += g * Double(X[r, c]) }
            result[X.columns] += g
        }
        return result
    }

    @Test(arguments: [(60, 5), (60, 29), (60, 31), (60, 200)])
    func `the gradient vanishes where a search ends, also for classes that features tell apart whole`(
        rows: Int, columns: Int
    ) throws {
        // As latents are: many zeros, norms of 30, a column that is nothing.
        let X = randomMatrix(rows, columns, seed: 9, from: -30, to: 10)
        for i in 0..<X.count where X[i] < 0 { X[i] = 0 }
        for r in 0..<rows { X[r, 2] = 0 }
        let labels = (0..<rows).map { ($0 * $0) % 7 < 3 }
        let strengths = Probe.strengths
        let path = LogisticRegression.path(FeatureRows(X), labels, C: strengths)
        for (C, found) in zip(strengths, path) {
            let found = try #require(found, "C = \(C)")
            let gradient = gradient(X, labels, found, C: C)
            // ‖∂/∂w‖² = 2 gap · objective / C.
            let loss = (0..<rows).reduce(0.0) { sum, r in
                let z = found.scores(FeatureRows(X))[r] * (labels[r] ? 1 : -1)
                return sum + log1p(exp(-z))
            }
            let objective = loss + found.weights.reduce(0) { $0 + $1 * $1 } / (2 * C)
            let square = gradient.dropLast().reduce(0) { $0 + $1 * $1 }
            #expect(square <= 1.01 * 2 * 1e-8 * objective / C + 1e-20, "C = \(C): \(square)")
            #expect(abs(gradient[columns]) < 1e-9 && found.weights[2] == 0)
        }
    }

    /// What all rows share says nothing, since the intercept takes it up: with it as large as it is in a residual stream, and two rows alike
    /// of unlike classes, so that the losses do not vanish with the penalty.
    @Test func `a shift of all rows changes nothing but the intercept`() throws {
        let (rows, columns) = (60, 80)
        func features(shift: Int) -> FeatureRows {
            let X = randomMatrix(rows, columns, seed: 11, from: -3, to: 3)
            // Sixteenths, so that the sum is exact.
            for i in 0..<X.count { X[i] = (X[i] * 16).rounded() / 16 }
            for c in 0..<columns { X[1, c] = X[0, c] }
            for r in 0..<rows { for c in 0..<columns { X[r, c] += Float(shift * (c % 3)) } }
            return FeatureRows(X)
        }
        var labels = (0..<rows).map { ($0 * $0) % 7 < 3 }
        (labels[0], labels[1]) = (true, false)
        let (plain, moved) = (features(shift: 0), features(shift: 65_536))
        let paths = [plain, moved].map { LogisticRegression.path($0, labels, C: Probe.strengths) }
        for (C, (a, b)) in zip(Probe.strengths, zip(paths[0], paths[1])) {
            let (a, b) = (try #require(a, "C = \(C)"), try #require(b, "shifted, C = \(C)"))
            // Both are within a gap of 10⁻⁸ of the objective: z to its root, of scores up to 12 with so weak a penalty. Rounding of 65,536 times a
            // weight is far below.
            let pairs = zip(a.scores(plain), b.scores(moved))
            #expect(pairs.allSatisfy { abs($0 - $1) < 12e-4 }, "C = \(C): \(pairs.map { $0 - $1 })")
        }
    }

    @Test func `features that say nothing leave the share of the classes`() throws {
        let X = FeatureRows(Matrix(rows: 8, columns: 2))
        let labels = [true, true, true, true, true, true, false, false]
        let found = try #require(LogisticRegression.path(X, labels, C: [1])[0])
        #expect(isNear(found.intercept, log(3), within: 1e-12) && found.weights == [0, 0])
    }

    @Test(arguments: [1, 3, 4, 5, 16, 37]) func `Cholesky's factors solve`(size m: Int) throws {
        let A = randomMatrix(m, m, seed: 3)
        var S = [Double](repeating: 0, count: m * m)
        for i in 0..<m {
            for j in 0..<m {
                S[i * m + j] = (0..<m).reduce(i == j ? 0.1 : 0) { $0 + Double(A[i, $1]) * Double(A[j, $1]) }
            }
        }
        let x = (0..<m).map { sin(Double($0)) }
        let b = (0..<m).map { i in (0..<m).reduce(0.0) { $0 + S[i * m + $1] * x[$1] } }
        let found = try #require(Cholesky(S, size: m)).solve(b)
        for (a, b) in zip(found, x) { #expect(isNear(a, b, within: 1e-9)) }
        S[m * m - 1] = -1
        #expect(Cholesky(S, size: m) == nil)
    }

    @Test func `areas, accuracies and F1 are scikit-learn's, ties included`() {
        let scores = [0.1, 0.4, 0.4, 0.35, 0.8, -1, 0.4, -0.2]
        let labels = [false, false, true, true, true, false, true, true]
        #expect(isNear(ProbeMetrics.auc(scores, labels) ?? 0, 0.7333333333333334, within: 1e-12))
        #expect(isNear(ProbeMetrics.weightedF1(scores, labels), 0.6045454545454546, within: 1e-12))
        #expect(ProbeMetrics.accuracy(scores, labels) == 0.625)
        // Nobody is said to be of the other class.
        let all = [Double](repeating: 1, count: 8)
        #expect(isNear(ProbeMetrics.weightedF1(all, labels), 0.4807692307692308, within: 1e-12))
        #expect(ProbeMetrics.auc(all, labels) == 0.5 && ProbeMetrics.auc([1, 2], [true, true]) == nil)
    }
}
