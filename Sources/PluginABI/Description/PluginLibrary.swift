import CDMSAE
import Glibc

/// A plugin file, loaded and checked, with what it says about its plugins.
///
/// Loading runs the file's code in this process. It is never unloaded; see `PluginFile.load`.
public final class PluginLibrary: @unchecked Sendable {
    public let file: PluginFile
    /// Where it is, absolute and with links resolved.
    public var path: String { file.path }
    /// What is in it, in its own order.
    public let plugins: [PluginDescriptor]

    /// The plugin's own struct, which its functions want back.
    package let entry: UnsafePointer<dmsae_entry>
    /// Our copy, as large as this version knows it.
    package let functions: dmsae_entry

    /// Loads the file at `path`.
    /// - Throws: a `PluginFileError` or `PluginABIError` naming the file and the first thing that is wrong with it.
    public convenience init(path: String) throws { try self.init(PluginFile(path: path)) }

    /// Loads a file.
    /// - Throws: as `init(path:)`.
    public init(_ file: PluginFile) throws {
        self.file = file
        entry = try Self.entry(file)
        functions = try Self.check(entry, file.path)
        plugins = try Self.describe(entry, functions, file.path)
    }

    private static func entry(_ file: PluginFile) throws -> UnsafePointer<dmsae_entry> {
        let path = file.path
        // One that cannot be read is told of by those who ask for it.
        if let manifest = try? PluginManifest(notedIn: file) { try manifest.requireMachine(path: path) }
        guard let symbol = dlsym(try file.load(), "dmsae_plugin_entry") else {
            throw PluginABIError.noEntry(path: path, description: FunctionText.path(of: path))
        }
        let function = unsafeBitCast(
            symbol, to: (@convention(c) (UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>?).self)
        return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { text in
            text.initialize(repeating: 0)
            let entry = HostIdentity.name.withCString { name in
                HostIdentity.version.withCString { version in
                    var info = dmsae_host_info(
                        struct_size: UInt32(MemoryLayout<dmsae_host_info>.size), abi_major: DMSAE_ABI_MAJOR,
                        abi_minor: DMSAE_ABI_MINOR, reserved: 0, name: name, version: version, error: text.baseAddress,
                        error_capacity: UInt64(text.count))
                    return runningForeignCode { function(&info) }
                }
            }
            guard let entry else {
                throw PluginABIError.entryRefused(path: path, text: ForeignText.answer(text))
            }
            return entry
        }
    }

    /// The first 24 bytes are the same in every version (DMSAE-ENTRY-04), so they are judged first.
    private static func check(_ entry: UnsafePointer<dmsae_entry>, _ path: String) throws -> dmsae_entry {
        let raw = UnsafeRawPointer(entry)
        let magic = raw.load(as: UInt64.self)
        guard magic == DMSAE_MAGIC else { throw PluginABIError.badMagic(path: path, found: magic) }
        let major = raw.load(fromByteOffset: 12, as: UInt32.self)
        guard major == DMSAE_ABI_MAJOR else {
            throw PluginABIError.wrongMajor(path: path, plugin: major, host: DMSAE_ABI_MAJOR)
        }
        let minor = raw.load(fromByteOffset: 16, as: UInt32.self)
        guard minor <= DMSAE_ABI_MINOR else {
            throw PluginABIError.newerMinor(path: path, major: major, plugin: minor, host: DMSAE_ABI_MINOR)
        }
        return try PluginTable(raw, name: "dmsae_entry", path: path).growing(
            dmsae_entry.self, from: DMSAE_ENTRY_SIZE_V0, sizeOffset: 8,
            notNull: [
                ("descriptor", \.descriptor), ("create", \.create), ("destroy", \.destroy),
                ("get_extension", \.get_extension),
            ])
    }

    private static func describe(
        _ entry: UnsafePointer<dmsae_entry>, _ functions: dmsae_entry, _ path: String
    ) throws -> [PluginDescriptor] {
        func bad(_ index: UInt32, _ reason: String) -> PluginABIError {
            .badDescription(path: path, index: index, reason: reason)
        }
        guard (1...1024).contains(functions.plugin_count) else {
            throw bad(0, "the file claims to hold \(functions.plugin_count) plugins; at least 1, at most 1024")
        }
        var plugins: [PluginDescriptor] = []
        for index in 0..<functions.plugin_count {
            guard let pointer = runningForeignCode({ functions.descriptor(entry, index) }) else {
                throw bad(index, "there is none (null)")
            }
            let plugin = try PluginDescriptor(pointer, index: index, path: path)
            if plugins.contains(where: { $0.id == plugin.id }) { throw bad(index, "its id '\(plugin.id)' is taken") }
            plugins.append(plugin)
        }
        return plugins
    }

    /// The plugin `id`, or, with no id, the only one of this kind.
    /// - Throws: `PluginReferenceError.unknownID`, `.wrongKind`, `.ambiguous`.
    public func plugin(_ id: String?, kind: PluginKind) throws -> PluginDescriptor {
        if let id {
            guard let plugin = plugins.first(where: { $0.id == id }) else {
                throw PluginReferenceError.unknownID(id, path: path, available: plugins.map(\.id))
            }
            guard plugin.kind == kind else {
                throw PluginReferenceError.wrongKind(plugin: id, path: path, kind: plugin.kind, wanted: kind)
            }
            return plugin
        }
        let matching = plugins.filter { $0.kind == kind }
        guard let plugin = matching.first else {
            throw PluginReferenceError.wrongKind(plugin: plugins[0].id, path: path, kind: plugins[0].kind, wanted: kind)
        }
        guard matching.count == 1 else {
            throw PluginReferenceError.ambiguous(path: path, kind: kind, ids: matching.map(\.id))
        }
        return plugin
    }
}
