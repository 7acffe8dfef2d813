import Attribution
import TensorFiles

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

    /// The page as one HTML file.
    public func html() -> String {
        var page = HTMLPage(title: title)
        page.begin(title, findings: [summary], facts: facts.map { ($0.name, $0.value) })
        page.section(
            "Latents", id: "latents", latentCards(latents),
            note:
                "Contexts in which each fires most, shaded by its activation, the highest token underlined; the tokens whose "
                + "logits its decoder row moves most; the latents with the most similar decoder rows.")
        return page.html()
    }

    private var summary: String {
        let frequencies = latents.map(\.frequency).sorted()
        guard let least = frequencies.first, let most = frequencies.last else { return "There are no latents here." }
        guard latents.count > 1 else { return "One latent; it fires on \(short(100 * least, 2))% of the tokens." }
        let silent = latents.count { $0.contexts.isEmpty && $0.frequency == 0 }
        return
            "\(latents.count) latents; they fire on \(short(100 * least, 2))% to \(short(100 * most, 2))% of the tokens, half of "
            + "them on \(short(100 * frequencies[latents.count / 2], 2))% or more"
            + (silent > 0 ? "; \(silent) did not fire." : ".")
    }
}
