import LinearAlgebra
import SparseCoding

/// What a sweep takes: its parts are counted, and the seconds of one token or step measured.
public struct SweepCost: Sendable {
    /// Of all points, as a run's.
    public let estimate: CostEstimate
    public let times: SweepTimes

    /// Keys that no part takes longer for. One that stands nowhere is measured anew: that costs seconds and is right.
    private static let timeless: Set<String> = [
        "seed", "harvest.seed", "harvest.tokens", "train.steps", "train.lr", "train.warmup", "train.decay_start",
        "train.threshold_start", "train.threshold_beta", "score.tokens", "score.aggregate", "score.over",
        "score.signed", "distill.tau", "distill.cycles", "distill.steps", "distill.stop_at", "distill.core_mode",
        "distill.core_rate", "distill.core_prefix_loss", "distill.core_bias", "distill.core_decoder_init",
        "distill.non_core", "evaluate.tokens", "evaluate.text",
    ]

    /// Times what points do, once for those whose parts take equally long.
    ///
    /// - Parameter distillation: the run of a point, to be measured and not run.
    /// - Throws: what `distillation` and `Distillation.pace` throw.
    public init(
        _ points: [SweepPoint], _ work: SweepWork, distillation: (SweepPoint) throws -> Distillation
    ) throws {
        func kind(_ recipe: Recipe) -> [String] {
            recipe.settings.filter { !Self.timeless.contains($0.key) && !$0.key.hasPrefix("final.") }
                .map { "\($0.key)\0\($0.value)" }
        }
        let parts = points.map { work.parts(of: $0) }
        let kinds = Dictionary(grouping: points.indices) { kind(points[$0].recipe) }
        var seconds = parts.map { $0.map { _ in 0.0 } }
        var need: MemoryNeed?
        var (stores, saes) = (0.0, 0.0)
        for members in kinds.values.sorted(by: { $0[0] < $1[0] }) {
            let ks = Set(members.flatMap { parts[$0].filter { $0.steps > 0 }.map(\.k) })
            let one = try distillation(points[members[0]])
            let pace = try one.pace(at: ks)
            let row = Double(MemoryLayout<Float>.stride * one.dIn)
            for p in members {
                let recipe = points[p].recipe
                seconds[p] = parts[p].map { pace.seconds(of: $0, recipe) }
                stores += Double(parts[p].reduce(0) { $0 + $1.harvested }) * pace.kept * row
                saes += Double(parts[p].count { $0.evaluated > 0 }) * 2 * Double(recipe.width) * row
                let own = recipe.memory(
                    dIn: one.dIn, try PrefixLayout(groups: recipe.resolvedGroups, width: recipe.width),
                    on: one.parts.device)
                if own.bytes > need?.bytes ?? 0 { need = own }
            }
        }
        times = SweepTimes(
            seconds: zip(parts, seconds).map { Dictionary(uniqueKeysWithValues: zip($0.map(\.name), $1)) })
        var estimate = CostEstimate()
        func add(_ name: String, _ unit: String, _ count: (SweepPart) -> Int) {
            let all = zip(parts, seconds).flatMap { Array(zip($0, $1)) }.filter { count($0.0) > 0 }
            let units = all.reduce(0) { $0 + count($1.0) }
            guard units > 0 else { return }
            estimate.add(name, units, unit, seconds: all.reduce(0) { $0 + $1.1 } / Double(units))
        }
        let trainings = parts.joined().count { $0.steps > 0 }
        add("model, \(work.count(.harvest)) harvests", "tokens", \.harvested)
        add("\(trainings) trainings, with their evaluation", "steps", \.steps)
        add("scoring", "tokens", \.scored)
        if stores > 0 { estimate.add(disk: "stores", stores) }
        estimate.add(disk: "SAEs", saes)
        if let need { estimate.add(need) }
        self.estimate = estimate
    }
}
