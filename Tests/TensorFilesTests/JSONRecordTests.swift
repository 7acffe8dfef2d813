import LinearAlgebra
import TensorFiles
import Testing

@Suite struct JSONRecordTests {
    /// Digests are taken of numbers that were written and read again: a last bit that is lost would make every file a damaged
    /// one.
    @Test func everyDoubleComesBackWithItsBits() throws {
        let random = CounterRandom(seed: 3, purpose: .test)
        let values = (0..<40_000).map { i -> Double in
            let value = Double(bitPattern: random.word(UInt64(i)))
            // Half of them of sizes that losses have, half of every size.
            return i % 2 == 0 || !value.isFinite ? Double(random.word(UInt64(i)) >> 11) * 0x1p-44 : value
        }
        let text = try JSONRecord.text(values, pretty: false)
        let found = try JSONRecord.decode([Double].self, from: text, in: "text")
        #expect(found.map(\.bitPattern) == values.map(\.bitPattern))
    }
}
