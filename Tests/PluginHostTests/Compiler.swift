import Foundation

/// The root of the package, found from this file.
let packageRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

/// A folder of its own, removed with the object.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "dmsae-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        do { try FileManager.default.removeItem(atPath: path) } catch { print("left behind: \(path): \(error)") }
    }

    func file(_ name: String) -> String { path + "/" + name }
}

/// What a command printed and how it ended.
struct CommandResult {
    let status: Int32
    let output: String
}

/// Runs a command, found in PATH, from the package's root.
func run(_ command: [String]) throws -> CommandResult {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    process.currentDirectoryURL = URL(filePath: packageRoot)
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return CommandResult(status: process.terminationStatus, output: String(decoding: output, as: UTF8.self))
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
