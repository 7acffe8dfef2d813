import Glibc
import PluginABI

/// Memory for what a plugin writes, between two pages that nobody may touch: a write far outside ends the process, one
/// within the same page is found by `isIntact`.
final class GuardedMemory {
    /// What the plugin may write, from a multiple of 64 bytes, zero at first.
    let bytes: UnsafeMutableRawBufferPointer
    private let all: UnsafeMutableRawBufferPointer
    private let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    private static let mark: UInt8 = 0xA5

    /// - Throws: `SystemRefusal` without memory.
    init(count: Int) throws {
        let room = (count + 63) / 64 * 64, pages = max(1, (room + page - 1) / page) * page
        guard let memory = mmap(nil, pages + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            memory != MAP_FAILED
        else { throw SystemRefusal(what: "\(pages) bytes of memory", reason: String(cString: strerror(errno))) }
        mprotect(memory, page, PROT_NONE)
        mprotect(memory + page + pages, page, PROT_NONE)
        all = UnsafeMutableRawBufferPointer(start: memory, count: pages + 2 * page)
        // At the end of the pages, where most overruns go.
        bytes = UnsafeMutableRawBufferPointer(start: memory + page + pages - room, count: count)
        for i in margins { all[i] = Self.mark }
    }

    deinit { munmap(all.baseAddress, all.count) }

    /// From here on a write ends the process: for what a plugin is only lent.
    func becomeReadOnly() { mprotect(all.baseAddress! + page, all.count - 2 * page, PROT_READ) }

    private var margins: [Int] {
        let start = all.count - page - (bytes.count + 63) / 64 * 64
        return Array(page..<start) + Array(start + bytes.count..<all.count - page)
    }

    /// Whether nothing beside `bytes` was written.
    var isIntact: Bool { margins.allSatisfy { all[$0] == Self.mark } }
}
