import Distillation
@preconcurrency import Glibc

/// Runs a program to its end, with a log of what it says.
///
/// By hand, though swift-subprocess could: it is asynchronous where our commands are not, bridging that, with the polling for a
/// stop, takes as many lines as these, and building it takes half a minute of a processor.
enum LoggedProgram {
    /// Runs `arguments`, found through PATH, with nothing on standard input and both outputs collected in the file
    /// `log`. Returns the exit status, 128 plus the number for a signal; nil if there is no such program. It starts with
    /// every signal as by default, and ends when we are asked to stop.
    ///
    /// - Throws: `FetchError.unwritable`; `DistillationError.interrupted`.
    static func run(_ arguments: [String], log: String) throws -> Int32? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var strings: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { strings.forEach { free($0) } }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t(), all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var child = pid_t()
        let result = posix_spawnp(&child, arguments[0], &actions, &attributes, &strings, environ)
        if result == ENOENT { return nil }
        guard result == 0 else {
            throw FetchError.unwritable(path: arguments[0], reason: String(cString: strerror(result)))
        }
        let status = try end(of: child)
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// Waits for it, looking now and then whether we are to stop: a download may take minutes.
    private static func end(of child: pid_t) throws -> Int32 {
        var status: Int32 = 0
        var isAsked = false
        while true {
            let ended = waitpid(child, &status, WNOHANG)
            if ended == child || ended < 0 && errno != EINTR { break }
            if Interruption.request.isRaised && !isAsked {
                isAsked = true
                kill(child, SIGTERM)
            }
            usleep(20_000)
        }
        try Interruption.request.check()
        return status
    }

    /// The last lines of a log that say anything, joined.
    static func lastWords(of log: String, lines: Int = 3) -> String {
        guard let file = fopen(log, "r") else { return "it said nothing" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        // Errors come last; 64 KiB from the end hold them all.
        fseek(file, 0, SEEK_END)
        fseek(file, -min(ftell(file), bytes.count), SEEK_CUR)
        bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
        let said = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
            .filter { !$0.hasPrefix("WARNING") && $0.contains { $0.isLetter } }
        return said.isEmpty ? "it said nothing" : said.suffix(lines).joined(separator: " / ")
    }
}
