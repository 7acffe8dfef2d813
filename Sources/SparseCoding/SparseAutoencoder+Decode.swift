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
            of: decoder.elements, dIn, indices: codes.columnIndices, weights: codes.values, entries, into: target)
    }
}

/// target += Σ_e weights[e] · (row indices[e] of a matrix of `width` columns) over the entries, four rows a pass.
func accumulateRows(
    of matrix: UnsafePointer<Float>, _ width: Int, indices: UnsafePointer<Int32>, weights: UnsafePointer<Float>,
    _ entries: Range<Int>, into target: UnsafeMutablePointer<Float>
) {
    let addScaled4 = kernels.addScaled4
    var e = entries.lowerBound
    while e + 4 <= entries.upperBound {
        addScaled4(
            target, matrix + Int(indices[e]) * width, matrix + Int(indices[e + 1]) * width,
            matrix + Int(indices[e + 2]) * width, matrix + Int(indices[e + 3]) * width,
            SIMD4(weights[e], weights[e + 1], weights[e + 2], weights[e + 3]), width)
        e += 4
    }
    switch entries.upperBound - e {
    case 0: return
    case 1: kernels.addScaled(target, matrix + Int(indices[e]) * width, weights[e], width)
    case let rest:
        // Two or three in one pass too: the last one takes the missing places, times 0.
        let (second, third) = (e + 1, e + rest - 1)
        let last = matrix + Int(indices[third]) * width
        addScaled4(
            target, matrix + Int(indices[e]) * width, matrix + Int(indices[second]) * width, last, last,
            SIMD4(weights[e], weights[second], rest == 3 ? weights[third] : 0, 0), width)
    }
}
