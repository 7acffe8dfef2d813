import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// A safetensors file from a header and a number of data bytes; `length` overrides the stated header length.
private func bytes(_ header: String, data: Int, length: UInt64? = nil) -> [UInt8] {
    let stated = length ?? UInt64(header.utf8.count)
    return withUnsafeBytes(of: stated.littleEndian) { Array($0) } + Array(header.utf8)
        + [UInt8](repeating: 0, count: data)
}

private let one = #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#

/// A file that must be refused, and words of the message it must be refused with.
struct HostileSafetensors: CustomTestStringConvertible {
    let name: String
    let contents: [UInt8]
    let says: String
    var testDescription: String { name }

    init(_ name: String, _ contents: [UInt8], _ says: String) {
        (self.name, self.contents, self.says) = (name, contents, says)
    }

    static func entry(_ name: String, _ entry: String, data: Int = 8, _ says: String) -> HostileSafetensors {
        HostileSafetensors(name, bytes(#"{"a":\#(entry)}"#, data: data), says)
    }

    static let all: [HostileSafetensors] = [
        HostileSafetensors("empty", [], "0 bytes are too few"),
        HostileSafetensors("shorter than a length", [1, 2, 3], "3 bytes are too few"),
        HostileSafetensors("length beyond the file", bytes(one, data: 8, length: 99_999), "should take 99999 bytes"),
        HostileSafetensors("length of 2^63", bytes(one, data: 8, length: 1 << 63), "is not plausible"),
        HostileSafetensors("length of all ones", bytes(one, data: 8, length: .max), "is not plausible"),
        HostileSafetensors("header of length zero", bytes("", data: 0), "not JSON (the end of the text"),
        HostileSafetensors("header cut short", bytes(one, data: 8, length: 20), "not JSON"),
        HostileSafetensors("not JSON", bytes("hello", data: 0), "not JSON"),
        HostileSafetensors("an array", bytes("[]", data: 0), "not a JSON object"),
        HostileSafetensors("text after the object", bytes(one + "{}", data: 8), "something after the document"),
        HostileSafetensors(
            "a name twice",
            bytes(String(one.dropLast()) + "," + one.dropFirst(), data: 8), "a repeated key \"a\""),
        HostileSafetensors("invalid UTF-8", bytes("{\"", data: 0) + [0xFF, 0x22], "not JSON"),
        HostileSafetensors("nested too deep", bytes(String(repeating: "[", count: 5000), data: 0), "levels of nesting"),
        HostileSafetensors(
            "no dtype", bytes(#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, data: 8),
            "has not just a dtype, a shape and two data_offsets"),
        .entry("unknown type", #"{"dtype":"F4","shape":[2],"data_offsets":[0,8]}"#, "element type F4"),
        .entry("a negative size", #"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#, "shape that is not possible"),
        .entry("a fraction as size", #"{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}"#, "not possible"),
        .entry(
            "sizes that overflow", #"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#,
            "not possible"),
        .entry(
            "sizes that overflow behind a zero",
            #"{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}"#, data: 0, "not possible"),
        .entry("one offset", #"{"dtype":"F32","shape":[2],"data_offsets":[8]}"#, "two data_offsets"),
        .entry("negative offset", #"{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}"#, "lies outside"),
        .entry("end before begin", #"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#, "lies outside"),
        .entry("truncated data", #"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, data: 7, "lies outside the 7"),
        .entry("fewer bytes than the shape", #"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, "needs 8 bytes"),
        .entry(
            "bytes at the end", #"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, data: 12, "4 bytes at the end"),
        .entry("a gap at the start", #"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#, "belong to no tensor"),
        HostileSafetensors(
            "overlap",
            bytes(
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#
                    + #""b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 8), "\"b\" overlaps"),
        HostileSafetensors(
            "metadata that is not text", bytes(#"{"__metadata__":{"a":1}}"#, data: 0), "metadata \"a\" is not a string"),
    ]
}

@Suite struct SafetensorsFileTests {
    private let folder = TemporaryFolder()

    @Test(arguments: HostileSafetensors.all) func hostileFilesAreRefusedWithTheirReason(_ hostile: HostileSafetensors)
        throws
    {
        let path = folder.file("hostile.safetensors")
        try AtomicFile.write(hostile.contents, to: path)
        let error = #expect(throws: TensorFileError.self) { try SafetensorsFile(path: path) }
        let message = error?.description ?? ""
        #expect(message.contains(hostile.says) && message.hasPrefix(path), "\(message)")
    }

    @Test func aSoundFileIsRead() throws {
        let path = folder.file("sound.safetensors")
        try AtomicFile.write(bytes(one, data: 8), to: path)
        #expect(try SafetensorsFile(path: path).matrix("a").values == [0, 0])
    }

    @Test func aMissingFileIsNamed() {
        #expect(throws: TensorFileError.unreadable(file: "/nowhere/x", reason: "No such file or directory")) {
            try SafetensorsFile(path: "/nowhere/x")
        }
        #expect(throws: TensorFileError.unreadable(file: folder.path, reason: "Is a directory")) {
            try SafetensorsFile(path: folder.path)
        }
    }

    @Test func everyFloatingPointTypeWidensExactly() throws {
        let path = folder.file("types.safetensors")
        var writer = SafetensorsWriter(metadata: ["made": "by \"a\" test\n"])
        // binary16: 1, −2, the smallest subnormal, the largest, −∞, NaN.
        let halves: [UInt16] = [0x3C00, 0xC000, 0x0001, 0x7BFF, 0xFC00, 0x7E00]
        writer.add("half", type: .f16, shape: [2, 3], bytes: halves.withUnsafeBytes { Array($0) })
        let brain: [UInt16] = [0x3F80, 0xC000, 0x0001]
        writer.add("brain", type: .bf16, shape: [3], bytes: brain.withUnsafeBytes { Array($0) })
        writer.add("double", doubles: [0.1, -1e-3])
        writer.add("single", [1.5, 2.5, 3.5, 4.5], shape: [2, 1, 2])
        writer.add("scalar", [Float(7)], shape: [])
        try writer.write(to: path)

        let file = try SafetensorsFile(path: path)
        let half = try file.matrix("half")
        #expect((half.rows, half.columns) == (2, 3))
        #expect(Array(half.values.prefix(5)) == [1, -2, 0x1p-24, 65504, -.infinity] && half[5].isNaN)
        #expect(try file.matrix("brain").values == [1, -2, Float(bitPattern: 0x10000)])
        #expect(try file.doubles("double") == [0.1, -1e-3])
        #expect(try file.matrix("double").values == [0.1, -1e-3].map { Float($0 as Double) })
        let single = try file.matrix("single")
        #expect((single.rows, single.columns, single.values) == (2, 2, [1.5, 2.5, 3.5, 4.5]))
        #expect(try file.matrix("scalar").values == [7])
        #expect(try file.floatPointer("single")[3] == 4.5)
        #expect(file.metadata == ["made": "by \"a\" test\n"])
    }

    @Test func wholeNumbersOfEveryWidthAreRead() throws {
        let path = folder.file("integers.safetensors")
        var writer = SafetensorsWriter()
        writer.add("long", integers: [Int64.min, -1, .max])
        writer.add("int", type: .i32, shape: [2], bytes: [Int32.min, 5].withUnsafeBytes { Array($0) })
        writer.add("byte", type: .u8, shape: [2], bytes: [255, 0])
        writer.add("wide", type: .u64, shape: [1], bytes: [UInt64.max].withUnsafeBytes { Array($0) })
        try writer.write(to: path)
        let file = try SafetensorsFile(path: path)
        #expect(try file.integers("long") == [.min, -1, .max])
        #expect(try file.integers("int") == [Int64(Int32.min), 5])
        #expect(try file.integers("byte") == [255, 0])
        #expect(throws: TensorFileError.self) { try file.integers("wide") }
        #expect(throws: TensorFileError.wrongType(file: path, name: "byte", found: "U8", wanted: "F32")) {
            try file.floatPointer("byte")
        }
    }

    @Test func messagesNameWhatWasFoundAndWhatWasWanted() throws {
        let path = folder.file("one.safetensors")
        try AtomicFile.write(bytes(one, data: 8), to: path)
        let file = try SafetensorsFile(path: path)
        #expect(throws: TensorFileError.missingTensor(file: path, name: "b", present: ["a"])) {
            try file.matrix("b")
        }
        let error = TensorFileError.wrongShape(file: path, name: "a", found: [2], wanted: [nil, 3])
        #expect(throws: error) { try file.require("a", shape: [nil, 3]) }
        #expect(
            error.description
                == "\(path): tensor \"a\" has shape [2], wanted [any, 3]; check that the file belongs with the others "
                + "given")
        #expect(try file.require("a", shape: [nil]).shape == [2])
    }

    // Made by the safetensors library itself: reading and writing it again must give its very bytes.
    @Test(arguments: ["models/llama/model.safetensors", "models/llama-bf16/model.safetensors"])
    func aFileOfTheLibrarysSurvivesARoundTripByteForByte(_ name: String) throws {
        let original = fixture(name)
        let file = try SafetensorsFile(path: original)
        var writer = SafetensorsWriter(metadata: file.metadata)
        for tensor in file.tensors.values {
            if tensor.type == .f32 {
                writer.add(tensor.name, try file.matrix(tensor.name), shape: tensor.shape)
            } else {
                // bfloat16 is the upper half of the widened value.
                let halves = try file.matrix(tensor.name).values.map { UInt16($0.bitPattern >> 16) }
                writer.add(
                    tensor.name, type: tensor.type, shape: tensor.shape, bytes: halves.withUnsafeBytes { Array($0) })
            }
        }
        let path = folder.file("again.safetensors")
        try writer.write(to: path)
        #expect(contents(of: path) == contents(of: original))
    }
}
