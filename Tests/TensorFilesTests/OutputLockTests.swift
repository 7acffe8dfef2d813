import Glibc
import TensorFiles
import TestSupport
import Testing

@Suite struct OutputLockTests {
    private let folder = TemporaryFolder()
    private var out: String { folder.file("out") }

    @Test func aFolderHasOneWriterAtATimeAndTheSecondIsToldWhichProcessItIs() throws {
        var first: OutputLock? = try OutputLock.folder(out)
        #expect(
            message { _ = try OutputLock.folder(out) }
                == "\(out) is being written by another program (process \(getpid())); wait for it or write elsewhere")
        try first?.requireInPlace()
        first = nil
        #expect(!exists(out + "/.lock"), "nothing stays")
        _ = try OutputLock.folder(out)
    }

    @Test func aFileHasALockBesideIt() throws {
        let path = folder.file("state.safetensors")
        let lock = try OutputLock.file(path)
        #expect(throws: OutputLockError.inUse(output: path, process: Int(getpid()))) { try OutputLock.file(path) }
        _ = try OutputLock.file(folder.file("other.safetensors"))
        try lock.requireInPlace()
    }

    @Test func aLockThatAKillLeftBehindHoldsNobodyUp() throws {
        try createFolder(out)
        for text in ["1\n", "", "\u{0}\u{1}", "99999999999999999999999"] {
            try AtomicFile.write(text, to: out + "/.lock")
            _ = try OutputLock.folder(out)
        }
    }

    @Test func aLinkInThePlaceOfTheLockIsRefused() throws {
        try createFolder(out)
        #expect(symlink(folder.file("target"), out + "/.lock") == 0)
        #expect(message { _ = try OutputLock.folder(out) }.hasPrefix("cannot write \(out)/.lock: it is a link"))
        #expect(!exists(folder.file("target")))
    }

    @Test func aFolderThatIsMovedOrRemovedIsNoLongerTheOneAndAnotherInItsPlaceIsNot() throws {
        var lock: OutputLock? = try OutputLock.folder(out)
        let elsewhere = folder.file("elsewhere")
        #expect(rename(out, elsewhere) == 0)
        #expect(throws: OutputLockError.moved(output: out, now: elsewhere)) { try lock?.requireInPlace() }
        let other = try OutputLock.folder(out)
        #expect(throws: OutputLockError.moved(output: out, now: elsewhere)) { try lock?.requireInPlace() }
        lock = nil
        #expect(rmdir(elsewhere) == 0, "the lock is gone where it was taken along")
        try other.requireInPlace()
        #expect(unlink(out + "/.lock") == 0 && rmdir(out) == 0)
        #expect(throws: OutputLockError.removed(output: out)) { try other.requireInPlace() }
    }

    @Test func whatAKillLeftHalfWrittenIsClearedAndWhatIsBeingWrittenIsNot() throws {
        try createFolder(out)
        let dead = ".events.jsonl.1-1.partial", mine = ".notes.partial", kept = "report.1-1.partial"
        for name in [dead, mine, kept] { try AtomicFile.write("x", to: out + "/" + name) }
        let living = try AtomicFile(path: out + "/weights")
        let lock = try OutputLock.folder(out)
        #expect(!exists(out + "/" + dead) && exists(out + "/" + mine) && exists(out + "/" + kept))
        try living.commit()
        #expect(exists(out + "/weights"))
        withExtendedLifetime(lock) {}
    }
}

@Suite struct LeftoverTests {
    private let folder = TemporaryFolder()

    @Test func theNextWriterOfAFileClearsWhatKillsLeftOfItAndOfNoOther() throws {
        let path = folder.file("scores.safetensors")
        let dead = folder.file(".scores.safetensors.1-77.partial"), other = folder.file(".scores.1-77.partial")
        // Not by this program, which looks for them when it first writes in a folder.
        for path in [dead, other] { #expect(fopen(path, "w").map { fclose($0) } == 0) }
        try AtomicFile.write("whole", to: path)
        #expect(!exists(dead) && exists(other))
        #expect(contents(of: path) == Array("whole".utf8))
    }
}
