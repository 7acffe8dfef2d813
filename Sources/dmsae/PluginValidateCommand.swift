import ArgumentParser
import PluginHost
import PluginValidation
import TensorFiles

/// `dmsae plugin validate`: whether a plugin keeps the promises of the headers.
struct PluginValidateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Puts a plugin to the test: every promise of the headers, each in a process of its own.",
        discussion: """
            No language model is needed: the loss is a quadratic form whose values are known exactly. A failure names the \
            rule (see dmsae plugin explain) and can be repeated with --check and --seed.

            Example: dmsae plugin validate ./scorer.so
            """)

    @Argument(help: "A shipped name, a path to a .so, or path.so:ID; parameters after commas.")
    var plugin: String?
    @Flag(help: "List the checks and stop.")
    var list = false
    @Option(help: "Run this check only; may be repeated.")
    var check: [String] = []
    @Option(help: "Leave this check out; may be repeated.")
    var skip: [String] = []
    @Option(help: "Seed of the random inputs.")
    var seed: UInt64 = 1
    @Flag(help: "Print one JSON object.")
    var json = false
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        let known = PluginValidation.fileChecks.map(\.id) + PluginCheck.all.map(\.id)
        if let unknown = (check + skip).first(where: { !known.contains($0) }) {
            let near = nearest(unknown, among: known).map { ", perhaps '\($0)'" } ?? ""
            throw ValidationError("there is no check '\(unknown)'\(near); --list shows them")
        }
    }

    func run() throws {
        if list {
            for (id, rules, promise) in PluginValidation.fileChecks
                + PluginCheck.all.map({ (id: $0.id, rules: $0.rules, promise: $0.promise) })
            {
                print("\(id): \(promise)\n    \(rules.joined(separator: ", "))")
            }
            return
        }
        guard let plugin else { throw ValidationError("name a plugin, or pass --list") }
        guard let isolation = plugins.isolation(crashFolder: nil) else {
            throw ValidationError("checks are made in processes of their own; leave --in-process out")
        }
        var validation = PluginValidation(seed: seed, isolation: isolation)
        validation.only = check.isEmpty ? nil : check
        validation.skipped = skip
        var results: [CheckResult] = []
        try validation.run(plugin, catalog: try PluginCatalog()) { result in
            results.append(result)
            if !json { show(result) }
        }
        let passed = results.count { $0.outcome == .passed }, failed = results.count { $0.outcome == .failed }
        if json {
            print(
                try JSONRecord.text(
                    Report(
                        plugin: plugin, seed: seed, planned: results.count, executed: passed + failed, failed: failed,
                        results: results)))
        } else {
            print(
                "\(results.count) checks planned, \(passed + failed) executed, \(results.count - passed - failed) not "
                    + "applicable; \(failed == 0 ? "all passed" : "\(failed) failed") (seed \(seed))")
        }
        if failed > 0 { throw ExitCode(1) }
    }

    private func show(_ result: CheckResult) {
        switch result.outcome {
        case .passed: print("  ok      \(result.check)")
        case .notApplicable: print("  --      \(result.check)\(result.reason.map { ": " + $0 } ?? "")")
        case .failed:
            print(
                "  FAILED  \(result.check) (\(result.rules.joined(separator: ", ")))\n          \(result.reason ?? "")")
            print("          again: dmsae plugin validate \(plugin ?? "") --check \(result.check) --seed \(seed)")
        }
    }

    private struct Report: Encodable {
        var plugin: String
        var seed: UInt64
        var planned: Int
        var executed: Int
        var failed: Int
        var results: [CheckResult]
    }
}
