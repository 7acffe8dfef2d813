import CLinux
import FoundationEssentials
import Glibc
import PluginABI

/// One end of the line between the host and a worker: messages of a kind and an arena, whose block 0 is JSON.
package final class WorkerChannel: @unchecked Sendable {
    /// What a message is.
    package enum Kind: UInt32 {
        // From the host.
        case create = 1, score, stateSize, begin, accumulate, merge, finish, upperCount, select, answer, describe,
            floors, backward, rescale, ruleStateSize, calibrate, ruleMerge, form, file, acceptsState,
            passCount,
            // What the program has its workers do beside; see `WorkerExtension`.
            extended,
            // The first, to a worker that is another program.
            hello
        // From the worker.
        case done = 64, failed, log, lossChanges, gradientsAt, gradientsAlong, meanActivations, headRows, finalScales
    }

    /// The version of the protocol, worker.md.
    static let version = 1

    /// The line is broken, or what came over it makes no sense.
    package struct Broken: Error, CustomStringConvertible {
        /// What is broken.
        package enum Part {
            /// A message; the next one may be sound.
            case message
            case line
            /// Nothing: the other side hung up.
            case end
        }

        package let reason: String
        package var part = Part.message

        package init(reason: String, part: Part = .message) {
            self.reason = reason
            self.part = part
        }

        package var description: String { "between the host and a plugin's process: \(reason)" }
    }

    private(set) var socket: Int32

    /// Takes over an end of a SEQPACKET socket.
    init(socket: Int32) { self.socket = socket }

    deinit { close() }

    /// Lets go of this end.
    func close() {
        if socket >= 0 { _ = Glibc.close(socket) }
        socket = -1
    }

    /// The two ends of a new line, both close-on-exec.
    static func pair() throws -> (host: WorkerChannel, worker: WorkerChannel) {
        var ends: [Int32] = [-1, -1]
        guard
            socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0
        else { throw SystemRefusal(what: "a socket", reason: String(cString: strerror(errno))) }
        return (WorkerChannel(socket: ends[0]), WorkerChannel(socket: ends[1]))
    }

    /// Sends a message whose block 0 is `header`.
    /// - Throws: `Broken`; `SystemRefusal` without memory.
    package func send(_ kind: Kind, _ header: some Encodable, _ blocks: ArenaBlocks = ArenaBlocks()) throws {
        var all = ArenaBlocks()
        all.add(Array(try JSONEncoder().encode(header)))
        for block in blocks.list {
            all.add(block.baseAddress ?? UnsafeRawPointer(bitPattern: 64)!, bytes: block.count, owner: ())
        }
        let file = try all.write()
        extendLifetime(blocks)
        defer { Glibc.close(file) }
        try send(kind, arena: file)
    }

    /// Sends a message whose arena has the given bytes, as one was kept.
    func send(_ kind: Kind, copyOf arena: [UInt8]) throws {
        let file = try Arena.copy(arena)
        defer { Glibc.close(file) }
        try send(kind, arena: file)
    }

    private func send(_ kind: Kind, arena file: Int32) throws {
        var word = kind.rawValue
        while dmsae_send(socket, &word, 4, file) < 0 {
            if errno != EINTR { throw Self.brokenLine }
        }
    }

    /// The error for what the system just refused; a host that is gone has hung up.
    private static var brokenLine: Broken {
        let isEnd = errno == EPIPE || errno == ECONNRESET
        return Broken(reason: String(cString: strerror(errno)), part: isEnd ? .end : .line)
    }

    /// Waits for a message.
    /// - Throws: `Broken`, at the end of the line too.
    func receive() throws -> (kind: Kind, arena: Arena) {
        var word: UInt32 = 0
        var file: Int32 = -1
        var got = dmsae_receive(socket, &word, 4, &file)
        while got < 0 && errno == EINTR { got = dmsae_receive(socket, &word, 4, &file) }
        defer { if file >= 0 { Glibc.close(file) } }
        guard got >= 0 else { throw Self.brokenLine }
        guard got != 0 else { throw Broken(reason: "the line was closed", part: .end) }
        guard got == 4, let kind = Kind(rawValue: word) else { throw Broken(reason: "a message of no known kind") }
        do {
            return (kind, try Arena(descriptor: file))
        } catch let error as Arena.Malformed {
            throw Broken(reason: error.reason)
        }
    }
}

extension Arena {
    /// The header of a message.
    /// - Throws: `WorkerChannel.Broken`.
    package func header<Header: Decodable>(_ type: Header.Type) throws -> Header {
        do {
            return try JSONDecoder().decode(type, from: Data(try buffer(0, UInt8.self)))
        } catch { throw WorkerChannel.Broken(reason: "a header that is not \(type)") }
    }
}
