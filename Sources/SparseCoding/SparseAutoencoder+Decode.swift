import Kernels
import LinearAlgebra

extension SparseAutoencoder {
    /// x̂ = f[:, ..<m] W_dec[..<m] + b_dec, [N, D]; m is the whole width unless given.
    public func decode(_ codes: SparseCodes, prefix: Int? = nil, lanes: Lanes = .shared) -> Matrix {
        let result = Matrix(rows: codes.rows, columns: dIn)
        decode(codes, prefix: prefix, into: result, lanes: lanes)
        return result
    }

    /// `decode` into a matrix that is there.
    public func decode(_ codes: SparseCodes, prefix: Int? = nil, into result: Matrix, lanes: Lanes = .shared) {
        let end = Int32(prefix ?? dSAE)
        lanes.forRanges(codes.rows) { _, rows in
            for r in rows {
                let target = result.row(r)
                target.update(from: decoderBias.elements, count: dIn)
                let entries = codes.entries(ofRow: r)
                var stop = entries.lowerBound
                while stop < entries.upperBound && codes.columnIndices[stop] < end { stop += 1 }
                accumulate(codes, entries.lowerBound..<stop, into: target)
            }
        }
    }

    /// target += Σ f_e W_dec[column of e]: four rows a pass, since it is the reads and writes of `target` that cost.
    func accumulate(_ codes: SparseCodes, _ entries: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        accumulateRows(
            of: decoder, columns: codes.columnIndices, weights: codes.values, entries, into: target)
    }
}

/// target += Σ_e weights[e] · matrix[columns[e]] over the entries, four rows a pass.
func accumulateRows(
    of matrix: Matrix, columns: UnsafePointer<Int32>, weights: UnsafePointer<Float>, _ entries: Range<Int>,
    into target: UnsafeMutablePointer<Float>
) {
    let width = matrix.columns
    var e = entries.lowerBound
    while e + 4 <= entries.upperBound {
        kernels.addScaled4(
            target, matrix.row(Int(columns[e])), matrix.row(Int(columns[e + 1])), matrix.row(Int(columns[e + 2])),
            matrix.row(Int(columns[e + 3])), SIMD4(weights[e], weights[e + 1], weights[e + 2], weights[e + 3]), width)
        e += 4
    }
    while e < entries.upperBound {
        kernels.addScaled(target, matrix.row(Int(columns[e])), weights[e], width)
        e += 1
    }
}
