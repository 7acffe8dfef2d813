import ArgumentParser
import Distillation
import LanguageModeling
import SAEFormats
import SparseCoding
import SyntheticFeatures
import TensorFiles

/// `dmsae eval synthetic`: an SAE against the features of the world that it was trained in.
struct EvalSyntheticCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "synthetic",
        abstract: "Hold an SAE against known features: does it find them, is its core the useful ones?",
        discussion: """
            Under SAELens' names: mcc, uniqueness and each latent as a detector of the feature that its decoder row is nearest to. Then parts of \
            the SAE as a choice of features: how many latents are one (|cos| of 0.7 and more), which of as many most useful features they \
            found, and what they are worth: the nats that taking their features out adds to the loss, over those of the most useful ones. \
            chance is as many other latents of the innermost prefix, drawn at random, with what 95% of draws lie between.

            Example: dmsae eval synthetic --model world --sae runs/synthetic/final/k-12/dmsae/sae
            """)

    @Option(help: "Folder that dmsae synthetic has written; default the one in the cache.")
    var model: String?
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "A core.json of latents of this SAE, in the place of its own core.")
    var core: String?
    @Option(help: "Token ids [B, T]; default the world's own for evaluation.")
    var text: String?
    @Option(help: "Tokens to evaluate on.")
    var tokens = 32_768
    @Option(help: "Draws of other latents.")
    var draws = 200
    @Option(help: "Seed of the draws.")
    var seed: UInt64 = 0
    @Option(help: "JSON file to write.")
    var out: String?
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require("--tokens", tokens, in: OptionRange.tokens)
        try require("--draws", draws, in: 40...10_000)
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to evaluate from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens")
        let place = try model.map { SyntheticPlace(folder: $0) } ?? SyntheticPlace.inCache()
        guard SyntheticModel.isAt(place.folder) else { throw MissingWorld(folder: place.folder) }
        let path = text ?? place.test
        if let out { try OutputPlace.requireFile(out, reading: [place.folder, sae, path, core]) }
        let world = try SyntheticModel(path: place.folder)
        let autoencoder = try SAEFormats.read(sae).sae
        let batch = try readTokens(path)
        let evaluation = try FeatureEvaluation(autoencoder, of: world)
        let rows = min(batch.sequenceCount, (tokens - 1) / batch.length + 1)
        Terminal.shared.begin("evaluate", total: rows * batch.length, unit: "tokens")
        // Two thousand positions at a time.
        let step = max(1, 2048 / batch.length)
        for first in stride(from: 0, to: rows, by: step) {
            try Interruption.request.check()
            let part = first..<min(first + step, rows)
            try evaluation.add(batch.sequences(part))
            Terminal.shared.advance(by: part.count * batch.length, detail: "")
        }
        Terminal.shared.end()
        Terminal.shared.begin("match", total: min(autoencoder.dSAE, world.world.settings.features), unit: "latents")
        let findings = try evaluation.findings(
            sets: try sets(of: autoencoder, evaluation), draws: draws, seed: seed
        ) {
            try Interruption.request.check()
            Terminal.shared.advance(by: 1, detail: "")
        }
        Terminal.shared.end()
        let record = FeatureEvaluation.Record(
            findings,
            origin: try origin(
                [
                    ("SAE", SAEFormats.files(sae)), ("text", [path]),
                    ("world", [place.folder + "/" + SyntheticModel.file]),
                ]
                    + (core.map { [("core", [$0])] } ?? []),
                ["tokens": "\(tokens)", "draws": "\(draws)", "seed": "\(seed)"]))
        if let out { try JSONRecord.write(record, to: out) }
        if output.json { return print(try JSONRecord.text(record)) }
        show(findings)
    }

    /// Latents by the name of what they are, each with those that as many are drawn from.
    private func sets(
        of sae: SparseAutoencoder, _ evaluation: FeatureEvaluation
    ) throws -> [String: (latents: [Int], others: [Int])] {
        let inner = Array(0..<sae.layout.innermost)
        var result: [String: (latents: [Int], others: [Int])] = [
            "innermost prefix": (inner, []), "all": (Array(0..<sae.dSAE), []),
        ]
        let latents =
            try core.map { try Core.read($0, of: sae).core.latents.map(\.index) } ?? Array(0..<sae.layout.coreCount)
        guard !latents.isEmpty else { return result }
        let chosen = Set(latents)
        result["core"] = (latents, inner.filter { !chosen.contains($0) })
        result["most frequent"] = (evaluation.mostFrequent(latents.count, of: inner), [])
        return result
    }

    private func show(_ found: FeatureEvaluation.Findings) {
        for (name, value) in [
            ("explained_variance", found.explained_variance), ("true_l0", found.true_l0), ("sae_l0", found.sae_l0),
            ("shrinkage", found.shrinkage), ("mcc", found.mcc), ("uniqueness", found.uniqueness),
            ("precision", found.classification.precision), ("recall", found.classification.recall),
            ("f1_score", found.classification.f1_score),
        ] {
            print(name + String(repeating: " ", count: 20 - name.count) + (value.map { decimals($0, 4) } ?? "no value"))
        }
        print("dead_latents        \(found.dead_latents)\n")
        var table = TextTable([
            ("latents", 18), ("", 5), ("a feature", 10), ("features", 9), ("useful", 8), ("worth", 8), ("chance", 8),
            ("95%", 16),
        ])
        for (name, set) in found.sets.sorted(by: { $0.value.latents < $1.value.latents }) {
            table.add([
                name, "\(set.latents)", decimals(set.matched, 3), "\(set.features)", decimals(set.useful_found, 3),
                decimals(set.usefulness, 3), set.chance.map { decimals($0.mean, 3) } ?? "",
                set.chance.map { "[\(decimals($0.low, 3)), \(decimals($0.high, 3))]" } ?? "",
            ])
        }
        table.lines.forEach { print($0) }
    }
}
