import Foundation
import TensorFiles
import TestSupport
import Testing

/// Commands on a card, which is emulated: the language model's. Trainings and what a card computes are tested in CUDABackendTests.
@Suite struct DeviceModelTests {
    private let folder = TemporaryFolder()
    private let golden: Golden

    init() throws {
        golden = try Golden("models/llama/io.safetensors")
        try write(ids: try golden.file.integers("input_ids"), shape: [2, 16], to: folder.file("ids"))
    }

    private func onCard(_ arguments: [String], memory: Int? = nil) throws -> ProgramResult {
        var environment = startingEnvironment.filter { !$0.key.hasPrefix("DMSAE_") }
        environment["DMSAE_CUDA_PATH"] = builtProgram.dropLast("dmsae".count) + "libdmsae-cuda-emulation.so"
        if let memory { environment["DMSAE_EMULATED_MEMORY"] = "\(memory)" }
        return try run(builtProgram, arguments, environment: environment)
    }

    private var trace: [String] {
        ["lm", "trace", "--model", fixture("models/llama"), "--layer", "1", "--tokens", folder.file("ids")]
            + ["--out", folder.file("trace")]
    }

    @Test func `a trace on a card is PyTorch's, and says where it was made`() throws {
        let result = try onCard(trace + ["--logits", "--device", "cuda", "--precision", "fp32"])
        #expect(result.status == 0, "\(result.errors)")
        let file = try SafetensorsFile(path: folder.file("trace"))
        try golden.check("resid.1", try file.matrix("activations").values, tolerance: 2e-5)
        try golden.check("loss_per_token", try file.matrix("loss").values, tolerance: 2e-5)
        try golden.check("grad.1", try file.matrix("gradient").values.map { $0 / 30 }, tolerance: 1e-4)
        try golden.check("logits", try file.matrix("logits").values, tolerance: 2e-5)
        #expect(file.metadata["precision"] == "fp32" && file.metadata["device"] != nil)
    }

    @Test func `a harvest on a card has the rows of one on the processors, and says where it was made`() throws {
        let tiny = try TinyModel()
        func harvest(_ name: String, _ more: String...) throws -> JSONValue {
            let result = try onCard(
                ["harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--tokens", "256"]
                    + ["--context", "32", "--out", folder.file(name)] + more)
            #expect(result.status == 0, "\(result.errors)")
            return try JSONValue(contentsOf: folder.file(name) + "/store.json")
        }
        let (lanes, card) = (
            try harvest("lanes"), try harvest("card", "--device", "cuda", "--precision", "fp32")
        )
        #expect(card["settings"]?["precision"]?.string == "fp32" && lanes["settings"]?["precision"] == nil)
        #expect(card["rows"] == lanes["rows"])
        let (a, b) = (card["inputScale"]?.double ?? 0, lanes["inputScale"]?.double ?? 1)
        #expect(abs(a - b) < 1e-5 * b)
    }

    @Test func `latents that a card looked at are those of the processors, and their page names it`() throws {
        let tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        func look(_ more: String...) throws -> String {
            let result = try onCard(
                ["latents", "--model", tiny.model, "--sae", folder.file("sae"), "--text", tiny.text, "--tokens", "256"]
                    + ["--context", "32", "--latents", "9,3,127", "--contexts", "0", "--quiet"] + more)
            #expect(result.status == 0, "\(result.errors)")
            return result.output
        }
        let page = folder.file("page.html")
        let card = try look("--html", page, "--device", "cuda", "--precision", "fp32", "--json")
        func frequencies(_ text: String) throws -> [Double] {
            try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
                .compactMap { $0["frequency"] as? Double }
        }
        let found = try frequencies(card)
        #expect(try found.count == 3 && found.contains { $0 > 0 } && found == frequencies(look("--json")))
        #expect(String(decoding: contents(of: page), as: UTF8.self).contains("emulated GPU"))
    }

    @Test func `a card without room for the model is named with what is needed`() throws {
        let result = try onCard(trace + ["--device", "cuda"], memory: 300_000)
        #expect(result.status == 1)
        #expect(result.errors.contains("Error: the model needs "), "\(result.errors)")
        #expect(result.errors.contains("choose a smaller model, or use --device cpu"))
    }

    @Test func `a precision without a card is refused`() throws {
        try fail(
            trace + ["--device", "cpu", "--precision", "tf32"], status: 64,
            saying: "--precision is for products on a card; add --device cuda, or leave it out")
    }
}
