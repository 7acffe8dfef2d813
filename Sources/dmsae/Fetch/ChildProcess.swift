@preconcurrency import Glibc

/// Runs a program to its end.
enum ChildProcess {
    /// Runs `arguments`, found through PATH, with nothing on standard input and both outputs collected in the file
    /// `log`. Returns the exit status, 128 plus the number for a signal; nil if there is no such program.
    static func run(_ arguments: [String], log: String) throws -> Int32? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var strings: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { strings.forEach { free($0) } }
        var child = pid_t()
        let result = posix_spawnp(&child, arguments[0], &actions, nil, &strings, environ)
        if result == ENOENT { return nil }
        guard result == 0 else {
            throw FetchError.unwritable(path: arguments[0], reason: String(cString: strerror(result)))
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
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
