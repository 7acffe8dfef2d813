import Foundation
import TestSupport

/// The root of the package, found from this file.
let packageRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

/// What a command printed and how it ended.
struct CommandResult {
    let status: Int32
    let output: String
}

/// Runs a command, found in PATH, from the package's root.
///
/// By `posix_spawn` and not Foundation's `Process`, whose reads end with "Interrupted system call" when tests run
/// several at once.
func run(_ command: [String]) throws -> CommandResult {
    let output = NSTemporaryDirectory() + "dmsae-" + UUID().uuidString + ".log"
    let arguments = ["sh", "-c", "cd \"$0\" && exec \"$@\" >\"$OUTPUT\" 2>&1", packageRoot] + command
    let argv = arguments.map { strdup($0) } + [nil]
    let environment =
        ProcessInfo.processInfo.environment.map { strdup("\($0.key)=\($0.value)") } + [strdup("OUTPUT=\(output)"), nil]
    defer {
        for text in argv + environment { free(text) }
        unlink(output)
    }
    var child: pid_t = 0
    let spawned = posix_spawnp(&child, "sh", nil, nil, argv, environment)
    guard spawned == 0 else { throw CompilationFailed(description: String(cString: strerror(spawned))) }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    let text = FileManager.default.contents(atPath: output) ?? Data()
    let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    return CommandResult(status: code, output: String(decoding: text, as: UTF8.self))
}

/// The compiler refused something that a test needs.
struct CompilationFailed: Error, CustomStringConvertible {
    let description: String
}

/// Builds the plugin `Fixtures/faulty.c` with the given macros and returns its path. Each build is a file of its own:
/// the loader knows a file again by its name.
func faultyPlugin(_ macros: [String] = [], in folder: TemporaryFolder, name: String = UUID().uuidString) throws
    -> String
{
    let path = folder.file(name + ".so")
    let result = try run(
        ["cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I", "Include"] + macros.map { "-D" + $0 }
            + ["Tests/PluginHostTests/Fixtures/faulty.c", "-o", path])
    guard result.status == 0 else { throw CompilationFailed(description: result.output) }
    return path
}
