import Attribution
import Distillation
import FoundationEssentials
import SparseCoding
import TensorFiles

/// A distillation as one page, made from the records of its folder; a run that is not finished shows what there is.
public struct RunReport {
    private let path: String
    private let run: RunRecord
    private let cycles: [CycleRecord]
    private let cores: [Core]
    private let finals: [FinalRecord]
    private let stableCore: Core?
    private let steps: [(run: String, steps: [(step: Int, core: Double, total: Double, loss: Double)])]

    /// Reads the folder of a run.
    ///
    /// - Throws: `TensorFileError` for a folder that is none, or records that cannot be read.
    public init(folder: String) throws {
        path = folder
        run = try JSONRecord.read(RunRecord.self, from: folder + "/run.json")
        var cycles: [CycleRecord] = []
        var cores: [Core] = []
        while exists("\(folder)/cycle-\(cycles.count)/metrics.json") {
            let cycle = "\(folder)/cycle-\(cycles.count)"
            cycles.append(try JSONRecord.read(CycleRecord.self, from: cycle + "/metrics.json"))
            cores.append(try JSONRecord.read(Core.self, from: cycle + "/core.json"))
        }
        self.cycles = cycles
        self.cores = cores
        let result = folder + "/result.json"
        finals = exists(result) ? try JSONRecord.read(DistillationRecord.self, from: result).finals : []
        let stable = folder + "/final/core.json"
        stableCore = exists(stable) ? try JSONRecord.read(Core.self, from: stable) : nil
        steps = try Self.steps(folder + "/events.jsonl")
    }

    /// The fields of a step that are plotted.
    private struct Event: Decodable {
        var event: String
        var run: String?
        var record: Record?

        struct Record: Decodable {
            var step: Int?
            var meanActiveCore: Double?
            var meanActiveNonCore: Double?
            var prefixLosses: [Double]?
        }
    }

    private static func steps(_ path: String) throws -> [(
        run: String, steps: [(step: Int, core: Double, total: Double, loss: Double)]
    )] {
        guard exists(path) else { return [] }
        let text = String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
        var names: [String] = []
        var found: [String: [(step: Int, core: Double, total: Double, loss: Double)]] = [:]
        for line in text.split(separator: "\n") {
            // The last line may be cut off; others without these fields are of other events.
            guard let event = try? JSONRecord.decode(Event.self, from: String(line), in: path), event.event == "step",
                let run = event.run, let record = event.record, let step = record.step,
                let loss = record.prefixLosses?.last
            else { continue }
            if found[run] == nil { names.append(run) }
            let core = record.meanActiveCore ?? 0
            found[run, default: []].append((step, core, core + (record.meanActiveNonCore ?? 0), loss))
        }
        return names.map { ($0, found[$0] ?? []) }
    }

    /// The page.
    public func html() -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        var page = HTMLPage(title: "Distillation \(name)")
        page.add("<header><h1>Distillation <code>\(escape(name))</code></h1>")
        for (i, sentence) in summary.enumerated() {
            page.add("<p\(i == 0 ? " class=\"lead\"" : "")>\(escape(sentence))</p>")
        }
        page.add("<p class=\"facts\">")
        for (what, value) in [
            ("model", run.model), ("layer", run.recipe["layer"] ?? ""), ("scorer", run.scorer), ("rule", run.rule),
            ("width", run.recipe["sae.width"] ?? ""), ("k", run.recipe["train.k"] ?? ""),
            ("τ", run.recipe["distill.tau"] ?? ""), ("seed", run.recipe["seed"] ?? ""), ("dmsae", run.version),
        ] {
            page.add("<span>\(escape(what)) <b>\(escape(value))</b></span> ")
        }
        page.add("</p></header>\n")
        page.section("Cycles", id: "cycles", cycleTable() + figures())
        page.section(
            "Where core latents come from", id: "origin", origin(),
            note: "A latent keeps its frozen encoder vector from cycle to cycle, and so its origin.")
        page.section("Training", id: "training", training())
        if !finals.isEmpty { page.section("At the same total L0", id: "finals", finalTable() + finalFigure()) }
        return page.html()
    }

    private var summary: [String] {
        guard let last = cycles.last else { return ["No cycle is finished yet."] }
        var sentences: [String] = []
        if let stableCore {
            sentences.append(
                "The core is \(stableCore.latents.count) latents that the last two of \(cycles.count) cycles both selected"
                    + (last.jaccard.map { ", at a Jaccard of \(short($0)) between their cores." } ?? "."))
        } else {
            sentences.append("\(cycles.count) cycles are finished; the last core has \(last.coreSize) latents.")
        }
        for final in finals {
            let difference =
                final.dmsae.evaluation.ce_loss_score - final.baseline.evaluation.ce_loss_score
            sentences.append(
                "With the core frozen, at a total L0 of \(short(final.k, 0)), the CE loss score is "
                    + "\(short(final.dmsae.evaluation.ce_loss_score)); a plain Matryoshka SAE of the same width, tokens and seed "
                    + "has \(short(final.baseline.evaluation.ce_loss_score)) (\(difference > 0 ? "+" : "")\(short(difference)); one "
                    + "seed, no interval).")
        }
        return sentences
    }

    private func cycleTable() -> String {
        table(
            [
                "cycle", "core", "candidates", "carried over", "Jaccard", "coverage", "expl. variance", "L0", "L0 core",
                "CE score", "dead",
            ],
            cycles.map { cycle in
                let e = cycle.sae.evaluation
                return [
                    "\(cycle.cycle)", "\(cycle.coreSize)", "\(cycle.candidates)",
                    cycle.cycle == 0 ? "–" : "\(cycle.carriedOver) of \(cycle.sae.frozenCore)",
                    cycle.jaccard.map { short($0) } ?? "–", short(cycle.coverage), short(e.explained_variance),
                    short(e.l0, 1),
                    short(e.l0_core, 1), short(e.ce_loss_score), "\(cycle.sae.deadLatents)",
                ]
            })
    }

    private func figures() -> String {
        let last = Double(max(1, cycles.count - 1))
        var sizes = Plot(
            x: .init(title: "cycle", range: 0...last), y: .init(title: "latents", range: 0...1))
        sizes.curves = [
            Plot.Curve(color: 0, points: cycles.map { (Double($0.cycle), Double($0.coreSize)) }),
            Plot.Curve(color: 1, points: cycles.dropFirst().map { (Double($0.cycle), Double($0.carriedOver)) }),
        ]
        sizes.y.range = range(sizes.curves.flatMap { $0.points.map(\.y) }, from: 0)
        var stability = Plot(
            x: .init(title: "cycle", range: 0...last), y: .init(title: "Jaccard with the last core", range: 0...1))
        stability.curves = [
            Plot.Curve(color: 0, points: cycles.compactMap { c in c.jaccard.map { (Double(c.cycle), $0) } })
        ]
        return "<div class=\"grid\"><div>" + legend(["core", "carried over"])
            + figure(sizes.svg(label: "Core size by cycle"), "Size of the core, and how much of the last one is in it.")
            + "</div><div>"
            + figure(stability.svg(label: "Jaccard by cycle"), "How alike consecutive cores are.") + "</div></div>"
    }

    /// Bars of each cycle's core by the cycle its latents were born in.
    private func origin() -> String {
        guard let most = cores.map(\.latents.count).max(), most > 0 else { return "<p>There is no core yet.</p>" }
        let rowHeight = 30.0, left = 70.0, width = 640.0
        var svg =
            "<svg viewBox=\"0 0 760 \(Int(rowHeight) * cores.count + 10)\" role=\"img\" aria-label=\"Origin of core latents\">"
        for (t, core) in cores.enumerated() {
            let y = rowHeight * Double(t) + 6
            svg += "<text x=\"\(left - 8)\" y=\"\(y + 14)\" text-anchor=\"end\">cycle \(t)</text>"
            var at = left
            for born in 0...t {
                let count = core.latents.count { $0.born == born }
                guard count > 0 else { continue }
                let span = width * Double(count) / Double(most)
                svg +=
                    "<rect x=\"\(short(at, 1))\" y=\"\(y)\" width=\"\(short(max(1, span - 1), 1))\" height=\"20\" fill=\"\(color(born))\"><title>\(count) born in cycle \(born)</title></rect>"
                if span > 22 {
                    svg +=
                        "<text x=\"\(short(at + span / 2, 1))\" y=\"\(y + 14)\" text-anchor=\"middle\" style=\"fill:#fff\">\(count)</text>"
                }
                at += span
            }
        }
        return legend(cores.indices.map { "born in cycle \($0)" }) + "<figure>\(svg)</svg></figure>"
    }

    private func training() -> String {
        let named = steps.filter { !$0.steps.isEmpty }
        guard !named.isEmpty else { return "<p>The log holds no training step.</p>" }
        let last = named.flatMap { $0.steps.map { Double($0.step) } }.max() ?? 1
        func plot(
            _ title: String, scale: Plot.Scale,
            _ value: ((step: Int, core: Double, total: Double, loss: Double)) -> Double
        )
            -> Plot
        {
            var plot = Plot(x: .init(title: "step", range: 0...last), y: .init(title: title, range: 0...1))
            for (i, training) in named.enumerated() {
                plot.curves.append(
                    Plot.Curve(color: i, points: training.steps.map { (Double($0.step), value($0)) }))
            }
            plot.y.scale = scale
            plot.y.range = range(plot.curves.flatMap { $0.points.map(\.y) }.filter { $0 > 0 || scale == .linear })
            return plot
        }
        let core = plot("L0 of the core", scale: .linear) { $0.core }
        let loss = plot("reconstruction loss", scale: .log) { $0.loss }
        return legend(named.map(\.run)) + "<div class=\"grid\">"
            + figure(core.svg(label: "L0 of the core over training"), "Mean active core latents a token.")
            + figure(
                loss.svg(label: "Reconstruction loss over training"),
                "Loss of the full width on scaled activations, log scale.") + "</div>"
    }

    private func finalTable() -> String {
        let rows = finals.flatMap { final in
            [("DMSAE", final.dmsae), ("plain Matryoshka", final.baseline)].map { name, record in
                let e = record.evaluation
                return [
                    "\(name), k = \(short(final.k, 0))", "\(record.frozenCore)", short(e.l0, 1), short(e.l0_core, 1),
                    short(e.explained_variance), short(e.cossim), short(e.ce_loss_score), short(e.ce_loss_with_sae),
                    "\(record.deadLatents)",
                ]
            }
        }
        return table(
            ["SAE", "frozen", "L0", "L0 core", "expl. variance", "cosine", "CE score", "CE loss", "dead"], rows)
    }

    private func finalFigure() -> String {
        let all = finals.flatMap { [$0.dmsae.evaluation, $0.baseline.evaluation] }
        var plot = Plot(
            x: .init(title: "total L0", range: range(all.map(\.l0), from: 0)),
            y: .init(title: "CE loss score", range: range(all.map(\.ce_loss_score))))
        plot.curves = [
            Plot.Curve(color: 0, points: finals.map { ($0.dmsae.evaluation.l0, $0.dmsae.evaluation.ce_loss_score) }),
            Plot.Curve(
                color: 1, points: finals.map { ($0.baseline.evaluation.l0, $0.baseline.evaluation.ce_loss_score) }),
        ]
        plot.marks = plot.curves.flatMap { curve in
            curve.points.map { Plot.Mark(color: curve.color, x: $0.x, y: $0.y, name: "") }
        }
        return legend(["DMSAE", "plain Matryoshka"]) + "<div class=\"grid\">"
            + figure(plot.svg(label: "CE loss score against total L0"), "Higher is better.") + "</div>"
    }
}
