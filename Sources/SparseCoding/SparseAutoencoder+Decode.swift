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
    private func accumulate(_ codes: SparseCodes, _ entries: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let (columns, values, addScaled4) = (codes.columnIndices, codes.values, kernels.addScaled4)
        var e = entries.lowerBound
        while e + 4 <= entries.upperBound {
            addScaled4(
                target, decoder.row(Int(columns[e])), decoder.row(Int(columns[e + 1])),
                decoder.row(Int(columns[e + 2])), decoder.row(Int(columns[e + 3])),
                SIMD4(values[e], values[e + 1], values[e + 2], values[e + 3]), dIn)
            e += 4
        }
        switch entries.upperBound - e {
        case 0: return
        case 1: kernels.addScaled(target, decoder.row(Int(columns[e])), values[e], dIn)
        case let rest:
            // Two or three in one pass too: the last one takes the missing places, times 0.
            let (second, third) = (e + 1, e + rest - 1)
            let last = decoder.row(Int(columns[third]))
            addScaled4(
                target, decoder.row(Int(columns[e])), decoder.row(Int(columns[second])), last, last,
                SIMD4(values[e], values[second], rest == 3 ? values[third] : 0, 0), dIn)
        }
    }
}
