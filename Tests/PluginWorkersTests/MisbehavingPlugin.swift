import Attribution
import Foundation
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport

/// `misbehaving.c`, compiled once for all tests and removed when they end.
let misbehavingPlugin: Result<String, any Error> = Result {
    try compileMisbehavingPlugin(to: misbehavingPath)
    atexit { unlink(misbehavingPath) }
    return misbehavingPath
}

private let misbehavingPath = NSTemporaryDirectory() + "dmsae-misbehaving-\(getpid()).so"

/// Compiles the fixture, with `macros`, into a file at `path`.
func compileMisbehavingPlugin(_ macros: [String] = [], to path: String) throws {
    try compilePlugin("Tests/PluginTestSupport/Fixtures/misbehaving.c", to: path, macros.map { "-D" + $0 })
}

/// Tests that keep the misbehaving plugin in workers. The host that survives is the test.
protocol MisbehavingPluginTests {
    var services: Services { get }
    /// Where crashes are kept.
    var folder: TemporaryFolder { get }
}

extension MisbehavingPluginTests {
    func isolation(timeout: Double = 30, memory: UInt64 = 8 << 30) -> PluginIsolation {
        // Some of what it does on purpose needs files to write.
        var isolation = PluginIsolation(
            executable: builtProgram, timeout: timeout, memory: memory, crashFolder: folder.path)
        isolation.sandbox = .never
        return isolation
    }

    func scorer(_ parameters: String, _ isolation: PluginIsolation? = nil, path: String? = nil) throws
        -> any AttributionScorer & LoadedPlugin
    {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            try (path ?? misbehavingPlugin.get()) + ":misbehaving" + parameters, services: services.value,
            isolation: isolation ?? self.isolation())
    }

}
