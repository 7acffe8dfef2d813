import PluginHost
import Synchronization

/// Services that keep the log.
public final class Services: Sendable {
    private let lines = Mutex<[PluginMessage]>([])
    private let cancelled = Atomic(false)

    /// Services with an empty log.
    public init() {}

    /// The log so far.
    public var messages: [PluginMessage] { lines.withLock { $0 } }

    /// From now on a call is told to stop.
    public func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// What a plugin is given.
    public var value: PluginServices {
        PluginServices(
            log: { message in self.lines.withLock { $0.append(message) } },
            isCancelled: { self.cancelled.load(ordering: .relaxed) })
    }
}
