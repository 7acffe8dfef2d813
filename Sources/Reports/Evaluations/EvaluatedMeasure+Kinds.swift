import Attribution
import Probing
import SyntheticFeatures

extension EvaluatedMeasure {
    private init(_ part: String, _ name: String, _ value: Double?, headline: String? = nil, figure: String? = nil) {
        measure = EvaluationMeasure(part: part, name: name, headline: headline, figure: figure)
        self.value = Interval(meanOf: [value ?? .nan])
    }

    private init(
        _ part: String, _ name: String, _ value: Interval, places: Int = 3, headline: String? = nil,
        figure: String? = nil, units: [String: Double] = [:]
    ) {
        measure = EvaluationMeasure(part: part, name: name, places: places, headline: headline, figure: figure)
        (self.value, self.units) = (value, units)
    }

    /// Those of SAEBench's core metrics that say how good an SAE is and how sparse.
    static func all(_ metrics: CoreMetricCategories, _ intervals: [String: Interval]) -> [EvaluatedMeasure] {
        func own(_ key: String, _ name: String, _ value: Double, places: Int = 3, inHead: Bool = true) -> Self {
            EvaluatedMeasure(
                "the SAE", name, intervals[key] ?? Interval(meanOf: [value]), places: places,
                headline: inHead ? name : nil, figure: inHead && places == 3 ? name : nil)
        }
        let (behaviour, losses) = (metrics.model_behavior_preservation, metrics.model_performance_preservation)
        return [
            own("ce_loss_score", "CE score", losses.ce_loss_score),
            own("kl_div_score", "KL score", behaviour.kl_div_score, inHead: false),
            own("explained_variance", "expl. variance", metrics.reconstruction_quality.explained_variance),
            own("cossim", "cosine", metrics.reconstruction_quality.cossim, inHead: false),
            own("l0", "L0", metrics.sparsity.l0, places: 1),
            own("frac_alive", "alive", metrics.misc_metrics.frac_alive, inHead: false),
        ]
    }

    /// Areas of all latents, the first group and the core, and of the core less as many others.
    static func all(_ summary: ProbeSummary) -> [EvaluatedMeasure] {
        let sets = ["dense", "all", "first group", "core"]
        let own = sets.flatMap { set -> [EvaluatedMeasure] in
            let means = summary.means.filter { $0.set == set }, most = means.map(\.k).max()
            return means.map { mean in
                let isDense = set == "dense", isAll = mean.k == most && set == "all"
                let part = isDense ? "the activations themselves" : set == "all" ? "all latents" : "the \(set)"
                let name = isDense ? "AUC" : isAll || means.count == 1 ? "AUC, all" : "AUC, \(mean.k)"
                let units = summary.tasks.compactMap { task in
                    (isDense ? task.dense : task.sets[set]?["\(mean.k)"]).map { (task.task, $0) }
                }
                return EvaluatedMeasure(
                    part, name, mean.test_auc, headline: set == "all" ? name : nil,
                    figure: isDense ? nil : "AUC of probes, \(part)",
                    units: Dictionary(units) { first, _ in first })
            }
        }
        let less = summary.differences.filter { $0.set == "core" }.map { difference in
            EvaluatedMeasure(
                "the core less as many others", "\(others(difference.from)), \(difference.k)", difference.test_auc)
        }
        return own + less
    }

    /// The share absorbed of all latents, of those of the first prefix and of the core, and of the core less as many others.
    static func all(_ summary: AbsorptionSummary, _ letters: [AbsorptionOutput.Detail]) -> [EvaluatedMeasure] {
        let prefix = summary.sets.first { $0.set.hasPrefix("prefix") }?.set
        let own = summary.sets.flatMap { set -> [EvaluatedMeasure] in
            guard ["all", "core", prefix].contains(set.set) else { return [] }
            let isAll = set.set == "all"
            let part = isAll ? "all latents" : set.set == "core" ? "main latents of the core" : "the first prefix alone"
            let units = isAll ? letters.map { ($0.first_letter, $0.mean_absorption_fraction) } : []
            return [
                EvaluatedMeasure(
                    part, "absorbed", set.absorption_fraction, headline: isAll ? "absorbed" : nil,
                    figure: isAll ? "absorbed" : nil, units: Dictionary(units) { first, _ in first }),
                EvaluatedMeasure(part, "in full", set.full_absorption),
                EvaluatedMeasure(part, "main latents a letter", set.main_latents, places: 2),
                EvaluatedMeasure(part, "their F1", set.main_f1),
            ]
        }
        let less = summary.differences.filter { $0.set == "core" }.map { difference in
            EvaluatedMeasure(
                "main latents of the core less as many others", "absorbed, \(others(difference.from))",
                difference.absorption_fraction)
        }
        return own + less
    }

    /// Variance explained of all rows, of rows of chance, and of the core beside as many others.
    static func all(_ metrics: MetaStructureOutput.Metrics, _ extra: MetaStructureOutput.Extra) -> [EvaluatedMeasure] {
        var result = [
            EvaluatedMeasure(
                "all rows", "expl. variance", metrics.decoder_fraction_variance_explained, headline: "rows explained")
        ]
        for (name, value) in extra.controls.sorted(by: { $0.key < $1.key }) {
            result.append(EvaluatedMeasure("all rows", "random rows, \(name)", value))
        }
        guard let core = extra.parts.first(where: { $0.latents == "core" }) else { return result }
        result.append(EvaluatedMeasure("the core's rows", "expl. variance", core.variance_explained))
        if let others = core.others_variance_explained {
            result.append(EvaluatedMeasure("the core's rows", "as many others", others))
        }
        result.append(EvaluatedMeasure("the core's rows", "shared meta latents", core.shared_meta_latents))
        if let others = core.others_shared_meta_latents {
            result.append(EvaluatedMeasure("the core's rows", "as many others share", others))
        }
        return result
    }

    /// How well features are found, and what parts of the SAE are as a choice of features.
    static func all(_ found: FeatureEvaluation.Findings) -> [EvaluatedMeasure] {
        let whole = [
            EvaluatedMeasure("the SAE", "mcc", found.mcc, headline: "mcc", figure: "mcc"),
            EvaluatedMeasure("the SAE", "uniqueness", found.uniqueness),
            EvaluatedMeasure("the SAE", "F1", found.classification.f1_score),
            EvaluatedMeasure("the SAE", "expl. variance", found.explained_variance),
            EvaluatedMeasure("the SAE", "L0", Interval(meanOf: [found.sae_l0]), places: 1),
        ]
        return whole
            + ["core", "most frequent", "innermost prefix"].flatMap { name -> [EvaluatedMeasure] in
                guard let set = found.sets[name] else { return [] }
                let isCore = name == "core"
                let part =
                    isCore ? "the core" : name == "most frequent" ? "as many most frequent latents" : "the \(name)"
                let own = [
                    EvaluatedMeasure(part, "are features", set.matched),
                    EvaluatedMeasure(
                        part, "useful found", set.useful_found, headline: isCore ? "core: useful found" : nil,
                        figure: isCore ? "useful features found by the core" : nil),
                    EvaluatedMeasure(part, "worth", set.usefulness, headline: isCore ? "core: worth" : nil),
                ]
                guard let chance = set.chance else { return own }
                let interval = Interval(chance.mean, low: chance.low, high: chance.high)
                return own + [EvaluatedMeasure(part, "worth of as many others", interval)]
            }
    }

    private static func others(_ from: String) -> String {
        from == "most frequent" ? "most frequent" : "random of \(from)"
    }
}
