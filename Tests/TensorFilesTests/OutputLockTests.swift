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
        var lock: OutputLock? = try OutputLock.folder(out) { "go on with --out \($0)" }
        let elsewhere = folder.file("elsewhere")
        #expect(rename(out, elsewhere) == 0)
        let moved = "\(out) was moved to \(elsewhere) while it was being written; nothing more is written: "
        #expect(message { try lock?.requireInPlace() } == moved + "go on with --out \(elsewhere)")
        let other = try OutputLock.folder(out)
        #expect(message { try lock?.requireInPlace() } == moved + "go on with --out \(elsewhere)")
        lock = nil
        #expect(rmdir(elsewhere) == 0, "the lock is gone where it was taken along")
        try other.requireInPlace()
        #expect(unlink(out + "/.lock") == 0 && rmdir(out) == 0)
        #expect(throws: OutputLockError.removed(output: out)) { try other.requireInPlace() }
    }

    @Test func aLockThatIsRemovedUnderItsOwnerIsMissed() throws {
        let lock = try OutputLock.folder(out)
        #expect(unlink(out + "/.lock") == 0)
        #expect(
            message { try lock.requireInPlace() }
                == "\(out)/.lock was removed while \(out) was being written, so that another program may be writing there "
                + "too; nothing more is written: run the command again, and leave that file to it")
    }

    @Test func aCheckpointInAFolderThatIsMovedIsNamedWhereItIs() throws {
        try createFolder(out)
        let lock = try OutputLock.file(out + "/state") { "go on with --checkpoint \($0)" }
        let elsewhere = folder.file("elsewhere")
        #expect(rename(out, elsewhere) == 0)
        #expect(message { try lock.requireInPlace() }.hasSuffix("go on with --checkpoint \(elsewhere)/state"))
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

@Suite struct MovedFileTests {
    private let folder = TemporaryFolder()
    private var out: String { folder.file("out") }

    @Test func aFileThatIsDroppedAfterItsFolderWasMovedLeavesNothingInIt() throws {
        try createFolder(out)
        var file: AtomicFile? = try AtomicFile(path: out + "/scores")
        let elsewhere = folder.file("elsewhere")
        #expect(rename(out, elsewhere) == 0)
        try createFolder(out)
        file = nil
        #expect(file == nil && rmdir(elsewhere) == 0 && rmdir(out) == 0)
    }

    @Test func aFileWhoseFolderWasMovedOrRemovedAppearsNowhere() throws {
        try createFolder(out)
        let path = out + "/scores", elsewhere = folder.file("elsewhere")
        var file: AtomicFile? = try AtomicFile(path: path)
        #expect(rename(out, elsewhere) == 0)
        let moved =
            "\(path): its folder was moved or removed while it was being written; nothing has this name now; run the "
            + "command again"
        #expect(message { try file?.commit() } == moved)
        // Another folder has the name.
        try createFolder(out)
        #expect(message { try file?.commit() } == moved)
        file = nil
        #expect(rmdir(elsewhere) == 0 && rmdir(out) == 0)
    }

    @Test func aNameThatNoFileCanHaveIsRefusedBeforeTheWork() {
        let path = folder.file(String(repeating: "a", count: 256))
        #expect(
            message { try AtomicFile.requireWritable(path) }
                == "cannot write \(path): File name too long; the name is too long: shorten it")
    }

    @Test func aLinkToAnOpenFileOfAProcessIsNotReplaced() {
        let link = folder.file("stdout")
        #expect(symlink("/proc/self/exe", link) == 0)
        #expect(
            message { try AtomicFile.requireWritable(link) }
                == "cannot write \(link): it is an open file of a process, not a name for one; choose another place")
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
