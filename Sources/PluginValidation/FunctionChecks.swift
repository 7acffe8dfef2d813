extension PluginCheck {
    /// The functions of the file itself, called past the care that a host takes with them.
    static let functionChecks = [
        direct(
            "tables", .tables,
            ["DMSAE-ENTRY-02", "DMSAE-ENTRY-04", "DMSAE-ENTRY-08", "DMSAE-GROWTH-02", "DMSAE-VERSION-01"],
            "it answers the same each time, with the tables it names and no others, to hosts of later minor versions too"
        ),
        direct(
            "lifetimes", .lifetimes, [],
            "it can be created and destroyed again and again, beside other instances, and leaves nothing behind",
            after: ["tables"]),
        direct(
            "bare-host", .bareHost, ["DMSAE-HOST-01", "DMSAE-STATUS-02"],
            "on a host without services create works, or names the service that it cannot do without"),
        direct(
            "error-text", .errorText, ["DMSAE-CALL-01", "DMSAE-STATUS-02"],
            "its errors are UTF-8 and fit the room they are given, none included"),
    ]

    private static func direct(
        _ id: String, _ attempt: DirectAttempt, _ rules: [String], _ promise: String, after: [String] = []
    ) -> PluginCheck {
        PluginCheck(id: id, rules: rules, promise: promise, after: after) { subject in
            if let problem = try subject.plugin.problem(attempt) { throw Broken(reason: problem) }
        }
    }
}
