import Glibc
import TensorFiles
import TestSupport
import Testing

@Suite struct GGUFPartsTests {
    private let folder = TemporaryFolder()

    /// The package gguf's four parts of five tensors, of which the first part has none.
    private func part(_ number: Int) -> String { "split-0000\(number)-of-00004.gguf" }

    /// A copy of all parts to be changed; returns the path of the first.
    private func copied() throws -> String {
        for number in 1...4 {
            try AtomicFile.write(contents(of: fixture("gguf/\(part(number))")), to: folder.file(part(number)))
        }
        return folder.file(part(1))
    }

    private func complaint(_ path: String) -> String? {
        do {
            _ = try GGUFParts(path: path)
            return nil
        } catch { return "\(error)".replacing(folder.path + "/", with: "") }
    }

    /// The first occurrence of a key's number in a part becomes another.
    private func set(_ key: String, _ value: UInt8, inPart number: Int) throws {
        var bytes = contents(of: folder.file(part(number)))
        let name = Array(key.utf8)
        let at = try #require((0..<bytes.count - name.count).first { Array(bytes[$0..<$0 + name.count]) == name })
        bytes[at + name.count + 4] = value
        try AtomicFile.write(bytes, to: folder.file(part(number)))
    }

    @Test func anyPartOpensAllOfThem() throws {
        for number in 1...4 {
            let model = try GGUFParts(path: fixture("gguf/\(part(number))"))
            #expect(model.files.map { $0.path.suffix(25) } == (1...4).map { Substring(part($0)) })
            #expect(model.metadata["llama.block_count"] == .integer(7))
            #expect(model.names == ["t0", "t1", "t2", "t3", "t4"])
            for i in 0..<5 {
                #expect(model["t\(i)"]?.shape == [2, 4])
                #expect(try model.matrix("t\(i)").values == (0..<8).map { Float(100 * i + $0) })
            }
        }
        let whole = try GGUFParts(path: fixture("gguf/every_type.gguf"))
        #expect(whole.files.count == 1 && whole.names == Set(whole.files[0].tensors.keys))
    }

    @Test func pathsFollowFromTheName() {
        #expect(GGUFParts.paths("a/m-00002-of-00003.gguf") == (1...3).map { "a/m-0000\($0)-of-00003.gguf" })
        for name in [
            "m.gguf", "m-00004-of-00003.gguf", "m-0002-of-00003.gguf", "m-00000-of-00000.gguf", "m-+0001-of-00002.gguf",
            "folder",
        ] {
            #expect(GGUFParts.paths(name) == [name])
        }
    }

    @Test func partsThatDoNotBelongTogetherAreRefusedByName() throws {
        let first = try copied()
        #expect(complaint(first) == nil)
        unlink(folder.file(part(3)))
        #expect(complaint(first) == "cannot read \(part(3)): No such file or directory; check the path")

        _ = try copied()
        try AtomicFile.write(contents(of: folder.file(part(2))), to: folder.file(part(3)))
        #expect(
            complaint(first)
                == "\(part(3)): split.no is 1, and by its name it is 2; put the parts of one model together")
        try set("split.no", 2, inPart: 3)
        #expect(
            complaint(first)
                == "\(part(3)): tensor t0 is in \(part(2)) too; put the parts of one model together")

        _ = try copied()
        try set("split.tensors.count", 4, inPart: 2)
        #expect(
            complaint(first)
                == "\(part(2)): split.tensors.count is 4, and 5 in \(part(1)); put the parts of one model together")
        for number in 1...4 { try set("split.tensors.count", 6, inPart: number) }
        #expect(
            complaint(first)
                == "\(part(1)): split.tensors.count is 6, and the parts hold 5 tensors; fetch the parts again")

        _ = try copied()
        try set("split.count", 3, inPart: 4)
        #expect(
            complaint(first)
                == "\(part(4)): split.count is 3, and by its name it is 4; put the parts of one model together")
    }

    @Test func aPartUnderAnotherNameIsRefused() throws {
        let first = try copied()
        rename(first, folder.file("model.gguf"))
        #expect(
            complaint(folder.file("model.gguf"))
                == "model.gguf: it is part 1 of a model split in 4, and is not named so; name the parts as llama.cpp's "
                + "llama-gguf-split does, NAME-00001-of-00004.gguf")
        try AtomicFile.write(contents(of: fixture("gguf/every_type.gguf")), to: first)
        #expect(
            complaint(first)
                == "\(part(1)): its name says part 1 of 4, and it is a whole model; give it a name without numbers of parts"
        )
    }
}
