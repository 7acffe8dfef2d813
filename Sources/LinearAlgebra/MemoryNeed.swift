/// Memory that a piece of work will take, computed from its sizes before it starts.
///
/// Sums and products saturate: a width of 2⁶² needs more than there is, and that is all one has to know.
public struct MemoryNeed: Sendable, Equatable {
    /// What needs it, with its verb: "training 4096 latents … needs".
    public let subject: String
    /// What the user can do about it: "lower --width".
    public let advice: String
    /// Bytes, by what they are for.
    public private(set) var parts: [String: Int] = [:]

    /// A need of nothing yet.
    public init(_ subject: String, advice: String) {
        self.subject = subject
        self.advice = advice
    }

    /// Adds the product of `factors` bytes for `name`.
    public mutating func add(_ name: String, _ factors: Int...) {
        let bytes = factors.reduce(1) { product, factor in
            let (result, overflow) = product.multipliedReportingOverflow(by: max(0, factor))
            return overflow ? .max : result
        }
        parts[name] = Self.sum(parts[name] ?? 0, bytes)
    }

    /// That of `count` such pieces of work at once.
    public func times(_ count: Int, advice: String) -> MemoryNeed {
        var result = MemoryNeed("\(count) × \(subject)", advice: advice)
        for (name, bytes) in parts { result.add(name, count, bytes) }
        return result
    }

    /// Σ of the parts, Int.max where it is more.
    public var bytes: Int { parts.values.reduce(0, Self.sum) }

    /// Refuses what cannot be had.
    ///
    /// - Throws: `ResourceError.memory`.
    public func check(_ limit: MemoryLimit = .current) throws(ResourceError) {
        guard bytes <= limit.available else { throw .memory(self, limit: limit) }
    }

    private static func sum(_ a: Int, _ b: Int) -> Int {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : sum
    }
}

extension MemoryNeed: CustomStringConvertible {
    /// "training … needs 154 GiB (parameters 150 GiB, batches 4 GiB)".
    public var description: String {
        let list = parts.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.map { "\($0.key) \(memoryText($0.value))" }
        let isListed = list.count > 1 && bytes < .max
        return "\(subject) \(memoryText(bytes))" + (isListed ? " (" + list.joined(separator: ", ") + ")" : "")
    }
}

/// A number of bytes as people say it: "154 GiB", "1.5 GiB", "300 MiB".
package func memoryText(_ bytes: Int) -> String {
    if bytes == .max { return "more bytes than can be counted" }
    var value = Double(bytes)
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024 || unit == "PiB" {
            // One decimal where it matters.
            let tenths = (value * 10).rounded()
            let whole = Int(tenths) / 10
            return value < 10 && unit != "bytes" && Int(tenths) % 10 != 0
                ? "\(whole).\(Int(tenths) % 10) \(unit)" : "\(Int(value.rounded())) \(unit)"
        }
        value /= 1024
    }
    return "\(bytes) bytes"
}
