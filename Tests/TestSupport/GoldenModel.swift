import LanguageModeling
import LinearAlgebra
import TensorFiles
import Testing

/// A model and what PyTorch computes with it, every quantity in Double where the file has it; `recorded` names the
/// folder with the numbers.
///
/// Tolerances: 2e-5 of the largest entry for activations, logits and losses, 1e-4 for gradients. PyTorch's own
/// single precision differs from its Double by a tenth of that.
package struct GoldenModel: Sendable, CustomTestStringConvertible {
    package let name: String
    let recorded: String
    package var testDescription: String { name }

    package static let all =
        [
            GoldenModel(name: "llama", recorded: "llama"), GoldenModel(name: "llama-bf16", recorded: "llama-bf16"),
            GoldenModel(name: "llama-f16", recorded: "llama-f16"),
            GoldenModel(name: "llama-sharded", recorded: "llama"),
            GoldenModel(name: "llama3-rope", recorded: "llama3-rope"),
        ]
        + ["mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen2", "qwen3"].map {
            GoldenModel(name: $0, recorded: $0)
        }

    private func values(_ io: SafetensorsFile, _ name: String) throws -> [Double] {
        try io.doubles(io.tensors["f64.\(name)"] == nil ? name : "f64.\(name)")
    }

    /// Losses as recorded, `[B, T − 1]`: without the last position, which must be 0.
    private func trimmed(_ losses: [Float], _ batch: TokenBatch) -> [Float] {
        losses.enumerated().filter { $0.offset % batch.length != batch.length - 1 }.map(\.element)
    }

    /// The model's folder.
    package var path: String { fixture("models/\(name)") }

    /// Every quantity of every layer of a model that was loaded from `path`.
    package func check(_ model: any LanguageModel) throws {
        let io = try SafetensorsFile(path: fixture("models/\(recorded)/io.safetensors"))
        let ids = try io.require("input_ids")
        let batch = TokenBatch(
            ids: try io.integers("input_ids").map(Int32.init), sequenceCount: ids.shape[0], length: ids.shape[1])
        let lossCount = Float(batch.sequenceCount * (batch.length - 1))
        for layer in 0..<model.configuration.layerCount {
            let x = try model.residual(of: batch, afterLayer: layer)
            #expect(relativeDifference(x.values, try values(io, "resid.\(layer)")) < 2e-5, "residual \(layer)")
            let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: x, afterLayer: layer)
            #expect(
                relativeDifference(trimmed(losses, batch), try values(io, "loss_per_token")) < 2e-5,
                "losses \(layer)")
            #expect(losses[batch.length - 1] == 0 && losses.last == 0)
            // Recorded gradients are of the mean loss.
            #expect(
                relativeDifference(gradient.values.map { $0 / lossCount }, try values(io, "grad.\(layer)")) < 1e-4,
                "gradient \(layer)")
            #expect(try model.losses(of: batch, residual: x, afterLayer: layer) == losses)
            let logits = try model.logits(of: batch, residual: x, afterLayer: layer)
            #expect(relativeDifference(logits.values, try values(io, "logits")) < 2e-5, "logits \(layer)")
        }
        #expect(model.configuration.layerCount > 1)
        guard io.tensors["splice.x"] != nil else {
            #expect(recorded != "llama", "a spliced stream is recorded")
            return
        }
        let layer = Int(try io.integers("splice.layer")[0])
        let (losses, gradient) = try model.lossesAndGradient(
            of: batch, residual: try io.matrix("splice.x"), afterLayer: layer)
        #expect(relativeDifference(trimmed(losses, batch), try values(io, "splice.loss_per_token")) < 2e-5)
        #expect(relativeDifference(gradient.values.map { $0 / lossCount }, try values(io, "splice.grad")) < 1e-4)
    }
}
