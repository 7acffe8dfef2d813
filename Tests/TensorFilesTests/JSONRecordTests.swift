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

    private struct Named: Codable, Equatable {
        var name: String
        var parts: [Part]
        var note: String?

        struct Part: Codable, Equatable { var size: Int }
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

    private func says(_ text: String, allowingOtherKeys: Bool = false) throws -> String {
        let path = folder.file("r.json")
        try AtomicFile.write(text, to: path)
        let found = message { _ = try JSONRecord.read(Named.self, from: path, allowingOtherKeys: allowingOtherKeys) }
        return found.replacing(path + ": not the record it should be: ", with: "")
    }

    @Test func whatWasWrittenComesBack() throws {
        let record = Named(name: "a", parts: [.init(size: 1)], note: nil)
        try JSONRecord.write(record, to: folder.file("a.json"))
        #expect(try JSONRecord.read(Named.self, from: folder.file("a.json")) == record)
        #expect(try says(#"{"name": "a", "parts": [], "note": null, "other": null}"#) == "nothing failed")
    }

    @Test(arguments: [
        (#"{"name": "a", "parts": [], "scale": 2}"#, #""scale" is no key of it in this version"#),
        (#"{"name": "a", "parts": [{"size": 1}, {"size": 2, "x": 0}]}"#, #""parts.x" is no key of it in this version"#),
        (#"{"name": "a", "parts": [], "name": "b"}"#, #"a repeated key "name" at byte 27"#),
        (#"{"name": "a", "parts": [{"size": 1.5}]}"#, "a whole number in it is too large or has a fraction"),
        (#"{"name": "a", "parts": [{"size": NaN}]}"#, "the number NaN, which JSON does not have, at byte 33"),
        (#"{"name": "a", "parts": [{"size": true}]}"#, "a whole number is wanted at parts[0].size"),
        (#"{"name": "a", "par"#, "the end of the text inside a string at byte 18"),
    ]) func whatWouldBeMissedIsRefused(_ text: String, _ expected: String) throws {
        #expect(try says(text) == expected + "; restore it or delete it")
    }

    @Test func keysOfOthersCanBeAllowed() throws {
        #expect(try says(#"{"name": "a", "parts": [], "scale": 2}"#, allowingOtherKeys: true) == "nothing failed")
    }
}
