import PluginABI
import PluginHost
import PluginWorkers

/// What became of one check on one plugin.
public struct CheckResult: Encodable, Sendable {
    /// How it ended.
    public enum Outcome: String, Encodable, Sendable {
        /// The promise was put to the test and kept, or broken.
        case passed, failed
        /// The plugin does not make the promise.
        case notApplicable = "not-applicable"
        /// It was planned, and something before it failed.
        case notRun = "not-run"
    }

    /// The plugin, or the file.
    public let plugin: String
    /// Name of the check, as --check takes it.
    public let check: String
    /// How it ended.
    public let outcome: Outcome
    /// Why, unless it passed.
    public let reason: String?
    /// Rules of the headers it is about.
    public let rules: [String]
}

/// How many checks came to what.
public struct CheckCounts: Encodable, Equatable, Sendable {
    /// Made before the first check was run.
    public var planned: Int
    /// Passed or failed.
    public var executed: Int
    /// As in `CheckResult.Outcome`.
    public var passed: Int, failed: Int, notApplicable: Int, notRun: Int
}

/// Puts a plugin file to the test: each check in fresh workers, on a model in closed form.
///
/// What is to be run is planned first, so that a check that was not run is a number and not a silence.
public struct PluginValidation: Sendable {
    /// A reference or a wish for checks that leaves nothing to do; how it was meant has to be said again.
    public struct Unplannable: Error, CustomStringConvertible {
        /// What is wrong, and what to do.
        public let description: String
    }

    /// Which checks to run, by id; nil for all.
    public var only: [String]?
    /// Which to leave out.
    public var skipped: [String] = []
    /// What random inputs are drawn from; the same seed, the same inputs.
    public var seed: UInt64
    /// The longest that one check may take, in seconds: a plugin that asks or logs without end is never silent.
    public var longestCheck: Double
    private var isolation: PluginIsolation

    /// A validation with workers as given. No call is made a second time: what fails once in a while is
    /// what is looked for.
    public init(seed: UInt64, isolation: PluginIsolation) {
        self.seed = seed
        self.isolation = isolation
        self.isolation.attempts = 1
        longestCheck = max(30, isolation.timeout)
    }

    /// A check, what it is about, what it builds on, and how it is made.
    private struct Step {
        let plugin: String
        let check: String
        let rules: [String]
        var foundations: [String] = []
        let body: () throws -> Void
    }

    /// The checks of a plain function, which has neither tables nor settings.
    private static let ofFunctions: Set = [
        "load", "segments", "create", "scores", "extremes", "no-memory", "any-cut", "sign", "rank", "alike",
        "many-latents", "leaves-as-found", "no-leak", "ends", "cancel",
    ]

    /// The checks that a file of Python is spared: of what shared objects are made of, and of threads at once on one scorer.
    private static let notOfPython: Set = [
        "manifest", "exports", "segments", "minor", "tables", "lifetimes", "bare-host", "error-text", "together",
    ]

    private func isWanted(_ id: String) -> Bool { (only?.contains(id) ?? true) && !skipped.contains(id) }

    /// Runs the checks on every plugin that `reference` means; calls `report` with each result as it comes.
    ///
    /// A file that cannot be loaded gives what it cannot be asked for: only the checks of the file are planned.
    /// - Throws: `Unplannable`; `Unexaminable` where the system refuses what checks need; an error of the reference
    ///   when it cannot be read or followed.
    @discardableResult
    public func run(_ reference: String, catalog: PluginCatalog, report: (CheckResult) -> Void) throws -> CheckCounts {
        let parsed = try PluginReference(reference)
        let path = try catalog.path(reference, isolation: isolation)
        let known = FileCheck.all.map(\.id) + PluginCheck.all.map(\.id)
        if let unknown = ((only ?? []) + skipped).first(where: { !known.contains($0) }) {
            throw Unplannable(description: "there is no check '\(unknown)'")
        }
        try RoomToExamine.check(for: path)
        let clock = CheckClock(seconds: longestCheck)
        let services = PluginServices(log: { _ in }, isCancelled: clock.isOver)
        let code = Result { try PluginManifest(path, isolation, services) }
        // A plain function promises only what every scorer of tokens does.
        let isFunction = PluginUnderTest.isPlainFunction(path)
        func isWanted(_ id: String) -> Bool {
            self.isWanted(id) && (!isFunction || Self.ofFunctions.contains(id))
                && !(PluginFile.isPython(path) && Self.notOfPython.contains(id))
        }
        let file = FileCheck.Subject(path: path, code: code)
        var steps = FileCheck.all.filter { isWanted($0.id) }.map { check in
            Step(plugin: path, check: check.id, rules: check.rules) { try check.body(file) }
        }
        for plugin in try plugins(parsed, path, code) {
            let subject = PluginCheck.Subject(
                plugin: PluginUnderTest(
                    path: path, plugin: plugin, parameters: parsed.parameters, isolation: isolation, services: services),
                seed: seed)
            steps += PluginCheck.planned(isRule: subject.plugin.isRule).filter { isWanted($0.id) }.map { check in
                Step(
                    plugin: plugin.id, check: check.id, rules: check.rules, foundations: subject.foundations(of: check)
                ) { try check.body(subject) }
            }
        }
        guard !steps.isEmpty else {
            throw Unplannable(description: "none of the checks that were asked for is one of \(path)")
        }
        return try run(steps, of: path, loads: (try? code.get()) != nil, clock, report)
    }

    /// Those that a reference means, of a file that loads.
    private func plugins(_ reference: PluginReference, _ path: String, _ code: Result<PluginManifest, any Error>) throws
        -> [PluginManifest.Plugin]
    {
        guard case .success(let code) = code else { return [] }
        let wanted: String? =
            switch reference.place {
            case .file(_, let id): id
            case .name(let name): name
            }
        let plugins = code.plugins.filter { wanted == nil || $0.id == wanted }
        guard !plugins.isEmpty else {
            throw PluginReferenceError.unknownID(wanted ?? "", path: path, available: code.plugins.map(\.id))
        }
        return plugins
    }

    private func run(
        _ steps: [Step], of path: String, loads: Bool, _ clock: CheckClock, _ report: (CheckResult) -> Void
    ) throws -> CheckCounts {
        var counts = CheckCounts(planned: steps.count, executed: 0, passed: 0, failed: 0, notApplicable: 0, notRun: 0)
        var failures = PriorFailures()
        for step in steps {
            clock.restart()
            // The first check says why a file does not load; that it does not is no news of the others.
            let result: CheckResult
            do {
                result =
                    loads || step.check == "load"
                    ? try self.result(step, clock, &failures) : made(step, .notRun, "the file does not load")
            } catch let refusal as SystemRefusal { throw Unexaminable(path, refusal.description) }
            switch result.outcome {
            case .passed: counts.passed += 1
            case .failed: counts.failed += 1
            case .notApplicable: counts.notApplicable += 1
            case .notRun: counts.notRun += 1
            }
            report(result)
        }
        counts.executed = counts.passed + counts.failed
        return counts
    }

    private func made(
        _ step: Step, _ outcome: CheckResult.Outcome, _ reason: String? = nil, _ rules: [String]? = nil
    ) -> CheckResult {
        CheckResult(
            plugin: step.plugin, check: step.check, outcome: outcome, reason: reason, rules: rules ?? step.rules)
    }

    /// - Throws: `SystemRefusal`, which is no news of the plugin.
    private func result(_ step: Step, _ clock: CheckClock, _ failures: inout PriorFailures) throws -> CheckResult {
        if let reason = failures.reasonNotToRun(step.plugin) { return made(step, .notRun, reason) }
        do {
            try step.body()
            return made(step, .passed)
        } catch let error as PluginCheck.NotApplicable {
            return made(step, .notApplicable, error.reason)
        } catch let refusal as SystemRefusal {
            throw refusal
        } catch {
            let isOver = clock.isOver()
            if isOver || PriorFailures.isHang(error) { failures.hangs(step.plugin, in: step.check) }
            if let old = failures.reasonOld(
                plugin: step.plugin, check: step.check, foundations: step.foundations,
                cause: PriorFailures.cause(of: error))
            {
                return made(step, .notRun, old)
            }
            switch error {
            case let error as PluginCheck.Broken: return made(step, .failed, error.reason)
            case PluginCallError.cancelled where isOver:
                return made(
                    step, .failed, "it was still at it after \(clock.seconds) s, with signs of life all the while")
            case WorkerError.crashed(_, _, let function, let how, let lastWords, _)
            where lastWords.contains("terminate called"):
                // Where a C++ exception leaves a function that C called there is nobody to catch it.
                return made(
                    step, .failed, "an exception left it in \(function), which \(how): \(lastWords)",
                    ["DMSAE-STATUS-02"])
            default: return made(step, .failed, "\(error)")
            }
        }
    }
}
