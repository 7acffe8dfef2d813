import Foundation
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// What signals do to a command that takes long: the table of `Interruption`.
@Suite struct SignalTests {
    private let folder = TemporaryFolder()
    private var errors: String { folder.file("errors") }

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try write("x", try golden.matrix("x"), shape: [96, 48], to: folder.file("x"))
    }

    /// Starts a training that will not end by itself, in a shell after `before`, and returns when it is at its steps.
    private func start(after before: String = ":", activations: String = "x") throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.environment = startingEnvironment
        process.arguments =
            ["-c", before + "; exec \"$@\"", "bash", builtProgram, "train", "--activations", folder.file(activations)]
            + [
                "--batch", "64", "--steps", "2000000000", "--k", "8", "--width", "64", "--quiet", "--out",
                folder.file("out"),
            ]
        _ = FileManager.default.createFile(atPath: errors, contents: nil)
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
        process.standardOutput = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        while process.isRunning && !isAtItsSteps { usleep(2000) }
        return process
    }

    /// Whether the log of the training, which gets its name with the SAE, has a line.
    private var isAtItsSteps: Bool {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.file("out"))) ?? []
        return names.contains {
            $0.hasPrefix(".events.jsonl.") && !contents(ofFileIfAny: folder.file("out/" + $0)).isEmpty
        }
    }

    private func contents(ofFileIfAny path: String) -> [UInt8] { isThere(path) ? TestSupport.contents(of: path) : [] }

    private var said: String { String(decoding: contents(ofFileIfAny: errors), as: UTF8.self) }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU]) func signalsThatAskToStopAreObeyed(_ signal: Int32)
        throws
    {
        let process = try start()
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 128 + signal)
        #expect(
            try said.wholeMatch(
                of: Regex("interrupted after step [1-9][0-9]*; the same command with --resume goes on from there\n"))
                != nil,
            "\(said)")
    }

    @Test func whatTheParentIgnoredStaysIgnoredAndBlockedSignalsAreNot() throws {
        let process = try start(after: "trap '' HUP INT")
        for signal in [SIGHUP, SIGINT] { kill(process.processIdentifier, signal) }
        usleep(100_000)
        #expect(process.isRunning)
        kill(process.processIdentifier, SIGTERM)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 128 + SIGTERM)
    }

    /// The Swift runtime would print that the program crashed, and go on.
    @Test(arguments: [SIGQUIT, SIGABRT, SIGSEGV, SIGBUS]) func otherSignalsEndItAtOnceWithoutAWord(_ signal: Int32)
        throws
    {
        let process = try start(after: "ulimit -c 0")
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(process.terminationReason == .uncaughtSignal)
        #expect(process.terminationStatus == signal)
        #expect(said == "")
    }

    /// Nobody sends these on purpose, and they would leave what is half written.
    @Test(arguments: [SIGALRM, SIGPROF, SIGSTKFLT, 34, 64]) func whatElseWouldEndItLeavesNothingHalfWritten(
        _ signal: Int32
    )
        throws
    {
        let process = try start()
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == signal)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("out"))
        #expect(!names.contains { $0.hasSuffix(".partial") }, "\(names)")
    }

    @Test func aStoreThatIsCutWhileItIsReadIsNamed() throws {
        let tiny = try TinyModel()
        try succeed(
            [
                "harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--tokens", "2048", "--context",
                "32",
            ]
                + ["--out", folder.file("store"), "--quiet"])
        let process = try start(activations: "store")
        let shard = folder.file("store/shard-00000.safetensors")
        let size = TestSupport.contents(of: shard).count
        #expect(truncate(shard, 4096) == 0)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 1)
        #expect(
            said == "Error: \(shard) was cut from \(size) to 4096 bytes while it was being read; "
                + "put the whole file back and run the command again\n")
    }

    @Test func aRunGoesOnWhenNobodyReadsItsTable() throws {
        let tiny = try TinyModel()
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
        let script = """
            "$@" 2> \(errors) | true
            echo ${PIPESTATUS[0]}
            """
        let result = try TestSupport.run(
            "/bin/bash",
            [
                "-c", script, "bash", builtProgram, "distill", folder.file("tiny.yaml"), "--out", folder.file("run"),
                "--quiet",
            ])
        #expect(result.output == "0\n")
        #expect(
            said == "warning: nobody reads standard output any more; the work goes on, without printing results\n")
        #expect(isThere(folder.file("run/result.json")))
    }

    @Test func aShortCommandThatNobodyReadsEndsQuietly() throws {
        let script = """
            (sleep 0.2; "$@" 2> \(errors); echo $? > \(folder.file("status"))) | true
            while [ ! -s \(folder.file("status")) ]; do sleep 0.02; done
            cat \(folder.file("status"))
            """
        let result = try TestSupport.run(
            "/bin/bash", ["-c", script, "bash", builtProgram, "distill", "demo", "--print-recipe"])
        #expect(result.output == "141\n")
        #expect(said == "")
    }
}
