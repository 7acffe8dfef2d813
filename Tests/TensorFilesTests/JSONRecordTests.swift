import TensorFiles
import TestSupport
import Testing

@Suite struct JSONRecordTests {
    private struct Record: Codable, Equatable {
        var name: String
        var parts: [Part]
        var note: String?

        struct Part: Codable, Equatable { var size: Int }
    }

    private let folder = TemporaryFolder()

    private func says(_ text: String, allowingOtherKeys: Bool = false) throws -> String {
        let path = folder.file("r.json")
        try AtomicFile.write(text, to: path)
        let found = message { _ = try JSONRecord.read(Record.self, from: path, allowingOtherKeys: allowingOtherKeys) }
        return found.replacing(path + ": not the record it should be: ", with: "")
    }

    @Test func whatWasWrittenComesBack() throws {
        let record = Record(name: "a", parts: [.init(size: 1)], note: nil)
        try JSONRecord.write(record, to: folder.file("a.json"))
        #expect(try JSONRecord.read(Record.self, from: folder.file("a.json")) == record)
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
