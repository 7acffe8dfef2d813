import CDMSAE
import Glibc
import PluginABI
import PluginHost
import PluginWorkers

/// What a validator tries on a plugin's functions directly, past the care that a host takes with them.
enum DirectAttempt: String, Codable, Sendable {
    /// Asks for descriptions and tables twice, for those that are not there, and as a host of a later minor version.
    case tables
    /// Creates and destroys instances, one after the other and side by side.
    case lifetimes
    /// Creates the plugin for a host that has no service at all.
    case bareHost
    /// Has create fail where there is no room, and little room, for the text.
    case errorText
}

/// An attempt on a plugin of a file.
struct DirectRequest: Codable {
    var attempt: DirectAttempt
    var create: CreateRequest

    /// What the plugin did wrong; nil for nothing.
    func problem(of file: PluginFile) throws -> String? {
        let library = try PluginLibrary(file)
        let plugin = try library.plugin(create.id, kind: create.isRule ? .sparsityRule : .scorer)
        let settings = try plugin.settings(
            create.parameters.map { PluginReference.Parameter(key: $0[0], value: $0[1]) }, path: library.path)
        let calls = DirectCalls(library: library, plugin: plugin, settings: settings)
        return switch attempt {
        case .tables: try calls.tables()
        case .lifetimes: calls.lifetimes()
        case .bareHost: calls.bareHost()
        case .errorText: calls.errorText()
        }
    }
}

/// What an attempt found.
struct DirectReply: Codable {
    var problem: String?
}

private struct DirectCalls {
    let library: PluginLibrary
    let plugin: PluginDescriptor
    let settings: [PluginReference.Parameter]

    /// A host without services; it stays, as a plugin may keep it.
    private func host() -> UnsafePointer<dmsae_host> {
        let host = UnsafeMutablePointer<dmsae_host>.allocate(capacity: 1)
        host.initialize(
            to: dmsae_host(
                struct_size: UInt32(MemoryLayout<dmsae_host>.size), reserved: 0, context: nil,
                get_extension: { _, _ in nil }))
        return UnsafePointer(host)
    }

    /// Calls create with a buffer of `capacity` bytes for the text, none for 0.
    private func make(
        _ extra: [(String, String)] = [], host: UnsafePointer<dmsae_host>, text: UnsafeMutablePointer<CChar>?,
        capacity: Int
    ) -> (status: dmsae_status, instance: OpaquePointer?) {
        let pairs = (settings.map { ($0.key, $0.value) } + extra).map { (strdup($0.0), strdup($0.1)) }
        defer {
            for (key, value) in pairs {
                free(key)
                free(value)
            }
        }
        let list = pairs.compactMap { key, value -> dmsae_parameter? in
            guard let key, let value else { return nil }
            return dmsae_parameter(key: key, value: value, reserved: (0, 0))
        }
        var call = dmsae_call(
            struct_size: UInt32(MemoryLayout<dmsae_call>.size), reserved: 0, flags: 0, error: text,
            error_capacity: UInt64(capacity), stream: nil)
        var made: OpaquePointer?
        let status = library.functions.create(
            library.entry, plugin.index, host, list, UInt32(list.count), &made, &call)
        return (status, made)
    }

    func tables() throws -> String? {
        guard let symbol = dlsym(try library.file.load(), "dmsae_plugin_entry") else {
            throw PluginABIError.noEntry(path: library.path, description: FunctionText.path(of: library.path))
        }
        let entry = unsafeBitCast(
            symbol, to: (@convention(c) (UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>?).self)
        func answer(_ minor: UInt32, size: Int, room: Int) -> (entry: UnsafePointer<dmsae_entry>?, text: [CChar]) {
            var text = [CChar](repeating: Self.mark, count: room + 64)
            if room > 0 { text[0] = 0 }
            let answer = HostIdentity.name.withCString { name in
                text.withUnsafeMutableBufferPointer { text in
                    var info = dmsae_host_info(
                        struct_size: UInt32(size), abi_major: DMSAE_ABI_MAJOR, abi_minor: minor, reserved: 0,
                        name: name,
                        version: name, error: room > 0 ? text.baseAddress : nil, error_capacity: UInt64(room))
                    return entry(&info)
                }
            }
            return (answer, text)
        }
        let whole = MemoryLayout<dmsae_host_info>.size, first = Int(DMSAE_HOST_INFO_SIZE_V0)
        for (minor, size, room) in [
            (DMSAE_ABI_MINOR, whole, 1024), (DMSAE_ABI_MINOR + 40, whole, 0), (0, first, 0), (0, first, 16),
            (DMSAE_ABI_MINOR, whole, 1),
        ] {
            let (answer, text) = answer(minor, size: size, room: room)
            if let problem = Self.problem(of: text, room: size == whole ? room : 0, isWritten: answer == nil) {
                return "dmsae_plugin_entry, \(problem)"
            }
            // One that needs a newer host than the first may refuse the first.
            if answer == nil, minor < library.functions.abi_minor_min { continue }
            if answer != library.entry { return "asked again, by a host of minor \(minor), it gives another entry" }
        }
        let describe = library.functions.descriptor
        for i in 0..<UInt32(library.plugins.count) where describe(library.entry, i) != describe(library.entry, i) {
            return "description \(i) is another one when asked again"
        }
        if describe(library.entry, UInt32(library.plugins.count)) != nil {
            return "it describes a plugin \(library.plugins.count), of which there are \(library.plugins.count)"
        }
        let services = HostTables(
            services: PluginServices(log: { _ in }), plugin: plugin.id)
        defer { extendLifetime(services) }
        guard let instance = make(host: services.pointer, text: nil, capacity: 0).instance else {
            return "create fails where its error has no room"
        }
        defer { library.functions.destroy(instance) }
        return answers(of: instance)
    }

    /// What memory for a text has beside it, and within where nothing was written.
    private static let mark = CChar(0x7E)

    /// What is wrong with the text of an entry function that had `room` bytes for it.
    private static func problem(of text: [CChar], room: Int, isWritten: Bool) -> String? {
        // The first byte is 0 where there is a buffer, and was there before.
        let first = text.first == 0 ? 1 : 0
        if text[max(room, first)...].contains(where: { $0 != mark }) {
            return "with room for \(room) bytes of text, writes beside them (DMSAE-ENTRY-08)"
        }
        guard room > 0 else { return nil }
        if !isWritten, text[0] != 0 { return "returns an entry and a text why it does not (DMSAE-ENTRY-08)" }
        return text[..<room].contains(0) ? nil : "writes a text of \(room) bytes that has no end (DMSAE-ENTRY-08)"
    }

    private func answers(of instance: OpaquePointer) -> String? {
        let known = [
            DMSAE_SCORER_PER_TOKEN, DMSAE_SCORER_ACCUMULATE, DMSAE_SPARSITY_RULE, DMSAE_SPARSITY_RULE_LEARNED,
            DMSAE_SPARSITY_RULE_INFERENCE, DMSAE_STATE, DMSAE_SCORER_PASSES,
        ]
        func table(_ id: String) -> UnsafeRawPointer? { library.functions.get_extension(instance, id) }
        for id in plugin.extensions {
            guard let first = table(id) else { return "it names \(id) and has no such table" }
            if table(id) != first { return "its table \(id) is at another place when asked again" }
        }
        for id in known + ["", "dmsae.no-such-table/1"] + plugin.extensions.map({ $0 + "0" })
        where !plugin.extensions.contains(id) && table(id) != nil {
            return "it has a table '\(id)' that it does not name"
        }
        return nil
    }

    func lifetimes() -> String? {
        let services = HostTables(services: PluginServices(log: { _ in }), plugin: plugin.id)
        defer { extendLifetime(services) }
        guard let kept = make(host: services.pointer, text: nil, capacity: 0).instance else {
            return "create fails where its error has no room"
        }
        defer { library.functions.destroy(kept) }
        func isMade() -> Bool {
            let (status, instance) = make(host: services.pointer, text: nil, capacity: 0)
            guard status == .DMSAE_OK, let instance else { return false }
            library.functions.destroy(instance)
            return true
        }
        // What is kept on purpose, for all instances, is there after the first ones.
        for _ in 0..<20 where !isMade() { return "create fails beside an instance that is there" }
        let before = ProcessWatch.resources(), count = 200
        for _ in 0..<count where !isMade() { return "create fails after it was often called" }
        let after = ProcessWatch.resources()
        for (what, was, now, most) in [
            ("bytes allocated", before.bytes, after.bytes, 64 * count),
            ("descriptors open", before.descriptors, after.descriptors, count / 10),
            ("threads", before.threads, after.threads, count / 10),
        ] where now - was > most {
            return "\(count) instances, created and destroyed, left \(now - was) more \(what)"
        }
        // The one that stayed is none the worse.
        return answers(of: kept)
    }

    func bareHost() -> String? {
        var text = [CChar](repeating: 0, count: 1024)
        let (status, instance) = make(host: host(), text: &text, capacity: text.count)
        if let instance, status == .DMSAE_OK {
            library.functions.destroy(instance)
            return nil
        }
        let words = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard status == .DMSAE_ERR_UNSUPPORTED else {
            return "create on a host without services returns \(statusName(status.rawValue)): \(words)"
        }
        return words.contains("dmsae.") ? nil : "it does not name the service it cannot do without: '\(words)'"
    }

    func errorText() -> String? {
        let unknown = [("no-such-setting", "1")], mark = CChar(0x7E)
        for capacity in [0, 1, 8, 1024] {
            var text = [CChar](repeating: mark, count: capacity + 64)
            if capacity > 0 { text[0] = 0 }
            let status = text.withUnsafeMutableBufferPointer {
                make(unknown, host: host(), text: capacity == 0 ? nil : $0.baseAddress, capacity: capacity).status
            }
            if status == .DMSAE_OK {
                return "with room for \(capacity) bytes of text create accepts an unknown setting"
            }
            if text[capacity...].contains(where: { $0 != mark }) { return "its text runs over \(capacity) bytes" }
            guard capacity > 0 else { continue }
            guard text[..<capacity].contains(0) else { return "its text of \(capacity) bytes has no end" }
            let whole = text[..<capacity].prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            if capacity == 1024, String(validating: whole, as: UTF8.self) == nil { return "its text is not UTF-8" }
        }
        return nil
    }
}
