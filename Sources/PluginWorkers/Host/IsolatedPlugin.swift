import PluginABI
import PluginHost
import Synchronization

/// A plugin in a worker, with a new worker where one was lost.
///
/// What a call needs is in its request, states included, so a call that took its worker down is made again in a fresh
/// one: once, since the machine may have been at fault. If that ends too the input is kept and the caller is told.
package final class IsolatedPlugin: @unchecked Sendable {
    /// What every worker runs.
    private let file: PluginFile
    package let created: CreateReply
    private let runtime: [String: String]
    private let request: CreateRequest
    package let isolation: PluginIsolation
    private let services: PluginServices
    private let state: Mutex<State>

    private struct State: @unchecked Sendable {
        var process: WorkerProcess?
        /// How often a call ended its worker twice.
        var crashes = 0
    }

    /// After so many inputs that it crashed on a plugin is not started again.
    private static let mostCrashes = 3
    private static func again(_ isolation: PluginIsolation) -> String {
        isolation.attempts > 1 ? " twice on the same input" : ""
    }

    /// - Throws: an error of the file or the call; `WorkerError.crashed` if creating it took the worker
    ///   down at every attempt.
    package init(_ request: CreateRequest, _ isolation: PluginIsolation, _ services: PluginServices) throws {
        // What is no plugin at all is told here, in this process, by the one who can tell it from a crash.
        let file = try PluginFile(
            path: request.path, variables: PluginEnvironment.hashes(also: isolation.environment))
        let name = request.id ?? request.path
        func start() throws -> WorkerProcess { try WorkerProcess(request, of: file, isolation, services) }
        let process: WorkerProcess
        do {
            do { process = try start() } catch is WorkerFailure where isolation.attempts > 1 { process = try start() }
        } catch let failure as WorkerFailure {
            throw WorkerError.crashed(
                plugin: name, path: request.path, function: "create", how: failure.how + Self.again(isolation),
                lastWords: failure.lastWords, bundle: nil)
        }
        self.request = request
        self.isolation = isolation
        self.services = services
        self.file = file
        created = process.created
        runtime = process.runtime
        state = Mutex(State(process: process))
    }

    var path: String { file.path }
    var name: String { created.id }
    var identity: PluginIdentity {
        PluginIdentity(
            name: name, version: created.version, file: file,
            parameters: created.parameters.map { PluginReference.Parameter(key: $0[0], value: $0[1]) },
            runtime: runtime)
    }

    private func warn(_ text: String) {
        services.log(PluginMessage(level: .warning, plugin: name, text: text))
    }

    /// Sends what the process answers by ending; returns how it ended, nil if it still runs after so many milliseconds.
    package func ends(on header: some Encodable, milliseconds: Int32) throws -> ProcessGroup.End? {
        try state.withLock { state in
            guard let process = state.process else { return nil }
            state.process = nil
            return try process.ends(on: header, milliseconds: milliseconds)
        }
    }

    /// Makes a call.
    ///
    /// - Parameter called: its name in messages; that of its kind where none is given.
    /// - Throws: the error of the call; `PluginCallError.cancelled`, `WorkerError.crashed`, `.notStartedAgain`.
    package func ask(
        _ kind: WorkerChannel.Kind, _ header: some Encodable, _ blocks: ArenaBlocks = ArenaBlocks(),
        called: String? = nil, answering evaluation: EvaluationService? = nil
    ) throws -> Arena {
        let function = called ?? "\(kind)"
        return try ask(kind, header, blocks, function, evaluation)
    }

    private func ask(
        _ kind: WorkerChannel.Kind, _ header: some Encodable, _ blocks: ArenaBlocks, _ function: String,
        _ evaluation: EvaluationService?
    ) throws -> Arena {
        try state.withLock { state in
            guard state.crashes < Self.mostCrashes else {
                throw WorkerError.notStartedAgain(plugin: name, path: path, crashes: state.crashes)
            }
            let giveBack = evaluation?.batch.evaluation?.checkpoint()
            var last: WorkerFailure?
            var how: String?
            for _ in 0..<isolation.attempts {
                do {
                    // The second try asks for the same again.
                    if last != nil { giveBack?() }
                    let process = try state.process ?? WorkerProcess(request, of: file, isolation, services)
                    state.process = process
                    let reply = try process.ask(kind, header, blocks, answering: evaluation)
                    if let last { warn("it \(last.how) in \(function) once, and not when the call was made again") }
                    return reply
                } catch let failure as WorkerFailure {
                    state.process = nil
                    last = failure
                } catch  where last != nil && state.process == nil && !services.isCancelled() {
                    how = last.map { "\($0.how), and could not be started again (\(error))," }
                    break
                }
            }
            state.crashes += 1
            let failure = last ?? WorkerFailure(how: "crashed", lastWords: "")
            var bundle: String?
            do {
                bundle = try CrashBundle.write(kind, header, blocks, request, failure, into: isolation.crashFolder)
            } catch {
                // A full disk must not hide the crash that it was to keep.
                warn("what it crashed on could not be kept: \(error)")
            }
            throw WorkerError.crashed(
                plugin: name, path: path, function: function, how: how ?? failure.how + Self.again(isolation),
                lastWords: failure.lastWords,
                bundle: bundle)
        }
    }
}
