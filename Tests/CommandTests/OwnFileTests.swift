import Foundation
import TensorFiles
import TestSupport
import Testing

/// What `score` and `compare` wrote is read back as if a stranger had written it: a damaged file is an error that names it, and
/// what is not an error gives the numbers it always gave.
@Suite struct OwnFileTests {
    private let folder = TemporaryFolder()
    private let input: [String]
    /// Damages of each file; DMSAE_MUTATIONS asks for more of them, by hand.
    private let count = startingEnvironment["DMSAE_MUTATIONS"].flatMap { Int($0) } ?? 6

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        let folder = folder
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
        input = [
            "--model", fixture("models/llama"), "--sae", folder.file("sae"), "--tokens", folder.file("ids"),
            "--sequences",
            "2", "--keep-first", "0", "--keep-special", "no", "--sinks", "off", "--quiet",
        ]
    }

    private var comparison: [String] {
        ["compare"] + input + ["gxa", "frequency", "ablation"].flatMap { ["--scorer", $0] }
            + [
                "--prefix", "8", "--budget", "60s", "--draws", "20", "--curve-sequences", "2", "--out",
                folder.file("c"),
            ]
    }

    /// Damages a file again and again, runs a program that reads it, and puts it back. `result` is what must be the same where
    /// the program is content.
    private func damage(_ path: String, _ words: [String], result: String? = nil) throws {
        let whole = contents(of: path), expected = result.map { contents(of: $0) }
        var refused = 0
        for seed in 0..<count {
            var mutation = Mutation(seed: UInt64(seed))
            let damaged = path.hasSuffix(".json") ? mutation.json(whole) : mutation.safetensors(whole)
            try AtomicFile.write(damaged, to: path)
            let outcome = try run("/usr/bin/timeout", ["60", builtProgram] + words)
            let what = "\(path) seed \(seed): \(outcome.errors.suffix(600))"
            if outcome.status == 0 {
                if let result { #expect(contents(of: result) == expected, "\(what)") }
            } else {
                refused += 1
                #expect([1, 64].contains(outcome.status) && outcome.errors.contains("Error: "), "\(what)")
                // A time that became another number makes the parts beside it those of another comparison.
                let named = path.hasSuffix("budget.json") ? folder.file("c/parts/") : path
                #expect(outcome.errors.contains(named) && outcome.errors.contains(";"), "\(what)")
            }
        }
        #expect(refused > 0, "\(path): no damage mattered")
        try AtomicFile.write(whole, to: path)
    }

    @Test(arguments: ["scores-1.safetensors", "curves-0.json", "curves-2.json", "budget.json"])
    func partsOfAComparison(_ name: String) throws {
        try succeed(comparison)
        let c = folder.file("c")
        try damage(c + "/parts/" + name, comparison, result: c + "/comparison.safetensors")
        try succeed(comparison)
    }

    @Test func theRecordOfAComparison() throws {
        try succeed(comparison)
        try damage(folder.file("c/comparison.json"), ["report", folder.file("c"), "--out", folder.file("page.html")])
    }

    @Test func checkpointsAndShards() throws {
        let how = ["--scorer", "frequency", "--prefix", "8", "--out", folder.file("s")]
        let words = ["score"] + input + how + ["--checkpoint", folder.file("state")]
        try succeed(words)
        try damage(folder.file("state"), words, result: folder.file("s"))
        for i in 1...2 {
            try succeed(["score"] + input + how + ["--shard", "\(i)/2", "--checkpoint", folder.file("shard\(i)")])
        }
        let merge = ["score"] + input + how + ["--merge", folder.file("shard1"), "--merge", folder.file("shard2")]
        try succeed(merge)
        try damage(folder.file("shard2"), merge, result: folder.file("s"))
    }

    @Test func scoresAndCores() throws {
        try succeed(["score"] + input + ["--prefix", "32", "--out", folder.file("s")])
        let select = [
            "select", "--scores", folder.file("s"), "--sae", folder.file("sae"), "--out", folder.file("core"),
        ]
        try succeed(select)
        try damage(folder.file("s"), select)
        try succeed(select)
        let tiny = try TinyModel()
        let latents = [
            "latents", "--model", tiny.model, "--sae", folder.file("sae"), "--text", tiny.text, "--tokens", "64",
            "--context",
            "32", "--quiet", "--core", folder.file("core/core.json"),
        ]
        try succeed(latents)
        try damage(folder.file("core/core.json"), latents)
    }

    /// The case that was found first: as many points as there are, of other sequences.
    @Test func aCurveOfOtherLengthsIsRefusedByName() throws {
        try succeed(comparison)
        let path = folder.file("c/parts/curves-1.json")
        var root = try #require(try JSONSerialization.jsonObject(with: Data(contents(of: path))) as? [String: Any])
        var points = try #require(root["points"] as? [String: Any])
        var kept = try #require(points["kept"] as? [[String: Any]])
        kept[1] = ["sums": [1.0], "counts": [1]]
        points["kept"] = kept
        root["points"] = points
        try AtomicFile.write(Array(try JSONSerialization.data(withJSONObject: root)), to: path)
        try fail(
            comparison, saying: path, "a point of it has 1 losses and 1 counts of 2 sequences",
            "delete it and compare again")
        kept[1] = try #require((points["removed"] as? [[String: Any]])?[0])
        points["kept"] = kept
        root["points"] = points
        try AtomicFile.write(Array(try JSONSerialization.data(withJSONObject: root)), to: path)
        try fail(comparison, saying: path, "its numbers are not those that were written")
    }

    /// An activation that is one still, but another.
    @Test func aNumberThatWasChangedIsNotGoneOnFrom() throws {
        try succeed(comparison)
        for name in ["scores-0.safetensors"] {
            let path = folder.file("c/parts/" + name)
            var bytes = contents(of: path)
            let file = try SafetensorsFile(path: path)
            let first = try #require(try file.matrix("activations").values.first)
            // Its last byte but one: the number moves by a part in a hundred.
            let place = try #require(
                bytes.indices.dropLast(3).first { i in
                    bytes[i..<i + 4].elementsEqual(withUnsafeBytes(of: first.bitPattern.littleEndian) { Array($0) })
                })
            bytes[place + 2] ^= 1
            try AtomicFile.write(bytes, to: path)
            try fail(
                comparison, saying: path, "its numbers are not those that were written", "delete it and compare again")
        }
    }
}
