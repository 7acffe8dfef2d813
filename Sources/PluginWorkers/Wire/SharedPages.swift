import CLinux
import Glibc
import PluginABI

/// Two pages of memory that the host and a worker share: in the first the host says that the worker should stop, in the
/// second the worker's crash says how it was. The worker cannot write the first.
final class SharedPages: @unchecked Sendable {
    /// The file they are in, for the worker; the host closes it once the worker has its copy.
    let descriptor: Int32
    private let stop: UnsafeMutablePointer<UInt8>
    private let end: UnsafeMutablePointer<dmsae_ending>
    private static let page = Int(sysconf(Int32(_SC_PAGESIZE)))

    /// New ones.
    /// - Throws: `SystemRefusal`.
    convenience init() throws {
        let file = dmsae_memfd("dmsae-pages")
        guard file >= 0, ftruncate(file, off_t(2 * Self.page)) == 0 else {
            let reason = String(cString: strerror(errno))
            if file >= 0 { close(file) }
            throw SystemRefusal(what: "shared memory", reason: reason)
        }
        try self.init(descriptor: file, isWorker: false)
    }

    /// Those of a file, as the host or the worker may use them.
    /// - Throws: `SystemRefusal`; the file stays the caller's.
    init(descriptor: Int32, isWorker: Bool) throws {
        func map(_ number: Int, isWritable: Bool) -> UnsafeMutableRawPointer? {
            let rights = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
            let memory = mmap(nil, Self.page, rights, MAP_SHARED, descriptor, off_t(number * Self.page))
            return memory == MAP_FAILED ? nil : memory
        }
        guard let stop = map(0, isWritable: !isWorker), let end = map(1, isWritable: true) else {
            throw SystemRefusal(what: "shared memory", reason: String(cString: strerror(errno)))
        }
        self.descriptor = descriptor
        self.stop = stop.assumingMemoryBound(to: UInt8.self)
        self.end = end.assumingMemoryBound(to: dmsae_ending.self)
    }

    deinit {
        munmap(stop, Self.page)
        munmap(end, Self.page)
    }

    /// Whether the worker should stop.
    var isStopWanted: Bool {
        get { stop.pointee != 0 }
        set { stop.pointee = newValue ? 1 : 0 }
    }

    /// In the worker: a crash fills `ending` from now on.
    func recordEnding() { dmsae_record_ending(end) }

    /// How the worker was when it crashed. Its own word, which a plugin can change.
    var ending: dmsae_ending { end.pointee }
}
