import Attribution

/// Latents of an SAE as one page.
public struct LatentsReport {
    private let title: String
    private let facts: [ComparisonRecord.Fact]
    private let latents: [LatentRecord]

    /// A report of latents, with what they are of.
    public init(title: String, facts: [ComparisonRecord.Fact], latents: [LatentRecord]) {
        self.title = title
        self.facts = facts
        self.latents = latents
    }

    /// The page.
    public func html() -> String {
        var page = HTMLPage(title: title)
        page.add("<header><h1>\(escape(title))</h1><p class=\"facts\">")
        for fact in facts { page.add("<span>\(escape(fact.name)) <b>\(escape(fact.value))</b></span> ") }
        page.add("</p></header>\n")
        page.section("Latents", id: "latents", latentCards(latents))
        return page.html()
    }
}
