import PluginWorkers

/// What has failed so far, so that one cause is one failure and a hang is waited for once.
struct PriorFailures {
    private var failed: [String: [String]] = [:]
    private var causes: [String: [String: String]] = [:]
    private var hung: [String: String] = [:]

    /// Why a check of `plugin` is not to be run at all; nil if it is.
    func reasonNotToRun(_ plugin: String) -> String? {
        hung[plugin].map { "it hung in '\($0)', which was waited for once" }
    }

    /// Why a failure of a check is no news: it failed on what it builds on, or as another one did. nil if it is, and
    /// then it counts from now on.
    mutating func reasonOld(plugin: String, check: String, foundations: [String], cause: String?) -> String? {
        if let first = foundations.first(where: { failed[plugin]?.contains($0) == true }) {
            return "'\(first)' failed, which it builds on"
        }
        if let cause, let first = causes[plugin]?[cause] { return "it fails as '\(first)' did" }
        failed[plugin, default: []].append(check)
        if let cause { causes[plugin, default: [:]][cause] = check }
        return nil
    }

    /// From here on nothing more is asked of `plugin`.
    mutating func hangs(_ plugin: String, in check: String) { hung[plugin] = hung[plugin] ?? check }

    /// What two errors have in common that have the same cause: all but their numbers. nil for what a check found
    /// itself, which is its own.
    static func cause(of error: any Error) -> String? {
        switch error {
        case is PluginCheck.Broken: nil
        case WorkerError.crashed(_, _, let function, let how, _, _): function + ": " + how.filter { !$0.isNumber }
        default: "\(error)".filter { !$0.isNumber && !"+-.".contains($0) }
        }
    }

    /// Whether a check ended because the plugin gave no sign of life.
    static func isHang(_ error: any Error) -> Bool {
        guard case WorkerError.crashed(_, _, _, let how, _, _) = error else { return false }
        return how.contains("no sign of life")
    }
}
