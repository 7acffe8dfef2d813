import Kernels
import LinearAlgebra
import TestSupport
import Testing

/// Stored numbers in single precision. What each form means is checked against the gguf package in `GGUFFileTests`, at the level of
/// this processor; here, that no level has other bits and none writes beyond its numbers.
@Suite struct ExpansionKernelTests {
    @Test(arguments: levels, NumberFormat.allCases) func `every level has the same bits`(
        _ level: ProcessorLevel, _ format: NumberFormat
    ) {
        for blocks in [1, 2, 3, 37] {
            let count = blocks * format.blockLength
            // Any bytes are numbers; one more in front, so that they lie nowhere in particular.
            let random = CounterRandom(seed: 5, purpose: .test)
            let bytes = (0...format.bytes(count)).map { UInt8(truncatingIfNeeded: random.word(UInt64($0))) }
            let (own, baseline) = (
                GuardedRow([Float](repeating: 0, count: count)), GuardedRow([Float](repeating: 0, count: count))
            )
            bytes.withUnsafeBytes {
                level.kernels.expand($0.baseAddress! + 1, format, own.pointer, count)
                ProcessorLevel.baseline.kernels.expand($0.baseAddress! + 1, format, baseline.pointer, count)
            }
            for i in 0..<count {
                let (a, b) = (own.pointer[i], baseline.pointer[i])
                #expect(a.bitPattern == b.bitPattern || a.isNaN && b.isNaN, "\(format), number \(i)")
            }
            #expect(own.isIntact && baseline.isIntact)
        }
    }
}
