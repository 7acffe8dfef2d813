import Attribution
import CLinux
import Glibc
import LinearAlgebra
import PluginABI
import PluginHost

/// A worker ended, or had to be ended, before it answered.
package struct WorkerFailure: Error {
    /// "crashed (SIGSEGV, …)", "gave no sign of life for 120 s".
    package let how: String
    /// The end of what it wrote to standard error.
    package let lastWords: String
}

/// A running worker with its plugin, seen from the host. One caller at a time.
package final class WorkerProcess {
    /// What was created in it; nil for a worker that was only asked to describe its file.
    private(set) var made: CreateReply?
    /// What a plugin that needs an interpreter runs on, by name: "Python": "3.11.7".
    private(set) var runtime: [String: String] = [:]
    private let process: ProcessGroup
    private let line: Line

    /// Starts a worker and creates the plugin in it.
    /// - Throws: `WorkerFailure`; the error of what the plugin refused; `SystemRefusal`.
    convenience init(
        _ request: CreateRequest, of file: PluginFile, _ isolation: PluginIsolation, _ services: PluginServices
    ) throws {
        try self.init(file, isolation, services)
        made = try file.isPython ? createDescribed(request) : ask(.create, request, reply: CreateReply.self)
    }

    /// What was created in it.
    var created: CreateReply {
        guard let made else { preconditionFailure("nothing was created in this worker") }
        return made
    }

    private var name: String { made?.id ?? "" }

    /// Starts a worker for a file, which it is handed and does not load yet.
    /// - Throws: `WorkerFailure`; `SystemRefusal`, `WorkerError.unsetVariable`, `.sandboxMissing`.
    package init(_ file: PluginFile, _ isolation: PluginIsolation, _ services: PluginServices) throws {
        try PluginSandbox.check(isolation.sandbox)
        for name in isolation.environment where getenv(name) == nil { throw WorkerError.unsetVariable(name) }
        let pages = try SharedPages(), lastWords = try LastWords()
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        defer {
            close(pages.descriptor)
            lastWords.closeWritingEnd()
            if nothing >= 0 { close(nothing) }
        }
        guard nothing >= 0 else {
            throw SystemRefusal(what: "/dev/null", reason: String(cString: strerror(errno)))
        }
        let interpreter =
            try file.isPython
            ? PythonInterpreter(named: isolation.python, executable: isolation.executable) : nil
        let (host, worker) = try WorkerChannel.pair()
        line = Line(channel: host, services: services, lastWords: lastWords, pages: pages, isolation: isolation)
        process = try ProcessGroup(
            executable: isolation.executable,
            arguments: isolation.arguments + (isolation.sandbox == .never ? [] : [PluginSandbox.argument])
                + (interpreter.map { ["--", $0.path, $0.worker] } ?? []),
            environment: PluginEnvironment.variables(also: isolation.environment),
            descriptors: [
                (nothing, 0), (nothing, 1), (lastWords.writingEnd, 2), (worker.socket, 3), (pages.descriptor, 4),
            ] + file.parts.enumerated().map { ($1.descriptor, Self.firstPart + Int32($0)) })
        // With our copy of its end closed, its death closes the line.
        worker.close()
        do {
            if interpreter != nil { runtime = try greeted(timeout: isolation.timeout) }
            _ = try ask(.file, PluginFile.Handover(file, first: Self.firstPart))
        } catch let failure as WorkerFailure {
            // No code of the plugin was there yet.
            if let interpreter, !failure.lastWords.isEmpty {
                throw WorkerError.noInterpreter(name: interpreter.path, reason: failure.lastWords)
            }
            throw SystemRefusal(
                what: "a process of its own",
                reason: "it \(failure.how)" + (failure.lastWords.isEmpty ? "" : ": \(failure.lastWords)"))
        }
        extendLifetime(file)
    }

    /// The number that the first part of a plugin's file has in the worker.
    private static let firstPart: Int32 = 5

    /// Sends a request, serves what the worker asks meanwhile, and returns its answer.
    /// - Throws: `WorkerFailure`; the error of the call; `PluginCallError.cancelled`.
    func ask(
        _ kind: WorkerChannel.Kind, _ header: some Encodable, _ blocks: ArenaBlocks = ArenaBlocks(),
        answering evaluation: EvaluationService? = nil
    ) throws -> Arena {
        try line.exchange(with: process, plugin: name, function: "\(kind)", evaluation) {
            try $0.send(kind, header, blocks)
        }
    }

    /// As `ask`, for an answer that is all in its header.
    /// - Throws: as `ask`; `WorkerFailure` also for another answer.
    package func ask<Reply: Decodable>(_ kind: WorkerChannel.Kind, _ header: some Encodable, reply: Reply.Type) throws
        -> Reply
    {
        let arena = try ask(kind, header)
        do { return try arena.header(Reply.self) } catch let broken as WorkerChannel.Broken {
            throw WorkerFailure(how: "sent back what does not fit (\(broken.reason))", lastWords: "")
        }
    }

    /// Sends what it answers by ending; returns how it ended, nil if it still runs after so many milliseconds.
    func ends(on header: some Encodable, milliseconds: Int32) throws -> ProcessGroup.End? {
        try line.channel.send(.extended, header)
        return process.wait(milliseconds: milliseconds)
    }

    /// As `ask`, with the bytes of an arena that was kept.
    func repeats(_ kind: WorkerChannel.Kind, _ arena: [UInt8]) throws -> Arena {
        try line.exchange(with: process, plugin: name, function: "\(kind)", nil) { try $0.send(kind, copyOf: arena) }
    }
}

/// What an exchange with a worker needs.
private final class Line {
    let channel: WorkerChannel
    let services: PluginServices
    let lastWords: LastWords
    let pages: SharedPages
    let isolation: PluginIsolation
    /// When the second began in which lines are counted, and how many there were.
    private var recent = (start: 0.0, lines: 0)

    /// The most lines a second that reach the log: a plugin may not fill a disk with them.
    private static let mostLines = 100

    init(
        channel: WorkerChannel, services: PluginServices, lastWords: LastWords, pages: SharedPages,
        isolation: PluginIsolation
    ) {
        self.channel = channel
        self.services = services
        self.lastWords = lastWords
        self.pages = pages
        self.isolation = isolation
    }

    /// Sends, and waits for the answer.
    ///
    /// - Parameters:
    ///   - plugin: id, for messages.
    ///   - function: the call's name, for messages.
    func exchange(
        with process: ProcessGroup, plugin: String, function: String, _ evaluation: EvaluationService?,
        _ send: (WorkerChannel) throws -> Void
    ) throws -> Arena {
        func failure(_ how: String) -> WorkerFailure { WorkerFailure(how: how, lastWords: lastWords.text()) }
        func gone() -> WorkerFailure {
            switch process.wait(milliseconds: 2000) ?? process.terminate(grace: 0) {
            case .exited(let status): failure("ended its process with status \(status)")
            case .killed(let signal): failure("crashed (\(signalInWords(signal))\(memoryInWords()))")
            case nil: failure("left the line")
            }
        }
        lastWords.beginCall()
        do {
            try send(channel)
            var life = monotonicSeconds(), stopped: Double?
            while true {
                var watched = [
                    pollfd(fd: channel.socket, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: process.endDescriptor, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: lastWords.descriptor, events: Int16(POLLIN), revents: 0),
                ]
                poll(&watched, 3, 50)
                // Taken out, so that it can go on writing; no sign of life, since a loop may do that too.
                if watched[2].revents != 0 { lastWords.read() }
                // At every turn: a worker that asks or logs without pause is never silent.
                if services.isCancelled() && stopped == nil {
                    pages.isStopWanted = true
                    stopped = monotonicSeconds()
                }
                if let stopped, monotonicSeconds() - stopped > 5 {
                    process.terminate(grace: 0)
                    throw PluginCallError.cancelled(plugin: plugin, function: function)
                }
                if watched[0].revents & Int16(POLLIN) == 0 {
                    if watched[0].revents != 0 || watched[1].revents != 0 { throw gone() }
                    if monotonicSeconds() - life > isolation.timeout {
                        process.terminate(grace: 0)
                        throw failure("gave no sign of life for \(Int(isolation.timeout)) s")
                    }
                    continue
                }
                let (reply, arena) = try channel.receive()
                if reply == .done { return arena }
                if reply == .failed {
                    let failure = try arena.header(PluginFailure.self)
                    if case .call(.cancelled) = failure {
                        throw PluginCallError.cancelled(plugin: plugin, function: function)
                    }
                    let words = lastWords.textOfCall()
                    throw words.isEmpty ? failure.error : WorkerError.failed(failure, lastWords: words)
                }
                if reply == .log {
                    log(try arena.header(LogLine.self))
                } else if try evaluation?.answer(reply, arena, over: channel) != true {
                    process.terminate(grace: 0)
                    throw failure("sent \(reply), which no host expects")
                }
                life = monotonicSeconds()
            }
        } catch let broken as WorkerChannel.Broken {
            // A process that ended tells more than the line that broke with it.
            if process.wait(milliseconds: 500) != nil { throw gone() }
            process.terminate(grace: 0)
            throw failure("sent what is no message: \(broken.reason)")
        }
    }

    /// Passes a line on, unless there were too many in this second; the first of those says so.
    private func log(_ line: LogLine) {
        let time = monotonicSeconds()
        if time - recent.start >= 1 { recent = (time, 0) }
        recent.lines += 1
        guard recent.lines <= Self.mostLines + 1 else { return }
        let isLast = recent.lines > Self.mostLines
        services.log(
            PluginMessage(
                level: isLast ? .warning : PluginMessage.Level(rawValue: line.level) ?? .warning, plugin: line.plugin,
                text: isLast
                    ? "it logs more than \(Self.mostLines) lines a second; the others are left out" : line.text))
    }

    /// What is known of a crash that may be the memory limit's work, which looks like any other: facts, not a verdict.
    private func memoryInWords() -> String {
        let ending = pages.ending, limit = Double(isolation.memory), used = Double(ending.address_space)
        let isRefused = ending.was_refused_memory != 0
        guard limit > 0, used > 0, used <= limit, isRefused || used > 0.9 * limit else { return "" }
        func mebibytes(_ bytes: Double) -> Int { Int(bytes / Double(1 << 20)) }
        return "; it had \(mebibytes(used)) of the \(mebibytes(limit)) MiB that --plugin-memory allows"
            + (isRefused ? " and was refused more" : "")
    }

    private func signalInWords(_ signal: Int32) -> String {
        switch signal {
        case SIGSEGV: "SIGSEGV: it touched memory that is not its own, or ran out of stack"
        case SIGABRT: "SIGABRT: it gave up by itself"
        case SIGILL: "SIGILL: a check in it failed, or it was built for another processor"
        case SIGTRAP: "SIGTRAP: a check in it failed"
        case SIGBUS: "SIGBUS: it touched memory that is not there"
        case SIGFPE: "SIGFPE: it divided an integer by zero"
        case SIGKILL: "SIGKILL: it was ended from outside, as for using too much memory"
        case SIGXFSZ: "SIGXFSZ: it wrote a file longer than it may"
        default: "signal \(signal)"
        }
    }
}
