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
        ("NaN", "no value where one was expected at byte 0"),
        ("truth", "an unknown word at byte 0"),
        ("\"a\tb\"", "a control character inside a string at byte 2"),
        ("\"\\x\"", "an unknown escape at byte 3"),
        ("\"\\ud800\"", "half of a surrogate pair at byte 7"),
        ("\"\\u12\"", "an escape without four hexadecimal digits at byte 5"),
        ("\"a", "the end of the text inside a string at byte 2"),
        ("{\"a\":1,\"a\":2}", "a repeated key \"a\" at byte 7"),
        ("1 1", "something after the document at byte 2"),
    ]) func brokenTextIsRefusedWithItsPlace(_ text: String, _ message: String) {
        let error = #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: text) }
        #expect(error?.description == message)
    }
}
