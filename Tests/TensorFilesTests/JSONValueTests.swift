import TensorFiles
import Testing

@Suite struct JSONValueTests {
    @Test func valuesOfEveryKindAreRead() throws {
        let text =
            #" {"a":[1, -2.5e3, true, false, null], "b":{"c":"x\n\u00e9\ud83d\ude00\/"}, "d":9223372036854775808} "#
        let value = try JSONValue(parsing: text)
        #expect(value["a"] == .array([.integer(1), .number(-2500), .bool(true), .bool(false), .null]))
        #expect(value["b"]?["c"]?.string == "x\né😀/")
        #expect(value["d"] == .number(0x1p63))
        #expect(value["e"] == nil)
    }

    @Test(arguments: [
        ("", "the end of the text where a value was expected at byte 0"),
        ("{\"a\":1,}", "no key where one was expected at byte 7"),
        ("[1 2]", "neither a comma nor a closing bracket at byte 3"),
        ("{\"a\" 1}", "no colon after a key at byte 5"),
        ("01", "a number with a leading zero at byte 2"),
        ("1.", "no digit after a decimal point at byte 2"),
        ("1e", "no digit in an exponent at byte 2"),
        ("1e999", "a number too large to represent at byte 5"),
        ("{\"a\":NaN}", "the number NaN, which JSON does not have, at byte 5"),
        ("-Infinity", "the number -Infinity, which JSON does not have, at byte 0"),
        ("[,]", "no value where one was expected at byte 1"), ("None", "the unknown word None at byte 0"),
        ("\u{FEFF}\u{FEFF}1", "a byte-order mark at byte 3"),
        ("truth", "the unknown word truth at byte 0"),
        ("\"a\tb\"", "a control character inside a string at byte 2"),
        ("\"\\x\"", "an unknown escape at byte 3"),
        ("\"\\ud800\"", "half of a surrogate pair, which is no character, at byte 7"),
        ("\"\\u12\"", "an escape without four hexadecimal digits at byte 5"),
        ("\"a", "the end of the text inside a string at byte 2"),
        ("{\"a\":1,\"a\":2}", "a repeated key \"a\" at byte 7"),
        ("1 1", "something after the document at byte 2"),
    ]) func brokenTextIsRefusedWithItsPlace(_ text: String, _ message: String) {
        let error = #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: text) }
        #expect(error?.description == message)
    }

    @Test func aByteOrderMarkBeforeTheDocumentIsPassedOver() throws {
        #expect(try JSONValue(parsing: "\u{FEFF}{\"a\": 1}")["a"] == .integer(1))
    }

    @Test func onlyWhatWasWrittenAsAWholeNumberIsOne() throws {
        for (text, expected) in [
            ("12", 12), ("-0", 0), ("12.0", nil), ("1e2", nil), ("true", nil), ("9223372036854775808", nil),
        ] {
            #expect(try JSONValue(parsing: text).integer == expected, "\(text)")
        }
        #expect(try JSONValue(parsing: "1").bool == nil && JSONValue(parsing: "\"False\"").bool == nil)
    }

    @Test(
        arguments: [
            ([0xFF, 0xFE, 0x7B, 0x00], "UTF-16 (little-endian) text, where UTF-8 is wanted at byte 0"),
            ([0x1F, 0x8B, 0x08, 0x00], "gzip-compressed text, where UTF-8 is wanted at byte 0"),
            ([0x22, 0xFF, 0x22], "text that is not UTF-8 before the end of a string at byte 2"),
        ] as [([UInt8], String)]) func bytesOfAnotherEncodingAreNamed(_ bytes: [UInt8], _ message: String)
    {
        let error = #expect(throws: JSONSyntaxError.self) {
            try bytes.withUnsafeBytes { try JSONValue(parsing: $0) }
        }
        #expect(error?.description == message)
    }
}
