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
    if next < entries.end && entries.starts[next] < entries.ends[next] {
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

// y[rows[e]] += factor·values[e]·x[j]
@inline(__always)
private func addRows(
    _ vectors: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ factor: Float, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int
) {
    var j = entries.first
    while j < entries.end {
        prefetch(vectors, entries, after: j, x, strideX)
        var e = entries.starts[j]
        let end = entries.ends[j]
        j += 1
        if e == end { continue }
        let row = loadFour(vectors, x + (j - 1) * strideX)
        while e < end {
            let target = y + Int(entries.rows[e]) &* strideY
            let a = V(repeating: factor * entries.values[e])
            store(multiplyAdd(load(target, 0), a, row.0), target, 0)
            if vectors > 1 { store(multiplyAdd(load(target, 16), a, row.1), target, 16) }
            if vectors > 2 {
                store(multiplyAdd(load(target, 32), a, row.2), target, 32)
                store(multiplyAdd(load(target, 48), a, row.3), target, 48)
            }
            e &+= 1
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
            var e = entries.starts[j]
            while e < entries.ends[j] {
                let at = Int(entries.rows[e]) * strideY + c
                y[at] = multiplyAdd(y[at], factor * entries.values[e], x[j * strideX + c])
                e += 1
            }
            j += 1
        }
        c += 1
    }
}

// Sixteen columns of four rows x: sum += Σ a·x, and to each row's product its terms with w; the first columns begin it.
@inline(__always)
private func takeFour(
    _ c: Int,
    _ x: (UnsafePointer<Float>, UnsafePointer<Float>, UnsafePointer<Float>, UnsafePointer<Float>), _ a: (V, V, V, V),
    _ w: V, _ sum: inout V, _ products: inout (V, V, V, V)
) {
    let v = (load(x.0, c), load(x.1, c), load(x.2, c), load(x.3, c))
    sum = multiplyAdd(multiplyAdd(multiplyAdd(multiplyAdd(sum, a.0, v.0), a.1, v.1), a.2, v.2), a.3, v.3)
    // Nothing is added to zeros: at those the compiler takes vectors apart.
    if c == 0 {
        products = (v.0 * w, v.1 * w, v.2 * w, v.3 * w)
    } else {
        products = (
            multiplyAdd(products.0, v.0, w), multiplyAdd(products.1, v.1, w), multiplyAdd(products.2, v.2, w),
            multiplyAdd(products.3, v.3, w)
        )
    }
}

// Stores a latent's row and adds its square.
@inline(__always)
private func finish(
    _ vectors: Int, _ s: (V, V, V, V), _ y: UnsafeMutablePointer<Float>, _ square: UnsafeMutablePointer<Double>
) {
    store(s.0, y, 0)
    if vectors > 1 { store(s.1, y, 16) }
    if vectors > 2 {
        store(s.2, y, 32)
        store(s.3, y, 48)
    }
    square.pointee += Double(horizontalSum((s.0 * s.0 + s.1 * s.1) + (s.2 * s.2 + s.3 * s.3)))
}

// y[j] = Σ values[e]·x[rows[e]];  squares[j] += ‖y[j]‖²
@inline(__always)
private func sumRows(
    _ vectors: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int, _ squares: UnsafeMutablePointer<Double>
) {
    var j = entries.first
    while j < entries.end {
        var e = entries.starts[j]
        let end = entries.ends[j]
        let latent = j
        j &+= 1
        if e == end { continue }
        var s = (V.zero, V.zero, V.zero, V.zero)
        while e < end {
            let v = loadFour(vectors, x + Int(entries.rows[e]) &* strideX)
            let a = V(repeating: entries.values[e])
            s.0 = multiplyAdd(s.0, a, v.0)
            if vectors > 1 { s.1 = multiplyAdd(s.1, a, v.1) }
            if vectors > 2 {
                s.2 = multiplyAdd(s.2, a, v.2)
                s.3 = multiplyAdd(s.3, a, v.3)
            }
            e &+= 1
        }
        finish(vectors, s, y + latent &* strideY, squares + latent)
    }
}

// The same, and products[e] += ⟨x[rows[e]], w[j]⟩
@inline(__always)
private func sumRowsWithProducts(
    _ vectors: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries,
    _ x: UnsafePointer<Float>, _ strideX: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>,
    _ products: UnsafeMutablePointer<Float>
) {
    var j = entries.first
    while j < entries.end {
        prefetch(vectors, entries, after: j, w, strideY)
        var e = entries.starts[j]
        let end = entries.ends[j]
        let latent = j
        j &+= 1
        if e == end { continue }
        let row = loadFour(vectors, w + latent &* strideY)
        var s = (V.zero, V.zero, V.zero, V.zero)
        // Four entries at a time, for what their sums across vectors share.
        while e &+ 4 <= end {
            let rows = (
                x + Int(entries.rows[e]) &* strideX, x + Int(entries.rows[e &+ 1]) &* strideX,
                x + Int(entries.rows[e &+ 2]) &* strideX, x + Int(entries.rows[e &+ 3]) &* strideX
            )
            let a = (
                V(repeating: entries.values[e]), V(repeating: entries.values[e &+ 1]),
                V(repeating: entries.values[e &+ 2]), V(repeating: entries.values[e &+ 3])
            )
            var p = (V.zero, V.zero, V.zero, V.zero)
            takeFour(0, rows, a, row.0, &s.0, &p)
            if vectors > 1 { takeFour(16, rows, a, row.1, &s.1, &p) }
            if vectors > 2 {
                takeFour(32, rows, a, row.2, &s.2, &p)
                takeFour(48, rows, a, row.3, &s.3, &p)
            }
            let target = UnsafeMutableRawPointer(products + e)
            let before = target.loadUnaligned(as: SIMD4<Float>.self)
            target.storeBytes(of: before + fourSums(p.0, p.1, p.2, p.3), as: SIMD4<Float>.self)
            e &+= 4
        }
        while e < end {
            let v = loadFour(vectors, x + Int(entries.rows[e]) &* strideX)
            let a = V(repeating: entries.values[e])
            s.0 = multiplyAdd(s.0, a, v.0)
            var product = v.0 * row.0
            if vectors > 1 {
                s.1 = multiplyAdd(s.1, a, v.1)
                product = multiplyAdd(product, v.1, row.1)
            }
            if vectors > 2 {
                s.2 = multiplyAdd(s.2, a, v.2)
                s.3 = multiplyAdd(s.3, a, v.3)
                product = multiplyAdd(multiplyAdd(product, v.2, row.2), v.3, row.3)
            }
            products[e] += horizontalSum(product)
            e &+= 1
        }
        finish(vectors, s, y + latent &* strideY, squares + latent)
    }
}

// Column c of both, with w and products or without.
@inline(__always)
private func sumColumn(
    _ c: Int, _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>?,
    _ products: UnsafeMutablePointer<Float>?
) {
    var j = entries.first
    while j < entries.end {
        var e = entries.starts[j]
        let end = entries.ends[j]
        if e < end {
            var sum: Float = 0
            while e < end {
                let v = x[Int(entries.rows[e]) &* strideX &+ c]
                sum = multiplyAdd(sum, entries.values[e], v)
                if let w, let products { products[e] = multiplyAdd(products[e], v, w[j &* strideY &+ c]) }
                e &+= 1
            }
            y[j &* strideY &+ c] = sum
            squares[j] += Double(sum) * Double(sum)
        }
        j &+= 1
    }
}

func sumRowsByLatent(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ count: Int, _ squares: UnsafeMutablePointer<Double>
) {
    var c = 0
    while c + 64 <= count {
        sumRows(4, y + c, strideY, entries, x + c, strideX, squares)
        c += 64
    }
    if c + 32 <= count {
        sumRows(2, y + c, strideY, entries, x + c, strideX, squares)
        c += 32
    }
    if c + 16 <= count {
        sumRows(1, y + c, strideY, entries, x + c, strideX, squares)
        c += 16
    }
    while c < count {
        sumColumn(c, y, strideY, entries, x, strideX, squares, nil, nil)
        c += 1
    }
}

func sumRowsByLatentWithProducts(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ entries: LatentEntries, _ x: UnsafePointer<Float>,
    _ strideX: Int, _ count: Int, _ squares: UnsafeMutablePointer<Double>, _ w: UnsafePointer<Float>,
    _ products: UnsafeMutablePointer<Float>
) {
    var c = 0
    while c + 64 <= count {
        sumRowsWithProducts(4, y + c, strideY, entries, x + c, strideX, squares, w + c, products)
        c += 64
    }
    if c + 32 <= count {
        sumRowsWithProducts(2, y + c, strideY, entries, x + c, strideX, squares, w + c, products)
        c += 32
    }
    if c + 16 <= count {
        sumRowsWithProducts(1, y + c, strideY, entries, x + c, strideX, squares, w + c, products)
        c += 16
    }
    while c < count {
        sumColumn(c, y, strideY, entries, x, strideX, squares, w, products)
        c += 1
    }
}
