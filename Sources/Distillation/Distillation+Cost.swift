import Attribution
import Glibc
import LinearAlgebra
import SparseCoding
import TensorFiles

extension Distillation {
    /// What the run will take, from a little of each of its parts. Nothing is written.
    ///
    /// - Throws: what model, text, rule and scorer throw; `ResourceError.memory`; `DistillationError.interrupted`.
    public func cost() throws -> CostEstimate {
        let together = trainedTogether
        let need = recipe.memory(dIn: dIn, layout, on: parts.device, together: together)
        let pace = try pace()
        var cost = CostEstimate()
        recipe.addCounts(
            to: &cost, kept: pace.kept, together: together, model: pace.model, step: pace.steps[recipe.k])
        let evaluated = recipe.wholeContexts(recipe.evaluationTokens)
        cost.add("scoring", recipe.seeds * (recipe.cycles + 1) * scoreTokens, "tokens", seconds: pace.scoring)
        cost.add("evaluation", (recipe.trainings + 1) * evaluated, "tokens", seconds: pace.evaluation)
        let saeBytes = 8 * Double(recipe.width) * Double(dIn)
        cost.add(disk: "SAEs", Double(recipe.trainings) * saeBytes)
        cost.add(disk: "checkpoints", Double(together) * 6 * saeBytes)
        cost.add(need)
        compare(pace, &cost)
        return cost
    }

    var dIn: Int { parts.model.configuration.dModel }

    /// How long a little of each of its parts takes. Nothing is written.
    ///
    /// - Parameter others: k at which trainings are timed, beside the recipe's own.
    /// - Throws: as `cost`.
    public func pace(at others: Set<Double> = []) throws -> Pace {
        try recipe.requireMemory(dIn: dIn, layout, on: parts.device, together: trainedTogether)
        let text = try parts.text(0, .max)
        let calibration = try Calibration(
            parts.model, at: recipe.hookPoint, policy, on: text, progress: progress, stop: stop)
        var steps: [Double: Double] = [:]
        func time(_ recipe: Recipe) throws -> SparseAutoencoder {
            let (seconds, sae) = try calibration.step(
                of: recipe, rule: parts.rule, on: parts.device, progress: progress, stop: stop)
            steps[recipe.k] = seconds
            return sae
        }
        for k in others.sorted() where k != recipe.k {
            var other = recipe
            other.k = k
            _ = try time(other)
        }
        let sae = try time(recipe)
        let (scoring, evaluation) = try timeScoring(of: sae, on: calibration)
        return Pace(
            model: calibration.model, kept: calibration.kept, steps: steps, scoring: scoring, evaluation: evaluation)
    }

    /// Scores and evaluates a batch with the SAE; seconds a token.
    private func timeScoring(
        of sae: SparseAutoencoder, on calibration: Calibration
    ) throws -> (scoring: Double, evaluation: Double) {
        guard let batch = calibration.batches.last else { return (0, 0) }
        progress.begin("time scoring and evaluation", total: 0, unit: "tokens")
        defer { progress.end() }
        let tokens = Double(batch.ids.count)
        func timed<Result>(_ work: () throws -> Result) rethrows -> (Result, Double) {
            let start = monotonicSeconds()
            let result = try work()
            return (result, (monotonicSeconds() - start) / tokens)
        }
        try stop.check()
        let sample = try SpliceSample(batch, model: parts.model, hook: recipe.hookPoint, policy: policy)
        let (set, preparing) = try timed {
            try EvaluationSet([sample], model: parts.model, hook: recipe.hookPoint, policy: policy)
        }
        let (_, evaluating) = try timed { try set.evaluate(sae) }
        // The first pass pays for the memory of gradients.
        _ = try score(sae, [sample])
        let (_, scoring) = try timed { try score(sae, [sample]) }
        return (scoring, max(preparing, evaluating))
    }

    private func score(_ sae: SparseAutoencoder, _ samples: [SpliceSample]) throws -> [Double] {
        let spliced = try SplicedModel(model: parts.model, hook: recipe.hookPoint, sae: sae)
        let sequences = SampledSequences(samples)
        let means = MeanActivations(spliced, sequences: samples.count, step: 1) { samples[$0.lowerBound] }
        let pass = ScoringPass(spliced, scorer: parts.scorer, means: means)
        let aggregate = try Aggregate(recipe.aggregate)
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: sequences.tokenCount, aggregate: aggregate, scope: recipe.over,
            isSigned: recipe.signed)
        let run = try ScoringRun(pass, accumulator, over: sequences, key: PassKey(["run": "dry"]))
        let (stop, progress) = (stop, progress)
        try run.run(keeping: nil, watch: PassWatch(check: stop.check, advance: progress.advance(by:detail:)))
        return try run.result(tau: recipe.tau) { [parts, recipe] _ in
            parts.scorer.scoresTokens
                ? .aggregate(aggregate, recipe.over, isSigned: recipe.signed) : .total(parts.scorer.name)
        }.scores
    }

    /// Whether a store or live trainings are cheaper.
    private func compare(_ pace: Pace, _ cost: inout CostEstimate) {
        let stored = recipe.madeTokens(live: false, kept: pace.kept)
        var other = recipe
        other.isLive = true
        let together = other.trainedTogether(parts.together, dIn: dIn, layout, on: parts.device)
        let live = recipe.madeTokens(live: true, kept: pace.kept, together: together)
        let rowBytes = 4 * Double(dIn)
        let (store, equal) = (
            Double(stored) * pace.kept * rowBytes, Double(recipe.steps) * Double(recipe.batch) * rowBytes
        )
        if !recipe.isLive { cost.add(disk: "store", store) }
        func time(_ tokens: Int) -> String { CostEstimate.duration(pace.model * Double(tokens)) }
        func size(_ bytes: Double) -> String { memoryText(Int(min(bytes, 0x1p60))) }
        let room = freeDisk()
        let wanted = recipe.isLive ? equal : store
        let stores = recipe.isLive ? Int(Double(recipe.steps) * Double(recipe.batch) / pace.kept) : stored
        let fits = room.map { wanted < $0 } ?? true
        let times = Double(recipe.steps) * Double(recipe.batch) / (Double(stores) * pace.kept)
        cost.remark(
            "a store: the model runs once over \(stores) tokens (\(time(stores))), \(size(wanted)) on the disk"
                + (room.map { " of the \(size($0)) that are free" } ?? "")
                + ", which each training reads \(decimals(times, 1)) times")
        cost.remark(
            "live: the model runs over \(live) tokens (\(time(live))) in all, nothing on the disk, each row once a training"
                + (together > 1 ? ", up to \(together) of them side by side" : "")
        )
        cost.remark(
            !fits
                ? "cheaper: live, since the store does not fit on the disk"
                : stores <= live
                    ? "cheaper: a store, since the model then runs \(decimals(Double(live) / Double(max(1, stores)), 1)) times less"
                    : "cheaper: live, since trainings take less than the store holds")
    }

    /// Bytes that are free where the run would be; nil where that cannot be told.
    private func freeDisk() -> Double? {
        var (path, status) = (run.path.hasPrefix("/") ? run.path : "./" + run.path, statvfs())
        while statvfs(path, &status) != 0 {
            guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return nil }
            path = String(path[..<slash])
        }
        return Double(status.f_bavail) * Double(status.f_frsize)
    }
}
