import Distillation
import Glibc
import TensorFiles
import TestSupport
import Testing

/// A few numbers of a step.
private struct Drawn: DrawnEvent {
    var series = "a"
    var step: Int
    var numbers: [(tag: String, value: Double?)]

    init(_ step: Int, _ numbers: KeyValuePairs<String, Double?> = ["x": 1], series: String = "a") {
        (self.step, self.numbers, self.series) = (step, numbers.map { (tag: $0.key, value: $0.value) }, series)
    }

    func encode(to encoder: any Encoder) {}
}

@Suite struct TensorBoardTests {
    private let folder = TemporaryFolder()

    private func path(_ series: String = "a") -> String {
        folder.file((series.isEmpty ? "" : series + "/") + TensorBoardLog.fileName)
    }

    /// A log whose clock stands still: of the same steps it has the same bytes.
    private func log() -> TensorBoardLog { TensorBoardLog(folder.path) { 7 } }

    private func write(_ steps: some Sequence<Int>) throws {
        let log = log()
        for step in steps { try log.append(Drawn(step)) }
    }

    /// From RFC 3720, B.4, and the checksum's own check value.
    @Test(
        arguments: [
            (Array("123456789".utf8), 0xE306_9283), ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
            ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43), (Array(0..<32), 0x46DD_794E), ([], 0),
        ] as [([UInt8], UInt32)])
    func checksumsAreThoseOfCRC32C(_ bytes: [UInt8], _ crc: UInt32) { #expect(CRC32C.of(bytes) == crc) }

    @Test func aFileIsWhatTensorBoardsOwnWriterMakesOfTheSameNumbers() throws {
        let clock = TickingClock()
        let log = TensorBoardLog(folder.path, ownName: "out") { 1_699_999_999.75 + 0.5 * clock.read() }
        try log.append(Drawn(0, ["loss/total": 1.5, "loss/none": nil, "latents/dead": 0], series: "out"))
        try log.append(Drawn(1, ["loss/total": -0.1], series: "out"))
        try log.append(Drawn(300, ["loss/total": .infinity], series: "out"))
        expectSame(contents(of: path("")), contents(of: fixture("tensorboard/events")), "events")
    }

    @Test func eachTrainingHasAFileOfItsOwn() throws {
        let log = log()
        for series in ["a", "b/c", "", "a"] { try log.append(Drawn(series == "a" ? 3 : 1, series: series)) }
        for series in ["a", "b/c", ""] { #expect(exists(path(series))) }
        #expect(contents(of: path("a")).count > contents(of: path("b/c")).count)
    }

    @Test(arguments: [0, 1, 4, 9]) func aTrainingThatGoesOnFromAStepLeavesNoneTwice(_ step: Int) throws {
        try write(0..<10)
        let whole = contents(of: path())
        try write(0..<7)
        try write(step..<10)
        if step <= 7 { expectSame(contents(of: path()), whole, "from \(step)") }
        #expect(contents(of: path()).count <= whole.count)
    }

    @Test func whatAKillCutShortOrADiskSpoiltIsCutOff() throws {
        try write([0])
        let first = contents(of: path())
        try write(0..<3)
        let whole = contents(of: path())
        for length in [0, 5, 20, first.count, first.count + 11, first.count + 30, whole.count - 1] {
            try AtomicFile.write(Array(whole.prefix(length)), to: path())
            try write([2])
            let found = contents(of: path())
            // The records before the cut one, and the new one.
            let record = (whole.count - first.count) / 2
            let kept = length < first.count ? 0 : min(1, (length - first.count) / record)
            #expect(found.suffix(record) == whole.suffix(record), "\(length)")
            #expect(length < first.count || found.count == first.count + (kept + 1) * record, "\(length)")
        }
        var spoilt = whole
        spoilt[first.count + 20] ^= 1
        try AtomicFile.write(spoilt, to: path())
        try write([3])
        #expect(Array(contents(of: path()).prefix(first.count)) == first)
        #expect(contents(of: path()).count < whole.count)
    }

    @Test func aLinkInTheFilesPlaceIsRefused() throws {
        try createFolder(folder.file("a"))
        try AtomicFile.write("precious", to: folder.file("other"))
        symlink(folder.file("other"), path())
        #expect(message { try write([0]) }.contains("\(path())") && message { try write([0]) }.contains("it is a link"))
        #expect(String(decoding: contents(of: folder.file("other")), as: UTF8.self) == "precious")
    }
}
