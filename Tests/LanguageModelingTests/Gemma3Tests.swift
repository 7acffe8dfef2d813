import Glibc
import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// The real model's path: DMSAE_GEMMA3 (a .gguf file), else where `dmsae fetch gemma3` puts it.
let gemma3Path: String? = {
    func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
    if let path = variable("DMSAE_GEMMA3") { return path }
    let caches = variable("XDG_CACHE_HOME") ?? variable("HOME").map { "\($0)/.cache" }
    guard let cache = variable("DMSAE_CACHE") ?? caches.map({ "\($0)/dmsae" }) else { return nil }
    let path = "\(cache)/gemma3/gemma-3-270m-q4_k_m.gguf"
    return access(path, R_OK) == 0 ? path : nil
}()

@Suite(.enabled(if: gemma3Path != nil, "needs Gemma 3 270M: run `dmsae fetch gemma3` or set DMSAE_GEMMA3"))
struct Gemma3Tests {
    @Test func `residuals, losses and gradients agree with PyTorch`() throws {
        let model = try loadLanguageModel(path: gemma3Path!)
        let io = try SafetensorsFile(path: fixture("gemma3_270m/io.safetensors"))
        let batch = TokenBatch(ids: try io.integers("input_ids").map(Int32.init), sequenceCount: 2, length: 64)
        let d = model.configuration.dModel
        // Tolerances as recorded with the vectors: 5e-5 of each position's norm (position 0 has norm 88,000 against a median of
        // 6,400), 5e-4 nats, 1e-3 of the gradient's norm; from running the library in single precision on two machines.
        let x = try model.residual(of: batch, afterLayer: 9)
        #expect(worstRow(x.values, try io.doubles("f64.resid.9"), columns: d) < 5e-5)
        for layer in [0, 17] {
            let all = try model.residual(of: batch, afterLayer: layer)
            let some = [0, 1, 63, 64, 65, 127].flatMap { all.copy(rows: $0..<$0 + 1).values }
            #expect(worstRow(some, try io.doubles("resid.\(layer).pos"), columns: d) < 5e-5, "layer \(layer)")
        }
        let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 9)
        let kept = losses.enumerated().filter { $0.offset % 64 != 63 }.map(\.element)
        #expect(largestDifference(kept, try io.doubles("f64.loss_per_token")) < 5e-4)
        let recorded = try io.doubles("f64.grad.9").map { $0 * 126 }
        #expect(worstRow(gradient.values, recorded, columns: recorded.count) < 1e-3)
    }

    @Test func `losses past the window of 512 agree with PyTorch`() throws {
        let model = try loadLanguageModel(path: gemma3Path!)
        let io = try SafetensorsFile(path: fixture("gemma3_270m/io.safetensors"))
        let batch = TokenBatch(try io.integers("long.input_ids").map(Int32.init))
        let x = try model.residual(of: batch, afterLayer: 9)
        let losses = try model.losses(of: batch, residual: x, afterLayer: 9)
        #expect(batch.length == 640 && losses.last == 0)
        #expect(largestDifference(Array(losses.dropLast()), try io.doubles("long.loss_per_token")) < 5e-4)
    }

    @Test func `texts have the ids that SentencePiece gives them, and come back`() throws {
        let tokenizer = try Tokenizer.load(path: gemma3Path!)
        let recorded = try JSONValue(contentsOf: fixture("gemma3_270m/passages.json"))
        func ids(_ value: JSONValue?) -> [Int32] { value?.array?.compactMap { $0.integer.map(Int32.init) } ?? [] }
        var cases = zip(recorded["passages"]?.array ?? [], recorded["ids"]?.array ?? []).map { ($0.string!, ids($1)) }
        cases += (recorded["awkward"]?.array ?? []).map { ($0["text"]!.string!, ids($0["ids"])) }
        #expect(cases.count > 10)
        for (text, ids) in cases {
            #expect(tokenizer.encode(text) == ids, "\(text)")
            #expect(try tokenizer.decodeText(ids) == text)
        }
    }

    @Test func `real lines in five scripts have the ids of SentencePiece`() throws {
        let tokenizer = try Tokenizer.load(path: gemma3Path!)
        try Families.expect(tokenizer, Families.lines() + Families.awkward(), areThoseOf: "gemma3_270m")
    }
}
