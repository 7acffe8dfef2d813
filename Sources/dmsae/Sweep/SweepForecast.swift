import Distillation
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// What a sweep will take, without running it: counted, but for the time of steps, which is measured on a few.
struct SweepForecast {
    private let points: [SweepPoint]
    private let work: SweepWork
    private let axes: String
    private let jobs: Int
    private let dIn: Int
    private let device: any TrainingDevice
    private let rule: any SparsityRule

    init(_ sweep: Sweep, _ place: DeviceOptions, _ plugins: PluginOptions, jobs: Int) throws {
        (points, axes, self.jobs) = (try sweep.points(), sweep.axesText, jobs)
        work = try sweep.work()
        for point in points { try point.recipe.validate() }
        try Surroundings.prepareToCompute(advice: "lower sae.width or train.batch of the recipe")
        var corpora: [Corpus] = []
        let parts = try DistillationParts(points[0].recipe, plugins, on: place, folder: "", corpora: &corpora)
        (dIn, device, rule) = (parts.model.configuration.dModel, try place.trainingDevice(), parts.rule)
    }

    func show() throws {
        let trainings = points.map { work.trainings(of: $0) }
        let made = trainings.reduce(0) { $0 + $1.count }
        let all =
            points.reduce(0) { $0 + $1.recipe.cycles + 1 } + trainings.joined().count { $0.name.hasPrefix("final/") }
        print("\(points.count) points: \(axes)")
        print("shared: \(work.count(.harvest)) of \(points.count) harvests are made, \(made) of \(all) trainings")
        print("disk: about \(memoryText(work.bytes(dIn: dIn)))")
        var most = 0
        for point in points {
            let layout = try PrefixLayout(groups: point.recipe.resolvedGroups, width: point.recipe.width)
            let k = max(point.recipe.k, point.recipe.resolvedFinalK.max() ?? 0)
            most = max(most, TrainingPlan.memory(dIn: dIn, layout: layout, k: k, batch: point.recipe.batch).bytes)
        }
        print(
            "memory: \(memoryText(most)) for a training, beside the model"
                + (jobs > 1 ? ", for each of \(jobs) jobs" : ""))
        var (seconds, known) = (0.0, [String: Double]())
        for (point, own) in zip(points, trainings) {
            let r = point.recipe, kind = "\(r.width) \(r.resolvedGroups) \(r.k) \(r.batch)"
            let each =
                try known[kind]
                ?? Calibration(randomRows: r.batch, dIn: dIn).step(
                    of: r, rule: rule, on: device, progress: Terminal.shared, stop: Interruption.request
                ).seconds
            known[kind] = each
            seconds += each * Double(own.reduce(0) { $0 + $1.steps })
        }
        print(
            "time: about \(CostEstimate.duration(seconds)) for the trainings alone, measured on a few steps with random "
                + "activations; harvests, scoring and evaluations come on top")
    }
}
