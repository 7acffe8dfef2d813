import Glibc

/// Uninitialised memory for `count` elements at a multiple of 64 bytes; released by `free`.
///
/// The one place where memory of any size comes from: where it cannot be had, the program ends with a message. It is
/// asked before what cannot be had is taken, since Linux promises more than there is and then kills.
///
/// - Parameter what: what it is for, in the message.
package func allocateAligned<Element>(
    _ count: Int, for what: @autoclosure () -> String = "working memory"
) -> UnsafeMutablePointer<Element> {
    let rounded = roundedSize(count, of: Element.self)
    if rounded >= largeAllocation, rounded > MemoryLimit.current.available { refuse(rounded, what()) }
    guard let memory = aligned_alloc(64, rounded) else { refuse(rounded, what()) }
    return memory.bindMemory(to: Element.self, capacity: max(count, 1))
}

/// Memory of zeros for `count` elements, likewise. Of much of it, no page costs anything before it is written to: `mappedBytes` are then
/// above 0, and it is released by `munmap`.
func allocateZeros<Element>(
    _ count: Int, for what: @autoclosure () -> String
) -> (memory: UnsafeMutablePointer<Element>, mappedBytes: Int) {
    let size = roundedSize(count, of: Element.self)
    guard size >= largeAllocation else {
        let memory: UnsafeMutablePointer<Element> = allocateAligned(count, for: what())
        memset(memory, 0, size)
        return (memory, 0)
    }
    if size > MemoryLimit.current.available { refuse(size, what()) }
    guard let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        memory != MAP_FAILED
    else { refuse(size, what()) }
    return (memory.bindMemory(to: Element.self, capacity: count), size)
}

private func roundedSize<Element>(_ count: Int, of type: Element.Type) -> Int {
    let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    return overflow || bytes > Int.max - 63 ? Int.max : (bytes + 63) / 64 * 64
}

/// From here on it is worth the microseconds to ask whether so much is there.
private let largeAllocation = 64 << 20

private func refuse(_ bytes: Int, _ what: String) -> Never {
    var need = MemoryNeed("\(what) needs", advice: ResourceAdvice.text)
    need.add("memory", bytes)
    ResourceError.memory(need, limit: .current).endProgram()
}
