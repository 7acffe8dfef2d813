import LanguageModeling
import LinearAlgebra

/// What no training step on a card can be faster than: the product of the encoder, and the bytes of the optimiser at the rate of
/// a copy. For benchmarks.
package struct CardFloors {
    /// Seconds of x [B, D] times W_encᵀ [D, F], the whole of it in memory.
    package let product: Double
    /// Seconds of 28 bytes a weight of both matrices.
    package let update: Double
    /// Bytes a second of a large copy, read and written.
    package let rate: Double

    package var sum: Double { product + update }

    /// Measures them.
    package init(
        _ context: CUDAContext, dIn: Int, latents: Int, batch: Int, precision: ProductPrecision
    ) throws(CUDAError) {
        let device = try DeviceArithmetic(context, precision: precision)
        // Zeros would be multiplied faster than what has bits.
        func factor(_ rows: Int) throws(CUDAError) -> DeviceWeight {
            let values = Matrix(rows: rows, columns: dIn)
            CounterRandom(seed: 1, purpose: .test).fill(
                UnsafeMutableBufferPointer(start: values.elements, count: values.count), from: -1, to: 1)
            return try device.weight(WeightMatrix(values))
        }
        let (x, weights) = (try factor(batch), try factor(latents))
        let result = try DeviceMatrix(rows: batch, columns: latents, on: context)
        product = try Self.median(context) { () throws(CUDAError) in
            try device.products.multiply(
                x.slice, weights.slice.transposed, into: result.slice, m: batch, n: latents, k: dIn, on: context.stream)
        }
        let bytes = 1 << 30
        let (from, to) = (try DeviceArray<UInt8>(bytes, on: context), try DeviceArray<UInt8>(bytes, on: context))
        let copy = try Self.median(context) { () throws(CUDAError) in
            try context.driver.check(
                context.driver.copyOnDevice(to.address, from.address, bytes, context.stream), "cuMemcpyDtoDAsync")
        }
        rate = 2 * Double(bytes) / copy
        update = 28 * 2 * Double(latents) * Double(dIn) / rate
    }

    private static func median(
        _ context: CUDAContext, _ body: () throws(CUDAError) -> Void
    ) throws(CUDAError) -> Double {
        var seconds: [Double] = []
        for _ in 0..<3 { try body() }
        for _ in 0..<15 {
            let (start, end) = (
                try DeviceEvent(on: context, isTimed: true), try DeviceEvent(on: context, isTimed: true)
            )
            try start.record(on: context.stream)
            try body()
            try end.record(on: context.stream)
            try end.synchronize()
            seconds.append(try start.seconds(until: end))
        }
        return seconds.sorted()[7]
    }
}
