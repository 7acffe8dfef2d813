import TensorFiles
import TestSupport
import Testing

/// Files that gzip and zstd packed (`Fixtures/corpus/make.py`).
@Suite struct ByteStreamTests {
    private let folder = TemporaryFolder()

    private func read(_ path: String, at once: Int = 1 << 16, allowance: Int = 1 << 30) throws -> [UInt8] {
        let stream = try ByteStream(path: path, allowance: allowance)
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: once)
        while true {
            let count = try buffer.withUnsafeMutableBytes { try stream.read(into: $0) }
            if count == 0 { return result }
            result += buffer[..<count]
        }
    }

    private func complaint(_ path: String, allowance: Int = 1 << 30) -> String {
        do {
            return "read \(try read(path, allowance: allowance).count) bytes"
        } catch { return "\(error)" }
    }

    private static let long = Array((0..<120_000).map { "line \($0 % 1000) of a long text\n" }.joined().utf8)

    @Test(arguments: ["long.txt.gz", "long.txt.zst"]) func theBytesAreThoseThatWerePacked(_ name: String) throws {
        let path = fixture("corpus/" + name)
        for once in [1, 977, 1 << 20, 1 << 23] where once > 1 || name.hasSuffix(".zst") {
            #expect(try read(path, at: once) == Self.long, "\(once)")
        }
    }

    /// In pieces or at once, since what is packed has no bounds of its own; and with no time in it, the same bytes again.
    @Test func whatIsPackedHereIsUnpackedAsItWas() throws {
        for (name, pieces) in [
            ("whole", [Self.long]),
            (
                "pieces",
                stride(from: 0, to: Self.long.count, by: 70_001).map {
                    Array(Self.long[$0..<min($0 + 70_001, Self.long.count)])
                }
            ), ("empty", []),
        ] {
            let path = folder.file(name + ".gz")
            let file = try GzipFile(path: path)
            for piece in pieces { try file.write(piece) }
            #expect(!exists(path), "a name before the end")
            try file.commit()
            #expect(try read(path) == pieces.flatMap { $0 }, "\(name)")
        }
        let again = try GzipFile(path: folder.file("again.gz"))
        try again.write(Self.long)
        try again.commit()
        #expect(contents(of: folder.file("again.gz")) == contents(of: folder.file("whole.gz")))
        let dropped = try GzipFile(path: folder.file("dropped.gz"))
        try dropped.write(Self.long)
        #expect(!exists(folder.file("dropped.gz")))
    }

    @Test func anOrdinaryFileIsReadAsItIs() throws {
        let bytes = contents(of: fixture("corpus/long.txt.gz"))
        try AtomicFile.write(bytes, to: folder.file("a"))
        #expect(try read(folder.file("a"), at: 1000) == bytes)
    }

    @Test(arguments: [("members.jsonl.gz", "gzip -t", 20), ("frames.jsonl.zst", "zstd -t", 60)])
    func everyMemberIsReadAndAStreamThatIsCutIsRefused(_ name: String, _ tool: String, _ first: Int) throws {
        let bytes = contents(of: fixture("corpus/" + name))
        let whole = try read(fixture("corpus/" + name))
        #expect(
            whole.count
                == (0..<4).reduce(0) {
                    $0
                        + "{\"id\": \($1), \"text\": \"document \($1) is here\", \"body\": \"another text \($1)\"}\n"
                        .utf8.count
                })
        let path = folder.file(name)
        var readable = 0
        for count in 0..<bytes.count {
            try AtomicFile.write(Array(bytes[..<count]), to: path)
            let said = complaint(path)
            // One place looks whole: where a member ends.
            if said.hasPrefix("read") {
                readable += 1
            } else {
                #expect(said == "\(path): it is cut short; check it with \(tool), and fetch it again", "\(count)")
            }
        }
        #expect((1...2).contains(readable))
    }

    @Test func damageIsNamed() throws {
        for (name, tool) in [("long.txt.gz", "gzip -t"), ("long.txt.zst", "zstd -t")] {
            var bytes = contents(of: fixture("corpus/" + name))
            let path = folder.file(name)
            // The checksum, of either.
            bytes[bytes.count - (name.hasSuffix(".gz") ? 6 : 2)] ^= 1
            try AtomicFile.write(bytes, to: path)
            let said = complaint(path)
            #expect(said.hasPrefix("\(path): it cannot be unpacked: "))
            #expect(said.hasSuffix("; check it with \(tool), and fetch it again"))
            try AtomicFile.write("plain text", to: path)
            #expect(complaint(path).contains("it cannot be unpacked: "))
            try AtomicFile.write(contents(of: fixture("corpus/" + name)) + Array("garbage".utf8), to: path)
            #expect(complaint(path) != "read \(Self.long.count) bytes")
        }
        let window = fixture("corpus/window.txt.zst")
        #expect(
            complaint(window) == "\(window): it cannot be unpacked: Frame requires too much memory for decoding; "
                + "check it with zstd -t, and fetch it again")
    }

    @Test func whatUnpacksToAbsurdlyMuchIsRefused() {
        let path = fixture("corpus/long.txt.zst")
        #expect(
            complaint(path, allowance: 1 << 20)
                == "\(path): it unpacks to more than 500 times its size, as no text does; "
                + "if it is right, unpack it by hand and give what comes of it")
        #expect(complaint(fixture("corpus/long.txt.gz"), allowance: 1 << 20) == "read \(Self.long.count) bytes")
    }
}
