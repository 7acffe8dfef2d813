import Attribution

extension PluginCheck {
    /// The main function of a plugin, of whatever kind, as it is called in a run.
    static let callChecks = [
        PluginCheck(
            id: "many-calls", rules: ["DMSAE-SCORER-05", "DMSAE-SCORER-09", "DMSAE-RULE-05"],
            promise: "the last of many calls on one input gives what the first gave",
            after: ["no-memory", "selection-again"]
        ) { subject in
            let examined = try subject.plugin.examination()
            let call = try subject.smallCall(examined)
            let first = try call.run()
            let most =
                subject.has("deterministic") || subject.plugin.isRule ? 0 : 1e-4 * first.reduce(0) { max($0, abs($1)) }
            // Questions to the host are what takes time.
            let count = subject.has("needs-evaluation") ? 300 : 2000, atOnce = 100
            for made in stride(from: 1, to: count, by: atOnce) {
                guard let found = try call.difference(examined, atOnce, first, most) else { continue }
                throw Broken(
                    reason:
                        "result \(found.result) of call \(made + 1 + found.call) of \(call.name) is \(found.found), "
                        + "and was \(found.first)")
            }
        },
        PluginCheck(
            id: "defaults", rules: ["DMSAE-PARAM-02", "DMSAE-PARAM-03", "DMSAE-PARAM-04"],
            promise: "its defaults written out, and nothing given on an older host, give the same results"
        ) { subject in
            let defaults = (subject.plugin.plugin.parameters ?? []).filter {
                $0.default != nil && !subject.plugin.isSet($0.key)
            }
            try applies(!defaults.isEmpty, "it has no defaults")
            func results(_ extra: [(String, String)] = [], isUnchecked: Bool = false) throws -> [Double] {
                if subject.plugin.isRule {
                    let rule = try subject.plugin.rule(extra: extra, isUnchecked: isUnchecked)
                    return try MainCall(rule, on: Selection(seed: subject.seed)).run()
                }
                let scorer = try subject.plugin.scorer(extra: extra, isUnchecked: isUnchecked)
                return try MainCall(scorer, on: QuadraticModel(seed: subject.seed)).run()
            }
            let expected = try results()
            func same(_ found: [Double], _ how: String) throws {
                let differ = zip(expected, found).enumerated().first {
                    $0.element.0 != $0.element.1 && !($0.element.0.isNaN && $0.element.1.isNaN)
                }
                guard let (e, (a, b)) = differ.map({ ($0.offset, $0.element) }) else { return }
                throw Broken(reason: "\(how), result \(e) is \(b) and not \(a)")
            }
            try same(results(isUnchecked: true), "without settings")
            try same(results(defaults.map { ($0.key, $0.default ?? "") }), "with defaults written out")
        },
    ]
}

/// A call that takes as little time as it can, and can be repeated where the plugin is.
private struct SmallCall {
    let name: String
    let run: () throws -> [Double]
    /// The first of so many more calls that gives other results, by more than a number.
    let difference: (PluginExamination, Int, [Double], Double) throws -> RepeatedDifference?
}

extension PluginCheck.Subject {
    fileprivate func smallCall(_ examined: PluginExamination) throws -> SmallCall {
        if let rule = examined.rule {
            let selection = Selection(seed: seed, rows: 6, latents: 12, perRow: 4, k: 2)
            let call = MainCall(rule, on: selection)
            return SmallCall(name: call.name, run: call.run) { examined, count, first, _ in
                try examined.difference(
                    repeating: selection.candidates, selection.context(rule), count: count, first)
            }
        }
        guard let scorer = examined.scorer else { preconditionFailure("neither a scorer nor a rule") }
        let model = QuadraticModel(seed: seed, sequences: 1, length: 6, latents: 12, dimensions: 4, perToken: 3)
        let call = try MainCall(scorer, on: model)
        return SmallCall(name: call.name, run: call.run) { examined, count, first, most in
            try examined.difference(repeating: model.asking, model.plan, count: count, first, most: most)
        }
    }
}
