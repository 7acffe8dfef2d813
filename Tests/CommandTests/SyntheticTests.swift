import Foundation
import TensorFiles
import TestSupport
import Testing

/// A world of known features as a user makes it, distils in it and looks at what came of it.
@Suite struct SyntheticTests {
    private let folder = TemporaryFolder()
    private var world: String { folder.file("world") }

    private func make() throws {
        let said = try succeed([
            "synthetic", "--out", world, "--tokens", "20000", "--quiet", "--set", "features=48", "--set", "width=16",
            "--set", "vocabulary=16", "--set", "firing=3", "--set", "context=32",
        ])
        #expect(said == "\(world): 48 features, 625 sequences of 32 tokens\n")
    }

    @Test func theMethodRunsInAWorldOfKnownFeaturesAndItsCoreIsHeldAgainstThem() throws {
        try make()
        try AtomicFile.write(
            """
            seed: 1
            model: \(world)
            text: \(world)/text/train.safetensors
            layer: 0
            context: 32
            harvest: {tokens: 16000}
            sae: {width: 48, groups: [16, 32]}
            train: {k: 4, batch: 256, steps: 300, lr: 3e-3}
            score: {tokens: 3200}
            distill: {tau: 0.6, cycles: 1, core_mode: sparse, core_decoder_init: encoder}
            final: {k: [4], trials: [dmsae, random]}
            evaluate: {tokens: 640}

            """, to: folder.file("recipe.yaml"))
        let table = try succeed(["distill", folder.file("recipe.yaml"), "--out", folder.file("run"), "--quiet"])
        #expect(table.contains("The model's own loss is "))
        let sae = folder.file("run/final/k-4/dmsae")
        let json = try JSONValue(
            parsing: succeed(["eval", "synthetic", "--model", world, "--sae", sae, "--quiet", "--json"]))
        let found = try #require(json["findings"])
        for key in ["true_l0", "sae_l0", "shrinkage", "explained_variance", "mcc", "uniqueness"] {
            #expect(try #require(found[key]?.double).isFinite, "\(key)")
        }
        let core = try #require(found["sets"]?["core"])
        #expect(core["latents"]?.integer ?? 0 > 0 && core["usefulness"]?.double ?? 2 <= 1)
        #expect(
            json["origin"]?["world.sha256"] != nil
                || json["origin"]?.object?.keys.contains { $0.hasPrefix("world") } == true)
        let words = try succeed([
            "eval", "synthetic", "--model", world, "--sae", folder.file("run/cycle-0/sae"), "--core",
            folder.file("run/cycle-0/core.json"), "--quiet", "--out", folder.file("found.json"),
        ])
        #expect(words.contains("innermost prefix") && words.contains("most frequent") && words.contains("\ncore"))
        #expect(isThere(folder.file("found.json")))
    }

    @Test func theSameSettingsMakeTheSameFiles() throws {
        try make()
        let names = [
            "synthetic.json", "text/train.safetensors", "text/test.safetensors", "truth/features.safetensors",
        ]
        let first = names.map { contents(of: world + "/" + $0) }
        try make()
        for (name, bytes) in zip(names, first) { expectSame(contents(of: world + "/" + name), bytes, name) }
    }

    /// By its name the recipe's world is the cache's.
    @Test func theRecipesWorldIsThatOfTheCache() throws {
        let cache = startingEnvironment.merging(["DMSAE_CACHE": folder.file("cache")]) { $1 }
        let words = ["distill", "synthetic", "--dry-run", "--quiet"]
        let missing = try run(builtProgram, words, environment: cache)
        #expect(
            missing.status == 1
                && missing.errors.contains("cache/synthetic holds no world of known features; run: dmsae synthetic"))
        _ = try run(builtProgram, ["synthetic", "--tokens", "6400", "--quiet"], environment: cache)
        let found = try run(builtProgram, words + ["--set", "harvest.tokens=5120"], environment: cache)
        #expect(found.status == 0 && found.output.contains("\ntime: about "), "\(found.output)\(found.errors)")
    }

    @Test func whatIsWrongIsNamed() throws {
        try fail(
            ["synthetic", "--out", world, "--set", "feature=3"],
            saying: "--set: there is no setting feature; they are seed, ")
        try fail(
            ["synthetic", "--out", world, "--set", "features"], status: 64, saying: "--set features is no NAME=VALUE")
        #expect(!isThere(world))
        try fail(
            ["eval", "synthetic", "--model", folder.path, "--sae", folder.path],
            saying: "\(folder.path) holds no world of known features; run: dmsae synthetic")
        try AtomicFile.write("{}", to: folder.file("run.json"))
        try fail(["synthetic", "--out", folder.path, "--tokens", "64"], saying: "it holds a distillation (run.json)")
    }
}
