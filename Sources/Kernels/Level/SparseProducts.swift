import CIntrinsics
import KernelTable

// Sparse products by latent. Of the dense factors, one is a panel of so few columns that it stays in the second-level
// cache, where its rows are met in any order; the other's rows are met one after the other, once. In the order of the
// batch it is the other way round, and every entry waits for memory.
//
// Columns are taken 64, 32 or 16 at a time, so that a latent's row stays in registers for all of its entries; `vectors`
// is a literal wherever it is passed, and what it rules out is not compiled.

/// Rows that are a stride apart are not foreseen by the processor: so many latents ahead they are asked for.
private let ahead = 16

/// Asks for the row of a latent some way after j, if it has entries.
@inline(__always)
private func prefetch(
    _ vectors: Int, _ entries: LatentEntries, after j: Int, _ rows: UnsafePointer<Float>, _ stride: Int
) {
    let next = j + ahead
    if next < entries.end && entries.offsets[next] < entries.offsets[next + 1] {
        for i in 0..<vectors { dmsae_prefetch(rows + next * stride + 16 * i) }
    }
}

@inline(__always)
private func loadFour(_ vectors: Int, _ p: UnsafePointer<Float>) -> (V, V, V, V) {
    (
        load(p, 0), vectors > 1 ? load(p, 16) : V.zero, vectors > 2 ? load(p, 32) : V.zero,
        vectors > 2 ? load(p, 48) : V.zero
    )
}

@inline(__always)
private func shifted(_ p: UnsafePointer<Float>?, _ c: Int) -> UnsafePointer<Float>? {
    guard let p else { return nil }
    return p + c
}

// y[rows[e]] += factor·values[e]·x[j]
@inline(__always)
private func addRows(
    _ vectors: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ factor: Float, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int
) {
    var j = entries.first
    while j < entries.end {
        prefetch(vectors, entries, after: j, x, strideX)
        var e = entries.offsets[j]
        let end = entries.offsets[j + 1]
        j += 1
        if e == end { continue }
        let row = loadFour(vectors, x + (j - 1) * strideX)
        while e < end {
            let target = y + Int(entries.rows[e]) * strideY
            let a = V(repeating: factor * entries.values[e])
            store(multiplyAdd(load(target, 0), a, row.0), target, 0)
            if vectors > 1 { store(multiplyAdd(load(target, 16), a, row.1), target, 16) }
            if vectors > 2 {
                store(multiplyAdd(load(target, 32), a, row.2), target, 32)
                store(multiplyAdd(load(target, 48), a, row.3), target, 48)
            }
            e += 1
        }
    }
}

func addRowsByLatent(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ factor: Float, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int, _ count: Int
) {
    var c = 0
    while c + 64 <= count {
        addRows(4, y + c, strideY, factor, entries, x + c, strideX)
        c += 64
    }
    if c + 32 <= count {
        addRows(2, y + c, strideY, factor, entries, x + c, strideX)
        c += 32
    }
    if c + 16 <= count {
        addRows(1, y + c, strideY, factor, entries, x + c, strideX)
        c += 16
    }
    while c < count {
        var j = entries.first
        while j < entries.end {
            var e = entries.offsets[j]
            while e < entries.offsets[j + 1] {
                let at = Int(entries.rows[e]) * strideY + c
                y[at] = multiplyAdd(y[at], factor * entries.values[e], x[j * strideX + c])
                e += 1
            }
            j += 1
        }
        c += 1
    }
}

// y[j] = Σ values[e]·x[rows[e]];  squares[j] += ‖y[j]‖²;  with `w`: products[e] += ⟨x[rows[e]], w[j]⟩
@inline(__always)
private func sumRows(
    _ vectors: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>?,
    _ products: UnsafeMutablePointer<Float>?
) {
    var j = entries.first
    while j < entries.end {
        if let w { prefetch(vectors, entries, after: j, w, strideY) }
        var e = entries.offsets[j]
        let end = entries.offsets[j + 1]
        let latent = j
        j += 1
        if e == end { continue }
        var row = (V.zero, V.zero, V.zero, V.zero)
        if let w { row = loadFour(vectors, w + latent * strideY) }
        var s0 = V.zero, s1 = V.zero, s2 = V.zero, s3 = V.zero
        while e < end {
            let v = loadFour(vectors, x + Int(entries.rows[e]) * strideX)
            let a = V(repeating: entries.values[e])
            s0 = multiplyAdd(s0, a, v.0)
            if vectors > 1 { s1 = multiplyAdd(s1, a, v.1) }
            if vectors > 2 {
                s2 = multiplyAdd(s2, a, v.2)
                s3 = multiplyAdd(s3, a, v.3)
            }
            if let products {
                var product = v.0 * row.0
                if vectors > 1 { product = multiplyAdd(product, v.1, row.1) }
                if vectors > 2 { product = multiplyAdd(multiplyAdd(product, v.2, row.2), v.3, row.3) }
                products[e] += horizontalSum(product)
            }
            e += 1
        }
        let target = y + latent * strideY
        store(s0, target, 0)
        if vectors > 1 { store(s1, target, 16) }
        if vectors > 2 {
            store(s2, target, 32)
            store(s3, target, 48)
        }
        squares[latent] += Double(horizontalSum((s0 * s0 + s1 * s1) + (s2 * s2 + s3 * s3)))
    }
}

@inline(__always)
private func sumRows(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ count: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>?,
    _ products: UnsafeMutablePointer<Float>?
) {
    var c = 0
    while c + 64 <= count {
        sumRows(4, y + c, strideY, entries, x + c, strideX, squares, shifted(w, c), products)
        c += 64
    }
    if c + 32 <= count {
        sumRows(2, y + c, strideY, entries, x + c, strideX, squares, shifted(w, c), products)
        c += 32
    }
    if c + 16 <= count {
        sumRows(1, y + c, strideY, entries, x + c, strideX, squares, shifted(w, c), products)
        c += 16
    }
    while c < count {
        var j = entries.first
        while j < entries.end {
            var e = entries.offsets[j]
            let end = entries.offsets[j + 1]
            if e < end {
                var sum: Float = 0
                while e < end {
                    let v = x[Int(entries.rows[e]) * strideX + c]
                    sum = multiplyAdd(sum, entries.values[e], v)
                    if let w, let products { products[e] = multiplyAdd(products[e], v, w[j * strideY + c]) }
                    e += 1
                }
                y[j * strideY + c] = sum
                squares[j] += Double(sum) * Double(sum)
            }
            j += 1
        }
        c += 1
    }
}

func sumRowsByLatent(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ count: Int, _ squares: UnsafeMutablePointer<Double>
) {
    sumRows(y, strideY, entries, x, strideX, count, squares, nil, nil)
}

func sumRowsByLatentWithProducts(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ count: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>,
    _ products: UnsafeMutablePointer<Float>
) {
    sumRows(y, strideY, entries, x, strideX, count, squares, w, products)
}
