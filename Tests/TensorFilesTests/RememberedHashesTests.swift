import Glibc
import TensorFiles
import TestSupport
import Testing

@Suite struct RememberedHashesTests {
    private let folder = TemporaryFolder()
    private var list: String { folder.file("cache/hashes") }
    private var path: String { folder.file("model") }

    private func hash(_ remembered: RememberedHashes) throws -> String {
        try OpenFile(path).hexadecimal(remembered) { _ in }
    }

    /// A file whose last change lies so far back that another would bear another time.
    private func write(_ text: String) throws {
        try AtomicFile.write(text, to: path)
        var times = [timespec(tv_sec: 1_000_000, tv_nsec: 5), timespec(tv_sec: 1_000_000, tv_nsec: 5)]
        #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
    }

    @Test func aFileChangedInTheLastSecondsIsNotRemembered() throws {
        let remembered = RememberedHashes(path: list, leastSize: 1)
        try write("abc")
        #expect(try hash(remembered) == SHA256.hexadecimal(SHA256.digest(of: "abc")))
        #expect(!exists(list), "its ctime is now")
    }

    @Test func aRememberedHashIsThatOfAFileInTheSameStateOnly() throws {
        let remembered = RememberedHashes(path: list, leastSize: 1)
        try write("abc")
        var status = try OpenFile(path).status()
        // As it is two seconds from now.
        status.st_ctim.tv_sec -= 10
        remembered.remember("ab" + String(repeating: "0", count: 62), of: status, unchanged: status)
        #expect(remembered.hash(of: status)?.hasPrefix("ab00") == true)
        for change: (inout stat) -> Void in [
            { $0.st_size += 1 }, { $0.st_mtim.tv_nsec += 1 }, { $0.st_ctim.tv_nsec += 1 }, { $0.st_ino += 1 },
            { $0.st_dev += 1 },
        ] {
            var other = status
            change(&other)
            #expect(remembered.hash(of: other) == nil)
        }
        // One line a file.
        var later = status
        later.st_mtim.tv_nsec += 7
        remembered.remember("cd" + String(repeating: "0", count: 62), of: later, unchanged: later)
        #expect(remembered.hash(of: status) == nil && remembered.hash(of: later)?.hasPrefix("cd00") == true)
        var changed = later
        changed.st_size += 1
        remembered.remember("ef" + String(repeating: "0", count: 62), of: later, unchanged: changed)
        #expect(remembered.hash(of: later)?.hasPrefix("cd00") == true)
        #expect(RememberedHashes(path: list, leastSize: 4).hash(of: later) == nil, "small files are hashed")
    }

    @Test(arguments: ["", "x", "1 2 3 4 5 zz\n", "\u{0}\n \n", String(repeating: "9", count: 100_000)])
    func aBrokenListIsNone(_ text: String) throws {
        try createFolder(folder.file("cache"))
        try AtomicFile.write(text, to: list)
        try write("abc")
        #expect(
            try hash(RememberedHashes(path: list, leastSize: 1)) == SHA256.hexadecimal(SHA256.digest(of: "abc")))
    }

    @Test func anUnwritableCacheIsNoError() throws {
        try AtomicFile.write("in the way", to: folder.file("cache"))
        try write("abc")
        var status = try OpenFile(path).status()
        status.st_ctim.tv_sec -= 10
        for path in [list, nil] {
            let remembered = RememberedHashes(path: path, leastSize: 1)
            remembered.remember(String(repeating: "0", count: 64), of: status, unchanged: status)
            #expect(remembered.hash(of: status) == nil)
            #expect(try hash(remembered) == SHA256.hexadecimal(SHA256.digest(of: "abc")))
        }
    }
}
