import Foundation
import PluginHost
import PluginTestSupport
import PluginValidation
import PluginWorkers
import TestSupport
import Testing

/// The validator on plugins that are sound, and on plugins that each break one promise and must fail its check.
struct ValidationTests {
    private let folder = TemporaryFolder()

    private func results(_ reference: String, only: [String]? = nil) throws -> [CheckResult] {
        var validation = PluginValidation(
            seed: 3, isolation: PluginIsolation(executable: builtProgram, timeout: 2, memory: 8 << 30))
        validation.only = only
        var results: [CheckResult] = []
        try validation.run(reference, catalog: try PluginCatalog()) { results.append($0) }
        return results
    }

    @Test(arguments: [
        "ablation", "ablation,draws=2", "ablation,at=token", "ablation,baseline=mean", "batchtopk", "frequency", "gxa",
        "ig", "ig,path=single,baseline=mean", "jumprelu", "reconstruction", "random", "topk", "expected-gradients",
        "logit", "mattr,steps=60", "norm", "relp", "relp,pattern=detached", "shapley",
        "shapley,draws=0.5,within=prefix",
    ])
    func `every shipped plugin keeps every promise`(reference: String) throws {
        let found = try results(reference)
        #expect(found.count { $0.outcome == .passed } >= 4)
        for result in found { #expect(result.outcome != .failed, "\(result.check): \(result.reason ?? "")") }
    }

    @Test(arguments: ["c", "swift"]) func `a new plugin builds by one command and keeps every promise`(lang: String)
        throws
    {
        let made = try run([
            "sh", "-c",
            "cd '\(folder.path)' && '\(builtProgram)' plugin new --lang \(lang) my-scorer && make -C my-scorer",
        ])
        #expect(made.status == 0, "\(made.output)")
        let found = try results(folder.file("my-scorer/my-scorer.so"))
        #expect(found.count { $0.outcome == .passed } >= 10)
        for result in found { #expect(result.outcome != .failed, "\(result.check): \(result.reason ?? "")") }
        let again = try run(["sh", "-c", "cd '\(folder.path)' && '\(builtProgram)' plugin new my-scorer"])
        #expect(again.status != 0 && again.output.contains("there already is"))
    }

    @Test func `a scorer in Swift that asks for losses and means keeps every promise`() throws {
        let made = try run([
            "sh", "-c",
            "cd '\(folder.path)' && '\(builtProgram)' plugin new --lang swift asking && rm asking/Manifest.swift && "
                + "cp '\(packageRoot)/Tests/PluginValidationTests/Fixtures/Asking.swift.txt' asking/AskingScorer.swift && cd asking && "
                + "swiftc -O -parse-as-library -emit-library -module-name AskingScorer -I . AskingScorer.swift "
                + "DMSAEPlugin.swift -o asking.so",
        ])
        #expect(made.status == 0, "\(made.output)")
        let found = try results(folder.file("asking/asking.so"))
        #expect(found.contains { $0.check == "sign" && $0.outcome == .passed })
        for result in found { #expect(result.outcome != .failed, "\(result.check): \(result.reason ?? "")") }
    }

    /// Written against the headers as they were, kept as they were: whatever is in `Include/` now, it builds, and does
    /// what it did. A copy in `Versions/` is never edited; a new minor gets a folder of its own.
    @Test(arguments: ["0.1", "0.2"]) func `a plugin built with older headers keeps every promise`(version: String)
        throws
    {
        let made = try run([
            "sh", "-c",
            "cd '\(folder.path)' && '\(builtProgram)' plugin new my-scorer && "
                + "cp '\(packageRoot)/Tests/PluginABITests/Versions/\(version)/dmsae_plugin.h' my-scorer && make -C my-scorer",
        ])
        #expect(made.status == 0, "\(made.output)")
        let found = try results(folder.file("my-scorer/my-scorer.so"))
        #expect(found.count { $0.outcome == .passed } >= 10)
        for result in found { #expect(result.outcome != .failed, "\(result.check): \(result.reason ?? "")") }
    }

    /// Faults of `misbehaving.c`: the check that must fail, and a word of its reason.
    @Test(arguments: [
        ("near", "scores", "wrote beside"), ("before", "scores", "wrote beside"), ("far", "scores", "SIGSEGV"),
        ("nan", "scores", "nan"), ("segfault", "scores", "SIGSEGV"), ("abort", "scores", "SIGABRT"),
        ("trap", "scores", "SIGILL"), ("stack", "scores", "SIGSEGV"), ("input", "scores", "SIGSEGV"),
        ("weights", "scores", "SIGSEGV"), ("exit", "scores", "status 0"), ("loop", "scores", "no sign of life"),
        ("garbage", "scores", "no message"), ("overflow", "extremes", "inf"),
        ("memory-of-calls", "no-memory", "score 0"), ("company", "any-cut", "score 0"),
        ("chance", "deterministic", "score 0"),
        ("unknown", "unknown-setting", "accepted"),
    ])
    func `a broken scorer fails the check that names its fault`(fault: String, check: String, part: String) throws {
        let path = try fixturePlugin("misbehaving.c", in: folder)
        let found = try results(path + ":misbehaving,fault=\(fault)", only: [check])
        #expect(found.map(\.outcome) == [.failed], "\(found)")
        #expect(found[0].reason?.contains(part) == true, "\(found[0].reason ?? "")")
        #expect(!found[0].rules.isEmpty)
    }

    @Test(arguments: [
        ("sign", "sign", "DMSAE_PLUGIN_NEEDS_GRADIENT"), ("", "scale", "DMSAE_PLUGIN_SCALE_INVARIANT"),
    ])
    func `a scorer that declares what it does not keep fails`(fault: String, check: String, flag: String) throws {
        let path = try fixturePlugin("misbehaving.c", ["FLAGS=\(flag)"], in: folder)
        let found = try results(path + ":misbehaving,fault=\(fault)", only: [check])
        #expect(found.map(\.outcome) == [.failed], "\(found)")
    }

    @Test(arguments: [
        ("?unwritten", "outputs"), ("?infinite", "outputs"), ("?again", "outputs"), ("?forgets", "merge"),
        ("capital", "create"), ("wide", "create"), ("huge", "outputs"), ("thread", "outputs"), ("latent", "outputs"),
    ])
    func `a broken accumulating scorer fails`(fault: String, check: String) throws {
        let path = try fixturePlugin("accumulating.c", in: folder)
        let found = try results(path + ",fault=\(fault)", only: [check])
        #expect(found.map(\.outcome) == [.failed], "\(found)")
    }

    @Test(arguments: [
        ("near", "selection"), ("twos", "selection"), ("all", "selection"), ("segfault", "selection"),
        ("memory-of-calls", "selection-again"),
    ])
    func `a broken rule fails`(fault: String, check: String) throws {
        let path = try fixturePlugin("misbehaving.c", in: folder)
        let found = try results(path + ":unruly,fault=\(fault)", only: [check])
        #expect(found.map(\.outcome) == [.failed], "\(found)")
    }

    @Test func `a file that does not load fails the first check, and no other is counted as run`() throws {
        let path = try fixturePlugin("misbehaving.c", ["LOADING"], in: folder)
        let found = try results(path)
        #expect(found.map(\.check) == FileCheck.all.map(\.id) && found[0].outcome == .failed)
        #expect(found[0].reason?.contains("SIGABRT") == true)
        #expect(found.dropFirst().allSatisfy { $0.outcome == .notRun })
    }

    @Test func `the command lists, counts and repeats`() throws {
        let list = try run(builtProgram, ["plugin", "validate", "--list"])
        for (id, rules) in FileCheck.all.map({ ($0.id, $0.rules) }) + PluginCheck.all.map({ ($0.id, $0.rules) }) {
            #expect(("\n" + list.output).contains("\n\(id): "))
            #expect(rules.allSatisfy { list.output.contains($0) })
        }
        let path = try fixturePlugin("misbehaving.c", in: folder)
        let failed = try run(
            builtProgram, ["plugin", "validate", path + ":misbehaving,fault=nan", "--seed", "9"])
        #expect(failed.status == 1 && failed.output.contains("--check scores --seed 9"))
        let json = try run(builtProgram, ["plugin", "validate", "random", "--json", "--skip", "scores"])
        #expect(json.status == 0 && json.output.contains("\"planned\" : 38"), "\(json.output)")
        let slip = try run(builtProgram, ["plugin", "validate", "random", "--check", "score"])
        #expect(slip.errors.contains("perhaps 'scores'") && slip.status == 64)
    }

    @Test func `counts add up, and what was planned is planned before anything runs`() throws {
        var validation = PluginValidation(
            seed: 3, isolation: PluginIsolation(executable: builtProgram, timeout: 2, memory: 8 << 30))
        var results: [CheckResult] = []
        let all = try validation.run("gxa", catalog: try PluginCatalog()) { results.append($0) }
        #expect(all.planned == results.count && all.executed == all.passed + all.failed)
        #expect(
            all.planned == all.executed + all.notApplicable + all.notRun && all.notRun == 0 && all.notApplicable > 0)
        #expect(results.allSatisfy { $0.outcome == .passed || $0.reason != nil })
        validation.only = ["load", "sign"]
        validation.skipped = ["load"]
        let one = try validation.run("gxa", catalog: try PluginCatalog()) { _ in }
        #expect(one.planned == 1 && one.executed == 1 && one.passed == 1 && one.notApplicable == 0)
    }

    /// What leaves nothing to look at must not read as a pass.
    @Test(
        arguments: [
            (["random:nosuch"], 1), (["topk", "--check", "scores"], 64),
            (["gxa", "--check", "sign", "--skip", "sign"], 64), (["random", "--check", "sign"], 2),
        ] as [([String], Int32)])
    func `a validation of nothing is an error`(arguments: [String], status: Int32) throws {
        let result = try run(builtProgram, ["plugin", "validate"] + arguments)
        #expect(result.status == status, "\(result.output) \(result.errors)")
    }

    /// Under a limit a sound plugin fails as a broken one does.
    @Test(arguments: [
        ("-v 700000", "1024 MiB of memory more, and the limit (ulimit -v) is 683 MiB; raise it"),
        ("-n 40", "64 more open files, and the limit (ulimit -n) is 40; raise it"),
        ("-t 60", "120 s of processor time, and the limit (ulimit -t) is 60 s; raise it"),
        ("-f 1000", "and the limit (ulimit -f) is 1000 KiB; raise it"),
    ])
    func `a limit that is in the way is named, and not the plugin blamed`(limit: String, reason: String) throws {
        let command = "ulimit -S \(limit) && exec '\(builtProgram)' plugin validate random"
        let result = try run("/bin/bash", ["-c", command])
        #expect(
            result.status == 2 && !result.output.contains("FAILED") && result.errors.contains("cannot examine ")
                && result.errors.contains(reason),
            "\(result.output) \(result.errors)")
    }

    /// Nobody limits the processes of root.
    @Test func `a limit on processes that is in the way is named`() throws {
        let user = getuid() == 0 ? "setpriv --reuid 65534 --clear-groups " : ""
        guard try run("/bin/bash", ["-c", user + "test -x '\(builtProgram)'"]).status == 0 else { return }
        let command = "\(user)bash -c \"ulimit -u 5; exec '\(builtProgram)' plugin validate random\""
        let result = try run("/bin/bash", ["-c", command])
        #expect(
            result.status == 2
                && result.errors.contains(
                    "the checks need 24 more processes and threads, and the limit (ulimit -u) is 5; raise it"),
            "\(result.output) \(result.errors)")
    }

    @Test func `an id that the file does not hold is answered`() throws {
        let path = try fixturePlugin("misbehaving.c", in: folder)
        let unknown = try run(builtProgram, ["plugin", "validate", path + ":nosuch"])
        #expect(unknown.status == 64 && unknown.errors.contains("misbehaving"), "\(unknown.errors)")
    }

    @Test func `a plain function is held to what every scorer of tokens does`() throws {
        let source = folder.file("kernel.c"), kernel = folder.file("kernel.so")
        try """
        version: 1
        symbol: score
        args: ["tokens:i64", "dimension:i64", "row_offsets:i64*", "columns:i32*", "activations:f32*", "decoder:f32*", \
        "gradient:f32*", "scores:f32*"]
        returns: i32

        """.write(toFile: folder.file("kernel.yaml"), atomically: true, encoding: .utf8)
        func validate(_ sum: String) throws -> ProgramResult {
            try """
            #include <stdint.h>
            int32_t score(int64_t n, int64_t d, const int64_t *offsets, const int32_t *columns, const float *f, const float *w,
                          const float *g, float *s) {
                static int calls;
                for (int64_t t = 0; t < n; t++)
                    for (int64_t e = offsets[t]; e < offsets[t + 1]; e++) {
                        double dot = 0;
                        for (int64_t i = 0; i < d; i++) dot += (double)g[t * d + i] * w[columns[e] * d + i];
                        s[e] = \(sum);
                    }
                return calls++ < 0;
            }
            """.write(toFile: source, atomically: true, encoding: .utf8)
            #expect(try run(["cc", "-O1", "-shared", "-fPIC", source, "-o", kernel]).status == 0)
            return try run(builtProgram, ["plugin", "validate", kernel, "--skip", "no-leak"])
        }
        let sound = try validate("-f[e] * dot")
        #expect(sound.status == 0, "\(sound.output)")
        #expect(sound.output.contains("ok       load") && sound.output.contains("ok       rank"))
        for (fault, check) in [("f[e] * dot", "sign"), ("calls", "no-memory"), ("e == 3 ? 0.0 / 0.0 : 0", "scores")] {
            let found = try validate(fault)
            #expect(found.status == 1 && found.output.contains("FAILED   \(check) "), "\(fault): \(found.output)")
        }
        unlink(folder.file("kernel.yaml"))
        let missing = try run(builtProgram, ["plugin", "validate", kernel])
        #expect(
            missing.status == 1
                && missing.output.contains("if it holds a plain function, say in \(folder.file("kernel.yaml"))"),
            "\(missing.output)")
    }
}

/// The rules of the headers.
struct RuleTests {
    @Test func `a rule is explained, a slip is answered, every rule that a check names exists`() throws {
        let sign = try run(builtProgram, ["plugin", "explain", "dmsae-scorer-05"])
        #expect(sign.output.contains("never on earlier calls"))
        #expect(
            try run(builtProgram, ["plugin", "explain", "DMSAE-SCORR-05"]).errors.contains(
                "DMSAE-SCORER-05"))
        let all = try run(builtProgram, ["plugin", "explain"]).output
        // Every rule is carried by a check or has its reason why not, and none has both.
        let checked = Set(PluginCheck.all.flatMap(\.rules) + FileCheck.all.flatMap(\.rules))
        let reasons = Set(UncheckedRules.reasons.keys)
        let known = Set(all.matches(of: /DMSAE-[A-Z]+-[0-9]{2}(?=  )/).map { String($0.output) })
        #expect(known.count == 87)
        #expect(checked.intersection(reasons).isEmpty, "\(checked.intersection(reasons))")
        #expect(checked.union(reasons) == known, "\(checked.union(reasons).symmetricDifference(known))")
    }
}
