import Foundation
import PluginHost
import PluginValidation
import TestSupport
import Testing

/// Plugins that are sound but for one thing each: the whole validation finds that one, and nothing else.
struct BrokenPluginTests {
    /// The failed checks of a whole validation of a fixture.
    private func failed(_ source: String, _ arguments: [String] = [], fault: String? = nil) throws -> [CheckResult] {
        let folder = TemporaryFolder(), path = folder.file("broken.so")
        let compiled = try run(
            [
                source.hasSuffix(".cpp") ? "c++" : "cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I",
                "Include",
            ]
                + arguments + ["Tests/PluginHostTests/Fixtures/\(source)", "-o", path])
        guard compiled.status == 0 else { throw CompilationFailed(description: compiled.output) }
        let validation = PluginValidation(
            seed: 3, isolation: PluginIsolation(executable: builtProgram, timeout: 5, memory: 8 << 30))
        var results: [CheckResult] = []
        try validation.run(path + (fault.map { ",fault=\($0)" } ?? ""), catalog: try PluginCatalog()) {
            results.append($0)
        }
        return results.filter { $0.outcome == .failed }
    }

    @Test(
        arguments: [
            ("", []),
            ("by-latent", ["alike"]), ("by-decoder", ["extremes"]), ("size", ["rank"]),
            ("no-sign", ["sign", "rank"]), ("flipped", ["sign", "rank"]),
            ("folder", ["leaves-as-found"]), ("locale", ["leaves-as-found"]), ("variable", ["leaves-as-found"]),
            ("handler", ["leaves-as-found"]), ("mask", ["leaves-as-found"]), ("stdout", ["leaves-as-found"]),
            ("stderr", ["leaves-as-found"]), ("leak", ["no-leak"]), ("descriptor", ["no-leak"]),
            ("thread", ["no-leak"]),
            ("slow", ["cancel"]), ("shared", ["together"]),
            ("silent", ["unknown-setting", "bad-setting"]), ("lenient", ["bad-setting"]), ("runs-over", ["error-text"]),
            ("other-default", ["defaults"]), ("needs-log", ["bare-host"]), ("any-table", ["tables"]),
        ] as [(String, [String])])
    func `a scorer that breaks one promise fails its check`(fault: String, checks: [String]) throws {
        let found = try failed("broken_scorer.c", fault: fault)
        #expect(found.map(\.check) == checks, "\(found)")
    }

    #if arch(x86_64)
        @Test(arguments: ["flush", "round"]) func `modes left changed are found, though the host puts them back`(
            fault: String
        ) throws {
            let found = try failed("broken_scorer.c", fault: fault)
            #expect(found.map(\.check) == ["leaves-as-found"] && found[0].rules.contains("DMSAE-CALL-02"), "\(found)")
        }

        @Test func `code that is relocated at load is found`() throws {
            #expect(
                try failed("broken_scorer.c", ["-mcmodel=large", "-fno-pic", "-Wl,-z,notext"]).map(\.check) == [
                    "segments"
                ])
        }
    #endif

    @Test(
        arguments: [
            ("", []),
            ("ties", ["selection-sorted"]), ("smallest", ["selection-sorted", "selection-largest"]),
            ("company", ["selection-largest"]), ("nothing", ["selection-empty"]), ("counts", ["upper-count"]),
            ("shared", ["together"]),
        ] as [(String, [String])])
    func `a rule that breaks one promise fails its check`(fault: String, checks: [String]) throws {
        let found = try failed("broken_rule.c", fault: fault)
        #expect(found.map(\.check) == checks, "\(found)")
    }

    @Test(
        arguments: [
            ("", []),
            ("blocks", ["selection-blocks"]), ("floor", ["learning"]), ("drifts", ["learning"]),
            ("square", ["learning-linear"]), ("no-rescale", ["rescale"]), ("other-form", ["inference"]),
        ] as [(String, [String])])
    func `a rule that learns and breaks one promise fails its check`(fault: String, checks: [String]) throws {
        let found = try failed("broken_rule.c", ["-DLEARNS"], fault: fault)
        #expect(found.map(\.check) == checks, "\(found)")
    }

    @Test(arguments: [
        (["-DHELPER"], "exports", "helper"), (["-DMANIFEST"], "manifest", "0.9"),
        (["-DVERSION=\"\""], "load", "no version"), (["-DDMSAE_ABI_MINOR_REQUIRED=1u"], "minor", "0.1"),
        (["-Wl,-z,execstack"], "segments", "executable stack"),
    ])
    func `a file that breaks one promise fails its check`(arguments: [String], check: String, part: String) throws {
        let found = try failed("broken_scorer.c", arguments)
        #expect(found.map(\.check) == [check], "\(found)")
        #expect(found.first?.reason?.contains(part) == true, "\(found)")
    }

    /// Where nobody can catch it an exception ends the process; which rule that breaks is said.
    @Test func `an exception that crosses the line is named`() throws {
        guard try run(["sh", "-c", "command -v c++"]).status == 0 else { return }
        let found = try failed("throwing.cpp")
        #expect(found.map(\.check) == ["bad-setting"] && found[0].rules == ["DMSAE-STATUS-02"], "\(found)")
        #expect(found.first?.reason?.contains("stod") == true, "\(found)")
    }
}
