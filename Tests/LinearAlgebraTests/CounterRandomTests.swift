import LinearAlgebra
import Testing

@Suite struct CounterRandomTests {
    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 of 10 rounds).
    @Test(
        arguments: [
            (SIMD4<UInt32>(repeating: 0), [0, 0], SIMD4<UInt32>(0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8)),
            (
                SIMD4<UInt32>(repeating: .max), [.max, .max],
                SIMD4<UInt32>(0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD)
            ),
            (
                SIMD4<UInt32>(0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344), [0xA409_3822, 0x299F_31D0],
                SIMD4<UInt32>(0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1)
            ),
        ] as [(SIMD4<UInt32>, [UInt32], SIMD4<UInt32>)])
    func philoxGivesThePublishedNumbers(_ counter: SIMD4<UInt32>, _ key: [UInt32], _ expected: SIMD4<UInt32>) {
        #expect(CounterRandom.philox(counter, (key[0], key[1])) == expected)
    }

    @Test func theCounterIsIndexStepAndPurposeUnderTheSeed() {
        let random = CounterRandom(seed: 0x1234_5678_9ABC_DEF0, purpose: .epochShuffle, step: 77)
        #expect(
            random.block(0x0A0B_0C0D_1111_2222)
                == CounterRandom.philox(SIMD4(0x1111_2222, 0x0A0B_0C0D, 77, 3), (0x9ABC_DEF0, 0x1234_5678)))
    }

    /// Raw values are part of what a recorded seed means.
    @Test func purposesKeepTheirNumbers() {
        let numbers: [CounterRandom.Purpose: UInt32] = [
            .decoderInitialization: 1, .storeShuffle: 2, .epochShuffle: 3, .cycleSeed: 4, .test: 5, .bootstrap: 6,
            .halves: 7, .randomCore: 8,
        ]
        for (purpose, number) in numbers { #expect(purpose.rawValue == number) }
    }

    @Test func uniformNumbersFillTheirRangeEvenly() {
        let random = CounterRandom(seed: 1, purpose: .test)
        var buckets = [Int](repeating: 0, count: 16)
        let count = 160_000
        for i in 0..<count {
            let u = random.uniform(UInt64(i))
            #expect(u >= 0 && u < 1)
            buckets[Int(u * 16)] += 1
        }
        // Six standard deviations of a bucket of 10,000; the numbers are fixed, so this passes always or never.
        #expect(buckets.allSatisfy { abs(Double($0) - 10_000) < 600 })
    }

    @Test func fillKeepsToItsBounds() {
        var values = [Float](repeating: 0, count: 5000)
        values.withUnsafeMutableBufferPointer {
            CounterRandom(seed: 2, purpose: .test).fill($0, from: -3, to: 0.5)
        }
        #expect(values.allSatisfy { $0 >= -3 && $0 < 0.5 })
        #expect(values.min()! < -2.99 && values.max()! > 0.49)
    }

    @Test func normalNumbersHaveMeanZeroAndVarianceOne() {
        let random = CounterRandom(seed: 3, purpose: .test)
        let values = (0..<100_000).map { Double(random.normal(UInt64($0))) }
        let mean = values.reduce(0, +) / 100_000
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 100_000
        // Five standard errors: 1/√N of the mean, √(2/N) of the variance.
        #expect(abs(mean) < 0.016 && abs(variance - 1) < 0.023)
        #expect(values.allSatisfy { $0.isFinite })
    }

    @Test(arguments: [0, 1, 2, 3, 64, 1000]) func aPermutationHasEveryNumberOnce(_ count: Int) {
        let order = CounterRandom(seed: 4, purpose: .storeShuffle).permutation(count)
        #expect(order.sorted() == (0..<Int32(count)).map { $0 })
        #expect(order == CounterRandom(seed: 4, purpose: .storeShuffle).permutation(count))
        if count >= 64 {
            for other in [
                CounterRandom(seed: 5, purpose: .storeShuffle), CounterRandom(seed: 4, purpose: .epochShuffle),
                CounterRandom(seed: 4, purpose: .storeShuffle, step: 1),
            ] {
                #expect(order != other.permutation(count))
            }
        }
    }

    @Test func everyOrderOfThreeComesUpAsOften() {
        var seen: [[Int32]: Int] = [:]
        for step in 0..<6000 {
            seen[CounterRandom(seed: 6, purpose: .test, step: UInt32(step)).permutation(3), default: 0] += 1
        }
        // Five standard deviations of 1000 expected.
        #expect(seen.count == 6 && seen.values.allSatisfy { abs($0 - 1000) < 145 })
    }
}
