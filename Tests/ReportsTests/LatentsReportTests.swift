import Foundation
import Attribution
import Reports
import TensorFiles
import TestSupport
import Testing

@Suite struct LatentsReportTests {
    private func latent(_ index: Int, frequency: Double, tokens: [String] = [], activations: [Double] = [])
        -> LatentDashboard
    {
        var dashboard = LatentDashboard(
            LatentRecord(
                latent: index, frequency: frequency, largest: activations.filter(\.isFinite).max() ?? 0,
                contexts: tokens.isEmpty
                    ? []
                    : [
                        .init(
                            tokens: tokens, activations: activations,
                            peak: activations.firstIndex(of: activations.max() ?? 0) ?? 0)
                    ],
                promoted: [.init(text: " <b>", value: 2.5)], suppressed: [], neighbours: [.init(latent: 7, cosine: 0.5)]
            ))
        dashboard.activations = .init([1, 2], bins: 2)
        dashboard.correlated = [.init(latent: 3, pearson: 0.25, cosine: 0.5)]
        dashboard.levels = [.init(low: 1, high: 2, tokens: 5, contexts: dashboard.record.contexts)]
        return dashboard
    }

    private func report(_ latents: [LatentDashboard], marks: [Int: LatentMark] = [:]) throws -> LatentsReport {
        var report = LatentsReport(title: "Latents of <core>", facts: [.init("SAE", "a&b")], marks: marks)
        try report.add(Array(latents.indices)) { chunk in chunk.map { latents[$0] } }
        return report
    }

    /// The data with this id; nothing where there is none.
    private func data(_ id: String, in html: String) throws -> JSONValue {
        let start = try #require(html.range(of: "id=\"\(id)\">")?.upperBound)
        let end = try #require(html[start...].range(of: "</script>")?.lowerBound)
        return try JSONValue(parsing: String(html[start..<end]))
    }

    @Test func aLatentsDetailsAreDataThatNoTokenEnds() throws {
        let hostile = "</script><script>throw 1</script>"
        let page = try report([
            latent(3, frequency: 0.5, tokens: ["a", hostile, "\n", "\u{202E}x"], activations: [0, 4, 2, 0])
        ]).html()
        #expect(MarkUp(page).faults.isEmpty)
        #expect(
            page.components(separatedBy: "<script").count == 5,
            "the index, one chunk, what saves figures, and what shows latents")
        let details = try data("latents-0", in: page)
        let texts = details["texts"]?.array?.compactMap(\.string) ?? []
        #expect(texts == [" <b>", "a", hostile, "⏎", "‹U+202E›x"])
        let shown = try #require(details["latents"]?.array?.first)
        // Numbers of its tokens, which is the highest, and where it fires how much.
        #expect(
            shown["top"]
                == .array([
                    .array([
                        .array([.integer(1), .integer(2), .integer(3), .integer(4)]), .integer(1),
                        .array([.integer(1), .number(4), .integer(2), .number(2)]),
                    ])
                ]))
        #expect(shown["up"] == .array([.array([.integer(0), .number(2.5)])]))
        #expect(shown["near"] == .array([.array([.integer(7), .number(0.5)])]))
        #expect(shown["with"] == .array([.array([.integer(3), .number(0.25)])]))
        #expect(shown["acts"]?["counts"] == .array([.integer(1), .integer(1)]))
        #expect(shown["levels"]?.array?.first?["tokens"]?.integer == 5)
    }

    @Test func theIndexHasWhatLatentsAreSortedFilteredAndSearchedBy() throws {
        var (first, second) = (LatentMark(), LatentMark())
        (first.core_rank, first.born, first.selected_in, first.scores) = (2, 0, [0, 1], ["gxa": 0.5])
        second.scores = ["ig": -1]
        let page = try report(
            [
                latent(7, frequency: 0.25, tokens: ["x", "y"], activations: [1, 3]), latent(9, frequency: 0),
                latent(11, frequency: 0),
            ], marks: [7: first, 9: second]
        ).html()
        let index = try data("latents-index", in: page)
        #expect(index["methods"] == .array([.string("gxa"), .string("ig")]) && index["folder"] == .null)
        let latents = try #require(index["latents"]?.array)
        #expect(
            latents.map { $0["v"] } == [
                .array([.number(0.5), .null]), .array([.null, .number(-1)]), .array([.null, .null]),
            ])
        #expect(latents[0]["r"]?.integer == 2 && latents[0]["b"]?.integer == 0 && latents[1]["r"] == nil)
        #expect(latents[0]["f"]?.double == 0.25 && latents[0]["m"]?.double == 3)
        #expect(latents[0]["w"] == .array([.string("y"), .string(" <b>")]), "the highest token, then what it promotes")
    }

    @Test func thePageBeginsWithHowOftenTheyFire() throws {
        #expect(try report([]).html().contains("<p class=\"lead\">There are no latents here.</p>"))
        #expect(
            try report([latent(1, frequency: 0.5)]).html().contains("One latent; it fires on 50.00% of the tokens."))
        let page = try report([latent(1, frequency: 0.5), latent(7, frequency: 0), latent(2, frequency: 0.25)]).html()
        #expect(
            page.contains(
                "3 latents; they fire on 0.00% to 50.00% of the tokens, half of them on 25.00% or more; 1 did not fire."
            ))
    }

    @Test func activationsThatAreNoneAreNotThere() throws {
        let page = try report([latent(1, frequency: 0, tokens: ["a", "b"], activations: [.nan, -1])]).html()
        let details = try data("latents-0", in: page)
        let top = try #require(details["latents"]?.array?.first?["top"]?.array?.first?.array)
        #expect(top[2] == .array([]))
    }

    /// Half a thousand latents as the demo has them, whose page was 2.3 MB.
    @Test func fiveHundredLatentsStayBelowTenMegabytes() throws {
        let tokens = (0..<25).map { " token\($0)" }
        let many = (0..<500).map { j -> LatentDashboard in
            var one = latent(
                j, frequency: 0.5, tokens: tokens.map { $0 + "-\(j % 40)" },
                activations: (0..<25).map { Double($0) + 0.1234567 })
            one.record.contexts = Array(repeating: one.record.contexts[0], count: 5)
            one.levels = Array(repeating: one.levels[0], count: 5)
            for i in one.levels.indices { one.levels[i].contexts = Array(one.record.contexts.prefix(2)) }
            (one.activations, one.logits) = (
                .init((0..<999).map(Float.init), bins: 50), .init((0..<999).map(Float.init), bins: 50)
            )
            return one
        }
        #expect(try report(many).html().utf8.count < 10_000_000)
    }

    @Test func theDetailsOfManyLieBesideThePage() throws {
        let folder = TemporaryFolder()
        let many = (0..<1001).map { latent($0, frequency: 0.5, tokens: ["a"], activations: [1]) }
        try report(many).write(to: folder.file("many.html"))
        #expect(folder.names == ["many-latents", "many.html"])
        let names = try namesInFolder(folder.file("many-latents"))
        #expect(names.count == 11 && names.contains("10.json"))
        let last = try JSONValue(contentsOf: folder.file("many-latents/10.json"))
        #expect(last["latents"]?.array?.map { $0["j"]?.integer } == [1000])
        try report(Array(many.prefix(1000))).write(to: folder.file("alone.html"))
        #expect(folder.names == ["alone.html", "many-latents", "many.html"])
    }
}
