import CLinux
import Glibc
import LinearAlgebra

/// A file's bytes, mapped read-only for as long as this object lives.
///
/// A file that another process shortens while it is mapped, or that its disk no longer gives, is a SIGBUS at the next
/// access; copying every model to guard against that would double the memory. So every mapping is remembered with its
/// name, and the signal ends the program with a message that says which file it was (`dmsae_settle_signals`). One that
/// is replaced or removed stays readable as it was.
package final class MappedFile: Sendable {
    /// As given by the caller; for messages.
    package let path: String
    /// Number of bytes.
    package let count: Int
    /// The first byte; a multiple of the page size.
    package nonisolated(unsafe) let bytes: UnsafeRawPointer
    private let isMapped: Bool
    private let slot: Int32

    package init(path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw TensorFileError.noOrdinaryFile(path, status)
        }
        self.path = path
        count = Int(status.st_size)
        // mmap refuses length 0; an empty file is the format's to complain about.
        isMapped = count > 0
        if count == 0 {
            bytes = UnsafeRawPointer(UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64))
            slot = -1
            return
        }
        guard let map = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), map != MAP_FAILED else {
            let reason = String(cString: strerror(errno))
            if errno == ENOMEM {
                var need = MemoryNeed("reading \(path) needs", advice: "raise the limit")
                need.add("address space", count)
                throw ResourceError.memory(need, limit: .current)
            }
            throw TensorFileError.unreadable(file: path, reason: reason)
        }
        bytes = UnsafeRawPointer(map)
        slot = dmsae_remember_mapping(map, count, path)
    }

    deinit {
        let start = UnsafeMutableRawPointer(mutating: bytes)
        dmsae_forget_mapping(slot)
        if isMapped { munmap(start, count) } else { start.deallocate() }
    }

    /// Bytes `range`, which the caller has checked against `count`.
    package func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "bytes \(range) of \(count)")
        return UnsafeRawBufferPointer(start: bytes + range.lowerBound, count: range.count)
    }
}

/// Has the kernel read mapped memory that is needed soon, and returns at once. Only a hint: that it
/// failed would not matter.
package func readAhead(_ address: UnsafeRawPointer, _ byteCount: Int) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let before = Int(bitPattern: address) % page
    madvise(UnsafeMutableRawPointer(mutating: address - before), byteCount + before, MADV_WILLNEED)
}
