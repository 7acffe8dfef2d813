import PluginHost

/// What became of one check on one plugin.
public struct CheckResult: Encodable, Sendable {
    /// How it ended.
    public enum Outcome: String, Encodable, Sendable {
        case passed, failed
        case notApplicable = "not-applicable"
    }

    /// The plugin.
    public let plugin: String
    /// The check.
    public let check: String
    /// How it ended.
    public let outcome: Outcome
    /// Why, unless it passed.
    public let reason: String?
    /// Rules of the headers it is about.
    public let rules: [String]
}

/// Puts a plugin file to the test: each check in fresh workers, on a model in closed form.
public struct PluginValidation: Sendable {
    /// Which checks to run, by id; nil for all.
    public var only: [String]?
    /// Which to leave out.
    public var skipped: [String] = []
    /// What random inputs are drawn from; the same seed, the same inputs.
    public var seed: UInt64
    private let isolation: PluginIsolation

    /// A validation with workers as given.
    public init(seed: UInt64, isolation: PluginIsolation) {
        self.seed = seed
        self.isolation = isolation
    }

    /// Checks of the file itself, which come before those of its plugins.
    public static let fileChecks: [(id: String, rules: [String], promise: String)] = [
        ("load", ["DMSAE-ENTRY-01", "DMSAE-ENTRY-05", "DMSAE-VERSION-01"], "the file loads and describes its plugins"),
        ("manifest", ["DMSAE-MANIFEST-01"], "its manifest, if it has one, says what its code says"),
    ]

    private func isWanted(_ id: String) -> Bool { (only?.contains(id) ?? true) && !skipped.contains(id) }

    /// Runs the checks on every plugin that `reference` means; calls `report` with each result as it comes.
    ///
    /// - Throws: `PluginError` when the reference itself cannot be read or followed.
    public func run(_ reference: String, catalog: PluginCatalog, report: (CheckResult) -> Void) throws {
        let parsed = try PluginReference(reference)
        let path = try catalog.path(reference)
        let services = PluginServices(log: { _ in })
        let described = Result { try PluginUnderTest.describe(path, isolation, services) }
        func file(_ index: Int, _ body: () throws -> CheckResult.Outcome) {
            let check = Self.fileChecks[index]
            guard isWanted(check.id) else { return }
            var reason: String?
            var outcome = CheckResult.Outcome.failed
            do { outcome = try body() } catch { reason = "\(error)" }
            report(CheckResult(plugin: path, check: check.id, outcome: outcome, reason: reason, rules: check.rules))
        }
        file(0) {
            _ = try described.get()
            return .passed
        }
        guard case .success(let code) = described else { return }
        file(1) {
            guard let manifest = try PluginManifest(path: path) else { return .notApplicable }
            let differences = manifest.differences(from: code)
            guard differences.isEmpty else {
                throw PluginError.badManifest(path: path, reason: differences.joined(separator: "; "))
            }
            return .passed
        }
        var wanted: String?
        switch parsed.place {
        case .file(_, let id): wanted = id
        case .name(let name): wanted = name
        }
        for plugin in code.plugins where wanted == nil || plugin.id == wanted {
            let subject = PluginCheck.Subject(
                plugin: PluginUnderTest(
                    path: path, plugin: plugin, parameters: parsed.parameters, isolation: isolation, services: services),
                seed: seed)
            for check in PluginCheck.all where isWanted(check.id) { report(result(check, subject)) }
        }
    }

    private func result(_ check: PluginCheck, _ subject: PluginCheck.Subject) -> CheckResult {
        func made(_ outcome: CheckResult.Outcome, _ reason: String?) -> CheckResult {
            CheckResult(
                plugin: subject.plugin.plugin.id, check: check.id, outcome: outcome, reason: reason, rules: check.rules)
        }
        do {
            try check.body(subject)
            return made(.passed, nil)
        } catch let error as PluginCheck.NotApplicable {
            return made(.notApplicable, error.reason)
        } catch let error as PluginCheck.Broken {
            return made(.failed, error.reason)
        } catch {
            return made(.failed, "\(error)")
        }
    }
}
