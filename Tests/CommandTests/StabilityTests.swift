import SparseCoding
import TensorFiles
import TestSupport
import Testing

@Suite struct StabilityTests {
    private let folder = TemporaryFolder()

    /// SAEs a and b, of which b has half of a's latents at other places, and c of other directions.
    init() throws {
        let a = try smallSAE(dIn: 60, groups: [8, 32], core: 4)
        let b = try smallSAE(dIn: 60, groups: [8, 32], core: 4, seed: 50)
        for j in 0..<20 {
            for c in 0..<60 { b.encoder[39 - j, c] = 3 * a.encoder[j, c] }
        }
        let c = try smallSAE(dIn: 60, groups: [8, 32], seed: 90)
        for (name, sae) in [("a", a), ("b", b), ("c", c)] {
            sae.inference = .threshold(0.1)
            try SAEFolder.write(sae, SAEProvenance(), to: folder.file(name))
        }
    }

    private func stability(_ names: [String], _ more: String...) -> [String] {
        ["stability"] + names.map(folder.file) + ["--quiet"] + more
    }

    @Test func latentsThatReappearAreCounted() throws {
        let text = try succeed(stability(["a", "b", "c"], "--out", folder.file("s")))
        #expect(text.contains("encoder vectors\n") && text.contains("decoder vectors\n") && text.contains("PW-MCC "))
        let report = try JSONValue(parsing: try succeed(stability(["a", "b", "c"], "--json")))
        let encoder = try #require(report["sides"]?.array?.first)
        let pair = try #require(encoder["pairs"]?.array?.first)
        #expect(pair["share09"]?.double == 0.5)
        let sets = try #require(encoder["sets"]?.array)
        #expect(sets.map { $0["inSome"]?.integer } == [20, 20, 0] && sets.allSatisfy { $0["inAll"]?.integer == 0 })
        let file = try SafetensorsFile(path: folder.file("s"))
        #expect(try file.integers("encoder.0.reappears").prefix(21) == [Int64](repeating: 1, count: 20) + [0])
        #expect(try file.integers("encoder.0.in.1.latent").prefix(20).map { Int($0) } == (20..<40).reversed())
        #expect(file.metadata["SAE 0 cfg.json.sha256"] != nil && file.metadata["same"] == "0.7")
        // Of the core none is in the other's.
        let core = try JSONValue(parsing: try succeed(stability(["a", "b"], "--json", "--latents", "core")))
        #expect(core["sides"]?.array?.first?["sets"]?.array?.first?["inNone"]?.integer == 4)
        let without = try succeed(stability(["a", "b"], "--no-assignment", "--directions", "decoder"))
        #expect(!without.contains("encoder") && without.contains(" - "))
    }

    @Test func whatCannotBeComparedIsRefused() throws {
        try fail(stability(["a"]), status: 64, saying: "give two SAEs or more; it is 1")
        try fail(stability(["a", "a"]), status: 64, saying: "an SAE is named twice")
        try fail(stability(["a", "b"], "--same", "1.5"), status: 64, saying: "--same is 1.5")
        try fail(stability(["a", "c"], "--latents", "core"), status: 64, saying: "\(folder.file("c")) has no core")
        try SAEFolder.write(try smallSAE(dIn: 59, groups: [8]), SAEProvenance(), to: folder.file("narrow"))
        try fail(
            stability(["a", "narrow"]), status: 64,
            saying: "is of a residual stream of 59 numbers, and \(folder.file("a")) of one of 60")
        try fail(
            stability(["a", "core.json"], "--latents", "inner"), status: 64,
            saying: "core.json is a core and has no prefixes; leave --latents inner out")
        try fail(stability(["a", "nothing"]), saying: folder.file("nothing"))
    }
}
