import Attribution
import Reports
import TensorFiles
import Testing

@Suite struct ComparisonReportTests {
    static let hostileNames = [
        "gxa", "</script><script>a()</script>", "\"><img src=x onerror='a()'>", "\u{202E}abc\u{0}", "a,b=c:d/e.so:<i>",
    ]

    private static func interval(_ value: String, _ low: String, _ high: String) -> String {
        #"{"value": \#(value), "low": \#(low), "high": \#(high)}"#
    }

    /// A record of one method and one pair, as comparison.json has it.
    private static let template = """
        {"about": [], "summary": [], "candidates": 12, "sequences": 4, "length": 8, "scored_tokens": 30,
        "aggregate": "quantile:0.99", "tau": 0.5, "draws": 10, "footings": [{"estimate": "a<b", "truth": "c>d", "count": 9,
        "pearson": 0.5, "spearman": 0.25}], "curve_losses": {"sequences": 2, "held_out": true, "original": 1, "every": 2,
        "none": 3}, "failures": [], "shared_seconds": 1, "peak_memory": 100, "latents": [],
        "methods": [{"name": "", "meaning": "", "scores": [], "cores": [{"tau": 0.5, "latents": [0, 1]}],
        "core_frequency": {"mean": 0.25, "median": 0.125, "dense": 1}, "halves": {"spearman": \(interval("0.5", "0.4", "0.6")),
        "jaccard": \(interval("0.25", "0.1", "0.3"))}, "faithfulness": {"counts": [0, 3, 12],
        "kept": [\(interval("3", "2.9", "3.1")), \(interval("2.5", "2.4", "2.6")), \(interval("2", "1.9", "2.1"))],
        "removed": [\(interval("2", "1.9", "2.1")), \(interval("2.5", "2.4", "2.6")), \(interval("3", "2.9", "3.1"))],
        "kept_area": \(interval("0.5", "0.4", "0.6")), "removed_area": \(interval("0.25", "0.2", "0.3")),
        "removed_area_over": {}, "removed_over": {}},
        "sensitivity": [{"aggregate": "rms <over> active", "spearman": 0.5, "core": 3, "jaccard": 0.5}],
        "cost": {"seconds": 2, "replayed_tokens": 32, "gradient_tokens": 64, "evaluations": 3}}],
        "pairs": [{"first": "", "second": "", "spearman": \(interval("0.5", "0.4", "0.6")), "kendall": 0.5,
        "overlaps": [{"n": 10, "share": 0.5}], "jaccards": [0, 0.25, 0.5, 1], "jaccard": \(interval("0.25", "0.1", "0.3"))}]}
        """

    /// A record with every part filled in.
    private func record(_ names: [String], scores: (Int, Int) -> Double = { m, j in Double((j * 7 + m * 3) % 11) })
        throws -> ComparisonRecord
    {
        var record = try JSONRecord.decode(ComparisonRecord.self, from: Self.template, in: "template")
        record.about = [.init("SAE", "<b>\(names[0])</b>")]
        record.summary = ["\(names[0]) & others were <compared> on twelve latents.", "It's so."]
        let (method, pair) = (record.methods[0], record.pairs[0])
        record.methods = names.enumerated().map { m, name in
            var method = method
            (method.name, method.meaning) = (name, "<\(name)>")
            method.scores = (0..<12).map { scores(m, $0) }
            return method
        }
        record.pairs = names.enumerated().flatMap { a, first in
            names.dropFirst(a + 1).map { second in
                var pair = pair
                (pair.first, pair.second) = (first, second)
                return pair
            }
        }
        record.latents = [
            LatentRecord(
                latent: 10, frequency: 0.25, largest: 3,
                contexts: [.init(tokens: names + ["\n"], activations: names.map { _ in 1 } + [3], peak: names.count)],
                promoted: names.map { .init(text: $0, value: 1) }, suppressed: [],
                neighbours: [.init(latent: 3, cosine: 0.5)])
        ]
        return record
    }

    private let sections = [
        "methods", "agreement", "coverage", "faithfulness", "ranks", "cost", "sensitivity", "latents",
    ]

    private func sections(of html: String) -> [String] {
        html.split(separator: "<section id=\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    }

    @Test func whatWasFoundComesFirstAndEverySectionFollows() throws {
        let html = ComparisonReport(try record(["gxa", "ig", "random"])).html()
        #expect(html.contains("</h1><p class=\"lead\">gxa &amp; others were &lt;compared&gt; on twelve latents.</p>"))
        #expect(sections(of: html) == sections)
        #expect(!html.contains("http"))
    }

    @Test func hostileNamesAndTokensStayText() throws {
        let page = MarkUp(ComparisonReport(try record(Self.hostileNames)).html())
        let plain = MarkUp(ComparisonReport(try record(["a", "b", "c", "d", "e"])).html())
        #expect(page.faults.isEmpty && plain.faults.isEmpty)
        // No tag more than with harmless names, but for the places where a name may break.
        #expect(page.tags.filter { $0 != "wbr" } == plain.tags.filter { $0 != "wbr" })
        #expect(page.text.contains("&lt;/script&gt;") && !page.text.unicodeScalars.contains("\u{202E}"))
    }

    @Test func theSameRecordGivesTheSamePageFromAFileToo() throws {
        let original = try record(["gxa", "ig"])
        let html = ComparisonReport(original).html()
        #expect(ComparisonReport(original).html() == html)
        let read = try JSONRecord.decode(ComparisonRecord.self, from: JSONRecord.text(original), in: "comparison.json")
        #expect(ComparisonReport(read).html() == html)
    }

    @Test func oneMethodHasNothingToAgreeWith() throws {
        let html = ComparisonReport(try record(["gxa"])).html()
        #expect(sections(of: html) == sections.filter { $0 != "ranks" })
        #expect(html.contains("There is only one method.") && !html.contains("rank-dots"))
        #expect(MarkUp(html).faults.isEmpty)
    }

    @Test func withoutCurvesCostsOrLatentsThePageSaysSo() throws {
        var bare = try record(["gxa", "ig"])
        for i in bare.methods.indices {
            bare.methods[i].faithfulness = nil
            bare.methods[i].cost = nil
            bare.methods[i].halves = nil
            bare.methods[i].sensitivity = []
        }
        bare.latents = []
        let html = ComparisonReport(bare).html()
        #expect(sections(of: html) == sections.filter { $0 != "faithfulness" })
        for sentence in [
            "Nothing is known of costs.", "No method here gives scores of tokens.", "No latent was looked at.",
        ] { #expect(html.contains(sentence)) }
        #expect(MarkUp(html).faults.isEmpty)
    }

    /// A core of nothing, scores without numbers, no candidates at all: no number on the page is none.
    @Test func scoresThatSelectNothingStillMakeAPage() throws {
        var empty = try record(["gxa", "ig"])
        empty.candidates = 0
        for i in empty.methods.indices { empty.methods[i].scores = [] }
        let (zero, negative) = (
            try record(["gxa", "ig"]) { _, _ in 0 }, try record(["gxa", "ig"]) { m, _ in Double(-m) }
        )
        for odd in [zero, negative, empty] {
            let page = MarkUp(ComparisonReport(odd).html())
            #expect(page.faults.isEmpty)
            #expect(!page.text.contains("nan") && !page.text.contains("inf"))
            #expect(page.text.contains("No method has a score above 0."))
        }
    }

    @Test func numbersWithoutAValueAreDashes() throws {
        var unknown = try record(["gxa", "ig"])
        var none = unknown.pairs[0].spearman
        (none.value, none.low, none.high) = (.nan, .nan, .nan)
        unknown.pairs[0].spearman = none
        unknown.pairs[0].kendall = .nan
        unknown.methods[0].faithfulness?.kept[1] = none
        unknown.curve_losses.original = .nan
        let html = ComparisonReport(unknown).html()
        #expect(!MarkUp(html).text.contains("nan") && !html.contains("nan,"))
        #expect(html.contains("The model itself has – nats per token"))
    }
}
