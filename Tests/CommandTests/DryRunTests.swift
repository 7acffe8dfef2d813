import TensorFiles
import TestSupport
import Testing

/// What commands say that they would take.
@Suite struct DryRunTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws {
        tiny = try TinyModel()
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
    }

    private var training: [String] {
        [
            "--width", "128", "--k", "8", "--batch", "64", "--steps", "100", "--out", folder.file("no"), "--dry-run",
            "--quiet",
        ]
    }

    private func work(_ arguments: [String], _ name: String) throws -> JSONValue {
        let estimate = try JSONValue(parsing: try succeed(arguments + ["--json"]))
        #expect(!isThere(folder.file("no")))
        let work = try #require(estimate["work"]?[name], "\(estimate)")
        #expect((work["seconds"]?.double ?? 0) > 0)
        return work
    }

    @Test func aHarvestAndATrainingSayWhatTheyTakeAndWriteNothing() throws {
        let text = ["--model", tiny.model, "--layer", "1", "--text", tiny.text, "--context", "32"]
        let harvest = ["harvest"] + text + ["--tokens", "4096", "--out", folder.file("no"), "--dry-run", "--quiet"]
        #expect(try work(harvest, "model")["count"]?.integer == 4096)
        #expect(try work(["train"] + text + training, "training")["count"]?.integer == 100)
        // 6,400 rows are a little more in tokens: first positions are left out.
        let tokens = try work(["train"] + text + training, "model")["count"]?.integer ?? 0
        #expect((6500..<7500).contains(tokens), "\(tokens)")
        try write("x", randomMatrix(640, 48, seed: 7), to: folder.file("x"))
        let said = try succeed(["train", "--activations", folder.file("x")] + training)
        #expect(
            said.hasPrefix("training: 100 steps of 64 rows, ") && said.contains("\nmemory: training 128 latents"),
            "\(said)")
    }

    @Test func aDistillationSaysWhatItTakesAndWhetherAStoreIsCheaper() throws {
        let words = ["distill", folder.file("tiny.yaml"), "--out", folder.file("no"), "--dry-run", "--quiet"]
        // Three cycles and a pair, 60 steps each.
        #expect(try work(words, "5 trainings")["count"]?.integer == 300)
        #expect(try work(words, "model, harvest")["count"]?.integer == 4000)
        #expect(try work(words, "scoring")["count"]?.integer == 3 * 512)
        // Cycles and trials of three seeds, over one harvest.
        let seeds = words + ["--set", "seeds=3"]
        #expect(try work(seeds, "15 trainings")["count"]?.integer == 900)
        #expect(try work(seeds, "model, harvest")["count"]?.integer == 4000)
        #expect(try work(seeds, "scoring")["count"]?.integer == 9 * 512)
        // 76,800 rows are made by live trainings, one after the other; of the pair side by side one training's less, and of three
        // seeds as many as of one.
        func live(_ more: String..., trainings: Int = 5) throws -> Int {
            try work(
                words + ["--set", "harvest.live=true"] + more, "model, live for \(trainings) trainings")["count"]?
                .integer
                ?? 0
        }
        let alone = try live("--together", "1")
        #expect((78_000..<90_000).contains(alone), "\(alone)")
        // Rounded down once.
        func passes(_ tokens: Int) -> Double { (Double(tokens) / Double(alone) * 5 * 100).rounded() / 100 }
        #expect(try passes(live()) == 4)
        #expect(try passes(live("--together", "2")) == 4)
        #expect(try passes(live("--set", "seeds=3", trainings: 15)) == 4)
        // Three cycles of three in twos, and six trials in twos.
        #expect(try passes(live("--set", "seeds=3", "--together", "2", trainings: 15)) == 9)
        let said = try succeed(words)
        #expect(said.contains("\ncheaper: a store, since the model then runs "), "\(said)")
        #expect(said.contains("live: the model runs over "), "\(said)")
        #expect(!isThere(folder.file("no")))
    }

    @Test func thePapersSizesAreToldWithoutTheModel() throws {
        let said = try succeed(["distill", "paper-gemma-2-2b", "--out", folder.file("no"), "--dry-run"])
        #expect(said.contains("20 trainings: 4882820 steps of 2048 rows\n"), "\(said)")
        #expect(
            said.contains(
                "the model gemma-2-2b is not there (say where with --set model=PATH): memory, disk and time depend on its width and speed"
            ),
            "\(said)")
        let recipe = try succeed(["distill", "paper-gemma-2-2b", "--print-recipe"])
        #expect(recipe.contains("groups: [2048, 4096, 8192, 16384, 34816]") && recipe.contains("live: true"))
    }
}
