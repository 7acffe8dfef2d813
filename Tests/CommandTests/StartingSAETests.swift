import TensorFiles
import TestSupport
import Testing

/// A distillation from an SAE that is there, in a format of another library.
@Suite struct StartingSAETests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private var recipe: String { folder.file("tiny.yaml") }

    init() throws {
        tiny = try TinyModel()
        try tiny.writeRecipe(to: recipe)
    }

    private func distill(_ out: String, _ more: String...) -> [String] {
        ["distill", recipe, "--out", folder.file(out), "--quiet"] + more
    }

    @Test func anSAEOfDictionaryLearningLeadsToTheCyclesOfTheOneItWasMadeFrom() throws {
        let table = try succeed(distill("whole")).split(separator: "\n")
        let checkpoint = folder.file("ae")
        try succeed(
            [
                "convert", folder.file("whole/cycle-0/sae"), checkpoint, "--to", "dictionary_learning", "--quiet",
            ])
        let start = "distill.cycle0=\(checkpoint)"
        let found = try succeed(distill("given", "--set", start)).split(separator: "\n")
        // The header, then the cycles: of cycle 0's dead latents nothing is known.
        #expect(found[1].hasSuffix(" -/128") && found[1].dropLast(6).trimmed == table[1].dropLast(7).trimmed)
        #expect(found[2] == table[2] && found[3] == table[3])
        for file in ["cycle-0/core.safetensors", "cycle-2/sae/sae_weights.safetensors", "cycle-2/core.safetensors"] {
            expectSame(contents(of: folder.file("given/" + file)), contents(of: folder.file("whole/" + file)), file)
        }
        let record = try JSONValue(contentsOf: folder.file("given/run.json"))
        #expect(record["hashes"]?.object?.keys.contains { $0.hasPrefix("cycle 0 ") } == true)
        try succeed(["report", folder.file("given")])
        try fail(
            distill("given", "--resume"),
            saying: "was started with SHA-256 of cycle 0 ", "now it is unset")
        try fail(
            distill("other", "--set", start, "--set", "sae.width=256", "--set", "sae.groups=[128, 128]"),
            saying:
                "recipe key sae.width is \"256\"; it must be 128, as \(checkpoint) has it (distill.cycle0), or left out"
        )
        try fail(
            distill("other", "--set", "distill.cycle0=\(folder.file("nothing"))"), saying: folder.file("nothing"))
    }
}

extension Substring {
    /// Without spaces at its end.
    fileprivate var trimmed: Substring { self[..<(lastIndex { $0 != " " }.map { index(after: $0) } ?? startIndex)] }
}
