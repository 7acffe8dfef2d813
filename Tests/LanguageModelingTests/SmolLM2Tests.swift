import Glibc
import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// The real model's path: DMSAE_SMOLLM2 (a .gguf file or a folder), else where `dmsae fetch demo` puts it.
let smolLM2Path: String? = {
    func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
    if let path = variable("DMSAE_SMOLLM2") { return path }
    let caches = variable("XDG_CACHE_HOME") ?? variable("HOME").map { "\($0)/.cache" }
    guard let cache = variable("DMSAE_CACHE") ?? caches.map({ "\($0)/dmsae" }) else { return nil }
    let path = "\(cache)/demo/SmolLM2-135M-Instruct.Q4_1.gguf"
    return access(path, R_OK) == 0 ? path : nil
}()

@Suite(.enabled(if: smolLM2Path != nil, "needs SmolLM2-135M: run `dmsae fetch demo` or set DMSAE_SMOLLM2"))
struct SmolLM2Tests {
    @Test func residualsLossesAndGradientsAgreeWithPyTorch() throws {
        let model = try loadLanguageModel(path: smolLM2Path!)
        let io = try SafetensorsFile(path: fixture("smollm2/io.safetensors"))
        let batch = TokenBatch(ids: try io.integers("input_ids").map(Int32.init), sequenceCount: 2, length: 64)
        let d = model.configuration.dModel

        // Tolerances as recorded with the vectors: 2e-5 of each position's norm for residuals, 2e-4 nats for losses,
        // 5e-4 in norm for gradients; they come from running the library in single precision on two machines.
        let x = try model.residual(of: batch, afterLayer: 15)
        let residual = worstRow(x.values, try io.doubles("f64.resid.15"), columns: d)
        #expect(residual < 2e-5)
        for layer in [0, 29] {
            let all = try model.residual(of: batch, afterLayer: layer)
            let some = [0, 1, 63, 64, 65, 127].flatMap { all.copy(rows: $0..<$0 + 1).values }
            #expect(worstRow(some, try io.doubles("resid.\(layer).pos"), columns: d) < 2e-5, "layer \(layer)")
        }

        let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 15)
        let kept = losses.enumerated().filter { $0.offset % 64 != 63 }.map(\.element)
        #expect(largestDifference(kept, try io.doubles("f64.loss_per_token")) < 2e-4)
        let recorded = try io.doubles("f64.grad.15").map { $0 * 126 }
        let slope = worstRow(gradient.values, recorded, columns: d)
        #expect(slope < 5e-4)
    }

    @Test func theLikeliestTokensAreThoseOfPyTorch() throws {
        let model = try loadLanguageModel(path: smolLM2Path!)
        let io = try SafetensorsFile(path: fixture("smollm2/io.safetensors"))
        let batch = TokenBatch(ids: try io.integers("input_ids").map(Int32.init), sequenceCount: 2, length: 64)
        let x = try model.residual(of: batch, afterLayer: 29)
        let logits = try model.logits(of: batch, residual: x, afterLayer: 29)
        let indices = try io.integers("top5.indices"), values = try io.doubles("top5.values")
        for position in 0..<128 {
            for rank in 0..<5 {
                let (index, value) = (Int(indices[position * 5 + rank]), values[position * 5 + rank])
                // Logits reach 40; 2e-5 of that.
                #expect(abs(Double(logits[position, index]) - value) < 8e-4, "position \(position), rank \(rank)")
            }
        }
    }
}
