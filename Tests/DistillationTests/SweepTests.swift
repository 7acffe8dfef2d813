import Distillation
import Glibc
import TensorFiles
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
        (#"text="a[",b"#, [#""a[""#, "b"]),
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
        ("distill.steps", [2, 4, 4, 4]), ("score.candidates", [2, 2, 4, 4]),
        ("distill.core_rate", [2, 2, 2, 4]), ("distill.non_core", [2, 2, 2, 4]), ("distill.stop_at", [2, 2, 2, 4]),
    ]) func whatIsSharedFollowsFromTheKeysThatAStepDependsOn(_ key: String, _ counts: [Int]) throws {
        let values = [
            "distill.tau": "0.2,0.3", "score.aggregate": "mean,max", "distill.cycles": "2,3",
            "distill.core_mode": "dense,sparse", "distill.core_decoder_init": "random,encoder", "final.k": "8,16",
            "final.budget": "total,non-core", "train.k": "8,16", "train.sparsity": "topk,batchtopk",
            "evaluate.tokens": "512,1024", "layer": "1,2", "text": "a,b", "distill.steps": "9,10",
            "score.candidates": "inner,all", "distill.core_rate": "0.1,0.2", "distill.non_core": "fresh,warm",
            "distill.stop_at": "0.8,0.9",
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

    @Test func seedsShareAHarvestThatHasASeedOfItsOwn() throws {
        let apart = SweepWork(try sweep(["distill.tau=0.2,0.3"], seeds: 3).points())
        #expect(apart.count(.harvest) == 3 && apart.count(.firstTraining) == 3)
        let shared = SweepWork(
            try Sweep(
                name: "r", recipe: "seed: 5", assignments: ["harvest.seed=5"], over: [SweepAxis("distill.tau=0.2,0.3")],
                seeds: 3, lanes: 1
            ).points())
        #expect(shared.count(.harvest) == 1 && shared.count(.firstTraining) == 3)
    }

    @Test func aRecipesOwnGridIsSweptUnlessItsKeysAreSettled() throws {
        func axes(_ over: [String], _ assignments: [String] = [], seeds: Int? = nil) throws -> String {
            try Sweep(
                name: "r", recipe: "seed: 4\nsweep: {over: ['distill.tau=0.5,0.7', 'train.k=4,8'], seeds: 2}",
                assignments: assignments, over: over.map { try SweepAxis($0) }, seeds: seeds, lanes: 1
            ).axesText
        }
        #expect(try axes([]) == "distill.tau=0.5,0.7 train.k=4,8 seed=4,5")
        #expect(try axes([], seeds: 1) == "distill.tau=0.5,0.7 train.k=4,8")
        #expect(try axes(["train.k=16"], ["distill.tau=0.9"], seeds: 3) == "train.k=16 seed=4,5,6")
        #expect(try axes(["seed=7,8"]) == "seed=7,8 distill.tau=0.5,0.7 train.k=4,8")
        #expect(
            message {
                _ = try Sweep(name: "r", recipe: "seed: 4", assignments: [], over: [], lanes: 1)
            } == "give the keys to sweep over, as --over distill.tau=0.3,0.5, or --seeds N")
    }

    @Test func stepsThatAnotherSweepHasMadeAreTakenOver() throws {
        let folder = TemporaryFolder()
        func begin(_ name: String, _ axis: String, from: [String] = []) throws -> Sweep {
            let sweep = try Sweep(
                name: "r", recipe: "seed: 5", assignments: [], over: [SweepAxis(axis)], lanes: 1, from: from)
            try createFolder(folder.file(name))
            return try sweep.open(in: folder.file(name))
        }
        let first = try begin("first", "distill.tau=0.2,0.3")
        for mark in ["store/store.json", "cycle-0/done.json", "cycle-0/sae/done.json", "final/core.json"] {
            let path = folder.file("first/point-0001/" + mark)
            try createFolder(parentFolder(of: path))
            try AtomicFile.write("{}", to: path)
        }
        let second = try begin("second", "distill.tau=0.3,0.4", from: [folder.file("first")])
        let work = try second.work(), points = try second.points()
        let donor = folder.file("first/point-0001")
        #expect(
            work.donors(of: points[0], in: folder.file("second"))
                == Dictionary(
                    uniqueKeysWithValues: SharedStep.allCases.map { ($0, donor) }))
        #expect(
            work.donors(of: points[1], in: folder.file("second")) == [.harvest: donor, .firstTraining: donor])
        #expect(SharedStep.allCases.map { work.count($0) } == [0, 0, 1, 1])
        #expect(work.trainings(of: points[0]).allSatisfy { $0.hasPrefix("final/") })
        #expect(work.trainings(of: points[1]).first == "cycle-1")
        // What it is from is a part of what it is.
        #expect(try Sweep(folder: folder.file("second")).from == [folder.file("first")] && first.from == nil)
        #expect(message { _ = try begin("second", "distill.tau=0.3,0.4") }.contains("was started with --from = "))
    }

    @Test func aPointMakesTheTrainingsThatAreNobodyElses() throws {
        let points = try sweep(["distill.tau=0.2,0.3"]).points()
        let work = SweepWork(points)
        #expect(work.trainings(of: points[0]).prefix(3) == ["cycle-0", "cycle-1", "cycle-2"])
        #expect(work.trainings(of: points[1]).prefix(2) == ["cycle-1", "cycle-2"])
        #expect(work.trainings(of: points[1]).count == work.trainings(of: points[0]).count - 1)
    }

    /// A harvest, cycle 0 with its scores, a trial: what marks, the log and the time tell of each.
    @Test func howFarASweepIsFollowsFromItsFolders() throws {
        let folder = TemporaryFolder()
        let points = try Sweep(
            name: "r",
            recipe:
                "{distill.cycles: 0, harvest.tokens: 4096, context: 128, train.steps: 100, final.trials: [baseline]}",
            assignments: [], over: [SweepAxis("seed=1,2")], lanes: 1
        ).points()
        let work = SweepWork(points)
        let names = work.parts(of: points[0]).map(\.name)
        #expect(names == ["store", "cycle-0", "cycle-0, scores", "final/k-64/baseline"])
        func times(_ text: String) throws -> SweepTimes {
            try JSONRecord.decode(SweepTimes.self, from: #"{"seconds": [\#(text)]}"#, in: "forecast.json")
        }
        let point = #"{"store": 10, "cycle-0": 20, "cycle-0, scores": 30, "final/k-64/baseline": 40, "gone": 5}"#
        let known = try times(point + "," + point)
        #expect(known.cover(points, work))
        var progress = SweepProgress(points, work, times: known, folder: folder.path)
        // Of other points, of other parts, and no times at all.
        for other in [
            point, "\(point), {}", point + "," + point.replacing("20", with: "-1"), "\(point), {\"store\": 1e300}",
        ] {
            #expect(try !times(other).cover(points, work))
            #expect(try SweepProgress(points, work, times: times(other), folder: folder.path).total == 400)
        }
        #expect(progress.total == 200)
        func write(_ name: String, _ text: String = "{}") throws {
            let path = folder.file("point-0000/" + name)
            try createFolder(parentFolder(of: path))
            try AtomicFile.write(text, to: path)
        }
        func step(_ run: String, _ step: Int) -> String {
            #"{"event":"step","record":{"loss":0.5,"step":\#(step)},"run":"\#(run)"}"# + "\n"
        }
        #expect(progress.done(running: [0], at: 5) == 0)
        try createFolder(folder.file("point-0000"))
        #expect(progress.done(running: [0], at: 7) == 0)
        // Half of the harvest's seconds; it is not done before its mark, whatever it takes.
        #expect(progress.done(running: [0], at: 12) == 5)
        #expect(progress.done(running: [0], at: 1000) == 9.5)
        try write("store/store.json")
        #expect(progress.done(running: [0], at: 1001) == 10)
        // A line that is being written is none.
        try write("events.jsonl", #"{"event":"run"}"# + "\n" + step("cycle-0", 49) + #"{"event":"step","rec"#)
        #expect(progress.done(running: [0], at: 1002) == 20)
        // Nobody is at it: what its marks tell.
        #expect(progress.done(running: [], at: 1003) == 10)
        try write("cycle-0/sae/done.json")
        try write("cycle-0/done.json")
        try write("final/core.json")
        #expect(progress.done(running: [0], at: 1004) == 60)
        try write("events.jsonl", step("cycle-0", 99) + step("final/k-64/baseline", 24))
        #expect(progress.done(running: [0], at: 1005) == 70)
        #expect(progress.done(running: [], ended: [0], at: 1006) == 100)
        try write("result.json")
        #expect(progress.done(running: [], at: 1006) == 100)
        // Cycles that ended early leave nothing of those that the recipe had room for.
        let more = try Sweep(
            name: "r", recipe: "{distill.cycles: 5, final.trials: [dmsae]}", assignments: [],
            over: [SweepAxis("seed=1,2")], lanes: 1
        ).points()
        var early = SweepProgress(more, SweepWork(more), times: nil, folder: folder.path)
        unlink(folder.file("point-0000/result.json"))
        let trial = more[0].recipe.steps
        #expect(early.done(running: [], at: 0) == early.total / 2 - Double(trial))
    }
}
