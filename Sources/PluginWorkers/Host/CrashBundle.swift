import FoundationEssentials
import Glibc
import PluginABI
import PluginHost
import TensorFiles

/// A folder with everything a call was given: `call.json` and `request.arena`.
public struct CrashBundle: Codable, Sendable {
    /// The plugin file.
    public var path: String
    /// The plugin's id.
    public var id: String?
    /// The call's name.
    public var call: String
    /// How it ended, as the message of the crash says it.
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
                throw WorkerError.notKept(folder: parent, reason: String(cString: strerror(errno)))
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
            try JSONRecord.write(bundle, to: folder + "/call.json")
            let copy = try AtomicFile(path: folder + "/request.arena"), arena = try Arena(descriptor: file)
            try copy.write(arena.bytes)
            try copy.commit()
            extendLifetime(arena)
        } catch {
            for part in ["call.json", "request.arena"] { unlink("\(folder)/\(part)") }
            rmdir(folder)
            throw error
        }
        return folder
    }

    /// Makes the call again in a fresh worker; returns in words that it went well.
    /// - Throws: `WorkerError.crashed` if it did not, `.badBundle` for a folder that is none.
    public static func replay(_ folder: String, _ isolation: PluginIsolation, _ services: PluginServices) throws
        -> String
    {
        func bad(_ reason: String) -> WorkerError { .badBundle(path: folder, reason: reason) }
        guard let json = try? Data(contentsOf: URL(filePath: folder + "/call.json")),
            let bundle = try? JSONDecoder().decode(CrashBundle.self, from: json),
            let kind = WorkerChannel.Kind(rawValue: bundle.kind)
        else { throw bad("it holds no call.json of a crash") }
        guard let arena = try? Data(contentsOf: URL(filePath: folder + "/request.arena")) else {
            throw bad("it holds no request.arena")
        }
        do {
            let file = try PluginFile(path: bundle.create.path)
            let process = try WorkerProcess(bundle.create, of: file, isolation, services)
            _ = try process.repeats(kind, Array(arena))
            return "plugin '\(process.created.id)' returned from \(bundle.call); this time it did not crash"
        } catch let failure as WorkerFailure {
            throw WorkerError.crashed(
                plugin: bundle.id ?? bundle.path, path: bundle.path, function: bundle.call, how: failure.how,
                lastWords: failure.lastWords, bundle: nil)
        }
    }
}
