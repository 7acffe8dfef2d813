import Distillation
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

    @Test func aLogThatCannotBeWrittenSaysWhere() {
        let bad = folder.file("no/such/folder/events.jsonl")
        #expect(message { _ = try EventLog(bad) }.hasPrefix("cannot write \(bad): "))
    }
}
