import Attribution
import TensorFiles
import TestSupport
import Testing

import LatentExports

@Suite struct LatentExportTests {
    private let latents: WrittenLatents
    private let folder = TemporaryFolder()
    private static let firings: [(Int, Int, Float)] = [
        (0, 5, 2), (1, 0, 1), (1, 5, 4), (3, 0, 0.5), (6, 5, 3), (7, 127, 8),
    ]

    init() throws { latents = try WrittenLatents() }

    private func file(_ name: String) -> String { folder.file("out/" + name) }

    private func write(_ format: LatentFormat, _ exported: ExportedLatents) throws -> ExportFolder.Record {
        try latents.write(exported, format, to: folder.file("out"))
    }

    private func complaint(_ format: LatentFormat, _ exported: ExportedLatents) -> String {
        do {
            return "\(try write(format, exported))"
        } catch { return "\(error)" }
    }

    // MARK: Delphi

    @Test func delphisLocationsCountFromTheFirstLatentOfTheirFile() throws {
        let record = try write(.delphi, try latents.exported(Self.firings, ids: [1, 2, 3, 4, 5, 6, 7, -1]))
        #expect(
            record.files.keys.sorted() == [
                "dmsae.jsonl", "latents/layers.1/0_24.safetensors", "latents/layers.1/102_127.safetensors",
                "latents/layers.1/25_50.safetensors", "latents/layers.1/51_75.safetensors",
                "latents/layers.1/76_101.safetensors", "latents/layers.1/config.json",
            ])
        let first = try SafetensorsFile(path: file("latents/layers.1/0_24.safetensors"))
        #expect(first.tensors["locations"] == TensorDescription(name: "locations", type: .u16, shape: [5, 3]))
        #expect(first.tensors["activations"]?.type == .f16)
        #expect(try first.array("locations").integers() == [0, 0, 5, 0, 1, 0, 0, 1, 5, 0, 3, 0, 1, 2, 5])
        #expect(try first.doubles("activations") == [2, 1, 4, 0.5, 3])
        // Padding has no id.
        #expect(try first.integers("tokens") == [1, 2, 3, 4, 5, 6, 7, 0] && first.tensors["tokens"]?.shape == [2, 4])
        let last = try SafetensorsFile(path: file("latents/layers.1/102_127.safetensors"))
        #expect(try last.array("locations").integers() == [1, 3, 25])
        let empty = try SafetensorsFile(path: file("latents/layers.1/51_75.safetensors"))
        #expect(empty.tensors["locations"]?.shape == [0, 3] && empty.tensors["tokens"]?.shape == [2, 4])
    }

    @Test func delphiGetsWiderLocationsWhereSequencesAreLong() throws {
        let length = 70_000
        _ = try write(.delphi, try latents.exported([(69_999, 5, 2)], sequences: 1, length: length))
        let found = try SafetensorsFile(path: file("latents/layers.1/0_24.safetensors"))
        #expect(found.tensors["locations"]?.type == .u32)
        #expect(try found.array("locations").integers() == [0, 69_999, 5])
    }

    @Test func delphiGetsTheLatentsThatWereAskedForAndNoOthers() throws {
        _ = try write(.delphi, try latents.exported(Self.firings, latents: [0, 0]))
        let found = try SafetensorsFile(path: file("latents/layers.1/0_24.safetensors"))
        #expect(try found.doubles("activations") == [1, 0.5])
        #expect(try lines(file("dmsae.jsonl")).map { $0["latent"]?.integer } == [0])
    }

    @Test func whatHalfPrecisionCannotHoldIsRefusedForDelphi() throws {
        #expect(
            complaint(.delphi, try latents.exported([(0, 5, 70_000)]))
                == "latent 5 fires with 70000.0, and Delphi keeps activations in half precision, up to 65504; leave it out of "
                + "--latents, or scale the SAE")
        #expect(!exists(folder.file("out/latents")), "what was half written is gone")
        _ = try write(.delphi, try latents.exported([(0, 5, 1e-9)]))
        let tiny = try SafetensorsFile(path: file("latents/layers.1/0_24.safetensors"))
        #expect(tiny.tensors["locations"]?.shape == [0, 3], "0 in half precision")
    }

    @Test(arguments: [
        ("llama", "blocks.2.hook_resid_pre", "layers.1"), ("gpt2", "blocks.2.hook_resid_post", "h.2"),
        ("llama", "blocks.2.hook_mlp_out", "layers.2.mlp"),
        ("gemma2", "blocks.2.hook_mlp_out", "layers.2.post_feedforward_layernorm"),
        ("gemma3", "blocks.2.hook_attn_out", "layers.2.post_attention_layernorm"),
        ("gpt_neox", "blocks.0.hook_resid_pre", "embed_in"),
        ("gpt_neox", "blocks.1.hook_attn_out", "layers.1.attention"),
        ("gpt2", "blocks.1.hook_attn_out", "h.1.attn"),
    ]) func delphisHookpointIsTheModuleOfTransformers(_ family: String, _ hook: String, _ module: String) throws {
        let source = ExportedLatents.Source(
            model: "m", family: family, blocks: 3, hook: try #require(HookPoint(hook)), dataset: "d", set: "s")
        #expect(source.hookpoint == module)
    }

    // MARK: SAEDashboard

    @Test func aBatchHasTheHighestContextsThenThoseOfEachInterval() throws {
        let exported = try latents.exported(Self.firings)
        _ = try write(.saedashboard, exported)
        let batch = try JSONValue(contentsOf: file("batch-0.json"))
        let features = try #require(batch["features"]?.array)
        #expect(features.map { $0["feature_index"]?.integer } == [0, 5, 127])
        #expect(features.map { $0["frac_nonzero"]?.double } == [0.25, 0.375, 0.125])
        let activations = try #require(features[1]["activations"]?.array)
        // Of intervals of 0.8 the highest has 4, the next 3, the one of (1.6, 2.4] 2.
        #expect(activations.map { $0["bin_contains"]?.double } == [-1, -1, 0.125, 0.125, 0.125])
        #expect(activations.map { $0["qualifying_token_index"]?.integer } == [1, 2, 1, 2, 0])
        #expect(
            activations.map { $0["values"]?.array?.compactMap(\.double) } == [
                [2, 4, 0, 0], [0, 0, 3, 0], [2, 4, 0, 0], [0, 0, 3, 0], [2, 4, 0, 0],
            ])
        #expect(activations[0]["tokens"]?.array?.compactMap(\.string) == ["0", "1", "2", "3"])
        #expect(try JSONValue(contentsOf: file("skipped_indexes.json"))["skipped_indexes"]?.array?.count == 125)
        // Silent tokens are in the lowest interval: of 8 tokens, 6 silent and one with 0.5; 0.5 is the third of five here.
        let low = try #require(features[0]["activations"]?.array)
        #expect(low.map { $0["bin_contains"]?.double } == [-1, 0.125, 0.125])
    }

    @Test func namesAndTokensThatWouldBreakAFileAreWrittenAsTheyAre() throws {
        let hostile = "a\"b\\c\n</script>\u{0}\u{2028}\u{202E}é👩‍👩‍👧"
        let exported = try latents.exported(Self.firings) {
            ($0.dataset, $0.set, $0.model) = (hostile, hostile, hostile)
        }
        _ = try write(.saedashboard, exported)
        let batch = try JSONValue(contentsOf: file("batch-0.json"))
        #expect(batch["model_id"]?.string == hostile && batch["sae_set"]?.string == hostile)
        #expect(batch["features"]?.array?.first?["dataset"]?.string == hostile)
    }

    @Test func batchesHave128LatentsAndProgressCountsThem() throws {
        let exported = try latents.exported(Self.firings, latents: Array(0..<128) + [3])
        #expect(try write(.saedashboard, exported).latents == 128)
        #expect(exists(file("batch-0.json")) && !exists(file("batch-1.json")))
        #expect(try JSONValue(contentsOf: file("batch-0.json"))["features"]?.array?.count == 128)
    }

    @Test func activationsThatAreNoNumbersAreRefused() throws {
        #expect(
            complaint(.saedashboard, try latents.exported([(0, 5, .infinity)]))
                == "the activations of latent 5 are no finite numbers; check the SAE's weights with `eval`")
    }

    // MARK: Neuronpedia

    @Test func neuronpediaGetsAFolderOfTheModelAndTheSource() throws {
        let exported = try latents.exported(Self.firings) {
            ($0.title, $0.url) = ("A title", "https://example.invalid")
        }
        let record = try write(.neuronpedia, exported)
        let base = "llama/1-res-tiny/"
        #expect(
            record.files.keys.filter { $0.hasPrefix(base) }.map { String($0.dropFirst(base.count)) }.sorted() == [
                "activations/batch-0.jsonl.gz", "features/batch-0.jsonl.gz", "model.jsonl", "release.jsonl",
                "source.jsonl", "sourceset.jsonl",
            ])
        let features = try lines(file(base + "features/batch-0.jsonl.gz"))
        #expect(features.map { $0["index"]?.string } == ["0", "5", "127"])
        #expect(features[1]["maxActApprox"]?.double == 4 && features[1]["layer"]?.string == "1-res-tiny")
        #expect(features[1]["dmsae"]?["born"]?.integer == 0 && features[1]["dmsae"]?["core_rank"]?.integer == 1)
        #expect(features[1]["dmsae"]?["scores"]?["gxa"]?.double == 0.5 && features[0]["dmsae"] == nil)
        let activations = try lines(file(base + "activations/batch-0.jsonl.gz"))
        let ids = activations.compactMap { $0["id"]?.string }
        #expect(Set(ids).count == activations.count && ids.allSatisfy { $0.utf8.count == 25 && $0.hasPrefix("c") })
        #expect(activations.first?["maxValueTokenIndex"]?.integer == 1)
    }

    @Test(arguments: ["", ".", "../up", "a/b", "é", "a b", "\u{202E}x", String(repeating: "x", count: 129)])
    func namesThatBecomeFoldersAreRefusedUnlessTheyArePlain(_ name: String) throws {
        let bad = LatentExportError.badName(what: "set's name", name: name).description
        #expect(complaint(.neuronpedia, try latents.exported(Self.firings) { $0.set = name }) == bad)
        #expect(bad.contains("letters, digits") && !bad.contains("\u{202E}"))
        #expect(
            complaint(.neuronpedia, try latents.exported(Self.firings) { $0.model = name }).hasPrefix(
                "the model's name"))
        #expect(try namesInFolder(folder.file("out")) == [])
    }

    // MARK: The folder

    @Test(arguments: LatentFormat.allCases) func whatFormatsHaveNoPlaceForIsBesideThem(_ format: LatentFormat) throws {
        let record = try write(format, try latents.exported(Self.firings))
        let marks = try lines(file("dmsae.jsonl"))
        #expect(marks.map { $0["latent"]?.integer } == [0, 5, 127])
        #expect(marks.map { $0["frequency"]?.double } == [0.25, 0.375, 0.125])
        #expect(marks[1]["selected_in"]?.array?.compactMap(\.integer) == [0, 2] && marks[0]["born"] == nil)
        #expect(record == (try JSONRecord.read(ExportFolder.Record.self, from: file("export.json"))))
        #expect(
            record.format == format.rawValue && record.latents == 3 && record.tokens == 8 && record.about == ["a": "b"])
        for (name, hash) in record.files { #expect(try SHA256.hexadecimal(ofFile: file(name)) == hash, "\(name)") }
    }

    @Test func aFolderWithSomethingInItIsLeftAlone() throws {
        try createFolder(folder.file("out"))
        try AtomicFile.write("mine", to: file("batch-7.json"))
        #expect(
            complaint(.saedashboard, try latents.exported(Self.firings))
                == "\(folder.file("out")) is not empty: batch-7.json is in it, and tools read all that they find; choose another "
                + "--out, or remove what is there")
        #expect(try namesInFolder(folder.file("out")) == ["batch-7.json"])
    }

    @Test func anExportThatIsStoppedLeavesAnEmptyFolder() throws {
        struct Stop: Error {}
        let exported = try latents.exported(Self.firings)
        for format in LatentFormat.allCases {
            #expect(throws: Stop.self) {
                let out = try ExportFolder(folder.file("out"))
                try format.write(exported, to: out) { _ in throw Stop() }
            }
            #expect(try namesInFolder(folder.file("out")) == [], "\(format)")
        }
    }
}

@Suite struct JSONTextTests {
    @Test func valuesAreSeparatedAndEscaped() throws {
        let text = JSONText.line { text in
            text.member("a\"", "b\u{1}\n")
            text.member("n", [1, 2])
            text.member("x", [0.5, 0, 1e-10, 3e20, .nan, .infinity, 1e300])
            text.member("none", String?.none)
            text.key("l")
            text.list { list in
                list.object { $0.member("t", true) }
                list.object { _ in }
            }
            text.member("e", [String]())
        }
        #expect(
            String(decoding: text, as: UTF8.self) == #"""
                {"a\"":"b\u0001\n","n":[1,2],"x":[0.5,0.0,1e-10,3e+20,null,null,null],"none":null,"l":[{"t":true},{}],"e":[]}

                """#)
    }
}
