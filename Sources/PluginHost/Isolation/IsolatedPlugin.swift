import FoundationEssentials
import Glibc
import Synchronization

/// A plugin in a worker, with a new worker where one was lost.
///
/// What a call needs is in its request, states included, so a call that took its worker down is made again in a fresh
/// one: once, since the machine may have been at fault. If that ends too the input is kept and the caller is told.
final class IsolatedPlugin: @unchecked Sendable {
    let path: String
    let created: CreateReply
    private let request: CreateRequest
    private let isolation: PluginIsolation
    private let services: PluginServices
    private let state: Mutex<State>

    private struct State: @unchecked Sendable {
        var process: WorkerProcess?
        /// How often a call ended its worker twice.
        var crashes = 0
    }

    /// After so many inputs that it crashed on a plugin is not started again.
    private static let mostCrashes = 3
    private static let again = " twice on the same input"

    /// - Throws: a `PluginError`; `.crashed` if creating it took the worker down twice.
    init(_ request: CreateRequest, _ isolation: PluginIsolation, _ services: PluginServices) throws {
        let name = request.id ?? request.path
        func start() throws -> WorkerProcess { try WorkerProcess(request, isolation, services) }
        let process: WorkerProcess
        do {
            process = try start()
        } catch is WorkerFailure {
            do {
                process = try start()
            } catch let failure as WorkerFailure {
                throw PluginError.crashed(
                    plugin: name, path: request.path, function: "create", how: failure.how + Self.again,
                    lastWords: failure.lastWords,
                    bundle: nil)
            }
        }
        self.request = request
        self.isolation = isolation
        self.services = services
        path = request.path
        created = process.created
        state = Mutex(State(process: process))
    }

    var name: String { created.id }
    var version: String { created.version }
    var parameters: [PluginReference.Parameter] {
        created.parameters.map { PluginReference.Parameter(key: $0[0], value: $0[1]) }
    }

    private func warn(_ text: String) {
        services.log(PluginMessage(level: .warning, plugin: name, text: text))
    }

    /// Makes a call.
    /// - Throws: `PluginError.reported`, `.cancelled`, `.crashed`.
    func ask(
        _ kind: WorkerChannel.Kind, _ header: some Encodable, _ blocks: ArenaBlocks = ArenaBlocks(),
        answering evaluation: EvaluationService? = nil
    ) throws -> Arena {
        try state.withLock { state in
            guard state.crashes < Self.mostCrashes else {
                throw PluginError.notStartedAgain(plugin: name, path: path, crashes: state.crashes)
            }
            let giveBack = evaluation?.batch.evaluation?.checkpoint()
            var last: WorkerFailure?
            var how: String?
            for _ in 0..<2 {
                do {
                    // The second try asks for the same again.
                    if last != nil { giveBack?() }
                    let process = try state.process ?? WorkerProcess(request, isolation, services)
                    state.process = process
                    let reply = try process.ask(kind, header, blocks, answering: evaluation)
                    if let last { warn("it \(last.how) in \(kind) once, and not when the call was made again") }
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
            throw PluginError.crashed(
                plugin: name, path: path, function: "\(kind)", how: how ?? failure.how + Self.again,
                lastWords: failure.lastWords,
                bundle: bundle)
        }
    }
}

/// A folder with everything a call was given: `call.json` and `request.arena`.
public struct CrashBundle: Codable, Sendable {
    /// The plugin file.
    public var path: String
    /// The plugin's id.
    public var id: String?
    /// The call's name.
    public var call: String
    /// What happened.
    public var how: String
    /// The end of its standard error.
    public var lastWords: String
    fileprivate var kind: UInt32
    fileprivate var create: CreateRequest

    static func write(
        _ kind: WorkerChannel.Kind, _ header: some Encodable, _ blocks: ArenaBlocks, _ create: CreateRequest,
        _ failure: WorkerFailure, into parent: String?
    ) throws -> String? {
        guard let parent else { return nil }
        var number = 1
        while mkdir("\(parent)/plugin-crash-\(number)", 0o755) != 0 {
            guard errno == EEXIST, number < 10_000 else {
                throw PluginError.reported("\(parent): \(String(cString: strerror(errno)))")
            }
            number += 1
        }
        let folder = "\(parent)/plugin-crash-\(number)"
        let bundle = CrashBundle(
            path: create.path, id: create.id, call: "\(kind)", how: failure.how, lastWords: failure.lastWords,
            kind: kind.rawValue, create: create)
        var all = ArenaBlocks()
        all.add(Array(try JSONEncoder().encode(header)))
        for block in blocks.list { all.add(Array(block)) }
        let file = try all.write()
        defer { close(file) }
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            try encoder.encode(bundle).write(to: URL(filePath: folder + "/call.json"))
            let arena = try Arena(descriptor: file)
            try Data(arena.bytes).write(to: URL(filePath: folder + "/request.arena"))
            extendLifetime(arena)
        } catch {
            for part in ["call.json", "request.arena"] { unlink("\(folder)/\(part)") }
            rmdir(folder)
            throw error
        }
        return folder
    }

    /// Makes the call again in a fresh worker; returns in words that it went well.
    /// - Throws: `PluginError.crashed` if it did not, `.badBundle` for a folder that is none.
    public static func replay(_ folder: String, _ isolation: PluginIsolation, _ services: PluginServices) throws
        -> String
    {
        func bad(_ reason: String) -> PluginError { .badBundle(path: folder, reason: reason) }
        guard let json = try? Data(contentsOf: URL(filePath: folder + "/call.json")),
            let bundle = try? JSONDecoder().decode(CrashBundle.self, from: json),
            let kind = WorkerChannel.Kind(rawValue: bundle.kind)
        else { throw bad("it holds no call.json of a crash") }
        guard let arena = try? Data(contentsOf: URL(filePath: folder + "/request.arena")) else {
            throw bad("it holds no request.arena")
        }
        do {
            let process = try WorkerProcess(bundle.create, isolation, services)
            _ = try process.repeats(kind, Array(arena))
            return "plugin '\(process.created.id)' returned from \(bundle.call); this time it did not crash"
        } catch let failure as WorkerFailure {
            throw PluginError.crashed(
                plugin: bundle.id ?? bundle.path, path: bundle.path, function: bundle.call, how: failure.how,
                lastWords: failure.lastWords, bundle: nil)
        }
    }
}
