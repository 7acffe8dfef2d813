import Foundation
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// What a user can get wrong, command by command: the exit code, the message, and nothing left behind.
@Suite struct BadInputTests {
    private let tiny: TinyModel
    private let golden: Golden
    private var folder: TemporaryFolder { tiny.folder }

    init() throws {
        tiny = try TinyModel()
        golden = try Golden("gxa/gxa.safetensors")
        try write(ids: (0..<64).map { $0 * 4 }, shape: [2, 32], to: tiny.folder.file("ids"))
        try write("x", try golden.matrix("x"), shape: [96, 48], to: tiny.folder.file("x"))
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), to: tiny.folder.file("sae"))
    }

    private func trace(
        model: String? = nil, layer: String = "1", ids: String? = nil, out: String? = nil, _ more: String...
    ) -> [String] {
        ["lm", "trace", "--model", model ?? tiny.model, "--layer=" + layer, "--tokens", ids ?? folder.file("ids")]
            + ["--out", out ?? folder.file("out")] + more
    }

    private func score(ids: String? = nil, _ more: String...) -> [String] {
        ["score", "--model", tiny.model, "--sae", folder.file("sae"), "--layer", "1"]
            + ["--tokens", ids ?? folder.file("ids"), "--out", folder.file("out")] + more
    }

    private func train(_ more: String..., x: String? = nil) -> [String] {
        ["train", "--activations", x ?? folder.file("x"), "--batch", "32", "--steps", "3", "--quiet"]
            + ["--out", folder.file("out")] + more
    }

    private func harvest(_ text: String, tokens: Int = 64, context: Int = 32) -> [String] {
        ["harvest", "--model", tiny.model, "--layer", "1", "--text", text, "--tokens", "\(tokens)"]
            + ["--context", "\(context)", "--out", folder.file("out")]
    }

    /// A copy of the tiny model with one thing changed.
    private func model(_ name: String, _ change: (String) throws -> Void) throws -> String {
        let path = folder.file(name)
        try FileManager.default.copyItem(atPath: tiny.model, toPath: path)
        try change(path)
        return path
    }

    /// A copy of the tiny model with one tensor replaced.
    private func model(_ name: String, tensor: String, _ matrix: Matrix) throws -> String {
        try model(name) { path in
            let file = try SafetensorsFile(path: path + "/model.safetensors")
            var writer = SafetensorsWriter()
            for (key, description) in file.tensors {
                let replaced = key == tensor
                writer.add(
                    key, replaced ? matrix : try file.matrix(key),
                    shape: replaced ? [matrix.columns] : description.shape)
            }
            try writer.write(to: path + "/model.safetensors")
        }
    }

    private func expectNothingWritten(sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(!isThere(folder.file("out")), sourceLocation: sourceLocation)
        #expect(!folder.names.contains { $0.hasSuffix(".partial") }, sourceLocation: sourceLocation)
    }

    // MARK: Models

    @Test func badModels() throws {
        try fail(
            trace(model: "/nowhere/model"), saying: "/nowhere/model is not a model: No such file or directory",
            "give a .gguf file or a Hugging Face")
        try fail(
            trace(model: tiny.text), saying: "text.jsonl is not a model: it is a file whose name does not end in .gguf")
        let truncated = try model("truncated") { path in
            let file = path + "/model.safetensors"
            try AtomicFile.write(Array(contents(of: file).dropLast(1000)), to: file)
        }
        try fail(
            trace(model: truncated), saying: "truncated/model.safetensors: tensor", "is truncated",
            "download the file again")
        let norm = "model.norm.weight"
        let short = try model("short", tensor: norm, Matrix(rows: 1, columns: 47))
        try fail(trace(model: short), saying: "short/model.safetensors: tensor \"\(norm)\" has shape [47], wanted [48]")
        let notFinite = Matrix(rows: 1, columns: 48)
        notFinite[7] = .nan
        let nan = try model("nan", tensor: norm, notFinite)
        try fail(trace(model: nan), saying: "tensor \"\(norm)\" holds NaN or infinite numbers", "fetch it again")
        let mamba = try model("mamba") { path in
            let text = String(decoding: contents(of: path + "/config.json"), as: UTF8.self)
            try AtomicFile.write(
                text.replacing("LlamaForCausalLM", with: "MambaForCausalLM"), to: path + "/config.json")
        }
        try fail(
            trace(model: mamba),
            saying: "architecture \"MambaForCausalLM\" is not supported; supported: LlamaForCausalLM")
        expectNothingWritten()
    }

    @Test func badTokenizers() throws {
        let unigram = try model("unigram") { path in
            try AtomicFile.write(
                #"{"model": {"type": "Unigram"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}}"#,
                to: path + "/tokenizer.json")
        }
        let arguments = { ["lm", "tokenize", "--model", $0, "--text", tiny.text, "--out", folder.file("out")] }
        try fail(
            arguments(unigram), saying: "unigram/tokenizer.json: the tokenizer uses the model \"Unigram\"",
            "choose another model")
        try fail(arguments("/nowhere"), saying: "/nowhere is not a model: there is no such file or folder")
        try fail(arguments(fixture("models/llama")), saying: "cannot read \(fixture("models/llama"))/tokenizer.json")
        expectNothingWritten()
    }

    @Test(arguments: ["-1", "3", "99"]) func aLayerThatTheModelDoesNotHave(_ layer: String) throws {
        let message = "layer \(layer) does not exist: the model has 3 layers; choose 0 to 2"
        try fail(trace(layer: layer), saying: message)
        try fail(score("--layer=" + layer), saying: message)
        try fail(
            [
                "harvest", "--model", tiny.model, "--text", tiny.text, "--tokens", "64", "--context", "32",
                "--layer=" + layer, "--out", folder.file("store"),
            ], saying: message)
        expectNothingWritten()
    }

    // MARK: Texts

    @Test func badTexts() throws {
        func text(_ name: String, _ content: String) throws -> String {
            try AtomicFile.write(content, to: folder.file(name))
            return folder.file(name)
        }
        for empty in [
            try text("empty.txt", ""), try text("empty.jsonl", ""), try text("blank.jsonl", "{\"text\":\"\"}\n"),
        ] {
            try fail(harvest(empty), saying: "\(empty) holds no text; give a file with at least one document")
            try fail(["lm", "tokenize", "--model", tiny.model, "--text", empty], saying: "holds no text")
        }
        let short = try text("short.txt", "the cat")
        try fail(harvest(short), saying: "short.txt gives ", "not one row of 32; use more text or a shorter context")
        try fail(
            [
                "eval", "--model", tiny.model, "--sae", folder.file("sae"), "--layer", "1", "--text", short,
                "--context", "32",
            ],
            saying: "not one row of 32")
        try fail(
            harvest(folder.file("none.txt")), saying: "cannot read", "none.txt: No such file",
            "give a .jsonl file, a .txt file")
        try fail(harvest(try text("t.csv", "a,b\n")), saying: "its name ends in neither .jsonl nor .txt")
        try fail(
            harvest(try text("cut.jsonl", "{\"text\": \"a\"}\n{\"te")), saying: "cut.jsonl, line 2: not JSON",
            "every line must be")
        try fail(harvest(tiny.text, context: 256), saying: "sequences of 256 tokens exceed the model's context of 128")
        #expect(!isThere(folder.file("out/store.json")))
    }

    // MARK: Token ids

    @Test func badTokenIds() throws {
        let cases: [(ids: [Int64], shape: [Int], message: String)] = [
            ([5, 320, 7], [1, 3], "token id 320 at position 1 does not exist: the model has 320 tokens"),
            ([5, -1, 7], [1, 3], "token id -1 at position 1 does not exist"),
            ([5, 1 << 40, 7], [1, 3], "token id 1099511627776 at position 1 does not fit in 32 bits"),
            ([5, 1, 7], [3], "it is a stream of token ids and no rows of them"),
            ([5, 7], [2, 1], "input_ids has shape [2, 1], and nothing is predicted in it"),
            ([], [0, 4], "input_ids has shape [0, 4], and nothing is predicted in it"),
            ([Int64](repeating: 1, count: 129), [1, 129], "sequences of 129 tokens exceed the model's context of 128"),
        ]
        let path = folder.file("bad")
        for (ids, shape, message) in cases {
            try write(ids: ids, shape: shape, to: path)
            try fail(trace(ids: path), saying: message)
            try fail(score(ids: path), saying: message)
        }
        try write("input_ids", Matrix(rows: 2, columns: 4), to: path)
        try fail(trace(ids: path), saying: "tensor \"input_ids\" is F32, wanted whole numbers")
        try fail(trace(ids: folder.file("x")), saying: "tensor \"x\" is F32, wanted whole numbers")
        try fail(
            trace(ids: folder.path), saying: "cannot read \(folder.path): Is a directory; give a file, not a folder")
        try fail(
            trace(ids: "/dev/null"),
            saying: "cannot read /dev/null: it is a device or a pipe, and an ordinary file is needed")
        try fail(trace(ids: tiny.text), saying: "text.jsonl")
        expectNothingWritten()
    }

    // MARK: Activations and codes

    /// What is meant as the name of a recipe, or as a run, is not taken for a file that is not there.
    @Test func recipesThatAreNone() throws {
        for command in ["distill", "sweep"] {
            try fail(
                [command, "demp", "--out", folder.file("out")], status: 64,
                saying:
                    "there is neither a file nor a bundled recipe called demp, perhaps demo; bundled are demo, gemma3, "
            )
            try fail([command, folder.file("no.yaml"), "--out", folder.file("out")], saying: "cannot read", "no.yaml")
        }
        try AtomicFile.write("{}", to: folder.file("run.json"))
        try fail(
            ["distill", folder.path, "--resume"], status: 64,
            saying:
                "is the folder of a run; give the recipe that it was started with, --out \(folder.path) and --resume")
    }

    @Test func activationsThatAreNoNumbersOrOfAnotherShape() throws {
        let encode = { ["encode", "--sae", folder.file("sae"), "--input", $0, "--out", folder.file("out")] }
        let bad = folder.file("bad")
        let x = try golden.matrix("x")
        x[3, 4] = .nan
        try write("x", x, shape: [96, 48], to: bad)
        for arguments in [encode(bad), train("--width", "128", "--k", "8", x: bad)] {
            try fail(arguments, saying: "\(bad): tensor \"x\" holds NaN or infinity")
        }
        try write("activations", x, shape: [2, 48, 48], to: folder.file("wide"))
        try fail(trace("--replace", folder.file("wide")), saying: "has shape [2, 48, 48], wanted [2, 32, 48]")
        try write("x", Matrix(rows: 96, columns: 48), to: bad)
        try fail(train("--width", "128", "--k", "8", x: bad), saying: "every activation is 0")
        let narrow = Matrix(rows: 96, columns: 40)
        narrow.fill(1)
        try write("x", narrow, to: bad)
        try fail(encode(bad), saying: "has shape [96, 40], wanted [any, 48]")
        try fail(
            train("--init", folder.file("sae"), "--k", "8", x: bad),
            saying: "the activations are 40 wide, the SAE reads 48")
        try write("x", Matrix(rows: 8, columns: 48), to: bad)
        try fail(
            train("--width", "128", "--k", "8", x: bad), saying: "8 rows of activations do not fill one batch of 32")
        try fail(encode("/nowhere.safetensors"), saying: "cannot read /nowhere.safetensors")
        for (k, message) in [("0", "k is 0.0; it must be positive"), ("129", "k = 129 exceeds the 128 latents")] {
            try fail(encode(folder.file("x")) + ["--mode", "batch", "--k", k], saying: message)
        }
        try fail(encode(folder.file("x")) + ["--mode", "batch"], status: 64, saying: "records no k; give --k")
        try write("latents", Matrix(rows: 2, columns: 100), to: bad)
        let decode = ["decode", "--sae", folder.file("sae"), "--input", bad, "--out", folder.file("out")]
        try fail(decode, saying: "has shape [2, 100], wanted [any, 128]")
        for prefix in ["0", "129"] {
            try fail(decode + ["--prefix", prefix], saying: "prefix \(prefix) is not a width")
        }
        expectNothingWritten()
    }

    // MARK: Training

    @Test func badTrainingSettings() throws {
        let wide = ["--width", "128"]
        for (more, message) in [
            (wide + ["--k", "129"], "k = 129 exceeds the 128 latents there are; lower --k"),
            (wide + ["--k", "0"], "k is 0.0; it must be positive"),
            (wide + ["--k=-1"], "k is -1.0; it must be positive"),
            (wide + ["--k", "nan"], "k is nan; it must be positive"),
            (wide + ["--k", "8", "--groups", "8,8"], "groups 8, 8 sum to 16, not to the width 128"),
            (["--groups", "8,0,8", "--k", "8"], "group 2 of 8, 0, 8 has no latent"),
            (["--groups", "9223372036854775807,5", "--k", "8"], "it must be at most 16777216 latents"),
            (["--width", "99999999999", "--k", "8"], "it must be at most 16777216 latents"),
            (
                wide + ["--k", "8", "--steps", "9223372036854775807"],
                "steps is 9223372036854775807; it must be at most"
            ),
            (wide + ["--k", "8", "--lr", "0"], "lr is 0.0; it must be positive"),
            (wide + ["--k", "8", "--lr", "1e30"], "step 1: the pre-activation of latent "),
            (wide + ["--k", "8", "--group-weights", "1,2"], "group-weights is [1.0, 2.0]; it must be 5 weights"),
            (wide + ["--k", "8", "--threshold-beta", "1"], "threshold-beta is 1.0; it must be in [0, 1)"),
            (wide + ["--k", "8", "--core-rate", "1"], "core-rate is 1.0; it must be between 0 and 1"),
            (
                wide + ["--k", "8", "--core-rate", "0.1"],
                "core-rate is 0.1; it must be left out where there is no dense core"
            ),
            (wide + ["--k", "8", "--sparsity", "nope"], "no plugin named 'nope'"),
            (wide + ["--k", "8", "--sparsity", "gxa"], "is a scorer, and a sparsity rule is wanted here"),
            (["--init", "/nowhere", "--k", "8"], "cannot read /nowhere/cfg.json"),
            (["--init", folder.file("sae"), "--width", "64", "--k", "8"], "sum to 128, not to the width 64"),
        ] {
            try fail(train() + more, saying: message)
            #expect(!isThere(folder.file("out/cfg.json")), "\(more)")
        }
        for (more, message) in [
            (["--k", "8"], "give --width, --groups or --init"), (wide + ["--k", "8", "--seed=-1"], "--seed is -1"),
            (wide + ["--k", "8", "--batch", "0"], "--batch is 0"), (wide + ["--k", "x"], "The value 'x' is invalid"),
        ] { try fail(train() + more, status: 64, saying: message) }
    }

    @Test func coresThatDoNotFit() throws {
        let core = folder.file("core.safetensors")
        try write("W_enc", Matrix(rows: 48, columns: 7), to: core)
        for (more, message) in [
            (["--groups", "1,8,119"], "a core of 7 latents leaves group 1 of 1, 8, 119 empty; make the group larger"),
            (["--groups", "2,4"], "a core of 7 latents leaves none of 6 to train; widen the SAE or lower τ"),
            (["--groups", "4,3"], "a core of 7 latents leaves none of 7 to train"),
        ] { try fail(train("--core", core, "--k", "2") + more, saying: message) }
        let other = folder.file("other.safetensors")
        try write("W_enc", Matrix(rows: 40, columns: 7), to: other)
        try fail(train("--core", other, "--k", "8", "--width", "128"), saying: "has shape [40, 7], wanted [48, any]")
        try write("W_enc", Matrix(rows: 48, columns: 0), to: other)
        try fail(train("--core", other, "--k", "8", "--width", "128"), saying: "the core is empty")
        try fail(
            train("--core", "/nowhere/core.json", "--k", "8", "--width", "128"),
            saying: "cannot read /nowhere/core.json")
        expectNothingWritten()
    }

    // MARK: Scores

    @Test func badScoringSettings() throws {
        for tau in ["0", "2", "nan"] {
            try fail(score("--tau", tau), saying: "the fraction to explain must be above 0 and at most 1")
        }
        for prefix in ["0", "129"] {
            try fail(score("--prefix", prefix), saying: "prefix \(prefix) is not a width between 1 and the SAE's 128")
        }
        try fail(score("--aggregate", "median"), saying: "\"median\" is no aggregate; use quantile:Q")
        try fail(
            score("--keep-first", "32"), saying: "all of 64 tokens are kept as the model's own", "relax --keep-first")
        try fail(score("--sinks", "0"), status: 64, saying: "The value '0' is invalid for '--sinks <RATIO|off>'")
        try fail(score("--keep-first=-1"), status: 64, saying: "--keep-first is -1; it must be 0 or more")
        try fail(
            ["score", "--model", tiny.model, "--sae", folder.file("sae"), "--tokens", folder.file("ids"), "--out"]
                + [folder.file("out")], status: 64, saying: "names no layer; give --layer")
        try writeSAE(try Golden("sae_train/a_plain.safetensors"), prefix: "init.", threshold: 0, to: folder.file("sae"))
        try fail(
            score(), saying: "the SAE reads vectors of 32, the model's residual stream has 48; use the SAE's own model")
        expectNothingWritten()
    }

    @Test func badScores() throws {
        func select(_ values: [Float], _ more: String...) throws -> [String] {
            try write(
                "scores", Matrix(rows: 1, columns: values.count, values), shape: [values.count], to: folder.file("s"))
            return ["select", "--scores", folder.file("s"), "--sae", folder.file("sae"), "--out", folder.file("out")]
                + more
        }
        try fail(try select([1, .nan]), saying: "scores hold NaN or infinity; score again")
        try fail(try select([0, 0, 0]), saying: "none of 3 candidate latents has a positive score")
        try fail(
            try select([Float](repeating: 1, count: 400)),
            saying: "it scores 400 latents, and \(folder.file("sae")) has 128")
        // Scores that do not say of which SAE they are must be of one of its prefixes.
        try fail(
            try select([1, 2, 3]),
            saying:
                "it scores 3 latents, and \(folder.file("sae")) has 128, in prefixes of 8, 32, 64, 128; give the SAE")
        try fail(try select([1, 2], "--tau", "2"), saying: "τ is 2.0")
        try fail(
            ["select", "--scores", folder.file("s"), "--sae", folder.file("sae")], status: 64,
            saying: "--sae and --out go together")
        expectNothingWritten()
    }

    @Test func badPlugins() throws {
        try fail(
            score("--scorer", "/nowhere/scorer.so"), saying: "plugin file /nowhere/scorer.so cannot be read",
            "correct the path")
        try fail(
            score("--scorer", "nope"), saying: "no plugin named 'nope'",
            "'gxa', 'ig', 'jumprelu', 'logit', 'mattr', 'norm', 'random', 'reconstruction', 'relp', 'shapley', 'topk'",
            "DMSAE_PLUGIN_PATH")
        try fail(score("--scorer", "batchtopk"), saying: "is a sparsity rule, and a scorer is wanted here")
        try fail(
            score("--scorer", "random,sead=1"),
            saying: "unknown parameter 'sead'; did you mean 'seed'? random takes seed")
        try AtomicFile.write("not a library", to: folder.file("text.so"))
        try fail(score("--scorer", folder.file("text.so")), saying: "text.so")
        let (root, library) = (fixture("../.."), folder.file("faulty.so"))
        let compiled = try run(
            "/usr/bin/env",
            ["cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I", "\(root)/Include"]
                + ["\(root)/Tests/PluginTestSupport/Fixtures/faulty.c", "-o", library])
        #expect(compiled.status == 0, "\(compiled.errors)")
        try fail(
            score("--scorer", library), saying: "holds several plugins of kind scorer: 'first', 'second'; name one")
        try fail(score("--scorer", library + ":third"), saying: "holds no plugin 'third'")
        try fail(
            score("--scorer", library + ":first,fault=text"), saying: "score of plugin 'first' failed",
            "the moon is full")
        try fail(
            score("--scorer", library + ":first,fault=nan"), saying: "scorer 'first' wrote nan at token ",
            "correct \(library)")
        expectNothingWritten()
    }

    // MARK: Where results go

    @Test func placesThatCannotBeWritten() throws {
        let below = tiny.text + "/out"
        for out in [below, "/proc/out", folder.file("none/out"), folder.path, ""] {
            try fail(
                trace(out: out), saying: "cannot write \(out): ")
        }
        try fail(
            trace(out: below),
            saying:
                "cannot write \(below): Not a directory; a part of the path is a file where a folder is needed: correct the path"
        )
        try fail(
            trace(out: folder.file("none/out")),
            saying:
                "No such file or directory; the folder it belongs in does not exist: make it first, or choose another place"
        )
        // By root a rename would go through, and the machine would be without its device.
        try fail(trace(out: "/dev/full"), saying: "cannot write /dev/full: it is a device, not a file")
        try fail(score("--out", below), saying: "cannot write \(below)")
        for out in [below, "/proc/out"] {
            try fail(harvest(tiny.text) + ["--out", out], saying: "cannot write ")
            try fail(train("--width", "128", "--k", "8", "--out", out), saying: "cannot write ")
        }
        #expect(contents(of: tiny.text).count > 1000)
    }

    @Test func aResultThatGoesNowhereIsAFailure() throws {
        let result = try run(
            "/bin/sh",
            ["-c", "\"$0\" lm tokenize --model \"$1\" --text \"$2\" >/dev/full", builtProgram, tiny.model, tiny.text])
        #expect(
            result.status == 1 && result.errors.contains("cannot write standard output: No space left"),
            "\(result.errors)")
    }
}
