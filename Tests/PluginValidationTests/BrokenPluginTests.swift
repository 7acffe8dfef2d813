import Foundation
import PluginHost
import PluginTestSupport
import PluginValidation
import PluginWorkers
import TestSupport
import Testing

/// Plugins that are sound but for one thing each: the whole validation finds that one, and nothing else.
struct BrokenPluginTests {
    /// The failed checks of a validation of a fixture, the whole or some checks.
    private func failed(
        _ source: String, _ arguments: [String] = [], fault: String? = nil, only: [String]? = nil
    ) throws -> [CheckResult] {
        try validated(source, arguments, fault: fault, only: only).filter { $0.outcome == .failed }
    }

    private func validated(
        _ source: String, _ arguments: [String] = [], fault: String? = nil, only: [String]? = nil
    ) throws -> [CheckResult] {
        let folder = TemporaryFolder(), path = folder.file("broken.so")
        try compilePlugin("Tests/PluginValidationTests/Fixtures/\(source)", to: path, arguments)
        var isolation = PluginIsolation(executable: builtProgram, timeout: 5, memory: 8 << 30)
        // A worker starts in half the time; what is looked for here does not depend on it.
        isolation.sandbox = .never
        var validation = PluginValidation(seed: 3, isolation: isolation)
        validation.only = only
        validation.longestCheck = 8
        var results: [CheckResult] = []
        try validation.run(path + (fault.map { ",fault=\($0)" } ?? ""), catalog: try PluginCatalog()) {
            results.append($0)
        }
        return results
    }

    @Test(
        arguments: [
            ("", []),
            ("by-latent", ["alike"]), ("by-decoder", ["extremes"]), ("size", ["rank"]),
            ("no-sign", ["sign"]), ("flipped", ["sign"]), ("some-flipped", ["sign"]), ("later", ["many-calls"]),
            ("nan", ["scores"]), ("spin", ["idle"]), ("keeps", ["lifetimes"]), ("umask", ["leaves-as-found"]),
            ("folder", ["leaves-as-found"]), ("locale", ["leaves-as-found"]), ("variable", ["leaves-as-found"]),
            ("handler", ["leaves-as-found"]), ("mask", ["leaves-as-found"]), ("stdout", ["leaves-as-found"]),
            ("stderr", ["leaves-as-found"]), ("leak", ["no-leak"]), ("descriptor", ["no-leak"]),
            ("thread", ["no-leak"]),
            ("slow", ["cancel"]), ("shared", ["together"]), ("buffer", ["together"]), ("pool", ["idle"]),
            ("by-address", ["no-memory"]), ("narrow", ["many-latents"]), ("high-flipped", ["many-latents"]),
            ("large-flipped", ["sign"]), ("exit-aborts", ["ends"]), ("exit-waits", ["ends"]), ("exit-status", ["ends"]),
            ("silent", ["unknown-setting"]), ("lenient", ["bad-setting"]), ("runs-over", ["error-text"]),
            ("other-default", ["defaults"]), ("needs-log", ["bare-host"]), ("any-table", ["tables"]),
        ] as [(String, [String])])
    func `a scorer that breaks one promise fails its check`(fault: String, checks: [String]) throws {
        let found = try failed("broken_scorer.c", fault: fault)
        #expect(found.map(\.check) == checks, "\(found)")
    }

    @Test(arguments: [
        ("limit", "the limit of open files"), ("processors", "the processors it may run on"), ("nice", "(nice) is 3"),
        ("close-input", "standard input is closed"), ("close-output", "standard output is"),
        ("close-error", "standard error is"), ("other-output", "standard output is"), ("no-wait", "standard input is"),
        ("timer", "the timer of real time is running"), ("name", "the thread's name is mine"),
        ("orphans", "adopts orphans"), ("child", "child processes is 1"),
    ])
    func `what a call changes of its process is named`(fault: String, words: String) throws {
        let found = try failed("broken_scorer.c", fault: fault, only: ["scores", "leaves-as-found"])
        #expect(found.map(\.check) == ["leaves-as-found"], "\(found)")
        #expect(found.first?.reason?.contains(words) == true, "\(found)")
    }

    @Test func `scores that follow the clock are not deterministic`() throws {
        #expect(try failed("broken_scorer.c", fault: "clock", only: ["deterministic"]).count == 1)
    }

    @Test(arguments: ["loop", "chatter"])
    func `a hang is waited for once, and what comes after it is not run`(fault: String) throws {
        let found = try validated("broken_scorer.c", fault: fault)
        let failures = found.filter { $0.outcome == .failed }
        #expect(failures.map(\.check) == ["scores"], "\(failures)")
        #expect(failures.first?.reason?.contains(fault == "loop" ? "no sign of life" : "still at it") == true)
        let later = found.drop { $0.check != "scores" }.dropFirst()
        #expect(later.count > 15 && later.allSatisfy { $0.outcome == .notRun && $0.reason?.contains("hung") == true })
    }

    @Test(
        arguments: [
            ("", nil), ("flipped", "sign"), ("one-flipped", "sign"), ("scaled", "alike"), ("one-scaled", "alike"),
            ("later", "many-calls"), ("sizes", "state-moves"), ("elsewhere", "state-moves"), ("scribbles", "outputs"),
            ("takes", "merge"), ("other-mean", "terms"), ("negative-error", "standard-errors"),
            ("unknown-error", "standard-errors"), ("double-error", "standard-errors"), ("no-root", "standard-errors"),
            ("half-count", "counts"), ("minus-count", "counts"),
        ] as [(String, String?)])
    func `a scorer of totals that breaks one promise fails its check`(fault: String, check: String?) throws {
        let found = try failed("totals.c", fault: fault)
        #expect(found.map(\.check) == (check.map { [$0] } ?? []), "\(found)")
    }

    private static let flags = "DMSAE_PLUGIN_DETERMINISTIC|DMSAE_PLUGIN_NEEDS_GRADIENT"

    @Test(
        arguments: [
            ("squared", flags, nil), ("squared", flags + "|DMSAE_PLUGIN_SCALE_INVARIANT", "scale"),
            ("", flags + "|DMSAE_PLUGIN_SCALE_INVARIANT", nil),
            ("", "DMSAE_PLUGIN_DETERMINISTIC", "undeclared-gradient"),
            ("means", flags + "|DMSAE_PLUGIN_NEEDS_EVALUATION", nil), ("means", flags, "outputs"),
        ] as [(String, String, String?)])
    func `a scorer of totals that declares what it does not keep fails`(fault: String, flags: String, check: String?)
        throws
    {
        let found = try failed("totals.c", ["-DFLAGS=\(flags)"], fault: fault)
        #expect(found.map(\.check) == (check.map { [$0] } ?? []), "\(found)")
        // Who asks for means without saying that it asks is told what to declare.
        if check == "outputs" {
            #expect(found.first?.reason?.contains("DMSAE_PLUGIN_NEEDS_EVALUATION") == true, "\(found)")
        }
    }

    @Test(
        arguments: [
            ("", nil), ("more", "outputs"), ("refuses-own", "states"), ("flipped", "sign"),
        ] as [(String, String?)])
    func `a scorer that looks twice keeps every promise, or fails its check`(fault: String, check: String?) throws {
        let found = try failed(
            "totals.c",
            ["-DLATER", "-DFLAGS=DMSAE_PLUGIN_NEEDS_GRADIENT|DMSAE_PLUGIN_DETERMINISTIC|DMSAE_PLUGIN_SEQUENTIAL"],
            fault: fault)
        #expect(found.map(\.check) == (check.map { [$0] } ?? []), "\(found)")
    }

    @Test func `an entry that gives a reason for what it does not refuse fails`() throws {
        let found = try failed("broken_scorer.c", ["-DTALKS"], only: ["tables"])
        #expect(found.first?.reason?.contains("DMSAE-ENTRY-08") == true, "\(found)")
    }

    @Test(
        arguments: [
            ("", nil), ("nan", "calibration"), ("unwritten", "calibration"), ("no-k", "calibration"),
            ("strange-form", "calibration"), ("form-fails", "calibration"), ("zero", "calibration"),
            ("forgets", "calibration"), ("elsewhere", "calibration"),
        ] as [(String, String?)])
    func `a rule whose form is calibrated and wrong fails its check`(fault: String, check: String?) throws {
        let only = fault.isEmpty ? nil : ["selection", "inference", "calibration"]
        let found = try failed("broken_rule.c", ["-DCALIBRATES"], fault: fault, only: only)
        #expect(found.map(\.check) == (check.map { [$0] } ?? []), "\(found)")
    }

    @Test func `a scorer in C++ that uses the standard library keeps every promise`() throws {
        let found = try failed("sound.cpp")
        #expect(found.isEmpty, "\(found)")
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
            ("ties", ["selection-sorted"]), ("smallest", ["selection-sorted"]),
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
            ("square", ["learning-linear"]), ("against", ["learning-linear"]), ("no-rescale", ["rescale"]),
            ("other-form", ["inference"]),
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
        let found = try failed("throwing.cpp")
        #expect(found.map(\.check) == ["bad-setting"] && found[0].rules == ["DMSAE-STATUS-02"], "\(found)")
        #expect(found.first?.reason?.contains("stod") == true, "\(found)")
    }
}
