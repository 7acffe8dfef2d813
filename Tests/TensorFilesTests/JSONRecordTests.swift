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
}
