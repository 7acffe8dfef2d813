import CDMSAE
import PluginABI
import Synchronization
import TensorFiles

/// A line that a plugin wrote to the log.
public struct PluginMessage: Equatable, Sendable {
    /// How much it matters.
    public enum Level: Int32, Sendable {
        /// For the plugin's author.
        case debug = 1
        case info = 2
        /// Something may be wrong.
        case warning = 3
        /// Something is wrong.
        case error = 4
        /// The plugin says that the host broke a rule of the ABI.
        case hostMisbehaving = 5
    }

    /// How much it matters; a level this version does not know counts as a warning.
    public let level: Level
    /// Id of the plugin.
    public let plugin: String
    /// One line, fit for a terminal.
    public let text: String

    /// A line of a plugin, made fit for a terminal.
    public init(level: Level, plugin: String, text: String) {
        self.level = level
        self.plugin = printable(plugin)
        self.text = printable(text)
    }
}

/// What the host offers to plugins.
public struct PluginServices: Sendable {
    /// Takes a line for the log; called from any thread.
    public var log: @Sendable (PluginMessage) -> Void
    /// Whether the user wants running calls to stop; called often, from any thread.
    public var isCancelled: @Sendable () -> Bool

    /// Services of the given functions. There is no default log: a plugin's warnings must reach somebody.
    public init(
        log: @escaping @Sendable (PluginMessage) -> Void, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) {
        self.log = log
        self.isCancelled = isCancelled
    }
}

/// The C side of the services, for one instance: the host struct that the plugin holds and the tables behind it.
package final class HostTables: @unchecked Sendable {
    package let pointer: UnsafeMutablePointer<dmsae_host>
    let services: PluginServices
    private let plugin: String
    private let turn = Mutex<EvaluationTurn?>(nil)
    private let log: UnsafeMutablePointer<dmsae_host_log>
    private let cancel: UnsafeMutablePointer<dmsae_host_cancel>

    package init(services: PluginServices, plugin: String) {
        self.services = services
        self.plugin = plugin
        pointer = .allocate(capacity: 1)
        log = .allocate(capacity: 1)
        cancel = .allocate(capacity: 1)
        log.initialize(
            to: dmsae_host_log(
                struct_size: UInt32(MemoryLayout<dmsae_host_log>.size), reserved: 0,
                log: { host, level, text in
                    guard let tables = HostTables.of(host) else { return }
                    tables.services.log(
                        PluginMessage(
                            level: PluginMessage.Level(rawValue: level.rawValue) ?? .warning, plugin: tables.plugin,
                            text: String(cString: text)))
                }))
        cancel.initialize(
            to: dmsae_host_cancel(
                struct_size: UInt32(MemoryLayout<dmsae_host_cancel>.size), reserved: 0,
                is_cancelled: { host in HostTables.of(host)?.services.isCancelled() == true ? 1 : 0 }))
        pointer.initialize(
            to: dmsae_host(
                struct_size: UInt32(MemoryLayout<dmsae_host>.size), reserved: 0,
                context: Unmanaged.passUnretained(self).toOpaque(),
                get_extension: { host, id in
                    guard let tables = HostTables.of(host) else { return nil }
                    switch String(cString: id) {
                    case DMSAE_LOG: return UnsafeRawPointer(tables.log)
                    case DMSAE_CANCEL: return UnsafeRawPointer(tables.cancel)
                    case DMSAE_EVAL: return UnsafeRawPointer(HostTables.evaluation)
                    case DMSAE_GRAD: return UnsafeRawPointer(HostTables.gradients)
                    case DMSAE_EVAL_2: return UnsafeRawPointer(HostTables.metrics)
                    case DMSAE_GRAD_2: return UnsafeRawPointer(HostTables.metricGradients)
                    case DMSAE_HEAD: return UnsafeRawPointer(HostTables.head)
                    case DMSAE_MEANS: return UnsafeRawPointer(HostTables.means)
                    default: return nil
                    }
                }))
    }

    deinit {
        pointer.deallocate()
        log.deallocate()
        cancel.deallocate()
    }

    /// The batch that may be asked about now.
    var currentTurn: EvaluationTurn? { turn.withLock { $0 } }

    /// Lets the plugin ask about a batch for the length of `body`.
    func during<Result>(_ turn: EvaluationTurn, _ body: () throws -> Result) rethrows -> Result {
        self.turn.withLock { $0 = turn }
        defer { self.turn.withLock { $0 = nil } }
        return try body()
    }

    static func of(_ host: UnsafePointer<dmsae_host>) -> HostTables? {
        host.pointee.context.map { Unmanaged<HostTables>.fromOpaque($0).takeUnretainedValue() }
    }
}
