import Glibc
import Kernels
import TensorFiles
import TestSupport
import Testing

/// Writes GGUF files byte by byte, right or wrong as a test needs.
private struct GGUFBytes {
    var bytes: [UInt8] = []

    mutating func append<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
    }
    mutating func append(_ text: String) {
        append(UInt64(text.utf8.count))
        bytes += text.utf8
    }
    mutating func header(version: UInt32 = 3, tensors: UInt64 = 0, metadata: UInt64 = 0) {
        bytes += "GGUF".utf8
        append(version)
        append(tensors)
        append(metadata)
    }
    mutating func tensor(_ name: String, _ dimensions: [UInt64], type: UInt32, offset: UInt64) {
        append(name)
        append(UInt32(dimensions.count))
        for dimension in dimensions { append(dimension) }
        append(type)
        append(offset)
    }
    mutating func key(_ name: String, _ type: UInt32, _ value: (inout GGUFBytes) -> Void) {
        append(name)
        append(type)
        value(&self)
    }
    mutating func pad(to alignment: Int = 32) {
        while bytes.count % alignment != 0 { bytes.append(0) }
    }

    static func make(_ build: (inout GGUFBytes) -> Void) -> GGUFBytes {
        var result = GGUFBytes()
        build(&result)
        return result
    }

    func open() throws -> GGUFFile {
        let path = "/tmp/dmsae-gguf-\(getpid())-\(UInt64.random(in: 0 ... .max)).gguf"
        let file = try #require(fopen(path, "w"))
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
        defer { unlink(path) }
        return try GGUFFile(path: path)
    }

    /// The message of the error that opening this file throws, without the path.
    func complaint() -> String {
        do {
            _ = try open()
            return "opened"
        } catch let error as TensorFileError {
            let text = "\(error)"
            return text.contains("/tmp/dmsae-gguf") ? String(text.drop { $0 != " " }.dropFirst()) : text
        } catch { return "another error" }
    }
}

@Suite struct GGUFFileTests {
    @Test func metadataOfEveryTypeIsRead() throws {
        let file = try GGUFBytes.make {
            $0.header(metadata: 16)
            $0.key("u8", 0) { $0.append(UInt8(200)) }
            $0.key("i8", 1) { $0.append(Int8(-5)) }
            $0.key("u16", 2) { $0.append(UInt16(65535)) }
            $0.key("i16", 3) { $0.append(Int16(-300)) }
            $0.key("u32", 4) { $0.append(UInt32.max) }
            $0.key("i32", 5) { $0.append(Int32.min) }
            $0.key("f32", 6) { $0.append(Float(0.5).bitPattern) }
            $0.key("bool", 7) { $0.append(UInt8(1)) }
            $0.key("string", 8) { $0.append("Ġtoken") }
            $0.key("u64", 10) { $0.append(UInt64(1) << 40) }
            $0.key("i64", 11) { $0.append(Int64.min) }
            $0.key("f64", 12) { $0.append(Double(-2.25).bitPattern) }
            $0.key("strings", 9) {
                $0.append(UInt32(8))
                $0.append(UInt64(2))
                $0.append("a")
                $0.append("")
            }
            $0.key("integers", 9) {
                $0.append(UInt32(5))
                $0.append(UInt64(2))
                $0.append(Int32(3))
                $0.append(Int32(-1))
            }
            $0.key("reals", 9) {
                $0.append(UInt32(6))
                $0.append(UInt64(1))
                $0.append(Float(1.5).bitPattern)
            }
            $0.key("booleans", 9) {
                $0.append(UInt32(7))
                $0.append(UInt64(2))
                $0.append(UInt8(0))
                $0.append(UInt8(1))
            }
        }.open()
        #expect(
            file.metadata == [
                "u8": .integer(200), "i8": .integer(-5), "u16": .integer(65535), "i16": .integer(-300),
                "u32": .integer(4_294_967_295), "i32": .integer(-2_147_483_648), "f32": .real(0.5),
                "bool": .boolean(true), "string": .string("Ġtoken"), "u64": .integer(1 << 40),
                "i64": .integer(.min), "f64": .real(-2.25), "strings": .strings(["a", ""]),
                "integers": .integers([3, -1]), "reals": .reals([1.5]), "booleans": .booleans([false, true]),
            ])
    }

    @Test func blocksOfEveryTypeAreExpandedAsTheirFormulaSays() throws {
        // Two rows of 32 columns each; every value is exact in single precision, so equality is exact.
        let scale = Float16(0.25)
        let minimum = Float16(-1.5)
        let file = try GGUFBytes.make {
            $0.header(tensors: 5)
            $0.tensor("f32", [32, 2], type: 0, offset: 0)
            $0.tensor("f16", [32, 2], type: 1, offset: 256)
            $0.tensor("q4_0", [32, 2], type: 2, offset: 384)
            $0.tensor("q4_1", [32, 2], type: 3, offset: 448)
            $0.tensor("q8_0", [32, 2], type: 8, offset: 512)
            $0.pad()
            for i in 0..<64 { $0.append(Float(i).bitPattern) }
            for i in 0..<64 { $0.append(Float16(i - 32).bitPattern) }
            for row in 0..<2 {
                $0.append(scale.bitPattern)
                for i in 0..<16 { $0.append(UInt8(i | (row * 7) << 4)) }
            }
            $0.pad()
            for row in 0..<2 {
                $0.append(scale.bitPattern)
                $0.append(minimum.bitPattern)
                for i in 0..<16 { $0.append(UInt8(i | (row * 7) << 4)) }
            }
            $0.pad()
            for row in 0..<2 {
                $0.append(scale.bitPattern)
                for i in 0..<32 { $0.append(Int8(i * 4 - 128 + row)) }
            }
        }.open()
        #expect(file.tensors["q4_1"]?.shape == [2, 32])
        let nibble = { (i: Int) -> Float in i % 32 < 16 ? Float(i % 16) : Float(i / 32 * 7) }
        let expected: [(String, (Int) -> Float)] = [
            ("f32", { Float($0) }), ("f16", { Float($0 - 32) }), ("q4_0", { 0.25 * (nibble($0) - 8) }),
            ("q4_1", { 0.25 * nibble($0) - 1.5 }), ("q8_0", { 0.25 * Float($0 % 32 * 4 - 128 + $0 / 32) }),
        ]
        for (name, formula) in expected {
            let matrix = try file.matrix(name)
            #expect(matrix.rows == 2 && matrix.columns == 32)
            #expect(matrix.values == (0..<64).map(formula), "\(name)")
        }
    }

    @Test func `every type has the values that llama cpp's own package gives it`() throws {
        let file = try GGUFFile(path: fixture("gguf/every_type.gguf"))
        let expected = try SafetensorsFile(path: fixture("gguf/every_type.safetensors"))
        // F32 has no formula, and a test above.
        #expect(file.tensors.count == NumberFormat.allCases.count - 1)
        for name in file.tensors.keys.sorted() {
            // The same operations in the same order: the same bits.
            #expect(try file.matrix(name).values == expected.matrix(name).values, "\(name)")
        }
    }

    @Test func halfPrecisionIsReadInAllItsRanges() throws {
        let patterns: [UInt16] = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0x7bff, 0x7c00, 0xfc00, 0x7e00]
        let file = try GGUFBytes.make {
            $0.header(tensors: 1)
            $0.tensor("x", [UInt64(patterns.count)], type: 1, offset: 0)
            $0.pad()
            for pattern in patterns { $0.append(pattern) }
        }.open()
        let values = try file.matrix("x").values
        let expected: [Float] = [0, -0.0, 0x1p-24, -0x3ffp-24, 0x1p-14, 1, 65504, .infinity, -.infinity, .nan]
        for (value, wanted) in paired(values, expected) {
            #expect(wanted.isNaN ? value.isNaN : value.bitPattern == wanted.bitPattern)
        }
    }

    @Test func aVectorIsAMatrixOfOneRow() throws {
        let file = try GGUFBytes.make {
            $0.header(tensors: 1)
            $0.tensor("norm", [3], type: 0, offset: 0)
            $0.pad()
            for i in 1...3 { $0.append(Float(i).bitPattern) }
        }.open()
        let matrix = try file.matrix("norm")
        #expect(matrix.rows == 1 && matrix.values == [1, 2, 3])
        #expect(throws: TensorFileError.missingTensor(file: file.path, name: "bias", present: ["norm"])) {
            try file.matrix("bias")
        }
    }

    @Test func everyPrefixOfAValidFileIsRefused() throws {
        let whole = GGUFBytes.make {
            $0.header(tensors: 1, metadata: 1)
            $0.append("key")
            $0.append(UInt32(8))
            $0.append("value")
            $0.tensor("x", [4], type: 0, offset: 0)
            $0.pad()
            for i in 0..<4 { $0.append(Float(i).bitPattern) }
        }
        _ = try whole.open()
        for length in 0..<whole.bytes.count {
            #expect(throws: TensorFileError.self) { try GGUFBytes(bytes: Array(whole.bytes.prefix(length))).open() }
        }
    }

    @Test(arguments: hostileFiles)
    fileprivate func aHostileGGUFIsRefusedByName(_ file: HostileGGUF) {
        let said = file.contents.complaint()
        #expect(said.contains(file.complaint), "\(file.name): \(said)")
    }

    @Test(.enabled(if: DemoModel.path != nil, "needs `dmsae fetch demo`"))
    func theDemoModelHasTheBitsThatNumPyComputes() throws {
        let file = try GGUFFile(path: DemoModel.path!)
        #expect(file.metadata["llama.embedding_length"] == .integer(576))
        #expect(file.tensors.count == 272)
        // Sum of (index + 1) times the bit pattern, modulo 2⁶⁴.
        let expected: [(String, [Int], UInt64)] = [
            ("blk.0.attn_norm.weight", [576], 337_150_749_638_656),
            ("blk.0.attn_k.weight", [192, 576], 12_897_952_378_136_227_840),
            ("blk.29.attn_v.weight", [192, 576], 12_888_663_819_053_763_072),
            ("token_embd.weight", [49152, 576], 8_619_863_071_844_056_960),
        ]
        for (name, shape, checksum) in expected {
            #expect(file.tensors[name]?.shape == shape)
            let matrix = try file.matrix(name)
            var sum: UInt64 = 0
            for i in 0..<matrix.count { sum &+= UInt64(i + 1) &* UInt64(matrix.elements[i].bitPattern) }
            #expect(sum == checksum, "\(name)")
        }
    }

    @Test func filesThatCannotBeReadAreNamed() {
        #expect(throws: TensorFileError.unreadable(file: "/nowhere/m.gguf", reason: "No such file or directory")) {
            try GGUFFile(path: "/nowhere/m.gguf")
        }
        #expect(throws: TensorFileError.unreadable(file: "/tmp", reason: "Is a directory")) {
            try GGUFFile(path: "/tmp")
        }
    }
}

extension GGUFBytes {
    fileprivate static func oneTensor(_ dimensions: [UInt64], type: UInt32, offset: UInt64 = 0) -> GGUFBytes {
        make {
            $0.header(tensors: 1)
            $0.tensor("x", dimensions, type: type, offset: offset)
            $0.pad()
            $0.bytes += [UInt8](repeating: 0, count: 64)
        }
    }
}

private struct HostileGGUF: Sendable, CustomTestStringConvertible {
    let name: String
    let contents: GGUFBytes
    let complaint: String

    init(_ name: String, _ contents: GGUFBytes, _ complaint: String) {
        self.name = name
        self.contents = contents
        self.complaint = complaint
    }
    var testDescription: String { name }
}

private let hostileFiles: [HostileGGUF] = [
    HostileGGUF("no magic", GGUFBytes(bytes: Array("safetensors".utf8)), "does not begin with \"GGUF\""),
    HostileGGUF("version 1", GGUFBytes.make { $0.header(version: 1) }, "GGUF version 1; convert it to version 2 or 3"),
    HostileGGUF("big-endian", GGUFBytes.make { $0.header(version: 0x0300_0000) }, "a big-endian file"),
    HostileGGUF(
        "huge tensor count", GGUFBytes.make { $0.header(tensors: .max) },
        "the header claims 18446744073709551615 tensors, but only 8 bytes of the file are left"
    ),
    HostileGGUF(
        "huge metadata count", GGUFBytes.make { $0.header(metadata: 1 << 62) },
        "the header claims 4611686018427387904 metadata values"
    ),
    HostileGGUF(
        "string past the end",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append(UInt64(1) << 63)
            $0.pad(to: 64)
        }, "the name of metadata value 0 claims 9223372036854775808 bytes of text"
    ),
    HostileGGUF(
        "array past the end",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append("a")
            $0.append(UInt32(9))
            $0.append(UInt32(4))
            $0.append(UInt64.max / 4 + 2)
        }, "metadata value a claims 4611686018427387905 integers"
    ),
    HostileGGUF(
        "nested arrays",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append("a")
            $0.append(UInt32(9))
            $0.append(UInt32(9))
            $0.append(UInt64(1))
        }, "metadata value a is an array of arrays"
    ),
    HostileGGUF(
        "unknown value type",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append("a")
            $0.append(UInt32(13))
        }, "metadata value a has value type 13"
    ),
    HostileGGUF(
        "text that is not UTF-8",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append(UInt64(1))
            $0.append(UInt8(0xff))
            $0.pad()
        }, "holds text that is not UTF-8"
    ),
    HostileGGUF(
        "key twice",
        GGUFBytes.make {
            $0.header(metadata: 2)
            for _ in 0..<2 {
                $0.append("a")
                $0.append(UInt32(0))
                $0.append(UInt8(1))
            }
        }, "metadata value a appears twice"
    ),
    HostileGGUF(
        "bad alignment",
        GGUFBytes.make {
            $0.header(metadata: 1)
            $0.append("general.alignment")
            $0.append(UInt32(4))
            $0.append(UInt32(24))
        }, "general.alignment is not a power of two"
    ),
    HostileGGUF(
        "unknown type", GGUFBytes.oneTensor([256], type: 18),
        "tensor \"x\" is of type IQ3_XXS; convert it to one of F32, F16, Q4_0"),
    HostileGGUF("unheard-of type", GGUFBytes.oneTensor([32], type: 999), "of type number 999"),
    HostileGGUF(
        "data past the end", GGUFBytes.oneTensor([256], type: 0),
        "(shape [256], offset 0) ends past the end of the file"),
    HostileGGUF("offset past the end", GGUFBytes.oneTensor([1], type: 0, offset: .max - 31), "ends past the end"),
    HostileGGUF(
        "size overflows", GGUFBytes.oneTensor([1 << 31 - 1, 1 << 31 - 1, 1 << 31 - 1], type: 0), "ends past the end"),
    HostileGGUF("length too large", GGUFBytes.oneTensor([1 << 32], type: 0), "impossible shape [4294967296]"),
    HostileGGUF("length zero", GGUFBytes.oneTensor([0, 4], type: 0), "impossible shape [4, 0]"),
    HostileGGUF("no dimension", GGUFBytes.oneTensor([], type: 0), "0 dimensions"),
    HostileGGUF("five dimensions", GGUFBytes.oneTensor([1, 1, 1, 1, 1], type: 0), "5 dimensions"),
    HostileGGUF(
        "half a block", GGUFBytes.oneTensor([48], type: 3), "rows of 48 elements, not a multiple of its block of 32"),
    HostileGGUF(
        "offset not aligned", GGUFBytes.oneTensor([1], type: 0, offset: 4), "begins at offset 4, not a multiple of 32"),
    HostileGGUF(
        "tensor twice",
        GGUFBytes.make {
            $0.header(tensors: 2)
            $0.tensor("x", [1], type: 0, offset: 0)
            $0.tensor("x", [1], type: 0, offset: 32)
            $0.pad()
            $0.bytes += [UInt8](repeating: 0, count: 64)
        }, "tensor x appears twice"
    ),
    HostileGGUF(
        "overlap",
        GGUFBytes.make {
            $0.header(tensors: 2)
            $0.tensor("x", [16], type: 0, offset: 0)
            $0.tensor("y", [1], type: 0, offset: 32)
            $0.pad()
            $0.bytes += [UInt8](repeating: 0, count: 64)
        }, "the data of tensors x and y overlap"
    ),
]
