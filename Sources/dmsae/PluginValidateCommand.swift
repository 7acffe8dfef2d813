import ArgumentParser
import PluginABI
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
            rule (see dmsae plugin explain) and can be repeated with --check and --seed. One cause is one failure: checks \
            that build on a failed one, or fail as it did, count as not run; a hang ends all. Exit status: 0 when every check that \
            was executed passed, 1 when one failed, 2 when none was executed or a limit of the system is in the way, 64 for wrong usage.

            Example: dmsae plugin validate ./scorer.so
            """)

    @Argument(help: "A shipped name, a path to a .so or .py, or path.so:ID; parameters after commas.")
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

    /// Every check, file checks first.
    private static let checks =
        FileCheck.all.map { ($0.id, $0.rules, $0.promise) } + PluginCheck.all.map { ($0.id, $0.rules, $0.promise) }

    func validate() throws {
        let known = Self.checks.map(\.0)
        if let unknown = (check + skip).first(where: { !known.contains($0) }) {
            let near = nearest(unknown, among: known).map { ", perhaps '\($0)'" } ?? ""
            throw ValidationError("there is no check '\(unknown)'\(near); --list shows them")
        }
    }

    func run() throws {
        if list {
            for (id, rules, promise) in Self.checks { print("\(id): \(promise)\n    \(Self.text(rules))") }
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
        var shown = ""
        let counts: CheckCounts
        do {
            counts = try validation.run(plugin, catalog: try PluginCatalog()) { result in
                results.append(result)
                if json { return }
                if result.plugin != shown { print("\(printable(result.plugin)):") }
                shown = result.plugin
                show(result)
            }
        } catch let error as PluginValidation.Unplannable {
            throw ValidationError(error.description)
        } catch let error as Unexaminable {
            Terminal.shared.conclude("Error: \(printable(error.description))")
            throw ExitCode(2)
        } catch let error as PluginReferenceError {
            guard case .unknownID = error else { throw error }
            throw ValidationError(error.description)
        }
        if json {
            print(try JSONRecord.text(Report(plugin: plugin, seed: seed, counts: counts, results: results)))
        } else {
            print(
                "\(counts.planned) checks planned: \(counts.executed) executed, of which \(counts.passed) passed and "
                    + "\(counts.failed) failed; \(counts.notApplicable) not applicable, \(counts.notRun) not run "
                    + "(seed \(seed))")
        }
        if counts.failed > 0 { throw ExitCode(1) }
        // Nothing was found because nothing was looked at.
        if counts.executed == 0 { throw ExitCode(2) }
    }

    private static func text(_ rules: [String]) -> String {
        rules.isEmpty ? "no rule of the headers" : rules.joined(separator: ", ")
    }

    private func show(_ result: CheckResult) {
        // A traceback has lines.
        let reason = (result.reason ?? "").split(separator: "\n").map { printable(String($0)) }
            .joined(separator: "\n           ")
        switch result.outcome {
        case .passed: print("  ok       \(result.check)")
        case .notApplicable: print("  --       \(result.check): \(reason)")
        case .notRun: print("  not run  \(result.check): \(reason)")
        case .failed:
            print("  FAILED   \(result.check) (\(Self.text(result.rules)))\n           \(reason)")
            print(
                "           again: dmsae plugin validate \(printable(plugin ?? "")) --check \(result.check) --seed \(seed)"
            )
        }
    }

    private struct Report: Encodable {
        var plugin: String
        var seed: UInt64
        var counts: CheckCounts
        var results: [CheckResult]
    }
}
