import Attribution
import CLinux
import Glibc
import LinearAlgebra
import PluginABI
import PluginHost
import SparseCoding

/// The other side of isolation: a process that loads one plugin and does what the host asks, one request at a time.
///
/// It runs the same code as a plugin in the host would, checks included, so both modes agree bit for bit. It has the
/// host's line as descriptor 3, what they share as descriptor 4 and the plugin's file from 5 on. Processes that the
/// plugin starts stay in its process group and end with it.
package final class PluginWorker {
    package let channel: WorkerChannel
    private let pages: SharedPages
    package private(set) var scorer: (any AttributionScorer & LoadedPlugin)?
    private var rule: PluginSparsityRule?
    private let own: (any WorkerExtension)?
    private var file: PluginFile?

    /// Serves until the host hangs up, and then ends the process and all it started.
    ///
    /// - Parameters:
    ///   - isSandboxed: whether to enter the sandbox first, and to start again as a worker that has.
    ///   - program: another program that is to be the worker, with its arguments; empty for this one.
    ///   - own: what else the program has it do.
    /// - Throws: `WorkerError.noHost`, `.brokenLine`, `.notExecuted`.
    package static func serve(
        isSandboxed: Bool = false, program: [String] = [], _ own: (any WorkerExtension)? = nil
    ) throws {
        if isSandboxed {
            try PluginSandbox.enter(["plugin", "worker"] + (program.isEmpty ? [] : ["--"] + program))
        }
        guard fcntl(3, F_GETFD) >= 0 else { throw WorkerError.noHost }
        if !program.isEmpty { try become(program) }
        guard let pages = try? SharedPages(descriptor: 4, isWorker: true) else { throw WorkerError.noHost }
        close(4)
        try PluginWorker(pages, own).run()
    }

    /// Executes a program in the place of this one: what holds for every worker holds for it, whatever it does.
    private static func become(_ program: [String]) throws -> Never {
        settle()
        _ = dmsae_end_group_at_hangup(3)
        var argv: [UnsafeMutablePointer<CChar>?] = program.map { strdup($0) } + [nil]
        execv(program[0], &argv)
        throw WorkerError.notExecuted(program: program[0], reason: String(cString: strerror(errno)))
    }

    /// No core files, no rights that the host has not, and no other process group.
    private static func settle() {
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
        _ = dmsae_no_new_privileges()
        _ = dmsae_stay_in_group()
    }

    private init(_ pages: SharedPages, _ own: (any WorkerExtension)?) {
        self.own = own
        channel = WorkerChannel(socket: 3)
        self.pages = pages
        Self.settle()
        ProcessPlace.isKept.store(false, ordering: .relaxed)
        // A plugin that is linked with OpenBLAS finds it as in the host: at one thread, with the same kernels.
        _ = BLAS.core
        Self.endWithHost()
    }

    /// A plugin that never returns must not outlive the host: a thread waits for the other end of the line to close.
    private static func endWithHost() {
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                dmsae_wait_for_hangup(3)
                PluginWorker.end()
            }, nil)
        pthread_detach(thread)
    }

    /// Ends this process with its group, which is all that the plugin started.
    private static func end() -> Never {
        if getpgrp() == getpid() { kill(0, SIGKILL) }
        _exit(0)
    }

    private func run() throws {
        while true {
            do {
                let (kind, arena) = try channel.receive()
                try serve(kind, arena)
            } catch let broken as WorkerChannel.Broken where broken.part != .message {
                if broken.part == .end { Self.end() }
                throw WorkerError.brokenLine(reason: broken.reason)
            } catch {
                try channel.send(.failed, PluginFailure(error))
            }
        }
    }

    private func serve(_ kind: WorkerChannel.Kind, _ arena: Arena) throws {
        switch kind {
        case .file:
            file = PluginFile(try arena.header(PluginFile.Handover.self))
            try channel.send(.done, Empty())
        case .create: try create(try arena.header(CreateRequest.self))
        case .describe:
            limitMemory(to: try arena.header(CreateRequest.self).memory)
            try channel.send(.done, try PluginManifest(describing: pluginFile()))
        case .score: try score(try arena.header(BatchHeader.self), arena)
        case .stateSize:
            let plan = try arena.header(ScoringPlan.self)
            try channel.send(.done, Count(count: try accumulation().stateSize(plan)))
        case .passCount:
            let plan = try arena.header(ScoringPlan.self)
            try channel.send(.done, Count(count: try accumulation().passCount(plan)))
        case .acceptsState:
            let version = try arena.header(StateQuestion.self).version
            try channel.send(.done, StateAnswer(isAccepted: try accumulation().accepts(stateOf: version)))
        case .begin:
            let plan = try arena.header(ScoringPlan.self)
            try onState(arena, block: 1) { try accumulation().begin(plan, state: $0) }
        case .accumulate:
            let header = try arena.header(BatchHeader.self)
            let batch = try self.batch(header, arena)
            guard let plan = header.plan else { throw WorkerChannel.Broken(reason: "no plan") }
            try onState(arena, block: 1 + BatchHeader.blockCount) {
                try accumulation().accumulate(batch, plan, state: $0)
            }
        case .merge:
            let plan = try arena.header(ScoringPlan.self)
            let other = try GuardedMemory(count: arena.blocks[checked: 2]?.count ?? 0)
            if let block = arena.blocks[checked: 2] { other.bytes.copyBytes(from: block) }
            other.becomeReadOnly()
            try onState(arena, block: 1) {
                try accumulation().merge(plan, state: $0, other: UnsafeRawBufferPointer(other.bytes))
            }
        case .finish: try finish(try arena.header(ScoringPlan.self), arena)
        case .upperCount:
            let context = try arena.header(SelectionHeader.self).context(arena)
            try channel.send(.done, Count(count: try sparsityRule().upperCount(context)))
        case .select: try select(try arena.header(SelectionHeader.self), arena)
        case .floors, .backward, .rescale: try learn(kind, arena)
        case .ruleStateSize, .calibrate, .ruleMerge, .form: try infer(kind, arena)
        case .extended:
            guard let own else { throw WorkerChannel.Broken(reason: "this program has no requests of its own") }
            try own.answer(arena, in: self)
        default: throw WorkerChannel.Broken(reason: "\(kind) is not for a worker")
        }
    }

    /// Lets go of what was created.
    package func release() {
        scorer = nil
        rule = nil
    }

    private var services: PluginServices {
        let (channel, pages) = (channel, pages)
        return PluginServices(
            log: { try? channel.send(.log, LogLine(level: $0.level.rawValue, plugin: $0.plugin, text: $0.text)) },
            isCancelled: { pages.isStopWanted })
    }

    /// Limits the address space, and has a crash say how much of it was in use; 0 is no limit.
    package func limitMemory(to bytes: UInt64) {
        guard bytes > 0 else { return }
        var limit = rlimit(rlim_cur: rlim_t(bytes), rlim_max: rlim_t(bytes))
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
        pages.recordEnding()
    }

    private func create(_ request: CreateRequest) throws {
        limitMemory(to: request.memory)
        let parameters = request.parameters.map { PluginReference.Parameter(key: $0[0], value: $0[1]) }
        let file = try pluginFile()
        let own = request.isWatched ? self.own : nil
        try own?.fileWillLoad()
        if !request.isRule, let signature = try FunctionSignature(of: file) {
            let made = try PlainFunction(file, symbol: request.id, signature: signature, parameters: parameters)
            own?.fileIsLoaded()
            scorer = made
            return try channel.send(
                .done,
                CreateReply(
                    id: made.name, version: made.version, isReentrant: false,
                    parameters: made.parameters.map { [$0.key, $0.value] }, scoresTokens: true))
        }
        let library = try PluginLibrary(file)
        own?.fileIsLoaded()
        var plugin = try library.plugin(request.id, kind: request.isRule ? .sparsityRule : .scorer)
        if request.isUnchecked { plugin = plugin.undescribed }
        var reply = CreateReply(
            id: plugin.id, version: plugin.version, isReentrant: plugin.isReentrant, parameters: [], scoresTokens: true)
        if request.isRule {
            let made = try PluginSparsityRule(plugin, of: library, parameters: parameters, services: services)
            reply.scope = made.scope.rawValue
            reply.tensors = made.learning?.tensors
            reply.inferenceVersion = made.inference?.stateVersion
            reply.parameters = made.parameters.map { [$0.key, $0.value] }
            rule = made
        } else {
            let made = try PluginScorer(plugin, of: library, parameters: parameters, services: services)
            reply.scoresTokens = made.scoresTokens
            reply.outputs = made.accumulation?.outputs
            reply.stateVersion = made.accumulation?.stateVersion
            reply.needs = made.needs
            reply.isSequential = made.accumulation?.isSequential ?? false
            reply.parameters = made.parameters.map { [$0.key, $0.value] }
            scorer = made
        }
        try channel.send(.done, reply)
    }

    package func pluginFile() throws -> PluginFile {
        guard let file else { throw WorkerChannel.Broken(reason: "no file") }
        return file
    }

    package func accumulation() throws -> any AccumulatingScore {
        guard let accumulation = scorer?.accumulation else { throw WorkerChannel.Broken(reason: "no accumulation") }
        return accumulation
    }

    package func sparsityRule() throws -> PluginSparsityRule {
        guard let rule else { throw WorkerChannel.Broken(reason: "no rule") }
        return rule
    }

    package func batch(_ header: BatchHeader, _ arena: Arena) throws -> ScoringBatch {
        var batch = try header.batch(arena)
        if header.preferredGroups != nil { batch.evaluation = RemoteEvaluation(header, channel) }
        return batch
    }

    func intact(_ memory: GuardedMemory, _ function: String) throws {
        guard memory.isIntact else {
            throw PluginCallError.wroteOutside(
                plugin: scorer?.name ?? rule?.name ?? "", path: scorer?.path ?? rule?.path ?? "", function: function)
        }
    }

    private func score(_ header: BatchHeader, _ arena: Arena) throws {
        guard let scorer else { throw WorkerChannel.Broken(reason: "no scorer") }
        let batch = try batch(header, arena)
        let memory = try GuardedMemory(count: 4 * batch.codes.count)
        let scores = memory.bytes.bindMemory(to: Float.self)
        try scorer.score(batch, into: scores)
        try intact(memory, "score")
        try reply([memory])
    }

    /// Runs `body` on a copy of the state in a block, and sends the state back.
    func onState(_ arena: Arena, block: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        guard let state = arena.blocks[checked: block] else { throw WorkerChannel.Broken(reason: "no state") }
        let memory = try GuardedMemory(count: state.count)
        memory.bytes.copyBytes(from: state)
        try body(memory.bytes)
        try intact(memory, "accumulate")
        try reply([memory])
    }

    private func finish(_ plan: ScoringPlan, _ arena: Arena) throws {
        let accumulation = try accumulation()
        let state = try GuardedMemory(count: arena.blocks[checked: 1]?.count ?? 0)
        if let block = arena.blocks[checked: 1] { state.bytes.copyBytes(from: block) }
        state.becomeReadOnly()
        let outputs = try accumulation.outputs.map { try GuardedMemory(count: 8 * $0.count(plan)) }
        try accumulation.finish(
            plan, state: UnsafeRawBufferPointer(state.bytes), into: outputs.map { $0.bytes.bindMemory(to: Double.self) }
        )
        for output in outputs { try intact(output, "finish") }
        try reply(outputs)
    }

    func reply(_ parts: [GuardedMemory]) throws {
        var blocks = ArenaBlocks()
        for part in parts { blocks.add(part.bytes.baseAddress!, bytes: part.bytes.count, owner: part) }
        try channel.send(.done, Empty(), blocks)
    }
}
