import Foundation
import TensorFiles
import TestSupport
import Testing

/// Numbers that no user means are refused by name where they enter: no trap, no hang, no memory taken. All options are tried
/// by hand with Tests/Fuzz/options; these are the ones that once ended the program, and one of each kind.
@Suite struct OptionNumberTests {
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

    private func base(_ command: String) -> [String] {
        let out = ["--out", folder.file("out")]
        let (model, text) = (["--model", tiny.model], ["--text", tiny.text])
        switch command {
        case "tokenize": return ["lm", "tokenize"] + model + text + out
        case "harvest": return ["harvest", "--layer", "1"] + model + text + out
        case "eval", "latents": return [command, "--sae", folder.file("sae"), "--layer", "1"] + model + text
        case "train":
            return ["train", "--activations", folder.file("x"), "--steps", "3", "--k", "8", "--batch", "32"] + out
        case "compare", "score":
            let scorers = command == "compare" ? ["--scorer", "gxa", "--scorer", "random"] : []
            return [command, "--sae", folder.file("sae"), "--layer", "1", "--tokens", folder.file("ids")] + model
                + scorers + out
        default: return [command]
        }
    }

    @Test(arguments: [
        ("tokenize", "--rows", "4611686018427387904", "--rows is 4611686018427387904; it must be at most 4294967296"),
        ("tokenize", "--rows", "0", "--rows is 0; it must be at least 1"),
        (
            "tokenize", "--context", "4611686018427387904",
            "--context is 4611686018427387904; it must be at most 16777216"
        ),
        (
            "tokenize", "--skip", "9223372036854775807",
            "--skip is 9223372036854775807; it must be at most 1099511627776"
        ),
        ("harvest", "--tokens", "9223372036854775807", "--tokens is 9223372036854775807; it must be at most"),
        ("eval", "--sequences", "9223372036854775807", "--sequences is 9223372036854775807; it must be at most"),
        ("eval", "--tokens", "-1", "--tokens is -1; it must be at least 1"),
        ("latents", "--count", "0", "--count is 0; it must be at least 1"),
        ("train", "--batch", "4611686018427387904", "--batch is 4611686018427387904; it must be at most 2147483647"),
        ("score", "--shard", "4611686018427387904/4611686018427387905", "is invalid for '--shard <I/N>'"),
        ("score", "--score-memory", "nan", "--score-memory is nan; it must be a number from 0.0 to 1000000.0"),
        ("score", "--budget", "1e308h", "is invalid for '--budget <N|TIME>'"),
        ("score", "--window", "9223372036854775807", "--window is 9223372036854775807; it must be at most 16777216"),
        ("score", "--plugin-timeout", "inf", "--plugin-timeout is inf; it must be at most 1000000000.0"),
        ("compare", "--draws", "9223372036854775807", "--draws is 9223372036854775807; it must be at most 10000"),
    ]) func areRefusedByName(_ command: String, _ option: String, _ value: String, _ message: String) throws {
        try fail(base(command) + ["\(option)=\(value)"], status: 64, saying: message)
        #expect(!isThere(folder.file("out")))
    }

    @Test(arguments: [
        ("distill.cycles=10000000", "recipe key distill.cycles is \"10000000\"; it must be at most 1000"),
        (
            "harvest.tokens=9223372036854775807",
            "recipe key harvest.tokens is \"9223372036854775807\"; it must be at most"
        ),
        ("score.tokens=4611686018427387904", "recipe key score.tokens is \"4611686018427387904\"; it must be at most"),
        ("context=9223372036854775807", "recipe key context is \"9223372036854775807\"; it must be at most"),
        ("sequences=9223372036854775807", "recipe key sequences is \"9223372036854775807\"; it must be at most"),
        ("train.batch=9223372036854775744", "it must be at least one batch of 9223372036854775744 (train.batch)"),
    ]) func ofRecipesAreRefusedByKey(_ setting: String, _ message: String) throws {
        let recipe = folder.file("tiny.yaml")
        try tiny.writeRecipe(to: recipe)
        try fail(["distill", recipe, "--out", folder.file("out"), "--set", setting], saying: message)
        #expect(!isThere(folder.file("out")))
    }
}
