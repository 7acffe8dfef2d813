import Glibc

/// How much more memory this process may take, and who says so: the least of what its limits, its control group and the
/// machine leave.
public struct MemoryLimit: Sendable, Equatable {
    /// Bytes; 0 or more.
    public let available: Int
    /// "this process may take 300 MiB more of the 500 MiB of address space that ulimit -v allows".
    public let reason: String

    package init(available: Int, reason: String) {
        self.available = max(0, available)
        self.reason = reason
    }

    /// As things are now.
    public static var current: MemoryLimit { least(limits() + ControlGroup.current.memory() + machine()) }

    /// As its own limits alone (ulimit -v, -d) have it.
    public static var ofProcess: MemoryLimit { least(limits()) }

    /// The same with so much more, for who holds it already.
    package func raised(by bytes: Int) -> MemoryLimit {
        MemoryLimit(available: available > Int.max - bytes ? .max : available + bytes, reason: reason)
    }

    /// What stands in the way without regard to what is taken already, for messages of last resort.
    public static var standing: String { current.reason }

    private static func least(_ all: [MemoryLimit]) -> MemoryLimit {
        all.min { $0.available < $1.available } ?? MemoryLimit(available: .max, reason: "there is no limit")
    }

    /// RLIMIT_AS and RLIMIT_DATA, less what is taken.
    private static func limits() -> [MemoryLimit] {
        // Pages: all, resident, shared, text, 0, data and stack.
        let fields = (smallFile("/proc/self/statm") ?? "").split(separator: " ").map { Int($0) ?? 0 }
        let page = sysconf(Int32(_SC_PAGESIZE))
        return [(RLIMIT_AS, 0, "address space", "-v"), (RLIMIT_DATA, 5, "data", "-d")].compactMap {
            resource, field, name, option in
            var limit = rlimit()
            guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur < UInt64(Int.max),
                fields.count > field
            else { return nil }
            let (most, used) = (Int(limit.rlim_cur), fields[field] * page)
            return MemoryLimit(
                available: most - used,
                reason:
                    "this process may take \(memoryText(max(0, most - used))) more of the \(memoryText(most)) of \(name) "
                    + "that its limit allows (ulimit \(option))")
        }
    }

    /// Memory that is free or can be freed, swap included.
    private static func machine() -> [MemoryLimit] {
        let values = (smallFile("/proc/meminfo") ?? "").split(separator: "\n").reduce(into: [Substring: Int]()) {
            let words = $1.split(separator: " ")
            if words.count >= 2, let number = Int(words[1]) { $0[words[0].dropLast()] = number }
        }
        guard let available = values["MemAvailable"] else { return [] }
        let bytes = (available + (values["SwapFree"] ?? 0)) << 10
        return [MemoryLimit(available: bytes, reason: "this machine has \(memoryText(bytes)) left")]
    }
}

extension MemoryLimit: CustomStringConvertible {
    public var description: String { reason }
}

/// The contents of a file of a few lines, as the kernel makes them; nil where there is none.
package func smallFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 8192)
    while bytes.count < 1 << 20 {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { break }
        bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}
