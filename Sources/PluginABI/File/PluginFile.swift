import CLinux
import Glibc
import TensorFiles

/// A file that a plugin is made of, and what was in it.
public struct FileHash: Codable, Equatable, Sendable {
    /// The file's name, without its folder.
    public let name: String
    /// SHA-256 of its bytes, hexadecimal.
    public let sha256: String
}

/// A variable of the environment that a plugin may read, and what it held.
public struct VariableHash: Codable, Equatable, Sendable {
    /// What it is called.
    public let name: String
    /// SHA-256 of its value, hexadecimal: the value itself may be a secret.
    public let sha256: String

    /// What a variable held.
    package init(name: String, value: String) {
        self.name = name
        sha256 = SHA256.hexadecimal(SHA256.digest(of: value))
    }
}

/// A plugin file as it was when it was read: a copy that nobody can change, with its SHA-256, so that whatever
/// loads it later, in this process or in a fresh worker, runs the bytes that results are recorded under, whatever
/// became of the file.
///
/// With it the libraries beside it, those that it is linked with by way of $ORIGIN; and the file that describes a plain
/// function. Libraries of the system are not copied. A file of scorers in Python (`.py`) is one part, and what it imports
/// none of it.
public final class PluginFile: @unchecked Sendable {
    /// A shared object, copied.
    package struct Part: Codable {
        let path: String
        let sha256: String
        /// Sealed memory; in a worker its number there.
        package internal(set) var descriptor: Int32
        /// Parts to take for the libraries that it asks for by these names.
        var companions: [Companion] = []
    }

    package struct Companion: Codable {
        let name: String
        let part: Int
    }

    /// The file itself is the last; each comes after those that it needs.
    package let parts: [Part]
    /// What the file beside it says that describes a plain function, if there is one.
    package let function: FunctionText?
    /// What of the environment may decide what it computes; none for what came with the program.
    package let variables: [VariableHash]
    private let ownsDescriptors: Bool

    /// The file, absolute and with links resolved.
    public var path: String { parts[parts.count - 1].path }
    /// Whether it is run by an interpreter of Python, in a process of its own.
    public var isPython: Bool { Self.isPython(path) }
    /// Whether a file of this name is.
    package static func isPython(_ path: String) -> Bool { path.hasSuffix(".py") }
    /// SHA-256 of the file.
    public var sha256: String { parts[parts.count - 1].sha256 }

    /// What results depend on: the file first, then its description and the libraries beside it.
    public var hashes: [FileHash] {
        parts.reversed().prefix(1).map { FileHash(name: lastComponent($0.path), sha256: $0.sha256) }
            + (function.map { [FileHash(name: lastComponent(FunctionText.path(of: path)), sha256: $0.sha256)] } ?? [])
            + parts.dropLast().map { FileHash(name: lastComponent($0.path), sha256: $0.sha256) }
    }

    /// Copies the file at `path`, which is to run with `variables`.
    /// - Throws: `PluginFileError.unreadable`, `.worldWritable`, `.notASharedObject`, `.wrongMachine`, `.refused`;
    ///   `.badFunction` for a description of a plain function that cannot be read.
    public init(path given: String, variables: [VariableHash] = []) throws {
        guard let resolved = realpath(given, nil) else {
            throw PluginFileError.unreadable(path: given, reason: String(cString: strerror(errno)))
        }
        defer { free(resolved) }
        var copies = Copies()
        do {
            let path = String(cString: resolved), isPython = Self.isPython(path)
            let number = try isPython ? copies.addText(path) : copies.add(path, inherited: [])
            // Beside a plugin, whose table of symbols has that name, such a file is something else.
            let isPlugin =
                isPython || dmsae_file_contains(copies.parts[number].descriptor, "dmsae_plugin_entry") != 0
            function = isPlugin ? nil : try FunctionText(beside: path)
        } catch {
            for part in copies.parts { close(part.descriptor) }
            throw error
        }
        parts = copies.parts
        self.variables = variables
        ownsDescriptors = true
    }

    /// The file as a host handed it over.
    package init(_ handover: Handover) {
        parts = handover.parts
        function = handover.function
        variables = []
        // They stay: the loader knows a library again by the number under which it was opened.
        ownsDescriptors = false
        for part in parts { _ = fcntl(part.descriptor, F_SETFD, FD_CLOEXEC) }
    }

    deinit { if ownsDescriptors { for part in parts { close(part.descriptor) } } }

    /// What a worker must know of the file, whose parts it has under the numbers from `first` on.
    package struct Handover: Codable {
        var parts: [Part]
        var function: FunctionText?

        package init(_ file: PluginFile, first: Int32) {
            function = file.function
            parts = file.parts
            for i in parts.indices { parts[i].descriptor = first + Int32(i) }
        }
    }

    /// What its headers say.
    package func header() throws -> SharedObject { try SharedObject(parts[parts.count - 1].descriptor, path: path) }

    /// What it exports.
    package func exports() throws -> [SharedObject.Symbol] {
        try header().exports(in: parts[parts.count - 1].descriptor, path: path)
    }
}

/// Copies of a file and of the libraries beside it.
private struct Copies {
    var parts: [PluginFile.Part] = []
    private static let mostParts = 64
    private static let mostBytes = 1 << 31

    /// Copies the file at `path`, those that it needs first, and returns its number.
    ///
    /// - Parameter inherited: folders in which what led here says to look too.
    mutating func add(_ path: String, inherited: [String]) throws -> Int {
        if let known = parts.firstIndex(where: { $0.path == path }) { return known }
        guard parts.count < Self.mostParts else {
            throw SystemRefusal(what: "more than \(Self.mostParts) libraries beside a plugin", reason: path)
        }
        var (descriptor, sha256) = try Self.copy(path)
        do {
            let header = try SharedObject(descriptor, path: path)
            let place = Place(path, header, inherited: inherited)
            var companions: [PluginFile.Companion] = []
            for name in header.needed where !name.contains("/") {
                guard let found = place.find(name), found != path else { continue }
                companions.append(.init(name: name, part: try add(found, inherited: place.inherited)))
            }
            parts.append(.init(path: path, sha256: sha256, descriptor: descriptor, companions: companions))
            descriptor = -1
        } catch {
            if descriptor >= 0 { close(descriptor) }
            throw error
        }
        return parts.count - 1
    }

    /// Copies a file that is no shared object, and returns its number.
    mutating func addText(_ path: String) throws -> Int {
        let (descriptor, sha256) = try Self.copy(path)
        parts.append(.init(path: path, sha256: sha256, descriptor: descriptor))
        return parts.count - 1
    }

    /// A sealed copy of a file, and the SHA-256 of what is in it.
    private static func copy(_ path: String) throws -> (Int32, String) {
        let file = try SharedObject.open(path)
        defer { close(file) }
        func refused() -> SystemRefusal {
            SystemRefusal(what: "memory for a copy of \(path)", reason: AtomicFile.reason(errno))
        }
        let memory = dmsae_memfd(String(lastComponent(path).prefix(200)))
        guard memory >= 0 else { throw refused() }
        do {
            var hash = SHA256(), total = 0
            let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
            defer { chunk.deallocate() }
            while true {
                let got = read(file, chunk.baseAddress, chunk.count)
                if got < 0 && errno == EINTR { continue }
                guard got >= 0 else {
                    throw PluginFileError.unreadable(path: path, reason: String(cString: strerror(errno)))
                }
                if got == 0 { break }
                total += got
                guard total <= mostBytes else {
                    throw PluginFileError.notASharedObject(path: path, found: "larger than \(mostBytes) bytes")
                }
                hash.update(UnsafeRawBufferPointer(rebasing: chunk[..<got]))
                var written = 0
                while written < got {
                    let count = write(memory, chunk.baseAddress! + written, got - written)
                    guard count > 0 else { throw refused() }
                    written += count
                }
            }
            guard dmsae_memfd_seal(memory) == 0 else { throw refused() }
            return (memory, SHA256.hexadecimal(hash.digest()))
        } catch {
            close(memory)
            throw error
        }
    }
}

/// Where the loader would look for what a file is linked with, as far as that is beside the file.
private struct Place {
    private let folder: String
    private let folders: [String]
    private let isRunPath: Bool
    /// For what is found.
    let inherited: [String]

    init(_ path: String, _ header: SharedObject, inherited: [String]) {
        let folder = parentFolder(of: path)
        self.folder = folder
        func expanded(_ folders: [String]) -> [String] {
            folders.map { $0.replacing("${ORIGIN}", with: folder).replacing("$ORIGIN", with: folder) }
        }
        isRunPath = header.runPath != nil
        let own = expanded(header.inheritedRunPath ?? [])
        folders = header.runPath.map(expanded) ?? own + inherited
        self.inherited = header.runPath == nil ? own + inherited : inherited
    }

    /// The library that `name` means, if it is one of those; nil where the loader finds another one before, or none.
    func find(_ name: String) -> String? {
        // One that came with the program serves all; a copy made for another plugin is in this process only.
        if let library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD), !PluginFile.isCopy(library) { return nil }
        // DT_RUNPATH comes after the variable, DT_RPATH before it.
        let first = isRunPath ? getenv("LD_LIBRARY_PATH").map { String(cString: $0) } ?? "" : ""
        for folder in first.split(separator: ":") where access("\(folder)/\(name)", R_OK) == 0 { return nil }
        for candidate in folders where access("\(candidate)/\(name)", R_OK) == 0 {
            guard let resolved = realpath("\(candidate)/\(name)", nil) else { return nil }
            defer { free(resolved) }
            let path = String(cString: resolved)
            // The system's are not a plugin's own.
            return ["/usr/", "/lib/", "/lib64/"].contains(where: path.hasPrefix) && !folder.hasPrefix("/usr/")
                ? nil : path
        }
        return nil
    }
}
