/// One event of a TensorBoard file: numbers of one step, or the file's first record, which says its version.
///
/// By hand, and not by swift-protobuf: that is minutes of building for three messages of seven fields (`Event`, `Summary`,
/// `Summary.Value` of tensorflow/core/framework/summary.proto and core/util/event.proto), whose numbers can never change.
struct TensorBoardEvent: Equatable {
    /// Seconds since 1970.
    var time: Double
    /// Counted from 0.
    var step = 0
    /// Only of the first event of a file.
    var version: String?
    /// By tag; TensorBoard groups tags by what stands before a slash.
    var numbers: [Number] = []

    /// A number as charts show it, in single precision.
    struct Number: Equatable {
        var tag: String
        var value: Float
    }

    /// What every file begins with.
    static func first(time: Double) -> TensorBoardEvent { TensorBoardEvent(time: time, version: "brain.Event:2") }

    /// As a protocol buffer.
    var message: [UInt8] {
        var event = Message()
        event.add(1, fixed: time.bitPattern)
        if step != 0 { event.add(2, varint: UInt64(bitPattern: Int64(step))) }
        if let version { event.add(3, Array(version.utf8)) }
        guard !numbers.isEmpty else { return event.bytes }
        var summary = Message()
        for number in numbers {
            var value = Message()
            value.add(1, Array(number.tag.utf8))
            value.add(2, fixed: number.value.bitPattern)
            summary.add(1, value.bytes)
        }
        event.add(5, summary.bytes)
        return event.bytes
    }

    /// As a record of the file: length, its masked CRC, the message, its masked CRC.
    var record: [UInt8] {
        let (message, length) = (message, littleEndian(UInt64(message.count)))
        return length + littleEndian(CRC32C.masked(length)) + message + littleEndian(CRC32C.masked(message))
    }

    /// Bytes of a record beside the message: 8 + 4 before, 4 behind.
    private static let (headBytes, tailBytes) = (12, 4)

    /// The record at the start of `bytes`: its step and size; nil for what is cut short, damaged or none.
    static func step(ofRecordIn bytes: ArraySlice<UInt8>) -> (step: Int, size: Int)? {
        guard bytes.count >= headBytes else { return nil }
        let length = bytes.prefix(8)
        let count = length.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard Array(bytes.dropFirst(8).prefix(4)) == littleEndian(CRC32C.masked(length)),
            count <= UInt64(bytes.count - headBytes - min(tailBytes, bytes.count - headBytes))
        else { return nil }
        let message = bytes.dropFirst(headBytes).prefix(Int(count))
        guard Array(bytes.dropFirst(headBytes + Int(count)).prefix(tailBytes)) == littleEndian(CRC32C.masked(message))
        else { return nil }
        return (step(in: message), headBytes + Int(count) + tailBytes)
    }

    /// Of our own messages: after the time (field 1, nine bytes) comes the step (field 2), unless it is 0.
    private static func step(in message: ArraySlice<UInt8>) -> Int {
        let rest = message.dropFirst(9)
        guard rest.first == 2 << 3 else { return 0 }
        var (step, shift) = (UInt64(0), UInt64(0))
        for byte in rest.dropFirst() {
            step |= UInt64(byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 { break }
        }
        return Int(truncatingIfNeeded: step)
    }
}

/// A protocol buffer while it is written.
private struct Message {
    private(set) var bytes: [UInt8] = []

    /// Field numbers below 16 and the kind of what follows share a byte.
    private mutating func begin(_ field: UInt8, kind: UInt8) { bytes.append(field << 3 | kind) }

    private mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    mutating func add(_ field: UInt8, varint value: UInt64) {
        begin(field, kind: 0)
        append(varint: value)
    }

    mutating func add(_ field: UInt8, fixed value: some FixedWidthInteger) {
        begin(field, kind: value.bitWidth == 64 ? 1 : 5)
        bytes += littleEndian(value)
    }

    mutating func add(_ field: UInt8, _ content: [UInt8]) {
        begin(field, kind: 2)
        append(varint: UInt64(content.count))
        bytes += content
    }
}

private func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
