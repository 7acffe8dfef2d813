import LinearAlgebra

/// What a command will take, without doing it.
public struct CostEstimate: Encodable, Sendable {
    /// A kind of work: how often it is done, and the seconds of one.
    public struct Work: Encodable, Sendable {
        /// What it is done on: tokens, steps.
        public let unit: String
        public let count: Int
        /// Of one; nil where it was not measured.
        public let seconds: Double?
    }

    /// By what is done.
    public private(set) var work: [String: Work] = [:]
    /// Bytes on the disk, by what they are for.
    public private(set) var disk: [String: Int] = [:]
    /// Bytes of memory by formula, beside the model's.
    public private(set) var memory: Int?
    /// What could not be told, and what else is to be known.
    public private(set) var remarks: [String] = []
    private var need: MemoryNeed?

    private enum CodingKeys: String, CodingKey { case work, disk, memory, remarks }

    public init() {}

    /// Adds a kind of work.
    public mutating func add(_ name: String, _ count: Int, _ unit: String, seconds: Double? = nil) {
        work[name] = Work(unit: unit, count: count, seconds: seconds)
    }

    /// Adds files.
    public mutating func add(disk name: String, _ bytes: Double) { disk[name] = Int(min(bytes, 0x1p60)) }

    /// Says what memory a training asks for.
    public mutating func add(_ need: MemoryNeed) { (self.need, memory) = (need, need.bytes) }

    /// Adds a sentence.
    public mutating func remark(_ text: String) { remarks.append(text) }

    /// Seconds of all; nil where something was not measured.
    public var seconds: Double? {
        work.values.reduce(0) { sum, work in
            guard let sum, let one = work.seconds else { return nil }
            return sum + one * Double(work.count)
        }
    }

    /// What it comes to, a line each.
    public var lines: [String] {
        var result = work.sorted { $0.key < $1.key }.map { name, work in
            "\(name): \(work.count) \(work.unit)"
                + (work.seconds.map { ", \(Self.duration($0 * Double(work.count)))" } ?? "")
        }
        let files = disk.sorted { $0.key < $1.key }.map { "\($0.key) \(memoryText($0.value))" }
        result.append("disk: " + (files.isEmpty ? "not known" : files.joined(separator: ", ")))
        result.append("memory: " + (need.map { "\($0), beside the model's own" } ?? "not known"))
        result.append("time: " + (seconds.map { "about " + Self.duration($0) } ?? "not known"))
        return result + remarks
    }

    /// "2 h 5 min".
    public static func duration(_ seconds: Double) -> String {
        guard seconds < 1e15 else { return "more than anyone's time" }
        let whole = Int(seconds.rounded())
        if whole < 100 { return "\(whole) s" }
        if whole < 6000 { return "\(whole / 60) min \(whole % 60) s" }
        return whole < 360_000 ? "\(whole / 3600) h \(whole / 60 % 60) min" : "\(whole / 86_400) days"
    }
}
