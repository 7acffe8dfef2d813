import Foundation
import LinearAlgebra
import TestSupport
import Testing

/// The emulated cuBLASLt against sums in Double.
@Suite struct ProductTests {
    typealias Handle = UnsafeMutableRawPointer

    /// One product as cuBLASLt describes it: D [m, n] = alpha·op(A)·op(B) + beta·C, column-major.
    private struct Product {
        var (m, n, k) = (13, 9, 21)
        var (transposeA, transposeB) = (false, false)
        var extra = 0  // of each leading dimension
        var (alpha, beta): (Float, Float) = (1, 0)
        var compute: Int32 = 68
        var type: Int32 = 0
        var outputType: Int32 = 0
        var batches = 1

        var rowsA: Int { transposeA ? k : m }
        var columnsA: Int { transposeA ? m : k }
        var rowsB: Int { transposeB ? n : k }
        var columnsB: Int { transposeB ? k : n }
        var sizeA: Int { (rowsA + extra) * columnsA }
        var sizeB: Int { (rowsB + extra) * columnsB }
        var sizeD: Int { (m + extra) * n }
    }

    private func entry<Type>(_ name: String, _: Type.Type) -> Type {
        unsafeBitCast(dlsym(EmulatedCUDA.shared.handle, name), to: Type.self)
    }

    /// The status of the product.
    private func run(_ p: Product, on card: EmulatedCard, a: UInt64, b: UInt64, d: UInt64) -> Int32 {
        typealias Make = @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32
        typealias MakeDescription = @convention(c) (UnsafeMutablePointer<Handle?>, Int32, Int32) -> Int32
        typealias MakeLayout = @convention(c) (UnsafeMutablePointer<Handle?>, Int32, UInt64, UInt64, Int64) -> Int32
        typealias Set = @convention(c) (Handle?, Int32, UnsafeRawPointer, Int) -> Int32
        typealias Address = UnsafeRawPointer?
        typealias Matmul =
            @convention(c) (
                Handle?, Handle?, Address, Address, Handle?, Address, Handle?, Address, Address, Handle?, Address,
                Handle?,
                Address, Address, Int, Handle?
            ) -> Int32

        var (library, description): (Handle?, Handle?)
        _ = entry("cublasLtCreate", Make.self)(&library)
        _ = entry("cublasLtMatmulDescCreate", MakeDescription.self)(&description, p.compute, 0)
        let set = entry("cublasLtMatmulDescSetAttribute", Set.self)
        for (attribute, flag) in [(3, p.transposeA), (4, p.transposeB)] {
            var value: Int32 = flag ? 1 : 0
            _ = set(description, Int32(attribute), &value, 4)
        }
        func layout(_ type: Int32, _ rows: Int, _ columns: Int) -> Handle? {
            var made: Handle?
            let leading = rows + p.extra
            _ = entry("cublasLtMatrixLayoutCreate", MakeLayout.self)(
                &made, type, UInt64(rows), UInt64(columns), Int64(leading))
            var (batches, stride) = (Int32(p.batches), Int64(leading * columns))
            let set = entry("cublasLtMatrixLayoutSetAttribute", Set.self)
            _ = set(made, 5, &batches, 4)
            _ = set(made, 6, &stride, 8)
            return made
        }
        let layoutD = layout(p.outputType, p.m, p.n)
        var (alpha, beta) = (p.alpha, p.beta)
        func place(_ address: UInt64) -> Address { UnsafeRawPointer(bitPattern: UInt(address)) }
        return entry("cublasLtMatmul", Matmul.self)(
            library, description, &alpha, place(a), layout(p.type, p.rowsA, p.columnsA), place(b),
            layout(p.type, p.rowsB, p.columnsB), &beta, place(d), layoutD, place(d), layoutD, nil, nil, 0, nil)
    }

    private func expected(_ p: Product, _ a: [Float], _ b: [Float], _ d: [Float]) -> [Double] {
        var result = d.map { Double($0) }
        for batch in 0..<p.batches {
            for i in 0..<p.m {
                for j in 0..<p.n {
                    var sum = 0.0
                    for l in 0..<p.k {
                        let indexA = p.transposeA ? l + i * (p.rowsA + p.extra) : i + l * (p.rowsA + p.extra)
                        let indexB = p.transposeB ? j + l * (p.rowsB + p.extra) : l + j * (p.rowsB + p.extra)
                        sum += Double(a[batch * p.sizeA + indexA]) * Double(b[batch * p.sizeB + indexB])
                    }
                    let index = batch * p.sizeD + i + j * (p.m + p.extra)
                    result[index] = Double(p.alpha) * sum + (p.beta == 0 ? 0 : Double(p.beta) * result[index])
                }
            }
        }
        return result
    }

    @Test func `products of every form agree with Double`() throws {
        let card = try EmulatedCard()
        for form in 0..<16 {
            var p = Product()
            (p.transposeA, p.transposeB) = (form & 1 != 0, form & 2 != 0)
            if form & 4 != 0 { (p.extra, p.alpha, p.beta) = (3, 0.5, -2) }
            if form & 8 != 0 { (p.m, p.n, p.k, p.batches) = (33, 4, 130, 3) }
            let a = randomMatrix(p.batches, p.sizeA, seed: 1).values,
                b = randomMatrix(p.batches, p.sizeB, seed: 2).values
            let d = randomMatrix(p.batches, p.sizeD, seed: 3).values
            let address = try card.upload(d)
            #expect(run(p, on: card, a: try card.upload(a), b: try card.upload(b), d: address) == 0)
            // k roundings of sums below √k, at most.
            let (found, wanted) = (try card.floats(address, d.count), expected(p, a, b, d))
            #expect(largestDifference(found, wanted) < 130 * 6e-8 * 12, "form \(form)")
        }
    }

    @Test func `TF32 rounds both operands to ten bits, ties away from zero`() throws {
        let card = try EmulatedCard()
        var p = Product()
        (p.m, p.n, p.k, p.compute) = (4, 1, 1, 77)
        // 1 + 2⁻¹¹ is half way between 1 and 1 + 2⁻¹⁰; a little less is nearer to 1.
        let a: [Float] = [1 + 0x1p-11, 1 + 0x1p-11 - 0x1p-23, -1 - 0x1p-11, 1 + 0x1p-10]
        let d = try card.allocate(16)
        #expect(run(p, on: card, a: try card.upload(a), b: try card.upload([Float(1)]), d: d) == 0)
        #expect(try card.floats(d, 4) == [1 + 0x1p-10, 1, -1 - 0x1p-10, 1 + 0x1p-10])
    }

    @Test func `bfloat16 operands give sums in float32, or bfloat16`() throws {
        let card = try EmulatedCard()
        var p = Product()
        p.type = 14
        let a = wholeMatrix(1, p.sizeA, seed: 4, bound: 9).values, b = wholeMatrix(1, p.sizeB, seed: 5, bound: 9).values
        func halves(_ values: [Float]) -> [UInt16] { values.map { UInt16($0.bitPattern >> 16) } }
        let (addressA, addressB) = (try card.upload(halves(a)), try card.upload(halves(b)))
        let d = try card.allocate(4 * p.sizeD)
        #expect(run(p, on: card, a: addressA, b: addressB, d: d) == 0)
        let sums = expected(p, a, b, [Float](repeating: 0, count: p.sizeD)).map { Float($0) }
        #expect(try card.floats(d, p.sizeD) == sums)

        p.outputType = 14
        let narrow = try card.allocate(2 * p.sizeD)
        #expect(run(p, on: card, a: addressA, b: addressB, d: narrow) == 0)
        let rounded = sums.map { UInt16(($0.bitPattern + 0x7FFF + ($0.bitPattern >> 16 & 1)) >> 16) }
        #expect(try card.download(narrow, p.sizeD, of: UInt16(0)) == rounded)
    }

    @Test func `what is not supported, or leaves its allocation, is refused`() throws {
        let card = try EmulatedCard()
        let (p, space) = (Product(), try card.allocate(4 * 1000))
        for change in [{ $0.compute = 64 }, { $0.type = 2 }, { $0.outputType = 14 }] as [(inout Product) -> Void] {
            var changed = p
            change(&changed)
            #expect(run(changed, on: card, a: space, b: space, d: space) == 15)
        }
        let short = try card.allocate(4 * p.sizeA - 4)
        #expect(run(p, on: card, a: short, b: space, d: space) == 7)
        #expect(run(p, on: card, a: space, b: space, d: 0) == 7)
        var wide = p
        wide.batches = 40
        #expect(run(wide, on: card, a: space, b: space, d: space) == 7)
    }
}
