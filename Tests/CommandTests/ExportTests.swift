import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// `export saebench`; SAEBench itself runs it in Tests/Peers/saebench.py.
@Suite struct ExportTests {
    @Test func `the folder holds an SAE of unit rows, a script, and what it was made of`() throws {
        let folder = TemporaryFolder()
        let golden = try Golden("gxa/gxa.safetensors")
        let source = folder.file("source")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), to: source)
        let out = folder.file("bench")
        let common = ["export", "saebench", "--sae", source, "--out", out, "--quiet"]
        try fail(common, status: 64, saying: "Missing expected argument '--model-name")
        let named = common + ["--model-name", "gemma-2-2b"]
        try fail(named, status: 64, saying: "names no layer; give --layer or --hook")
        try fail(named + ["--layer", "3", "--name", "a/b"], status: 64, saying: "--name a/b is no name of a file")
        #expect(!exists(out + "/export.json"))
        let said = try succeed(named + ["--layer", "3", "--name", "one"])
        #expect(said.contains("128 latents at blocks.3.hook_resid_post of gemma-2-2b"), "\(said)")

        let record = try JSONValue(contentsOf: out + "/export.json")
        let files = try #require(record["files"]?.object)
        #expect(Set(files.keys) == ["run.py", "sae/cfg.json", "sae/sae_weights.safetensors"])
        for (file, hash) in files {
            #expect(try SHA256.hexadecimal(ofFile: out + "/" + file) == hash.string, "\(file)")
        }
        #expect(record["about"]?["name"]?.string == "one" && record["about"]?["model"]?.string == "gemma-2-2b")
        #expect(record["about"]?["SAE sae_weights.safetensors.sha256"]?.string != nil)
        let configuration = try JSONValue(contentsOf: out + "/sae/cfg.json")
        #expect(configuration["architecture"]?.string == "jumprelu")
        #expect(configuration["metadata"]?["model_name"]?.string == "gemma-2-2b")
        #expect(configuration["metadata"]?["hook_name"]?.string == "blocks.3.hook_resid_post")
        let written = try SAEFolder.read(out + "/sae").sae
        #expect(written.decoderNorms == nil)
        let script = String(decoding: contents(of: out + "/run.py"), as: UTF8.self)
        #expect(script.contains("SAE.load_from_disk") && script.contains("meta_structure"))
        // Nothing is put into a folder that holds something.
        try fail(named + ["--layer", "3"], saying: "bench")
    }
}
