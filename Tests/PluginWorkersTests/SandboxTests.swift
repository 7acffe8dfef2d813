import Attribution
import CLinux
import Foundation
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

/// What a plugin cannot reach from its worker, and that the work goes on.
struct SandboxTests {
    let folder = TemporaryFolder()
    let services = Services()

    static let isWhole = PluginSandbox.parts.allSatisfy { $0.missing == nil }
    static let hasFilters = dmsae_has_call_filters() != 0

    /// Scores with the plugin that reaches for `attempts`.
    private func score(_ attempts: String, _ use: PluginSandbox.Use) throws -> [Float] {
        let path = folder.file("escapes.so")
        if !FileManager.default.fileExists(atPath: path) {
            try compilePlugin("Tests/PluginWorkersTests/Fixtures/escapes.c", to: path)
        }
        try "as it was".write(toFile: folder.file("kept"), atomically: true, encoding: .utf8)
        var isolation = PluginIsolation(executable: builtProgram, timeout: 20, memory: 8 << 30)
        isolation.sandbox = use
        let scorer = try PluginCatalog().scorer(
            path + ",try=\(attempts),folder=\(folder.path)", services: services.value, isolation: isolation)
        let batch = randomBatch(tokens: 6, latents: 9, dimensions: 4, perToken: 2)
        let scores = try scorer.scores(batch)
        #expect(scores == (0..<batch.codes.count).map { batch.codes.values[$0] })
        return scores
    }

    private func isAsItWas() throws {
        #expect(try String(contentsOfFile: folder.file("kept"), encoding: .utf8) == "as it was")
        #expect(folder.names.sorted() == ["escapes.so", "kept"])
    }

    @Test(
        .enabled(if: isWhole, "this kernel has no Landlock of version 6"),
        arguments: [
            "write+change+truncate+remove+rights+child", "socket+local-socket+ring",
            "signal+trace+peek+limits+priority",
            "memory+words+environment+shared",
        ])
    func `in the sandbox a plugin gets at nothing, and scores all the same`(attempts: String) throws {
        _ = try score(attempts, .always)
        try isAsItWas()
        _ = try score(attempts, .whereThere)
        try isAsItWas()
    }

    @Test(
        .enabled(if: hasFilters, "this kernel has no seccomp"),
        arguments: ["socket+local-socket+ring+trace+peek+limits+priority+rights+shared"])
    func `what filters of calls take away is gone without Landlock too`(attempts: String) throws {
        _ = try score(attempts, .whereThere)
        try isAsItWas()
    }

    @Test func `without the sandbox it gets what its user has`() throws {
        #expect(throws: PluginCallError.self) { try score("write+socket+signal+words", .never) }
        do { _ = try score("write+socket+signal+words", .never) } catch {
            #expect("\(error)".contains("got write socket signal words"), "\(error)")
        }
    }
}
