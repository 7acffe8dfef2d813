import Foundation
import TensorFiles
import TestSupport
import Testing

/// Writes ZIP archives and pickles byte by byte, right or wrong as a test needs.
private struct ArchiveBytes {
    var entries: [(name: String, bytes: [UInt8])] = []
    /// Changes to the archive before it is written.
    var change: (inout [UInt8]) -> Void = { _ in }

    private static func number(_ value: Int, _ bytes: Int) -> [UInt8] {
        (0..<bytes).map { UInt8(value >> (8 * $0) & 255) }
    }

    private static func checksum(_ bytes: [UInt8]) -> Int {
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0xEDB8_8320 }
        }
        return Int(~crc)
    }

    func write(to path: String) throws {
        var (body, directory) = ([UInt8](), [UInt8]())
        for (name, bytes) in entries {
            let common =
                Self.number(0, 4) + Self.number(0, 4) + Self.number(Self.checksum(bytes), 4)
                + Self.number(bytes.count, 4)
                + Self.number(bytes.count, 4) + Self.number(name.utf8.count, 2) + Self.number(0, 2)
            directory +=
                [0x50, 0x4B, 1, 2, 20, 0, 20, 0] + common + Self.number(0, 10) + Self.number(body.count, 4)
                + name.utf8
            body += [0x50, 0x4B, 3, 4, 20, 0] + common + name.utf8 + bytes
        }
        var all =
            body + directory + [0x50, 0x4B, 5, 6, 0, 0, 0, 0] + Self.number(entries.count, 2)
            + Self.number(entries.count, 2) + Self.number(directory.count, 4) + Self.number(body.count, 4) + [0, 0]
        change(&all)
        try AtomicFile.write(all, to: path)
    }
}

/// One tensor of torch.save, with its strides.
private struct PickledTensor {
    var name = "x"
    var storage = "FloatStorage"
    var key = "0"
    var numbers = 6
    var offset = 0
    var shape = [2, 3]
    var strides = [3, 1]

    private func integer(_ value: Int) -> [UInt8] { [0x4A] + (0..<4).map { UInt8(value >> (8 * $0) & 255) } }
    private func text(_ text: String) -> [UInt8] {
        [0x58] + (0..<4).map { UInt8(text.utf8.count >> (8 * $0) & 255) } + text.utf8
    }
    private func tuple(_ values: [Int]) -> [UInt8] { [0x28] + values.flatMap(integer) + [0x74] }

    /// As a member of a dictionary.
    var pickled: [UInt8] {
        text(name) + Array("ctorch._utils\n_rebuild_tensor_v2\n((".utf8) + text("storage")
            + Array("ctorch\n\(storage)\n".utf8) + text(key) + text("cuda:0") + integer(numbers) + [0x74, 0x51]
            + integer(offset) + tuple(shape) + tuple(strides) + [0x89] + Array("ccollections\nOrderedDict\n)RtR".utf8)
    }
}

@Suite struct TorchFileTests {
    private let folder = TemporaryFolder()

    private func pickle(_ members: [UInt8]) -> [UInt8] { [0x80, 2, 0x7D, 0x28] + members + [0x75, 0x2E] }

    private func file(
        _ pickle: [UInt8], storages: [(String, [UInt8])] = [], change: @escaping (inout [UInt8]) -> Void = { _ in }
    ) throws -> String {
        var archive = ArchiveBytes(change: change)
        archive.entries =
            [("ae/data.pkl", pickle)] + storages.map { ("ae/data/\($0.0)", $0.1) } + [("ae/version", [51, 10])]
        let path = folder.file("ae.pt")
        try archive.write(to: path)
        return path
    }

    private func says(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return "\(error)".replacingOccurrences(of: folder.path + "/", with: "") }
    }

    private func bytes(_ numbers: [Float]) -> [UInt8] { numbers.flatMap { withUnsafeBytes(of: $0) { Array($0) } } }

    @Test(arguments: ["matryoshka_batchtopk", "batchtopk", "topk", "jumprelu"])
    func `what PyTorch saved is read as the same tensors in safetensors`(_ name: String) throws {
        let file = try TorchFile(path: fixture("dictionary_learning/\(name)/ae.pt"))
        let same = try SafetensorsFile(path: fixture("dictionary_learning/\(name)/weights.safetensors"))
        #expect(Set(file.tensors.keys) == Set(same.tensors.keys) && file.others.isEmpty)
        for (key, tensor) in same.tensors {
            #expect(file.tensors[key]?.shape == tensor.shape, "\(key)")
            if tensor.type.isFloatingPoint {
                #expect(try file.matrix(key).values == same.matrix(key).values, "\(key)")
            } else {
                #expect(try file.integers(key).map(Int64.init) == same.integers(key), "\(key)")
            }
        }
    }

    @Test func `strides, offsets and other types are honoured`() throws {
        let (floats, halves) = ((0..<12).map(Float.init), [Float(1), -2, 0.5])
        let path = try file(
            pickle(
                PickledTensor(name: "transposed", numbers: 12, shape: [3, 4], strides: [1, 3]).pickled
                    + PickledTensor(name: "part", numbers: 12, offset: 5, shape: [2, 2], strides: [4, 2]).pickled
                    + PickledTensor(name: "scalar", numbers: 12, offset: 7, shape: [], strides: []).pickled
                    + PickledTensor(
                        name: "b", storage: "BFloat16Storage", key: "1", numbers: 3, shape: [3], strides: [1]
                    )
                    .pickled
                    + PickledTensor(name: "k", storage: "LongStorage", key: "2", numbers: 2, shape: [2], strides: [1])
                    .pickled
                    + Array("X".utf8) + [1, 0, 0, 0] + Array("n".utf8) + [0x4B, 7]),
            storages: [
                ("0", bytes(floats)),
                ("1", halves.flatMap { [UInt8($0.bitPattern >> 16 & 255), UInt8($0.bitPattern >> 24)] }),
                ("2", [3, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 255, count: 8)),
            ])
        let torch = try TorchFile(path: path)
        #expect(try torch.matrix("transposed").values == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])
        #expect(try torch.matrix("part").values == [5, 7, 9, 11])
        #expect(try torch.matrix("scalar").values == [7])
        #expect(try torch.matrix("b").values == halves)
        #expect(try torch.integers("k") == [3, -1])
        #expect(torch.others["n"] == .some(.some(.integer(7))))
        #expect(says { _ = try torch.integers("b") }?.contains("wanted a tensor of whole numbers") == true)
    }

    @Test func `a pickle that would run something is refused by name`() throws {
        func message(_ pickle: [UInt8]) throws -> String? {
            let path = try file(pickle)
            return says { _ = try TorchFile(path: path) }
        }
        let rest =
            ", which is not read, since a pickle can run any program; save the tensors alone: torch.save of a state dict, or safetensors"
        #expect(
            try message(
                [0x80, 2] + Array("cos\nsystem\n(X".utf8) + [2, 0, 0, 0] + Array("ls".utf8) + Array("tR.".utf8))
                == "ae.pt: its pickle holds \"os system\"" + rest)
        #expect(
            try message([0x80, 4, 0x8C, 2] + Array("os".utf8) + [0x8C, 6] + Array("system".utf8) + [0x93, 0x2E])
                == "ae.pt: its pickle holds \"os system\"" + rest)
        #expect(try message(Array("(lp0\n.".utf8))?.contains("the instruction \"l\"") == true)
        #expect(try message([0x80, 1, 0x2E])?.contains("protocol 1") == true)
        #expect(
            try message([0x80, 2, 0x4B, 1, 0x29, 0x52, 0x2E])?.contains("a call of something else than a name") == true)
        // Nested until something recurses too deep, by tuples and by what is filled after it was remembered.
        #expect(
            try message([0x80, 2, 0x29] + [UInt8](repeating: 0x85, count: 200_000) + [0x2E])?.contains(
                "nested more than 64 deep") == true)
        #expect(
            try message([0x80, 2, 0x5D, 0x71, 0, 0x68, 0, 0x2E])?.contains("a list or dictionary in two places") == true
        )
        for bad: [UInt8] in [
            [], [0x80, 2], [0x80, 2, 0x2E], [0x80, 2, 0x4B, 1, 0x4B, 1, 0x2E], [0x80, 2, 0x74], [0x80, 2, 0x68, 9],
        ] {
            #expect(try message(bad)?.contains("its pickle is not sound") == true, "\(bad)")
        }
        #expect(try message([0x80, 2, 0x4B, 1, 0x2E])?.contains("something else than a dictionary of tensors") == true)
    }

    @Test func `a tensor that reaches beyond its storage is refused by name`() throws {
        func message(_ tensor: PickledTensor, bytes count: Int = 24) throws -> String? {
            let path = try file(pickle(tensor.pickled), storages: [("0", [UInt8](repeating: 0, count: count))])
            return says { _ = try TorchFile(path: path) }
        }
        #expect(try message(PickledTensor()) == nil)
        for tensor in [
            PickledTensor(offset: 1), PickledTensor(shape: [3, 3]), PickledTensor(strides: [4, 1]),
            PickledTensor(shape: [1 << 30, 1 << 30], strides: [0, 0]),
            PickledTensor(shape: [Int](repeating: 1 << 30, count: 3), strides: [Int](repeating: 1 << 30, count: 3)),
            PickledTensor(shape: [100, 100], strides: [0, 0]),
        ] {
            #expect(
                try message(tensor) == "ae.pt: tensor \"x\" reaches beyond its storage of 6 numbers; fetch it again",
                "\(tensor)")
        }
        #expect(try message(PickledTensor(offset: -1))?.contains("impossible shape") == true)
        #expect(try message(PickledTensor(strides: [-3, 1]))?.contains("impossible shape") == true)
        #expect(try message(PickledTensor(shape: [6]))?.contains("impossible shape") == true)
        #expect(
            try message(PickledTensor(), bytes: 20)
                == "ae.pt: tensor \"x\" has a storage of 20 bytes for 6 numbers of float; fetch it again")
        #expect(
            try message(PickledTensor(key: "../version"))
                == "ae.pt: tensor \"x\" has no storage \"ae/data/../version\"; fetch it again")
    }

    @Test func `an archive that contradicts itself is refused`() throws {
        let sound = pickle(PickledTensor().pickled)
        func message(_ change: @escaping (inout [UInt8]) -> Void) throws -> String? {
            let path = try file(sound, storages: [("0", [UInt8](repeating: 0, count: 24))], change: change)
            return says { _ = try TorchFile(path: path).matrix("x") }
        }
        #expect(try message { _ in } == nil)
        // One byte of the storage: its checksum tells.
        #expect(
            try message { $0[$0.firstRange(of: Array("ae/data/0".utf8))!.upperBound] = 1 }
                == "ae.pt: entry \"ae/data/0\" is not what was put in: its checksum differs; the file is damaged, fetch it again"
        )
        #expect(try message { $0.removeLast(10) }?.contains("the record at its end is missing") == true)
        #expect(try message { $0 = [1, 2, 3] }?.contains("not in the format of PyTorch 1.6") == true)
        let last = { (bytes: [UInt8], name: String) in
            bytes.indices.last { bytes[$0...].starts(with: Array(name.utf8)) }!
        }
        // The directory's second entry begins where the first does: they share bytes.
        #expect(
            try message { bytes in
                let at = last(bytes, "ae/data/0") - 4
                bytes[at] = 0
                bytes[at + 1] = 0
            }?.contains("what stands before entry \"ae/data/0\" is not what the directory says") == true)
        #expect(
            try message { $0[last($0, "ae/data/0") - 46 + 10] = 8 }?.contains("is not what the directory says") == true)
        #expect(try message { $0[last($0, "ae/data/0") - 46 + 8] = 1 }?.contains("is encrypted") == true)
        #expect(
            try message { $0[last($0, "ae/data/0") - 46 + 24] = 25 }?.contains("does not lie before the directory")
                == true)
    }

    @Test func `every prefix of a sound file, and every byte changed, ends in an error or in the same tensors`() throws
    {
        let whole = contents(of: fixture("dictionary_learning/topk/ae.pt"))
        let path = folder.file("x.pt")
        // The bytes around the structure, not the weights themselves.
        let places = Array(0..<1600) + Array(whole.count - 2200..<whole.count)
        let sound = try TorchFile(path: fixture("dictionary_learning/topk/ae.pt"))
        let wanted = try sound.matrix("decoder.weight").values
        for place in places where place % 7 == 0 {
            var bytes = whole
            bytes[place] ^= 0x55
            try AtomicFile.write(bytes, to: path)
            if let found = try? TorchFile(path: path).matrix("decoder.weight").values {
                #expect(found == wanted, "byte \(place)")
            }
        }
        for length in stride(from: 0, to: whole.count, by: 997) {
            try AtomicFile.write(Array(whole[..<length]), to: path)
            #expect(throws: (any Error).self) { try TorchFile(path: path) }
        }
    }
}
