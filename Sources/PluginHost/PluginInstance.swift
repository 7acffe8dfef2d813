import Attribution
import CDMSAE
import Glibc
import PluginABI
import Synchronization
import TensorFiles

/// A created plugin: the one place that calls into it, so that turns, status codes and error texts are dealt with
/// once.
final class PluginInstance: @unchecked Sendable {
    let library: PluginLibrary
    let plugin: PluginDescriptor
    let parameters: [PluginReference.Parameter]
    private let host: HostTables
    private let pointer: OpaquePointer
    private let turn = Mutex(())
    private let asking = Mutex(())
    private let isLost = Atomic(false)

    /// Creates `plugin` of `library`.
    /// - Throws: `PluginABIError.unknownFlags`, `.failed` with the plugin's own text.
    init(
        _ plugin: PluginDescriptor, of library: PluginLibrary, parameters: [PluginReference.Parameter],
        services: PluginServices
    ) throws {
        guard plugin.unknownFlags == 0 else {
            throw PluginABIError.unknownFlags(plugin: plugin.id, path: library.path, flags: plugin.unknownFlags)
        }
        let parameters = try plugin.settings(parameters, path: library.path)
        let host = HostTables(services: services, plugin: plugin.id)
        let text = parameters.map { (strdup($0.key), strdup($0.value)) }
        defer {
            for (key, value) in text {
                free(key)
                free(value)
            }
        }
        var list: [dmsae_parameter] = []
        for (key, value) in text {
            guard let key, let value else { fatalError("out of memory: parameters of '\(plugin.id)'") }
            list.append(dmsae_parameter(key: key, value: value, reserved: (0, 0)))
        }
        var created: OpaquePointer?
        let context = CallContext(
            plugin: plugin.id, path: library.path, function: "create",
            parameters: parameters.map { "\($0.key)=\($0.value)" }, isCancelled: host.services.isCancelled)
        try context.run { call in
            library.functions.create(
                library.entry, plugin.index, host.pointer, list, UInt32(list.count), &created, call)
        }
        guard let created else {
            throw PluginABIError.nullInTable(path: library.path, table: "create", field: "out")
        }
        self.library = library
        self.plugin = plugin
        self.parameters = parameters
        self.host = host
        pointer = created
    }

    var identity: PluginIdentity {
        PluginIdentity(name: plugin.id, version: plugin.version, file: library.file, parameters: parameters)
    }

    deinit {
        runningForeignCode { library.functions.destroy(pointer) }
        // The host struct outlives the instance: `self.host` is released only after this body.
    }

    /// The plugin's frozen table behind `id`.
    /// - Throws: `PluginABIError.missingTable`, `.wrongSize`, `.nullInTable`.
    func table<Struct>(
        _ id: String, _ type: Struct.Type, notNull: [(field: String, path: PartialKeyPath<Struct>)]
    ) throws -> Struct {
        guard plugin.extensions.contains(id), let memory = library.functions.get_extension(pointer, id) else {
            throw PluginABIError.missingTable(plugin: plugin.id, path: library.path, id: id)
        }
        return try PluginTable(memory, name: "table \(id)", path: library.path).frozen(type, notNull: notNull)
    }

    /// Calls a function of the instance, in turn with the others unless the plugin is reentrant.
    /// - Throws: `PluginCallError.failed` with the plugin's own text, `.cancelled`, `.lost`.
    func call(
        _ function: String, _ body: (OpaquePointer, UnsafeMutablePointer<dmsae_call>) -> dmsae_status
    ) throws {
        let context = CallContext(
            plugin: plugin.id, path: library.path, function: function, parameters: [],
            isCancelled: host.services.isCancelled)
        func run() throws {
            if isLost.load(ordering: .relaxed) { throw PluginCallError.lost(plugin: plugin.id, path: library.path) }
            do {
                try context.run { body(pointer, $0) }
            } catch PluginCallError.failed(let plugin, let path, let function, let status, let text, let parameters) {
                if status == dmsae_status.DMSAE_ERR_INSTANCE_LOST.rawValue {
                    isLost.store(true, ordering: .relaxed)
                }
                throw PluginCallError.failed(
                    plugin: plugin, path: path, function: function, status: status, text: text, parameters: parameters)
            }
        }
        if plugin.isReentrant {
            try run()
        } else {
            try turn.withLock { _ in try run() }
        }
    }

    /// Calls a function of a scorer about `batch`, whose C form is `argument`. A plugin that says it asks for
    /// evaluations may ask during the call, and then has no other call beside it: a request says nothing of the
    /// call it comes from.
    /// - Throws: as `call`.
    func call(
        _ function: String, about batch: ScoringBatch, _ argument: UnsafePointer<dmsae_scorer_batch>,
        _ body: (OpaquePointer, UnsafeMutablePointer<dmsae_call>) -> dmsae_status
    ) throws {
        guard plugin.needsEvaluation, batch.evaluation != nil else { return try call(function, body) }
        let turn = EvaluationTurn(batch, argument, host.services.isCancelled)
        try asking.withLock { _ in try host.during(turn) { try call(function, body) } }
    }

    /// A function without a call header, such as `scope`.
    func ask<Answer>(_ body: (OpaquePointer) -> Answer) -> Answer {
        runningForeignCode { body(pointer) }
    }
}

/// One call across the line: lends the error buffer and turns a status into an error.
private struct CallContext {
    let plugin: String
    let path: String
    let function: String
    let parameters: [String]
    let isCancelled: @Sendable () -> Bool

    func run(_ body: (UnsafeMutablePointer<dmsae_call>) -> dmsae_status) throws {
        try withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { text in
            text.initialize(repeating: 0)
            var call = dmsae_call(
                struct_size: UInt32(MemoryLayout<dmsae_call>.size), reserved: 0, flags: 0, error: text.baseAddress,
                error_capacity: UInt64(text.count), stream: nil)
            let status = runningForeignCode { body(&call) }
            if status == .DMSAE_OK { return }
            if status == .DMSAE_CANCELLED && isCancelled() {
                throw PluginCallError.cancelled(plugin: plugin, function: function)
            }
            let words = ForeignText.answer(text)
            throw PluginCallError.failed(
                plugin: plugin, path: path, function: function, status: status.rawValue,
                text: words.isEmpty && status == .DMSAE_CANCELLED
                    ? "it stopped as if it were asked to, and nobody did" : words,
                parameters: parameters)
        }
    }
}
