import Attribution
import Distillation
import TensorFiles

/// A distillation as one page, made from the records of its folder; a run that is not finished shows what there is.
public struct RunReport {
    let records: RunRecords
    let controls: [TrainingCurve]

    /// Reads the folder of a run, and those of trainings with another core (`dmsae train --core`) to hold it against.
    ///
    /// - Throws: `TensorFileError` for a folder that is none, or records that cannot be read.
    public init(folder: String, controls: [String] = []) throws {
        records = try RunRecords(folder: folder)
        self.controls = try controls.map { path in
            let log = path + "/events.jsonl"
            guard var curve = try TrainingCurve.read(log).last else {
                throw TensorFileError.unreadable(file: log, reason: "a control needs the log that `dmsae train` writes")
            }
            curve.name = "control \(lastComponent(path))"
            return curve
        }
    }

    /// The page as one HTML file.
    public func html() -> String {
        let run = records.run
        var page = HTMLPage(title: "Distillation \(records.name)")
        page.begin(
            "Distillation \(records.name)", findings: summary,
            facts: [
                ("model", run.model), run.recipe["hook"].map { ("hook", $0) } ?? ("layer", run.recipe["layer"] ?? ""),
                ("scorer", run.scorer), ("rule", run.rule),
                ("width", run.recipe["sae.width"] ?? ""), ("k", run.recipe["train.k"] ?? ""),
                ("τ", run.recipe["distill.tau"] ?? ""), ("seed", run.recipe["seed"] ?? ""), ("dmsae", run.version),
            ])
        if !records.cycles.isEmpty {
            page.section("Cycles", id: "cycles", cycleTable() + cycleFigures())
            page.section(
                "Where core latents come from", id: "origin", origin(),
                note: "A latent keeps its frozen encoder vector from cycle to cycle, and so its origin.")
        }
        page.section("Training", id: "training", training())
        if !records.cycles.isEmpty {
            page.section("CE loss score against total L0", id: "quality", qualityTable() + qualityFigure())
        }
        return page.html()
    }

    private var summary: [String] {
        let cycles = records.cycles
        guard let last = cycles.last else { return ["No cycle is finished yet."] }
        var sentences: [String] = []
        if let stable = records.stableCore {
            sentences.append(
                "The core is \(stable.latents.count) latents that the last two of \(cycles.count) cycles both selected"
                    + (last.jaccard.map { ", at a Jaccard of \(short($0)) between their cores." } ?? "."))
        } else {
            sentences.append(
                "\(cycles.count) \(cycles.count == 1 ? "cycle is" : "cycles are") finished; the last core has "
                    + "\(last.coreSize) latents.")
        }
        return sentences + records.trials.findings(short)
    }

    func number(_ k: Double) -> String { short(k, k == k.rounded() ? 0 : 1) }

    // MARK: Cycles

    private func cycleTable() -> String {
        let heads = [
            "cycle", "core", "candidates", "carried over", "Jaccard", "coverage", "expl. variance", "L0", "L0 core",
            "CE score", "dead",
        ]
        let rows = records.cycles.map { cycle in
            let e = cycle.sae.evaluation
            return [
                "\(cycle.cycle)", "\(cycle.coreSize)", "\(cycle.candidates)",
                cycle.cycle == 0 ? "–" : "\(cycle.carriedOver) of \(cycle.sae.frozenCore)",
                cycle.jaccard.map { short($0) } ?? "–", short(cycle.coverage), short(e.explained_variance),
                short(e.l0, 1), short(e.l0_core, 1), short(e.ce_loss_score),
                cycle.sae.dead,
            ]
        }
        return table(heads, rows)
    }

    /// Cycles from first to last; one alone stands in the middle.
    var cycleAxis: Axis {
        let last = Double(records.cycles.count - 1)
        var axis = Axis(title: "cycle", range: -0.5...(last + 0.5))
        axis.isWhole = true
        return axis
    }

    private func cycleFigures() -> String {
        let cycles = records.cycles
        var sizes = Plot(x: cycleAxis, y: Axis(title: "latents", range: 0...1))
        sizes.curves = [
            Plot.Curve(
                series: Series(0), points: cycles.map { (Double($0.cycle), Double($0.coreSize)) }, hasMarkers: true),
            Plot.Curve(
                series: Series(1), points: cycles.dropFirst().map { (Double($0.cycle), Double($0.carriedOver)) },
                hasMarkers: true),
        ]
        sizes.y.range = range(sizes.curves.flatMap { $0.points.map(\.y) }, from: 0)
        var stability = Plot(x: cycleAxis, y: Axis(title: "Jaccard with the last core", range: 0...1))
        stability.curves = [
            Plot.Curve(
                series: Series(0), points: cycles.compactMap { c in c.jaccard.map { (Double(c.cycle), $0) } },
                hasMarkers: true)
        ]
        return legend(["core", "carried over"]) + "<div class=\"grid\">"
            + figure(sizes.svg(label: "Core size by cycle"), "Size of the core, and how much of the last one is in it.")
            + figure(stability.svg(label: "Jaccard by cycle"), "How alike consecutive cores are.") + "</div>"
    }
}
