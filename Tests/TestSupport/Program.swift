import Foundation

/// What a program left behind.
public struct ProgramResult: Sendable {
    /// Exit status; 128 plus the number if a signal ended it.
    public let status: Int32
    /// All of standard output.
    public let output: String
    /// All of standard error.
    public let errors: String
}

/// The `dmsae` that was built with the tests.
public let builtProgram: String = {
    guard let path = realpath("/proc/self/exe", nil) else { fatalError("the tests do not know where they are") }
    defer { free(path) }
    return String(cString: path).split(separator: "/", omittingEmptySubsequences: false).dropLast()
        .joined(separator: "/") + "/dmsae"
}()

/// The environment that the tests were started with: what is set in this process later is not for programs that a test
/// starts meanwhile.
///
/// To be read in place of `ProcessInfo.environment`, which copies a list that a `setenv` of another thread may free
/// under it. A test that must change its environment does so in an exit test's process.
public let startingEnvironment: [String: String] = {
    guard let bytes = FileManager.default.contents(atPath: "/proc/self/environ"), !bytes.isEmpty else {
        fatalError("the tests do not know what they were started with")
    }
    let entries = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    return Dictionary(
        entries.map { entry in
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            return (parts[0], parts.count > 1 ? parts[1] : "")
        }, uniquingKeysWith: { first, _ in first })
}()

/// Runs a program to its end with nothing on standard input, in `startingEnvironment` unless another is given.
public func run(_ program: String, _ arguments: [String], environment: [String: String]? = nil) throws -> ProgramResult
{
    let folder = TemporaryFolder()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.environment = environment ?? startingEnvironment
    process.standardInput = FileHandle.nullDevice
    // Files, not pipes: two pipes read one after the other can stop the program for good.
    for name in ["out", "err"] { _ = FileManager.default.createFile(atPath: folder.file(name), contents: nil) }
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.file("out")))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.file("err")))
    try process.run()
    process.waitUntilExit()
    let wasSignal = process.terminationReason == .uncaughtSignal
    return ProgramResult(
        status: process.terminationStatus + (wasSignal ? 128 : 0),
        output: String(decoding: contents(of: folder.file("out")), as: UTF8.self),
        errors: String(decoding: contents(of: folder.file("err")), as: UTF8.self))
}
