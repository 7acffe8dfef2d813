import CLinux
import Glibc
import Synchronization

extension PluginFile {
    /// Loads the copies, each once in a process and for good, and returns the handle of the file itself.
    ///
    /// What a plugin defines is what it gets, though the host has a function of the same name, as OpenBLAS brings
    /// `sdot_`, and whether or not the plugin hides its own: RTLD_DEEPBIND. The other ways: dlmopen gives the plugin a
    /// libc of its own, a Swift one no longer fits beside it after a dozen, and nothing may be freed across; a worker
    /// without OpenBLAS would still have libffi, libstdc++ and Foundation, and says nothing of plugins in this process.
    ///
    /// The price of RTLD_DEEPBIND is that it reaches past an allocator that was put before libc's (LD_PRELOAD, a
    /// sanitizer): what libc allocates by one the plugin would free by the other. There it is left out, and a
    /// file that would not get all of its own symbols is refused. C++ exceptions, type names and streams are
    /// those of one libstdc++ either way, and the program has no copies of libc's variables (`environ`, `stdout`)
    /// that a plugin could miss.
    ///
    /// RTLD_LOCAL: no plugin sees another's. RTLD_NODELETE: closing a library whose runtime keeps caches or threads, a
    /// Swift one above all, crashes the host later, in code that has nothing to do with it.
    ///
    /// - Throws: `PluginFileError.notLoaded`, `.symbolTaken`.
    package func load() throws -> UnsafeMutableRawPointer {
        if isPython { throw PluginFileError.needsInterpreter(path: path) }
        return try Self.loaded.withLock { try $0.handle(of: self) }
    }

    private static let loaded = Mutex(LoadedFiles())

    /// Whether the library is a copy that was loaded here for some plugin, and so is in no other process.
    static func isCopy(_ library: UnsafeMutableRawPointer) -> Bool {
        loaded.withLock { $0.handles.values.contains(library) }
    }

    /// The libraries that the loader looks for while it loads a part: those the part needs and, since it goes through
    /// the needs of what is loaded already once more, those that they need.
    private func companions(of part: Part) -> [Companion] {
        var all: [Companion] = []
        var rest = part.companions
        while let next = rest.popLast() {
            if all.contains(where: { $0.name == next.name }) { continue }
            all.append(next)
            rest += parts[next.part].companions
        }
        return all
    }

    /// What is loaded, by path and content.
    private struct LoadedFiles: @unchecked Sendable {
        private(set) var handles: [String: UnsafeMutableRawPointer] = [:]
        /// Their descriptors stay open: the loader takes the next file under the same number for the first.
        private var kept: [PluginFile] = []

        mutating func handle(of file: PluginFile) throws -> UnsafeMutableRawPointer {
            var own: [UnsafeMutableRawPointer] = []
            let sharesSymbols = dmsae_malloc_is_replaced() != 0
            for part in file.parts {
                let key = "\(part.sha256) \(part.path)"
                if let known = handles[key] {
                    own.append(known)
                    continue
                }
                let handle = try Self.load(part, file.companions(of: part), own, sharesSymbols)
                handles[key] = handle
                own.append(handle)
                if kept.last !== file { kept.append(file) }
            }
            return own[own.count - 1]
        }

        private static func load(
            _ part: Part, _ companions: [Companion], _ loaded: [UnsafeMutableRawPointer], _ sharesSymbols: Bool
        ) throws -> UnsafeMutableRawPointer {
            let names = companions.map { strdup($0.name) }
            defer { for name in names { free(name) } }
            let companions = zip(companions, names).map {
                dmsae_companion(handle: loaded[$0.part], name: UnsafePointer($1))
            }
            let handle = runningForeignCode {
                dmsae_load(part.descriptor, part.path, companions, companions.count, sharesSymbols ? 1 : 0)
            }
            guard let handle else {
                let reason = dlerror().map { String(cString: $0) } ?? "no reason given"
                // Users know the file by its name, not by the number of its copy.
                throw PluginFileError.notLoaded(
                    path: part.path,
                    reason: reason.replacing("/proc/self/fd/\(part.descriptor)", with: part.path))
            }
            var owner: UnsafePointer<CChar>?
            if sharesSymbols, let symbol = dmsae_taken_symbol(handle, &owner) {
                throw PluginFileError.symbolTaken(
                    path: part.path, symbol: String(cString: symbol),
                    owner: owner.map { String(cString: $0) } ?? "another library")
            }
            return handle
        }
    }
}
