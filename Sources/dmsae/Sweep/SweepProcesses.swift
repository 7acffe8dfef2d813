import Distillation
@preconcurrency import Glibc
import LinearAlgebra
import PluginHost
import TensorFiles

/// Runs the points of a sweep, each in a process of its own: a crash costs one point, and a kill of any of them nothing.
///
/// How far they are is read from the logs in their folders, so that it is the same for points that were run elsewhere.
final class SweepProcesses {
    private let sweep: Sweep
    private let folder: String
    private let jobs: Int
    private let options: [String]
    /// Whether someone looks at the bar.
    private let isShown: Bool
    private var running: [Int: pid_t] = [:]
    private var ended: Set<Int> = []
    private let program: String

    init(_ sweep: Sweep, folder: String, jobs: Int, options: [String], isShown: Bool) throws {
        program = try PluginCatalog().executableFolder + "/dmsae"
        (self.sweep, self.folder, self.jobs, self.options, self.isShown) = (sweep, folder, jobs, options, isShown)
    }

    /// Runs what is not done.
    ///
    /// - Throws: `DistillationError.interrupted`, once those that run have stopped; `TensorFileError` for a process that cannot be
    ///   started. A point that fails is recorded.
    func run() throws {
        let points = try sweep.points(), work = try sweep.work()
        var waiting = points.filter { !exists(folder + "/" + $0.folder + "/result.json") }
        guard !waiting.isEmpty else { return }
        var progress = SweepProgress(
            points, work, times: isShown ? try times(points, work) : nil, folder: folder)
        // In milliseconds. What a point that was cut short has to do again was not done.
        func counted() -> Int {
            Int(1000 * progress.done(running: Set(running.keys), ended: ended, at: monotonicSeconds()))
        }
        var shown = counted()
        var looked = monotonicSeconds()
        Terminal.shared.begin("sweep", total: Int(1000 * progress.total) - shown, unit: "")
        defer { Terminal.shared.end() }
        settled = points.count - waiting.count
        while !waiting.isEmpty && !Interruption.request.isRaised || !running.isEmpty {
            while running.count < jobs, !Interruption.request.isRaised,
                let next = waiting.firstIndex(where: { work.isReady($0, running: Set(running.keys), in: folder) })
            {
                let point = waiting.remove(at: next)
                running[point.index] = try start(point)
            }
            usleep(200_000)
            reap()
            // Its files may lie on a server.
            guard monotonicSeconds() - looked >= 1 || running.isEmpty else { continue }
            looked = monotonicSeconds()
            let now = max(shown, counted())
            Terminal.shared.advance(by: now - shown, detail: "\(settled) of \(points.count) points done")
            shown = now
        }
        try Interruption.request.check()
    }

    /// What parts take, as a process of its own has measured it: lanes, model and card that it took are free again. Measured anew
    /// where what is kept is not of all parts, or cannot be read; nil where it could not be.
    private func times(_ points: [SweepPoint], _ work: SweepWork) throws -> SweepTimes? {
        let path = folder + "/forecast.json", log = folder + "/forecast.log"
        func kept() -> SweepTimes? {
            guard exists(path), let times = try? JSONRecord.read(SweepTimes.self, from: path) else { return nil }
            return times.cover(points, work) ? times : nil
        }
        if let times = kept() { return times }
        Terminal.shared.note("timing a little of each kind of point first, for the bar")
        let words = [program, "sweep", folder, "--forecast", path, "--quiet"] + options
        guard try LoggedProgram.run(words, log: log) == 0 else {
            Terminal.shared.note(
                "the bar counts steps of trainings alone; timing of other parts failed: "
                    + LoggedProgram.lastWords(of: log))
            return nil
        }
        unlink(log)
        return kept()
    }

    private func start(_ point: SweepPoint) throws -> pid_t {
        let words =
            [program, "sweep", folder, "--point", "\(point.index)", "--parent", "\(getpid())", "--quiet"] + options
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        let log = folder + "/" + point.folder + ".log"
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o666)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // A group of its own: Ctrl-C is ours to pass on, once, or a second signal would end it at once.
        posix_spawnattr_setpgroup(&attributes, 0)
        var none = sigset_t(), all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
        var strings: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { strings.forEach { free($0) } }
        var child = pid_t()
        let result = posix_spawn(&child, program, &actions, &attributes, &strings, environ)
        guard result == 0 else {
            throw TensorFileError.unreadable(file: program, reason: String(cString: strerror(result)))
        }
        return child
    }

    /// Takes note of those that have ended, and passes a wish to stop on.
    private func reap() {
        if Interruption.request.isRaised && !isAsked {
            isAsked = true
            for child in running.values { kill(child, SIGTERM) }
        }
        for (index, child) in running {
            var status: Int32 = 0
            let ended = waitpid(child, &status, WNOHANG)
            guard ended == child || ended < 0 && errno != EINTR else { continue }
            running[index] = nil
            self.ended.insert(index)
            // One that was asked to stop may have come to its end before it heard.
            if !isAsked || status == 0 { settled += 1 }
            finish(index, status)
        }
    }

    private var isAsked = false
    /// Points that are done or have failed.
    private var settled = 0

    /// Of a process that a signal ended, nobody else says why.
    private func finish(_ index: Int, _ status: Int32) {
        guard status != 0, !isAsked, let point = try? sweep.point(index) else { return }
        let path = folder + "/" + point.failure, signal = status & 0x7F
        if !exists(path) {
            let how = signal == 0 ? "exit status \((status >> 8) & 0xFF)" : "signal \(signal)"
            let said = LoggedProgram.lastWords(of: folder + "/" + point.folder + ".log")
            try? JSONRecord.write(SweepFailure(error: "its process ended by \(how): \(said)"), to: path)
        }
        if let failure = try? JSONRecord.read(SweepFailure.self, from: path) {
            Terminal.shared.warn("point \(index) failed: \(failure.error)")
        }
    }
}
