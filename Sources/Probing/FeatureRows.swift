import LinearAlgebra

/// Features of rows `[n, p]`, those that are not 0: codes of latents, or activations.
package struct FeatureRows: Sendable {
    /// p.
    package let columnCount: Int
    private var offsets = [0]
    private var indices: [Int32] = []
    private var values: [Double] = []

    /// n.
    package var rowCount: Int { offsets.count - 1 }

    /// Of so many features, without a row.
    package init(columnCount: Int) { self.columnCount = columnCount }

    /// All numbers of a matrix.
    package init(_ matrix: Matrix) {
        self.init(columnCount: matrix.columns)
        for r in 0..<matrix.rows {
            append((0..<matrix.columns).lazy.map { (Int32($0), Double(matrix[r, $0])) })
        }
    }

    /// Codes as they are.
    package init(_ codes: SparseCodes) {
        self.init(columnCount: codes.columns)
        append(codes)
    }

    /// Adds rows of as many features.
    package mutating func append(_ codes: SparseCodes) {
        for r in 0..<codes.rows {
            append(codes.entries(ofRow: r).lazy.map { (codes.columnIndices[$0], Double(codes.values[$0])) })
        }
    }

    /// Adds a row: its columns, rising, and their values.
    mutating func append(_ row: some Sequence<(Int32, Double)>) {
        for (column, value) in row where value != 0 {
            indices.append(column)
            values.append(value)
        }
        offsets.append(indices.count)
    }

    /// Some of the rows, in this order.
    package func rows(_ chosen: some Sequence<Int>) -> FeatureRows {
        var result = FeatureRows(columnCount: columnCount)
        for r in chosen { result.append((offsets[r]..<offsets[r + 1]).lazy.map { (indices[$0], values[$0]) }) }
        return result
    }

    /// Some of the columns, in this order.
    package func columns(_ chosen: [Int]) -> FeatureRows {
        var place = [Int32](repeating: -1, count: columnCount)
        for (new, old) in chosen.enumerated() { place[old] = Int32(new) }
        var result = FeatureRows(columnCount: chosen.count)
        for r in 0..<rowCount {
            result.append(
                (offsets[r]..<offsets[r + 1]).lazy.filter { place[Int(indices[$0])] >= 0 }.map {
                    (place[Int(indices[$0])], values[$0])
                })
        }
        return result
    }

    /// The same with rows for columns: of each feature the rows where it is not 0.
    package func transposed() -> FeatureRows {
        var result = FeatureRows(columnCount: rowCount)
        let counts = firings
        result.offsets = counts.reduce(into: [0]) { $0.append($0.last! + $1) }
        result.indices = [Int32](repeating: 0, count: indices.count)
        result.values = [Double](repeating: 0, count: values.count)
        var next = result.offsets
        for r in 0..<rowCount {
            for e in offsets[r]..<offsets[r + 1] {
                let column = Int(indices[e])
                (result.indices[next[column]], result.values[next[column]]) = (Int32(r), values[e])
                next[column] += 1
            }
        }
        return result
    }

    /// Calls `body` with the columns and values of a row.
    package func forEach(inRow r: Int, _ body: (Int, Double) -> Void) {
        indices.withUnsafeBufferPointer { indices in
            values.withUnsafeBufferPointer { values in
                for e in offsets[r]..<offsets[r + 1] { body(Int(indices[e]), values[e]) }
            }
        }
    }

    /// In how many rows each column is not 0 `[p]`.
    package var firings: [Int] {
        var result = [Int](repeating: 0, count: columnCount)
        for index in indices { result[Int(index)] += 1 }
        return result
    }

    /// X w `[n]`.
    package func product(_ w: [Double]) -> [Double] {
        w.withUnsafeBufferPointer { w in
            (0..<rowCount).map { r in
                var sum = 0.0
                forEach(inRow: r) { sum += $1 * w[$0] }
                return sum
            }
        }
    }

    /// Xᵀ v `[p]`.
    package func transposedProduct(_ v: [Double]) -> [Double] {
        var result = [Double](repeating: 0, count: columnCount)
        result.withUnsafeMutableBufferPointer { result in
            for r in 0..<rowCount where v[r] != 0 { forEach(inRow: r) { result[$0] += v[r] * $1 } }
        }
        return result
    }
}
