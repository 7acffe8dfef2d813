import Attribution
import Foundation
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

/// What a worker may use, and what is left when it ends: nothing.
struct WorkerLimitTests: MisbehavingPluginTests {
    let services = Services()
    let folder = TemporaryFolder()
    private let batch = randomBatch(tokens: 20, latents: 30, dimensions: 8, perToken: 4)

    // MARK: Standard error

    @Test func `what is written to standard error takes no memory`() throws {
        // 64 MiB; the size of the file it went to.
        #expect(try scorer(",fault=spills").scores(batch)[0] == 0)
    }

    @Test func `the end of a flood is what is kept of it`() throws {
        let text = message { _ = try scorer(",fault=drowns").scores(batch) }
        let words = try #require(text.firstRange(of: "its last words: "))
        let kept = text[words.upperBound...].prefix { $0 != ";" }
        #expect(kept.hasPrefix("~~~") && kept.hasSuffix("~~~ | and is drowned") && kept.utf8.count <= 2048, "\(text)")
    }

    @Test func `a plugin that writes between calls goes on with the next one`() throws {
        let scorer = try scorer(",fault=trickles", isolation(timeout: 10))
        for _ in 0..<2 { #expect(try scorer.scores(batch).count == batch.codes.count) }
        // Or it was given up, and what it was asked again began anew.
        #expect(services.messages == [])
    }

    // MARK: Memory

    @Test(arguments: [("memory", 1000...1024), ("gulp", 1...1000)])
    func `a crash at the memory limit names it`(fault: String, used: ClosedRange<Int>) throws {
        let text = message { _ = try scorer(",fault=\(fault)", isolation(memory: 1 << 30)).scores(batch) }
        let found = try #require(
            text.firstMatch(of: /; it had ([0-9]+) of the 1024 MiB that --plugin-memory allows and was refused more\)/),
            "\(text)")
        #expect(text.contains("SIGSEGV") && Int(found.1).map(used.contains) == true, "\(text)")
    }

    @Test(arguments: [UInt64(1) << 30, 0]) func `a crash that has nothing to do with memory does not`(limit: UInt64)
        throws
    {
        for fault in ["segfault", "abort", "stack"] {
            let text = message { _ = try scorer(",fault=\(fault)", isolation(memory: limit)).scores(batch) }
            #expect(text.contains("crashed (SIG") && !text.contains("--plugin-memory"), "\(text)")
        }
    }

    // MARK: Processes

    /// Ids that processes wrote into a file, one a line, once there is any.
    private func processes(_ file: String) -> [pid_t] {
        (try? String(contentsOfFile: file, encoding: .utf8))?.split(separator: "\n").compactMap { pid_t($0) } ?? []
    }

    /// Waits for at most half a minute, which only a failure takes.
    private func eventually(_ condition: () -> Bool) -> Bool {
        for _ in 0..<3000 where !condition() { usleep(10_000) }
        return condition()
    }

    /// Whether no process of this id runs; one that nobody has reaped does not.
    private func isOver(_ process: pid_t) -> Bool {
        guard let status = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return true }
        return status.split(separator: ")").last?.split(separator: " ").first == "Z"
    }

    @Test(arguments: ["fork", "group", "session"], ["abort", "loop", "return"])
    func `what a plugin starts ends with its worker`(how: String, end: String) throws {
        let list = folder.file("list")
        _ = message { _ = try scorer(",fault=\(how)-\(end),once=\(list)", isolation(timeout: 1)).scores(batch) }
        let started = processes(list)
        // A call that ends its worker is made twice.
        #expect(started.count == (end == "return" ? 1 : 2))
        for process in started { #expect(eventually { isOver(process) }) }
    }

    @Test func `a worker ends with its host, and so does what the plugin started`() throws {
        let source = folder.file("stays.c"), library = folder.file("stays.so"), list = folder.file("list")
        try """
        #include <stdio.h>
        #include <unistd.h>
        __attribute__((constructor)) static void stays(void) {
            if (fork() == 0) setsid();
            FILE *list = fopen("\(list)", "a");
            fprintf(list, "%d\\n", (int)getpid());
            fclose(list);
            for (;;) pause();
        }
        """.write(toFile: source, atomically: true, encoding: .utf8)
        #expect(try run(["cc", "-shared", "-fPIC", source, "-o", library]).status == 0)
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        defer { close(nothing) }
        let host = try ProcessGroup(
            executable: builtProgram, arguments: ["plugin", "inspect", "--sandbox", "off", "--load", library],
            environment: [],
            descriptors: [(nothing, 0), (nothing, 1), (nothing, 2)])
        #expect(eventually { processes(list).count == 2 })
        #expect(kill(host.id, SIGKILL) == 0)
        for process in processes(list) { #expect(eventually { isOver(process) }) }
    }
}
