import Distillation
import Glibc
import LanguageModeling
import TensorFiles

/// What a sweep will take, without running it: counted, and timed on a little of each part.
struct SweepForecast {
    private let points: [SweepPoint]
    private let work: SweepWork
    private let axes: String
    private let jobs: Int
    private let cost: SweepCost

    init(_ sweep: Sweep, _ place: DeviceOptions, _ plugins: PluginOptions, jobs: Int) throws {
        // Before lanes are started.
        setenv("DMSAE_LANES", "\(sweep.lanes)", 1)
        (points, work, axes, self.jobs) = (try sweep.points(), try sweep.work(), sweep.axesText, jobs)
        for point in points { try point.recipe.validate() }
        try Surroundings.prepareToCompute(advice: "lower sae.width or train.batch of the recipe")
        let device = try place.trainingDevice()
        cost = try SweepCost(points, work) { point in
            var corpora: [Corpus] = []
            var recipe = point.recipe
            let start = try recipe.adoptStart()
            var parts = try DistillationParts(recipe, plugins, on: place, folder: "", corpora: &corpora)
            (parts.device, parts.start, parts.together) = (device, start, 1)
            return try Distillation(
                recipe, parts: parts, folder: "", progress: Terminal.shared, stop: Interruption.request)
        }
    }

    var times: SweepTimes { cost.times }

    func show() {
        let made = points.reduce(0) { $0 + work.trainings(of: $1).count }
        print("\(points.count) points: \(axes)")
        print(
            "shared: \(work.count(.harvest)) of \(points.count) harvests are made, \(made) of "
                + "\(points.reduce(0) { $0 + $1.recipe.trainings }) trainings")
        for line in cost.estimate.lines { print(line) }
        guard let seconds = cost.estimate.seconds, jobs > 1 else { return }
        print(
            "\(jobs) points at once, each on its part of the lanes and with a memory of its own: about "
                + CostEstimate.duration(seconds / Double(min(jobs, points.count))))
    }
}
