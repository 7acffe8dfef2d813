import Synchronization

/// Where a long task says how far it is. Only the program prints: the library reports to whatever it was given.
public protocol ProgressSink: AnyObject, Sendable {
    /// A task of `total` units begins; `total` 0 when unknown. A `unit` without a name is not shown.
    func begin(_ task: String, total: Int, unit: String)
    /// `count` more units are done; `detail` is a short reading, such as the loss.
    func advance(by count: Int, detail: String)
    /// The task is over.
    func end()
    /// Something worth a line of its own.
    func note(_ text: String)
    /// Something that may make the result worthless.
    func warn(_ text: String)
}

/// A sink that drops everything.
public final class SilentProgress: ProgressSink {
    public init() {}
    public func begin(_ task: String, total: Int, unit: String) {}
    public func advance(by count: Int, detail: String) {}
    public func end() {}
    public func note(_ text: String) {}
    public func warn(_ text: String) {}
}

/// A request to stop, raised by a signal and looked at between steps.
public final class StopRequest: Sendable {
    private let raised = Atomic<Bool>(false)

    public init() {}

    /// Asks the task to stop at the next opportunity; safe in a signal handler.
    public func raise() { raised.store(true, ordering: .relaxed) }

    /// Whether it was raised.
    public var isRaised: Bool { raised.load(ordering: .relaxed) }

    /// Throws once raised.
    ///
    /// - Throws: `DistillationError.interrupted`.
    public func check() throws {
        if isRaised { throw DistillationError.interrupted }
    }
}
