import Attribution
import Distillation
import TensorFiles

/// A distillation as one page, made from the records of its folder; a run that is not finished shows what there is.
public struct RunReport {
    let records: RunRecords
    let controls: [TrainingCurve]
    package let evaluations: RunEvaluations

    /// Reads the folder of a run, those of trainings with another core (`dmsae train --core`) to hold it against, and files of
    /// evaluations besides those in the run's folder.
    ///
    /// - Throws: `TensorFileError` for a folder that is none, records that cannot be read, or evaluations of other SAEs.
    public init(folder: String, controls: [String] = [], evaluations paths: [String] = []) throws {
        records = try RunRecords(folder: folder)
        evaluations = try RunEvaluations([(name: records.name, folder: folder, steps: records.steps)], at: paths)
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
                ("τ", run.recipe["distill.tau"] ?? ""),
                records.seeds.count > 1
                    ? ("seeds", records.seeds.map { "\($0.seed)" }.joined(separator: ", "))
                    : ("seed", run.recipe["seed"] ?? ""),
                ("dmsae", run.version),
            ])
        if records.cycleCount > 0 {
            page.section("Cycles", id: "cycles", cycleTable() + cycleFigures())
            page.section(
                "Where core latents come from", id: "origin", origin(),
                note: "A latent keeps its frozen encoder vector from cycle to cycle, and so its origin.")
        }
        page.section("Training", id: "training", training())
        if records.cycleCount > 0 {
            page.section("CE loss score against total L0", id: "quality", qualityTable() + qualityFigure())
        }
        if let found = evaluations.html { page.section("Evaluations", id: "evaluations", found) }
        return page.html()
    }

    private var summary: [String] {
        guard records.cycleCount > 0 else { return ["No cycle is finished yet."] }
        guard records.seeds.count > 1, records.trials.rows.isEmpty == false else {
            return records.seeds.flatMap { summary(of: $0) } + records.trials.findings(short)
        }
        let last = records.cycleCount - 1
        let size = Spread(records.seeds.compactMap { ($0.stableCore?.latents.count).map(Double.init) })
        let alike = records.spread(last) { $0.jaccard }.map {
            ", at a Jaccard of \($0.text(3, short)) between their cores"
        }
        return [
            "Over \(records.seeds.count) seeds the core is \(size.text(0, short)) latents that the last two of "
                + "\(records.cycleCount) cycles both selected\(alike ?? "")."
        ] + records.trials.findings(short)
    }

    private func summary(of seed: FinishedSeed) -> [String] {
        let cycles = seed.cycles, name = records.seeds.count > 1 ? "Seed \(seed.seed): " : ""
        guard let last = cycles.last else { return [] }
        var sentences: [String] = []
        if let stable = seed.stableCore {
            sentences.append(
                "\(name)The core is \(stable.latents.count) latents that the last two of \(cycles.count) cycles both selected"
                    + (last.jaccard.map { ", at a Jaccard of \(short($0)) between their cores." } ?? "."))
        } else {
            sentences.append(
                "\(name)\(cycles.count) \(cycles.count == 1 ? "cycle is" : "cycles are") finished; the last core has "
                    + "\(last.coreSize) latents.")
        }
        return sentences
    }

    func number(_ k: Double) -> String { short(k, k == k.rounded() ? 0 : 1) }

    // MARK: Cycles

    private func cycleTable() -> String {
        let heads = [
            "cycle", "core", "candidates", "carried over", "Jaccard", "coverage", "expl. variance", "L0", "L0 core",
            "CE score", "dead",
        ]
        let hasSeeds = records.seeds.count > 1
        let rows = records.seeds.flatMap { seed in
            seed.cycles.map { cycle in
                let e = cycle.sae.evaluation
                return (hasSeeds ? ["\(seed.seed)"] : []) + [
                    "\(cycle.cycle)", "\(cycle.coreSize)", "\(cycle.candidates)",
                    cycle.cycle == 0 ? "–" : "\(cycle.carriedOver) of \(cycle.sae.frozenCore)",
                    cycle.jaccard.map { short($0) } ?? "–", short(cycle.coverage), short(e.explained_variance),
                    short(e.l0, 1), short(e.l0_core, 1), short(e.ce_loss_score),
                    cycle.sae.dead,
                ]
            }
        }
        return table((hasSeeds ? ["seed"] : []) + heads, rows)
    }

    private func cycleFigures() -> String {
        let ofSeeds = records.seeds.count > 1 ? "; means over seeds, bands from the least to the largest" : ""
        let runs = records.seeds.map(\.cycles), axis = cycleAxis(records.cycleCount)
        var sizes = Plot(x: axis, y: Axis(title: "latents", range: 0...1))
        sizes.curves = [
            CycleMeasure.coreSize.curve(Series(0), of: runs), CycleMeasure.carriedOver.curve(Series(1), of: runs),
        ]
        sizes.y.range = range(sizes.curves.flatMap(\.heights), from: 0)
        var stability = Plot(x: axis, y: Axis(title: CycleMeasure.jaccard.title, range: 0...1))
        stability.curves = [CycleMeasure.jaccard.curve(Series(0), of: runs)]
        return legend(["core", "carried over"]) + "<div class=\"grid\">"
            + figure(
                sizes.svg(label: "Core size by cycle", names: ["core", "carried over"]),
                "Size of the core, and how much of the last one is in it\(ofSeeds).")
            + figure(
                stability.svg(label: "Jaccard by cycle", names: ["core"]),
                "How alike consecutive cores are\(ofSeeds).") + "</div>"
    }
}
