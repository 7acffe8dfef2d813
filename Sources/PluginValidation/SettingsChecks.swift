import PluginWorkers

extension PluginCheck {
    /// Settings, and how they are refused.
    static let settingsChecks = [
        PluginCheck(
            id: "create",
            rules: [
                "DMSAE-OUTPUT-01", "DMSAE-OUTPUT-02", "DMSAE-OUTPUT-03", "DMSAE-LEARNED-01", "DMSAE-LEARNED-02",
                "DMSAE-LEARNED-08", "DMSAE-GROWTH-01", "DMSAE-GROWTH-07",
            ],
            promise: "it is created with its defaults, and its tables and outputs are well described"
        ) { subject in
            try subject.create([])
        },
        PluginCheck(
            id: "unknown-setting", rules: ["DMSAE-ENTRY-07", "DMSAE-CALL-01", "DMSAE-STATUS-02"],
            promise: "create refuses a setting that it does not know and names it, on hosts that check nothing too"
        ) { subject in try subject.refuses("no-such-setting", "1") },
        PluginCheck(
            id: "bad-setting", rules: ["DMSAE-ENTRY-07", "DMSAE-CALL-01", "DMSAE-PARAM-05", "DMSAE-STATUS-02"],
            promise: "create refuses a value that cannot be read or is out of range and names its key, on hosts that "
                + "check nothing too", after: ["unknown-setting"]
        ) { subject in
            let checked = (subject.plugin.plugin.parameters ?? []).filter {
                $0.type != "text" && $0.type != "path" && !subject.plugin.isSet($0.key)
            }
            try applies(!checked.isEmpty, "it has no setting whose values could be bad")
            for parameter in checked {
                try subject.refuses(parameter.key, "½?")
                if parameter.flags?.contains("list") == true, let value = parameter.default {
                    try subject.refuses(parameter.key, value + ";½?")
                }
                if let maximum = parameter.maximum, maximum < 1e15 {
                    try subject.refuses(parameter.key, "\(Int(maximum) + 1)")
                }
                if let minimum = parameter.minimum, minimum > -1e15 {
                    try subject.refuses(parameter.key, "\(Int(minimum) - 1)")
                }
            }
        },
    ]
}

extension PluginCheck.Subject {
    /// Creates the plugin with more settings, which reach create as they are.
    func create(_ extra: [(String, String)], isUnchecked: Bool = false) throws {
        if plugin.isRule {
            _ = try plugin.rule(extra: extra, isUnchecked: isUnchecked)
        } else {
            _ = try plugin.scorer(extra: extra, isUnchecked: isUnchecked)
        }
    }

    /// Create must fail, in words of its own that hold the key: the host's sentence adds the settings, after these.
    fileprivate func refuses(_ key: String, _ value: String) throws {
        do {
            try create([(key, value)], isUnchecked: true)
        } catch let error {
            guard let failure = PluginFailure.answered(error) else { throw error }
            let text = failure.description
            let own = text.firstRange(of: "; it was given ").map { String(text[..<$0.lowerBound]) } ?? text
            return try expect(own.contains(key), "its error for \(key)=\(value) does not name the key: \(own)")
        }
        throw PluginCheck.Broken(reason: "create accepted \(key)=\(value)")
    }
}
