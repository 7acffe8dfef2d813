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

/// What came of a sweep, read from the records of its points.
public struct SweepTable: Sendable {
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
    }

    public let sweep: Sweep
    public let rows: [Row]
    /// Points without a result, and why: nil for those that are not done.
    public let without: [(point: Int, values: [String], error: String?)]

    /// Reads the folder of a sweep.
    ///
    /// - Throws: `SweepError.noSweep`; `TensorFileError`; `DistillationError` for a point whose records are not as its run wrote them.
    public init(folder: String) throws {
        let sweep = try Sweep(folder: folder)
        var (rows, without) = ([Row](), [(point: Int, values: [String], error: String?)]())
        for point in try sweep.points() {
            let settings = Dictionary(uniqueKeysWithValues: point.recipe.settings)
            let values = zip(sweep.axes, point.values).map { settings[$0.key] ?? $1 }
            let run = folder + "/" + point.folder
            guard exists(run + "/result.json") else {
                let failure = folder + "/" + point.failure
                let error = exists(failure) ? try JSONRecord.read(SweepFailure.self, from: failure).error : nil
                without.append((point.index, values, error))
                continue
            }
            rows += try FinishedSteps(folder: run).seeds.flatMap { Self.rows(of: $0, point.index, values) }
        }
        (self.sweep, self.rows, self.without) = (sweep, rows, without)
    }

    private static func rows(of steps: FinishedSeed, _ point: Int, _ values: [String]) -> [Row] {
        guard let last = steps.cycles.last else { return [] }
        return steps.trials.map { trial in
            var measures: [SweepMeasure: Double] = [:]
            for measure in SweepMeasure.allCases { measures[measure] = measure.value(of: trial.sae, last) }
            return Row(
                point: point, values: values, trial: trial.trial.name, k: trial.trial.k, measures: measures)
        }
    }

    /// A row per point and SAE, keys first; a point without a result has one row that says why.
    public var csv: String {
        let heads =
            ["point"] + sweep.axes.map(\.key) + ["trial", "k"] + SweepMeasure.allCases.map(\.rawValue) + ["state"]
        let done = rows.map { row in
            (
                row.point,
                ["\(row.point)"] + row.values + [row.trial, row.k.recipeText]
                    + SweepMeasure.allCases.map { row.measures[$0].map { "\($0)" } ?? "" } + ["done"]
            )
        }
        let others = without.map { point, values, error in
            (
                point,
                ["\(point)"] + values + [String](repeating: "", count: SweepMeasure.allCases.count + 2)
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
