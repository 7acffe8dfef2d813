import Attribution
import Distillation
import Foundation
import LanguageModeling
import LinearAlgebra
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// What is said of rows whose norms are far above the others'.
@Suite struct OutlyingRowsTests {
    private let folder = TemporaryFolder()
    private let warnings = Warnings()

    /// The fixture's model, with the embeddings of ids 7 and 8 of 50 times their length.
    private func model() throws -> any LanguageModel {
        let names = ["config.json", "model.safetensors"]
        for name in names { try AtomicFile.write(contents(of: fixture("models/llama/" + name)), to: folder.file(name)) }
        let file = try SafetensorsFile(path: folder.file("model.safetensors"))
        var writer = SafetensorsWriter()
        for (name, tensor) in file.tensors.sorted(by: { $0.key < $1.key }) {
            let x = try file.matrix(name)
            if name == "model.embed_tokens.weight" {
                for id in [7, 8] { for c in 0..<x.columns { x[id, c] *= 50 } }
            }
            writer.add(name, x.values, shape: tensor.shape)
        }
        try writer.write(to: folder.file("model.safetensors"))
        return try loadLanguageModel(path: folder.path)
    }

    /// Rows of the first batches of the text, and how many of them are above three medians of their batch, in double precision.
    private func count(_ model: any LanguageModel, _ policy: SplicePolicy, batches: Int) throws -> (
        rows: Int, large: Int
    ) {
        let source = randomTokens(sequences: 4, length: 20)
        return try (0..<batches).reduce(into: (0, 0)) { sum, _ in
            let batch = try #require(try source())
            let x = try model.residual(of: batch, at: .residPost(1))
            let norms = (0..<80).map { r in
                (0..<48).reduce(0.0) { $0 + Double(x[r, $1]) * Double(x[r, $1]) }.squareRoot()
            }
            let replaced = policy.replaced(batch, residual: x)
            let median = norms.sorted()[40]
            sum.0 += replaced.count { $0 != 0 }
            sum.1 += (0..<80).count { replaced[$0] != 0 && norms[$0] > 3 * median }
        }
    }

    private func harvest(
        _ model: any LanguageModel, _ policy: SplicePolicy, to name: String, stoppedBefore cut: Int = .max
    ) throws {
        var settings = HarvestSettings(tokens: 1600, seed: 5, modelName: "llama")
        // Shards that are full count too.
        settings.shardRows = 300
        let source = randomTokens(sequences: 4, length: 20), stop = StopRequest()
        var batch = 0
        _ = try Harvest(model: model, hook: .residPost(1), policy: policy, settings: settings).run(
            next: {
                if batch == cut { stop.raise() }
                batch += 1
                return try source()
            }, to: folder.file(name), progress: warnings, stop: stop)
    }

    private func warning(_ found: (rows: Int, large: Int)) -> String {
        "\(found.large) of \(found.rows) rows have norms above 3 times the median. In the loss a row weighs by the square of its norm, "
            + "and a few such rows can leave most latents dead: --sinks 3 (splice.sinks in a recipe) leaves them out as attention sinks"
    }

    private var said: [String] { warnings.texts.withLock { $0 } }

    @Test func aHarvestSaysHowManyThereAre() throws {
        let (model, policy) = (try model(), SplicePolicy(keepFirst: 1, specialTokens: [3], sinkRatio: nil))
        let found = try count(model, policy, batches: 20)
        #expect((2...20).contains(found.large))
        try harvest(model, policy, to: "whole")
        #expect(said == [warning(found)])
        // One that was cut short counts those before, too.
        #expect(throws: DistillationError.interrupted) { try harvest(model, policy, to: "cut", stoppedBefore: 13) }
        try harvest(model, policy, to: "cut")
        #expect(said == [warning(found), warning(found)])
    }

    @Test func liveActivationsSayItOfTheirFirstBlock() throws {
        let (model, policy) = (try model(), SplicePolicy(keepFirst: 1, specialTokens: [3], sinkRatio: nil))
        let origin = ActivationOrigin(
            model: "llama", hookPoint: .residPost(1), contextLength: 20, policy: policy, hashes: [:])
        let live = try LiveActivations(
            of: { randomTokens(sequences: 4, length: 20) }, model: model, origin: origin,
            blocks: LiveBlocks(tokens: 800, sequences: 4, context: 20), others: [:], progress: warnings,
            stop: StopRequest())
        try live.measureScale()
        let found = try count(model, policy, batches: 10)
        #expect(found.large > 0 && said == [warning(found)])
    }

    @Test func nothingIsSaidWhereTheyAreSinksOrAreNotThere() throws {
        try harvest(try model(), SplicePolicy(keepFirst: 1, specialTokens: [3], sinkRatio: 3), to: "sinks")
        let usual = try loadLanguageModel(path: fixture("models/llama"))
        try harvest(usual, SplicePolicy(keepFirst: 1, specialTokens: [3], sinkRatio: nil), to: "usual")
        #expect(said == [])
    }
}
