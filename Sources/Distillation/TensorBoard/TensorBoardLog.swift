import Glibc
import TensorFiles

/// An event whose numbers are drawn over steps.
package protocol DrawnEvent: Encodable {
    /// The training that it is of, as a folder within the run's; empty for the run itself.
    var series: String { get }
    var step: Int { get }
    var numbers: [(tag: String, value: Double?)] { get }
}

/// The numbers of an event log once more, as files that `tensorboard --logdir FOLDER` shows: one for each training, in its folder,
/// and one for the cycles, in the run's or, of several seeds, in the seed's.
///
/// Every record is written at once and whole; what a kill cuts short is cut off later. A training that goes on from a checkpoint
/// logs steps again that were logged before: the first event here says where it goes on, and what the file has from that step on is
/// cut off, so that a series is never doubled. Whoever writes one has the `OutputLock` of its folder.
public final class TensorBoardLog {
    private let folder: String
    /// The name under which events call the folder itself; nil where they never do.
    private let ownName: String?
    private let clock: @Sendable () -> Double
    private var files: [String: Int32] = [:]

    package static let fileName = "events.out.tfevents.0.dmsae"

    /// - Parameters:
    ///   - ownName: the series that goes into the folder itself.
    ///   - clock: seconds since 1970.
    public init(_ folder: String, ownName: String? = nil, clock: @escaping @Sendable () -> Double) {
        (self.folder, self.ownName, self.clock) = (folder, ownName, clock)
    }

    deinit { for file in files.values { close(file) } }

    /// Removes the file of an earlier training into a folder, which is not of the one that is there now.
    public static func remove(from folder: String) { unlink(folder + "/" + fileName) }

    /// Appends the numbers of an event to its series.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    package func append(_ event: some DrawnEvent) throws {
        let series = event.series == ownName ? "" : event.series
        let path = folder + (series.isEmpty ? "" : "/" + series)
        let file = try files[series] ?? open(in: path, before: event.step)
        files[series] = file
        let numbers = event.numbers.compactMap { tag, value in value.map { (tag: tag, value: Float($0)) } }
        let drawn = TensorBoardEvent(
            time: clock(), step: event.step, numbers: numbers.map { .init(tag: $0.tag, value: $0.value) })
        try Self.write(drawn.record, to: file, path)
    }

    /// The file in a folder, cut off where its first step that is not before `step` begins.
    private func open(in folder: String, before step: Int) throws -> Int32 {
        try createFolder(folder)
        let path = folder + "/" + Self.fileName
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_APPEND, 0o666)
        guard file >= 0 else {
            throw TensorFileError.unwritable(
                file: path, reason: errno == ELOOP ? "it is a link" : String(cString: strerror(errno)))
        }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(file)
            throw TensorFileError.unwritable(file: path, reason: "it is not a file")
        }
        let kept = Self.bytes(of: file, count: Int(status.st_size), before: step)
        guard ftruncate(file, off_t(kept)) == 0 else {
            close(file)
            throw TensorFileError.unwritable(file: path, reason: AtomicFile.reason(errno))
        }
        if kept == 0 { try Self.write(TensorBoardEvent.first(time: clock()).record, to: file, path) }
        return file
    }

    /// How many bytes at the start are whole records of steps before `step`, the first record, which has none, among them.
    private static func bytes(of file: Int32, count: Int, before step: Int) -> Int {
        var content = [UInt8](repeating: 0, count: count)
        let found = content.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
        var rest = content.prefix(max(0, found))
        while let record = TensorBoardEvent.step(ofRecordIn: rest), rest.startIndex == 0 || record.step < step {
            rest = rest.dropFirst(record.size)
        }
        return rest.startIndex
    }

    private static func write(_ record: [UInt8], to file: Int32, _ path: String) throws {
        let written = record.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        guard written == record.count else {
            let reason =
                written < 0 ? AtomicFile.reason(errno) : "the disk is full, or the file at its limit (ulimit -f)"
            throw TensorFileError.unwritable(file: path, reason: reason)
        }
    }
}

extension TrainingEvent: DrawnEvent {
    package var series: String { run }
    package var step: Int { record.step }
    package var numbers: [(tag: String, value: Double?)] {
        [
            ("loss/total", record.loss), ("loss/auxiliary", record.auxiliaryLoss), ("loss/penalty", record.penalty),
            ("L0/core", record.meanActiveCore), ("L0/non_core", record.meanActiveNonCore),
            ("latents/dead", Double(record.deadCount)), ("training/learning_rate", record.learningRate),
            ("training/gradient_norm", record.gradientNorm),
            ("training/least_selected", record.leastSelected.map(Double.init)),
            ("training/threshold", record.threshold.map(Double.init)),
        ] + record.prefixLosses.enumerated().map { ("loss_by_prefix/\($0.offset + 1)", $0.element) }
    }
}

extension CycleEvent: DrawnEvent {
    // Of several seeds each has its own: their cycles are logged in turns.
    var series: String { seed.map { "seed-\($0)" } ?? "" }
    var step: Int { record.cycle }
    var numbers: [(tag: String, value: Double?)] {
        let evaluation = record.sae.evaluation
        return [
            ("core/size", Double(record.coreSize)),
            ("core/carried_over", record.jaccard == nil ? nil : Double(record.carriedOver)),
            ("core/Jaccard", record.jaccard), ("core/coverage", record.coverage),
            ("evaluation/explained_variance", evaluation.explained_variance),
            ("evaluation/CE_score", evaluation.ce_loss_score), ("evaluation/L0", evaluation.l0),
            ("evaluation/L0_core", evaluation.l0_core),
            ("latents/dead", record.sae.deadLatents.map(Double.init)),
        ]
    }
}
