import Distillation
import Reports
import TensorFiles
import TestSupport
import Testing

@Suite struct RunReportTests {
    private let folder = TemporaryFolder()
    private var run: String { folder.file("<run>") }

    private func write(_ text: String, _ name: String) throws {
        try createFolder(run + "/" + (name.split(separator: "/").dropLast().joined(separator: "/")))
        try AtomicFile.write(text, to: run + "/" + name)
    }

    private func sae(frozen: Int, l0: Double, score: String) -> String {
        """
        {"deadLatents": 1, "frozenCore": \(frozen), "seed": 1, "width": 64, "evaluation": {"ce_loss_score": \(score),
        "ce_loss_with_ablation": 10, "ce_loss_with_sae": 3, "ce_loss_without_sae": 2, "cossim": 0.9, "explained_variance": 0.8,
        "explained_variance_legacy": 0.8, "frac_alive": 1, "l0": \(l0), "l0_core": \(frozen), "l0_non_core": 8, "l2_ratio": 1,
        "relative_reconstruction_bias": 1, "tokens": 100}, "lastStep": {"auxiliaryLoss": 0, "deadCount": 0, "gradientNorm": 1,
        "learningRate": 0, "loss": 1, "meanActiveCore": 0, "meanActiveNonCore": 8, "prefixLosses": [1], "step": 9}}
        """
    }

    private func start() throws {
        try write(
            """
            {"blasCore": "Haswell", "hashes": {}, "kernelLevel": 3, "lanes": 2, "model": "<model>", "recipe": {"layer": "1",
            "sae.width": "64", "distill.cycles": "2"}, "rule": "batchtopk", "scorer": "</script>", "seeds": [1], "version": "0"}
            """, "run.json")
    }

    /// Core latents born in the given cycles.
    private func core(_ born: [Int], cycle: Int) -> String {
        let latents = born.enumerated().map { i, b in
            let previous = b < cycle ? #""previousIndex": \#(i),"# : ""
            return #"{"index": \#(i), \#(previous) "born": \#(b), "selectedIn": [\#(b)], "score": 1}"#
        }
        return
            #"{"cycle": \#(cycle), "candidates": 16, "coverage": 0.5, "previousSize": 0, "latents": [\#(latents.joined(separator: ","))]}"#
    }

    private func cycle(_ t: Int, _ born: [Int], score: String = "0.9") throws {
        let jaccard = t == 0 ? "" : #""jaccard": 0.5,"#
        try write(
            """
            {"candidates": 16, "carriedOver": \(born.count { $0 < t }), "coreSize": \(born.count), "coverage": 0.5, "cycle": \(t),
            \(jaccard) "sae": \(sae(frozen: t == 0 ? 0 : 2, l0: 10 + Double(t), score: score))}
            """, "cycle-\(t)/metrics.json")
        try write(core(born, cycle: t), "cycle-\(t)/core.json")
    }

    private var identity: String {
        get throws { try JSONRecord.read(RunRecord.self, from: run + "/run.json").identity }
    }

    /// Marks every step as done, as the run does.
    private func mark() throws {
        var last = ""
        for t in 0...2 where exists(run + "/cycle-\(t)/metrics.json") {
            last = try StepMark.write(
                ["metrics.json", "core.json"], of: run + "/cycle-\(t)", run: try identity, after: last)
        }
        for name in ["dmsae", "baseline"] where exists(run + "/final/k-12/" + name) {
            try StepMark.write(
                ["metrics.json", "trial.json"], of: run + "/final/k-12/" + name, run: try identity, after: last)
        }
    }

    private func firstLine() throws -> String { #"{"event": "run", "identity": "\#(try identity)"}"# + "\n" }

    private func step(_ run: String, _ step: Int, core: Double) -> String {
        #"{"event": "step", "run": "\#(run)", "record": {"step": \#(step), "meanActiveCore": \#(core), "prefixLosses": [2, \#(1 / Double(step + 1))]}}"#
            + "\n"
    }

    private func finish() throws {
        try start()
        try cycle(0, [0, 0, 0])
        try cycle(1, [0, 0, 1])
        try cycle(2, [0, 1, 2, 2])
        try write(core([0, 1], cycle: 2), "final/core.json")
        let metrics = (0...2).map {
            String(decoding: contents(of: run + "/cycle-\($0)/metrics.json"), as: UTF8.self)
        }
        let trials = try [
            ("dmsae", "distilled", sae(frozen: 2, l0: 12, score: "0.875")),
            ("baseline", "none", sae(frozen: 0, l0: 12, score: "0.9")),
        ].map { name, core, sae in
            let plan = #"{"name": "\#(name)", "core": "\#(core)", "k": 12, "seed": 1, "tokens": 640}"#
            try write(plan, "final/k-12/\(name)/trial.json")
            try write(sae, "final/k-12/\(name)/metrics.json")
            return #"{"trial": \#(plan), "sae": \#(sae)}"#
        }
        try write(
            """
            {"coreSize": 2, "cycles": [\(metrics.joined(separator: ","))], "trials": [\(trials.joined(separator: ","))]}
            """, "result.json")
        let log = ["cycle-0", "cycle-1", "final/k-12/dmsae"].enumerated().map { i, name in
            (0..<10).map { step(name, $0, core: i == 0 ? 0 : Double($0)) }.joined()
        }
        // A killed program leaves half a line.
        try write(try firstLine() + log.joined() + #"{"event": "step", "ru"#, "events.jsonl")
        try mark()
    }

    private func sections(of html: String) -> [String] {
        html.split(separator: "<section id=\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    }

    @Test func aFinishedRunHasEverySection() throws {
        try finish()
        let html = try RunReport(folder: run).html()
        #expect(sections(of: html) == ["cycles", "origin", "training", "quality"])
        #expect(
            html.contains(
                "<p class=\"lead\">The core is 2 latents that the last two of 3 cycles both selected, at a Jaccard of 0.500"
            ))
        #expect(
            html.contains(
                "At k = 12, dmsae has a CE loss score of 0.875; 2.0 of its 2 distilled latents fire on a token."))
        #expect(html.contains("baseline has 0.900 (+0.025).") && html.contains("That is one seed: without an interval"))
        #expect(MarkUp(html).faults.isEmpty && !html.contains("http"))
        #expect(try RunReport(folder: run).html() == html)
    }

    /// Each cycle's bar has a part for each cycle its latents were born in.
    @Test func barsShowWhereCoreLatentsWereBorn() throws {
        try finish()
        let html = try RunReport(folder: run).html()
        let titles = html.split(separator: "<title>").dropFirst(2).map { String($0.prefix { $0 != "<" }) }
        #expect(
            titles == [
                "cycle 0: 3 born in cycle 0", "cycle 1: 2 born in cycle 0", "cycle 1: 1 born in cycle 1",
                "cycle 2: 1 born in cycle 0", "cycle 2: 1 born in cycle 1", "cycle 2: 2 born in cycle 2",
            ])
    }

    /// Cycle 0 and a plain SAE have no core: only the other trainings and the controls are curves of the core's L0.
    @Test func controlsStandBesideTheTrainingsWithACore() throws {
        try finish()
        let control = folder.file("random")
        try createFolder(control)
        try AtomicFile.write((0..<10).map { step("random", $0, core: 1) }.joined(), to: control + "/events.jsonl")
        func curves(_ html: String) -> Int {
            let training = html.split(separator: "<section id=\"training\">").last ?? ""
            let figure = training.split(separator: "<figure>").dropFirst().first ?? ""
            return figure.split(separator: "<polyline").count - 1
        }
        let without = try RunReport(folder: run).html(), with = try RunReport(folder: run, controls: [control]).html()
        #expect(curves(without) == 2 && curves(with) == 3)
        #expect(with.contains("control random</span>") && without.contains("No other core is shown"))
        #expect(throws: TensorFileError.self) { try RunReport(folder: run, controls: [run + "/cycle-0"]) }
    }

    @Test func aRunThatHasJustBegunShowsWhatThereIs() throws {
        try start()
        let html = try RunReport(folder: run).html()
        #expect(html.contains("No cycle is finished yet.") && html.contains("The log holds no training step."))
        #expect(sections(of: html) == ["training"])
        try cycle(0, [], score: "0.5")
        // What is there before the mark is not done.
        #expect(try RunReport(folder: run).html() == html)
        try mark()
        let first = try RunReport(folder: run).html()
        #expect(
            first.contains("1 cycle is finished; the last core has 0 latents.")
                && first.contains("There is no core yet."))
        #expect(MarkUp(first).faults.isEmpty && MarkUp(html).faults.isEmpty)
    }

    /// A run that is killed and resumed writes steps again: the curve goes on from where it was taken up.
    @Test func aTrainingBegunAgainIsOneCurve() throws {
        try start()
        let steps = [0, 3, 6, 3, 6, 9].map { step("cycle-1", $0, core: 1) }
        try write(try firstLine() + steps.joined(), "events.jsonl")
        let html = try RunReport(folder: run).html()
        let points = html.split(separator: "<polyline points=\"").dropFirst().map {
            $0.prefix { $0 != "\"" }.split(separator: " ")
        }
        #expect(points.map(\.count) == [4, 4])
    }

    /// A page shows what the run came to, and not what was written into its folder since.
    @Test func recordsThatAreNotAsTheRunWroteThemAreRefusedByName() throws {
        try finish()
        func refused(_ name: String, _ old: String, _ new: String, _ says: String) throws {
            let path = run + "/" + name
            let whole = String(decoding: contents(of: path), as: UTF8.self)
            let edited = whole.replacing(old, with: new)
            #expect(edited != whole, "\(name)")
            try AtomicFile.write(edited, to: path)
            let found = message { _ = try RunReport(folder: run) }
            #expect(found.contains(says), "\(name): \(found)")
            try AtomicFile.write(whole, to: path)
        }
        let cut = "\(printable(run))/cycle-1 cannot be read back: "
        try refused(
            "cycle-1/metrics.json", "0.8,", "0.9,", cut + "\(run)/cycle-1/metrics.json is not as the run wrote it")
        try refused(
            "cycle-1/core.json", #""score": 1"#, #""score": 2"#, "\(run)/cycle-1/core.json is not as the run wrote it")
        try refused("cycle-1/done.json", #""after" : ""#, #""after" : "0"#, cut + "it was made after other files")
        try refused(
            "final/k-12/dmsae/metrics.json", "0.875", "0.975",
            "\(run)/final/k-12/dmsae/metrics.json is not as the run wrote it")
        try refused(
            "final/k-12/baseline/trial.json", "640", "64",
            "\(run)/final/k-12/baseline/trial.json is not as the run wrote it")
        let another = "it was made by a run with another run.json"
        try refused(
            "run.json", #""sae.width": "64""#, #""sae.width": "65""#, "\(run)/cycle-0 cannot be read back: " + another)
        try refused("run.json", "<model>", "<another>", another)
        let outcome =
            " is not what the finished steps of the run came to; delete it and resume the run: it is made again"
        try refused("result.json", "0.875", "0.975", "\(run)/result.json" + outcome)
        try refused("result.json", #""carriedOver": 2"#, #""carriedOver": 3"#, "\(run)/result.json" + outcome)
        try refused("final/core.json", #""born": 1"#, #""born": 0"#, "\(run)/final/core.json" + outcome)
        try refused("events.jsonl", try identity, "0", "\(run)/events.jsonl is not the log of the run that it lies in")
        #expect(message { _ = try RunReport(folder: run) } == "nothing failed")
    }

    @Test func noRecordOfARunStopsTheReport() throws {
        try finish()
        for name in ["run.json", "cycle-1/metrics.json", "cycle-1/core.json", "result.json"] {
            // One value a line, as the program writes them.
            let value = try JSONValue(contentsOf: run + "/" + name)
            try AtomicFile.write(pretty(value, ""), to: run + "/" + name)
            // As a stranger would who knows of the marks.
            try fuzzJSON(run + "/" + name, rounds: 400) {
                if name != "run.json" { try mark() }
                _ = try RunReport(folder: run).html()
            }
        }
        let log = String(decoding: contents(of: run + "/events.jsonl"), as: UTF8.self)
        for seed in 0..<100 {
            let line = mutatedJSON(pretty(try JSONValue(parsing: step("cycle-0", 3, core: 2)), ""), seed)
            try write(
                log + "\n" + line.replacing("\n", with: " ") + "\n" + step("cycle-0", 11, core: 1), "events.jsonl")
            _ = try RunReport(folder: run).html()
        }
    }

    private func pretty(_ value: JSONValue, _ indent: String) -> String {
        let inner = indent + "  "
        switch value {
        case .object(let members):
            let lines = members.sorted { $0.key < $1.key }.map { "\(inner)\"\($0.key)\" : \(pretty($0.value, inner))" }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
        case .array(let elements):
            return "[\n" + elements.map { inner + pretty($0, inner) }.joined(separator: ",\n") + "\n\(indent)]"
        case .string(let text): return "\"\(text)\""
        case .integer(let number): return "\(number)"
        case .number(let number): return "\(number)"
        case .bool(let truth): return "\(truth)"
        case .null: return "null"
        }
    }
}
