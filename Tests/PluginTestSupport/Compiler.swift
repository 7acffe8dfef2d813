import Foundation
import TestSupport

/// The root of the package, found from this file.
public let packageRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

/// What a command printed and how it ended.
public struct CommandResult {
    /// Exit status; 128 plus the number if a signal ended it.
    public let status: Int32
    /// Standard output and standard error, as they came.
    public let output: String
}

/// Runs a command, found in PATH, from the package's root.
///
/// By `posix_spawn` and not Foundation's `Process`, whose reads end with "Interrupted system call" when tests run
/// several at once.
public func run(_ command: [String]) throws -> CommandResult {
    let output = NSTemporaryDirectory() + "dmsae-" + UUID().uuidString + ".log"
    let arguments = ["sh", "-c", "cd \"$0\" && exec \"$@\" >\"$OUTPUT\" 2>&1", packageRoot] + command
    let argv = arguments.map { strdup($0) } + [nil]
    let environment =
        startingEnvironment.map { strdup("\($0.key)=\($0.value)") } + [strdup("OUTPUT=\(output)"), nil]
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
public struct CompilationFailed: Error, CustomStringConvertible {
    /// What it printed.
    public let description: String
}

/// The file of a plugin that comes with the program.
public func shippedPlugin(_ name: String) -> String {
    builtProgram.dropLast("dmsae".count) + "libdmsae-plugin-\(name).so"
}

/// Compiles a file of C or C++ into a shared object at `path`, with the headers of `Include`; a source's relative path
/// counts from the package's root. Only the entry is visible, unless `flags` say `-fvisibility=default`.
/// - Throws: `CompilationFailed`.
public func compilePlugin(_ source: String, to path: String, _ flags: [String] = []) throws {
    let compiler = source.hasSuffix(".cpp") ? "c++" : "cc"
    let common = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I", "Include"]
    // Libraries are looked for in the order given, so flags come after what needs them.
    let result = try run([compiler] + common + [source, "-o", path] + flags)
    guard result.status == 0 else { throw CompilationFailed(description: result.output) }
}

/// Compiles C given as text, which stays beside the shared object.
/// - Throws: `CompilationFailed`.
public func compilePlugin(text: String, to path: String, _ flags: [String] = []) throws {
    try text.write(toFile: path + ".c", atomically: true, encoding: .utf8)
    try compilePlugin(path + ".c", to: path, flags)
}

/// Builds a plugin of `Fixtures`, with the given macros, and returns its path. Each build is a file of its own: the
/// loader knows a file again by its name.
/// - Throws: `CompilationFailed`.
public func fixturePlugin(
    _ source: String, _ macros: [String] = [], in folder: TemporaryFolder, name: String = UUID().uuidString
) throws -> String {
    let path = folder.file(name + ".so")
    try compilePlugin("Tests/PluginTestSupport/Fixtures/\(source)", to: path, macros.map { "-D" + $0 })
    return path
}

/// `faulty.c`: two scorers and a rule, sound unless a macro says otherwise.
/// - Throws: `CompilationFailed`.
public func faultyPlugin(_ macros: [String] = [], in folder: TemporaryFolder, name: String = UUID().uuidString) throws
    -> String
{
    try fixturePlugin("faulty.c", macros, in: folder, name: name)
}
