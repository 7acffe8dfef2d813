import Distillation
import TestSupport
import Testing

@Suite struct SweepTests {
    private func sweep(_ axes: [String], seeds: Int = 1) throws -> Sweep {
        try Sweep(
            name: "r", recipe: "seed: 5\ntrain: {k: 8}\n", assignments: ["distill.cycles=2"],
            over: axes.map { try SweepAxis($0) }, seeds: seeds, lanes: 1)
    }

    @Test(arguments: [
        ("distill.tau=0.5", ["0.5"]), ("distill.tau=0.5,0.7", ["0.5", "0.7"]),
        ("final.k=[16],[16, 32]", ["[16]", "[16, 32]"]),
        (#"score.scorer="ig,steps=8",gxa"#, [#""ig,steps=8""#, "gxa"]),
        ("train.k=8 , 16", ["8", "16"]),
        ("final.trials=[{core: none}, {core: random}],auto", ["[{core: none}, {core: random}]", "auto"]),
    ]) func valuesStandBetweenCommasOutsideOfBracketsAndQuotes(_ text: String, _ values: [String]) throws {
        #expect(try SweepAxis(text).values == values)
    }

    @Test(arguments: [
        ("distill.tau", "it is not KEY=VALUE,VALUE,…"), ("=1", "it is not KEY=VALUE,VALUE,…"),
        ("final.k=[1,2", "a bracket or a quote is not closed"), ("a='b", "a bracket or a quote is not closed"),
        ("train.k=8,,16", "a value is empty"), ("train.k=8,8", "8 is there twice"),
    ]) func anAxisThatCannotBeReadIsRefused(_ text: String, _ reason: String) {
        #expect(
            message { _ = try SweepAxis(text) }
                == "--over \(text): \(reason); give a recipe key and its values, as --over distill.tau=0.5,0.7,0.9")
    }

    @Test func pointsAreTheGridWithSeedsInnermost() throws {
        let points = try sweep(["distill.tau=0.5,0.7", "train.k=4,8"], seeds: 2).points()
        #expect(
            points.map(\.values).map { $0.joined(separator: " ") } == [
                "0.5 4 5", "0.5 4 6", "0.5 8 5", "0.5 8 6", "0.7 4 5", "0.7 4 6", "0.7 8 5", "0.7 8 6",
            ])
        #expect(points[5].recipe.tau == 0.7 && points[5].recipe.k == 4 && points[5].recipe.seed == 6)
        #expect(points.allSatisfy { $0.recipe.cycles == 2 })
        #expect(points[5].folder == "point-0005")
    }

    @Test func whatNoRecipeHasIsRefusedBeforeAnyWork() {
        #expect(message { _ = try sweep(["distill.tua=0.5"]) }.contains("did you mean \"distill.tau\"?"))
        #expect(message { _ = try sweep(["train.steps=many"]) }.contains("train.steps is \"many\""))
        #expect(message { _ = try sweep(["seed=1,2"], seeds: 2) }.contains("seed is swept over twice"))
        #expect(message { _ = try sweep(["train.k=1,2", "train.k=3"]) }.contains("train.k is swept over twice"))
        #expect(
            message { _ = try sweep(["seeds=1,2"]) }.contains("give --seeds N in the place of the recipe's key seeds"))
        #expect(
            message { _ = try sweep(["train.k=1,2"], seeds: 9999) }
                == "the sweep has more than 10000 points; give fewer values")
    }

    /// A key that is new must be put into the table, or the step that it changes is shared. Until then it counts as one of the harvest.
    @Test(arguments: [
        ("distill.tau", [2, 2, 4, 4]), ("score.aggregate", [2, 2, 4, 4]), ("distill.cycles", [2, 2, 2, 4]),
        ("distill.core_mode", [2, 2, 2, 4]), ("distill.core_decoder_init", [2, 2, 2, 4]), ("final.k", [2, 2, 2, 2]),
        ("final.budget", [2, 2, 2, 2]), ("train.k", [2, 4, 4, 4]), ("train.sparsity", [2, 4, 4, 4]),
        ("evaluate.tokens", [2, 4, 4, 4]), ("layer", [4, 4, 4, 4]), ("text", [4, 4, 4, 4]),
    ]) func whatIsSharedFollowsFromTheKeysThatAStepDependsOn(_ key: String, _ counts: [Int]) throws {
        let values = [
            "distill.tau": "0.2,0.3", "score.aggregate": "mean,max", "distill.cycles": "2,3",
            "distill.core_mode": "dense,sparse", "distill.core_decoder_init": "random,encoder", "final.k": "8,16",
            "final.budget": "total,non-core", "train.k": "8,16", "train.sparsity": "topk,batchtopk",
            "evaluate.tokens": "512,1024", "layer": "1,2", "text": "a,b",
        ]
        let points = try sweep(["\(key)=\(values[key] ?? "")"], seeds: 2).points()
        let work = SweepWork(points)
        // Of two seeds, which share nothing.
        #expect(SharedStep.allCases.map { work.count($0) } == counts)
        for step in SharedStep.allCases {
            #expect(work.sharing(step, with: points[0].recipe).first == 0)
            #expect(!work.sharing(step, with: points[0].recipe).contains(1))
        }
    }

    @Test func aPointMakesTheTrainingsThatAreNobodyElses() throws {
        let points = try sweep(["distill.tau=0.2,0.3"]).points()
        let work = SweepWork(points)
        #expect(work.trainings(of: points[0]).map(\.name).prefix(3) == ["cycle-0", "cycle-1", "cycle-2"])
        #expect(work.trainings(of: points[1]).map(\.name).prefix(2) == ["cycle-1", "cycle-2"])
        #expect(work.trainings(of: points[1]).count == work.trainings(of: points[0]).count - 1)
    }
}
