import Distillation
import Glibc
import TensorFiles
import TestSupport
import Testing

@Suite struct EventLogTests {
    private struct Event: Encodable {
        var event = "test"
        var number: Int
    }

    private let folder = TemporaryFolder()
    private var path: String { folder.file("events.jsonl") }
    private var text: String { String(decoding: contents(of: path), as: UTF8.self) }

    @Test func eventsAreLinesInTheOrderTheyHappened() throws {
        let log = try EventLog(path)
        for number in 1...3 { try log.append(Event(number: number)) }
        #expect(text == (1...3).map { "{\"event\":\"test\",\"number\":\($0)}\n" }.joined())
    }

    @Test(arguments: ["", "{\"event\":\"a\"}\n", "{\"event\":\"a\"}\n{\"event\":\"b\"}\n"], ["", "{\"eve", "x"])
    func aLineThatWasCutShortIsCutOff(_ whole: String, _ rest: String) throws {
        try AtomicFile.write(whole + rest, to: path)
        let log = try EventLog(path)
        #expect(text == whole)
        try log.append(Event(number: 7))
        #expect(text == whole + "{\"event\":\"test\",\"number\":7}\n")
    }

    @Test func aLongRestIsCutOffInBlocks() throws {
        let line = "{\"event\":\"a\"}\n"
        for rest in [1 << 16, 1 << 16 - line.utf8.count, 1 << 18 + 5] {
            try AtomicFile.write(line + String(repeating: "x", count: rest), to: path)
            _ = try EventLog(path)
            #expect(text == line, "\(rest)")
        }
    }

    @Test func aRunsLogBeginsWithTheRunAndAnotherRunsIsRefused() throws {
        for _ in 0..<2 {
            try EventLog(path, run: "ab").append(Event(number: 1))
        }
        let event = "{\"event\":\"test\",\"number\":1}\n"
        #expect(text == "{\"event\":\"run\",\"identity\":\"ab\"}\n" + event + event)
        let refused =
            "\(path) is not the log of the run that it lies in, by its first line; put the run's own back, or delete it: "
            + "nothing is built upon a log"
        #expect(message { _ = try EventLog(path, run: "cd") } == refused)
        for other in [event, "{\"event\":\"step\",\"identity\":\"ab\"}\n" + event] {
            try AtomicFile.write(other, to: path)
            #expect(message { _ = try EventLog(path, run: "ab") } == refused)
        }
        // A kill can cut the first line short.
        try AtomicFile.write("{\"event\":\"run\",\"iden", to: path)
        _ = try EventLog(path, run: "ab")
        #expect(text == "{\"event\":\"run\",\"identity\":\"ab\"}\n")
    }

    @Test func aLinkIsNotFollowed() throws {
        let target = folder.file("target")
        try AtomicFile.write("mine\n", to: target)
        #expect(symlink(target, path) == 0)
        #expect(message { _ = try EventLog(path) }.hasPrefix("cannot write \(path): it is a link"))
        // A new log takes the link's place.
        let log = try EventLog(replacing: path)
        try log.append(Event(number: 1))
        try log.replacement?.commit()
        #expect(text == "{\"event\":\"test\",\"number\":1}\n")
        #expect(contents(of: target) == Array("mine\n".utf8))
    }

    @Test func anOlderLogStaysUntilTheNewOneIsCommitted() throws {
        try AtomicFile.write("old\n", to: path)
        let log = try EventLog(replacing: path)
        try log.append(Event(number: 1))
        #expect(text == "old\n")
        try log.replacement?.commit()
        #expect(text == "{\"event\":\"test\",\"number\":1}\n")
    }

    @Test func aLogThatCannotBeWrittenSaysWhere() {
        let bad = folder.file("no/such/folder/events.jsonl")
        #expect(message { _ = try EventLog(bad) }.hasPrefix("cannot write \(bad): "))
    }
}
