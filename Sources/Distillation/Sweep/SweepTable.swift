import TensorFiles

/// What is measured of each SAE with which a point ends.
public enum SweepMeasure: String, CaseIterable, Sendable {
    case explainedVariance = "explained_variance"
    case cosine
    case L0
    case coreL0 = "L0_core"
    case score = "CE_score"
    case loss = "CE_loss"
    case coreFiring = "core_firing_median"
    case alwaysOn = "core_above_half"
    case coreEntropy = "core_token_entropy"
    case otherEntropy = "non_core_token_entropy"
    case deadLatents = "dead_latents"
    case frozenCore = "frozen_core"
    case lastCoreSize = "core_size"
    case carriedOver = "carried_over"
    case jaccard = "Jaccard"
    case coverage

    /// As figures name it.
    public var title: String {
        switch self {
        case .explainedVariance: "explained variance"
        case .cosine: "cosine"
        case .L0: "total L0"
        case .coreL0: "L0 of the core"
        case .score: "CE loss score"
        case .loss: "CE loss [nats]"
        case .coreFiring: "median firing of core latents"
        case .alwaysOn: "core latents that fire on more than half"
        case .coreEntropy: "token entropy of core latents"
        case .otherEntropy: "token entropy of the others"
        case .deadLatents: "dead latents"
        case .frozenCore: "frozen latents"
        case .lastCoreSize: "core of the last cycle"
        case .carriedOver: "carried over by the last cycle"
        case .jaccard: "Jaccard of the last two cores"
        case .coverage: "coverage of the last core"
        }
    }

    /// As heads of tables name it.
    public var short: String {
        switch self {
        case .explainedVariance: "expl. var."
        case .L0: "L0"
        case .coreL0: "L0 core"
        case .score: "CE score"
        case .frozenCore: "frozen"
        case .deadLatents: "dead"
        case .jaccard: "Jaccard"
        default: title
        }
    }

    /// Whether it is a number of latents.
    public var isCount: Bool {
        switch self {
        case .deadLatents, .alwaysOn, .frozenCore, .lastCoreSize, .carriedOver: true
        default: false
        }
    }

    /// Whether it is one of the cycles, the same for all SAEs of a point.
    public var isOfCycles: Bool {
        switch self {
        case .lastCoreSize, .carriedOver, .jaccard, .coverage: true
        default: false
        }
    }

    func value(of record: SAERecord, _ last: CycleRecord) -> Double? {
        let e = record.evaluation
        switch self {
        case .explainedVariance: return e.explained_variance
        case .cosine: return e.cossim
        case .L0: return e.l0
        case .coreL0: return e.l0_core
        case .score: return e.ce_loss_score
        case .loss: return e.ce_loss_with_sae
        case .coreFiring: return e.firing_core?.median
        case .alwaysOn: return e.firing_core.map { Double($0.above_half) }
        case .coreEntropy: return e.firing_core?.token_entropy
        case .otherEntropy: return e.firing_non_core?.token_entropy
        case .deadLatents: return record.deadLatents.map(Double.init)
        case .frozenCore: return Double(record.frozenCore)
        case .lastCoreSize: return Double(last.coreSize)
        case .carriedOver: return Double(last.carriedOver)
        case .jaccard: return last.jaccard
        case .coverage: return last.coverage
        }
    }
}

/// What came of a sweep, read from the records of its points; or of several runs that are points of one key, `runKey`.
public struct SweepTable: Sendable {
    /// No recipe has it: which of several runs.
    public static let runKey = "run"

    /// One SAE with which a point ends.
    public struct Row: Sendable {
        public let point: Int
        /// One of each axis, as the recipe has it.
        public let values: [String]
        /// "DMSAE", "baseline", …
        public let trial: String
        /// Total L0 asked for.
        public let k: Double
        public let measures: [SweepMeasure: Double]
        /// Seed of its point's run.
        public let seed: Int
        /// Where its core comes from, as `TrialPlan.core`.
        public let core: String
        /// The trial of its point that others of this k are held against; nil for that one itself.
        public let reference: String?
    }

    /// What a point has done with one seed.
    public struct Run: Sendable {
        public let point: Int
        /// One of each axis, as the recipe has it.
        public let values: [String]
        /// Its cycles, their cores and, once the point is done, its trials.
        public let steps: FinishedSeed
    }

    /// The keys, with the values of each as they were given.
    public let axes: [SweepAxis]
    /// Points, done or not.
    public let count: Int
    public let rows: [Row]
    /// Points that are done, and those that have cycles at least.
    public let runs: [Run]
    /// Points without a result, and why: nil for those that are not done.
    public let without: [(point: Int, values: [String], error: String?)]

    /// Reads the folder of a sweep.
    ///
    /// - Throws: `SweepError.noSweep`; `TensorFileError`; `DistillationError` for a point whose records are not as its run wrote them.
    public init(folder: String) throws {
        let sweep = try Sweep(folder: folder)
        var (rows, runs, without) = ([Row](), [Run](), [(point: Int, values: [String], error: String?)]())
        for point in try sweep.points() {
            let settings = Dictionary(uniqueKeysWithValues: point.recipe.settings)
            let values = zip(sweep.axes, point.values).map { settings[$0.key] ?? $1 }
            let folder = folder + "/" + point.folder
            func read() throws -> [Run] {
                try FinishedSteps(folder: folder).seeds.filter { !$0.cycles.isEmpty }
                    .map { Run(point: point.index, values: values, steps: $0) }
            }
            if exists(folder + "/result.json") {
                let own = try read()
                rows += own.flatMap(Self.rows)
                runs += own
                continue
            }
            let failure = folder + ".error.json"
            var error = exists(failure) ? try JSONRecord.read(SweepFailure.self, from: failure).error : nil
            // Of a point that failed, or goes on right now, the cycles that are there.
            do { if exists(folder + "/run.json") { runs += try read() } } catch let unread {
                error = error ?? "\(unread)"
            }
            without.append((point.index, values, error))
        }
        (axes, count) = (sweep.axes, sweep.count)
        (self.rows, self.runs, self.without) = (rows, runs, without)
    }

    /// Several runs side by side, as points of `runKey`; a run that is not finished shows what there is.
    public init(runs all: [(name: String, steps: FinishedSteps)]) {
        axes = [SweepAxis(key: Self.runKey, values: all.map(\.name))]
        count = all.count
        runs = all.enumerated().flatMap { point, run in
            run.steps.seeds.filter { !$0.cycles.isEmpty }.map { Run(point: point, values: [run.name], steps: $0) }
        }
        rows = runs.flatMap(Self.rows)
        let done = Set(rows.map(\.point))
        without = all.indices.filter { !done.contains($0) }.map { ($0, [all[$0].name], nil) }
    }

    private static func rows(of run: Run) -> [Row] {
        guard let last = run.steps.cycles.last else { return [] }
        let table = TrialTable([run.steps.trials])
        return run.steps.trials.map { trial in
            var measures: [SweepMeasure: Double] = [:]
            for measure in SweepMeasure.allCases { measures[measure] = measure.value(of: trial.sae, last) }
            let reference = table.reference(at: trial.trial.k)?.trial.name
            return Row(
                point: run.point, values: run.values, trial: trial.trial.name, k: trial.trial.k, measures: measures,
                seed: run.steps.seed, core: trial.trial.core,
                reference: reference == trial.trial.name ? nil : reference)
        }
    }

    /// A row per point and SAE, keys first: differences between trials are those of rows with one point and k, each held against the
    /// trial that `reference` names. A point without a result has one row that says why.
    public var csv: String {
        let heads =
            ["point"] + axes.map(\.key) + ["trial", "k"] + SweepMeasure.allCases.map(\.rawValue)
            + ["core", "reference", "run_seed", "state"]
        let done = rows.map { row in
            (
                row.point,
                ["\(row.point)"] + row.values + [row.trial, row.k.recipeText]
                    + SweepMeasure.allCases.map { row.measures[$0].map { "\($0)" } ?? "" }
                    + [row.core, row.reference ?? "", "\(row.seed)", "done"]
            )
        }
        let others = without.map { point, values, error in
            (
                point,
                ["\(point)"] + values + [String](repeating: "", count: SweepMeasure.allCases.count + 5)
                    + [error.map { "failed: \($0)" } ?? "not done"]
            )
        }
        // Stable: the SAEs of a point keep their order.
        let all = (done + others).enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }
        return ([heads] + all.map(\.element.1)).map { $0.map(Self.quoted).joined(separator: ",") + "\n" }.joined()
    }

    /// A cell as RFC 4180 has it.
    private static func quoted(_ cell: String) -> String {
        guard cell.contains(where: { ",\"\n\r".contains($0) }) else { return cell }
        return "\"" + cell.replacing("\"", with: "\"\"") + "\""
    }
}
