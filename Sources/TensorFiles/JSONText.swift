/// JSON as it is written, a value after the other: records of millions of tokens would take an encoder that builds them first
/// minutes and gigabytes.
package struct JSONText {
    package private(set) var bytes: [UInt8] = []
    /// Whether a comma is due before the next value.
    private var follows = false

    /// A value on a line of its own, as JSON lines have it.
    package static func line(_ body: (inout JSONText) -> Void) -> [UInt8] {
        var text = JSONText()
        text.object(body)
        return text.bytes + [UInt8(ascii: "\n")]
    }

    /// A document of one object.
    package static func document(_ body: (inout JSONText) -> Void) -> [UInt8] {
        var text = JSONText()
        text.object(body)
        return text.bytes
    }

    package mutating func object(_ body: (inout JSONText) -> Void) { enclosed("{", "}", body) }

    package mutating func list(_ body: (inout JSONText) -> Void) { enclosed("[", "]", body) }

    /// The name of the value that comes next.
    package mutating func key(_ name: String) {
        separate()
        bytes += JSONValue.quoted(name).utf8
        bytes.append(UInt8(ascii: ":"))
        follows = false
    }

    package mutating func value(_ text: String) {
        separate()
        bytes += JSONValue.quoted(text).utf8
    }

    package mutating func value(_ number: Int) {
        separate()
        bytes += "\(number)".utf8
    }

    package mutating func value(_ truth: Bool) {
        separate()
        bytes += (truth ? "true" : "false").utf8
    }

    /// To the precision of the numbers that it comes from; null for what has no value. Readers tell numbers by their point, so there is one.
    package mutating func value(_ number: Double) {
        separate()
        if number == 0 {
            bytes += "0.0".utf8
        } else {
            bytes += (number.isFinite && Float(number).isFinite ? "\(Float(number))" : "null").utf8
        }
    }

    package mutating func null() {
        separate()
        bytes += "null".utf8
    }

    private mutating func enclosed(_ open: Character, _ close: Character, _ body: (inout JSONText) -> Void) {
        separate()
        bytes.append(open.asciiValue!)
        follows = false
        body(&self)
        bytes.append(close.asciiValue!)
        follows = true
    }

    private mutating func separate() {
        if follows { bytes.append(UInt8(ascii: ",")) }
        follows = true
    }
}

extension JSONText {
    package mutating func member(_ name: String, _ text: String) {
        key(name)
        value(text)
    }

    /// null where there is none.
    package mutating func member(_ name: String, _ text: String?) {
        key(name)
        if let text { value(text) } else { null() }
    }

    package mutating func member(_ name: String, _ number: Int) {
        key(name)
        value(number)
    }

    package mutating func member(_ name: String, _ number: Double) {
        key(name)
        value(number)
    }

    package mutating func member(_ name: String, _ truth: Bool) {
        key(name)
        value(truth)
    }

    package mutating func member(_ name: String, _ texts: [String]) {
        key(name)
        list { for text in texts { $0.value(text) } }
    }

    package mutating func member(_ name: String, _ numbers: [Int]) {
        key(name)
        list { for number in numbers { $0.value(number) } }
    }

    package mutating func member(_ name: String, _ numbers: [Double]) {
        key(name)
        list { for number in numbers { $0.value(number) } }
    }
}
