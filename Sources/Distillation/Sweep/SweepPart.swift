import Glibc
import TensorFiles

/// A part of a sweep's work that one point does: a harvest, an SAE with its evaluation, or the scores of a cycle.
public struct SweepPart: Sendable, Equatable {
    /// "store", "cycle-1", "cycle-1, scores", "final/k-128/dmsae": of an SAE the name under which its training is logged.
    public let name: String
    /// Tokens that the model is run on for the store.
    public internal(set) var harvested = 0
    /// Of a training.
    public internal(set) var steps = 0
    var k = 0.0
    /// Tokens, likewise.
    public internal(set) var evaluated = 0
    public internal(set) var scored = 0
    /// The file of a run that is there once it is done, after the run's folder.
    private let mark: String
    /// Once this step of the run is done, nothing is left of it either: cycles may be fewer than the recipe's.
    private let end: SharedStep?

    init(name: String, mark: String, endsWith end: SharedStep?) { (self.name, self.mark, self.end) = (name, mark, end) }

    /// Whether it is done in the folder of a run.
    func isDone(in run: String) -> Bool { exists(run + mark) || end.map { exists($0.mark(in: run)) } ?? false }

    /// The step of its training that a run has logged last; nil if it has logged none lately.
    func lastStep(in run: String) -> Int? {
        guard steps > 0, let log = fopen(run + "/events.jsonl", "r") else { return nil }
        defer { fclose(log) }
        // Lines of steps are shorter than a kilobyte by far.
        var tail = [UInt8](repeating: 0, count: 1 << 14)
        fseek(log, 0, SEEK_END)
        fseek(log, -min(ftell(log), tail.count), SEEK_CUR)
        tail.removeLast(tail.count - fread(&tail, 1, tail.count, log))
        for line in String(decoding: tail, as: UTF8.self).split(separator: "\n").reversed()
        where line.hasPrefix(#"{"event":"step""#) {
            guard let event = try? JSONRecord.decode(StepLine.self, from: String(line), in: run) else { continue }
            return event.run == name ? event.record.step : nil
        }
        return nil
    }

    private struct StepLine: Decodable {
        var run: String
        var record: Record
        struct Record: Decodable { var step: Int }
    }
}
