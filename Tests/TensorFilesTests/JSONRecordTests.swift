import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

@Suite struct JSONRecordTests {
    private struct Record: Codable, Equatable {
        var value: Double
        var values: [Float]
        var name: String
        var other: Double?
    }

    private let folder = TemporaryFolder()

    @Test func whatIsNoNumberIsNullAndComesBackAsNone() throws {
        let record = Record(value: -.infinity, values: [1, .nan, .infinity], name: "nan \\\" null", other: nil)
        let text = try JSONRecord.text(record, pretty: false)
        #expect(text == #"{"name":"nan \\\" null","value":null,"values":[1,null,null]}"#)
        let path = folder.file("record.json")
        try JSONRecord.write(record, to: path)
        let read = try JSONRecord.read(Record.self, from: path)
        #expect(read.value.isNaN && read.values[0] == 1 && read.values[1].isNaN && read.values[2].isNaN)
        #expect(read.name == record.name && read.other == nil)
    }

    @Test func nullIsNoTextAndNoWholeNumber() throws {
        let text = message { _ = try JSONRecord.decode([String: Int].self, from: #"{"a": null}"#, in: "x.json") }
        #expect(text.hasPrefix("x.json: not the record it should be: a whole number is wanted, not null"), "\(text)")
    }

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
