import Attribution
import Reports
import Testing

@Suite struct LatentsReportTests {
    private func latent(_ index: Int, frequency: Double, tokens: [String] = [], activations: [Double] = [])
        -> LatentRecord
    {
        LatentRecord(
            latent: index, frequency: frequency, largest: activations.max() ?? 0,
            contexts: tokens.isEmpty
                ? []
                : [
                    .init(
                        tokens: tokens, activations: activations,
                        peak: activations.firstIndex(of: activations.max() ?? 0) ?? 0)
                ],
            promoted: [.init(text: " <b>", value: 2.5)], suppressed: [], neighbours: [.init(latent: 7, cosine: 0.5)])
    }

    private func html(_ latents: [LatentRecord]) -> String {
        LatentsReport(title: "Latents of <core>", facts: [.init("SAE", "a&b")], latents: latents).html()
    }

    @Test func activeTokensAreShadedAndTheHighestUnderlined() {
        let page = html([
            latent(3, frequency: 0.5, tokens: ["a", " b", " ", "\n", "</div>"], activations: [0, 4, 2, 1, 1])
        ])
        #expect(page.contains("a <span class=\"heat\" style=\"--heat-share:0.75\" title=\"4.00\"><b>b</b></span>"))
        #expect(page.contains("--heat-share:0.45\" title=\"2.00\">␣</span>"))
        #expect(page.contains(">⏎</span>") && page.contains(">&lt;/div&gt;</span>"))
        #expect(page.contains("<code title=\"2.500 logits per unit\">␣&lt;b&gt;</code>"))
        #expect(MarkUp(page).faults.isEmpty)
    }

    @Test func thePageBeginsWithHowOftenTheyFire() {
        #expect(html([]).contains("<p class=\"lead\">There are no latents here.</p>"))
        #expect(html([latent(1, frequency: 0.5)]).contains("One latent; it fires on 50.00% of the tokens."))
        let page = html([latent(1, frequency: 0.5), latent(7, frequency: 0), latent(2, frequency: 0.25)])
        #expect(
            page.contains(
                "3 latents; they fire on 0.00% to 50.00% of the tokens, half of them on 25.00% or more; 1 did not fire."
            ))
        #expect(page.contains("It did not fire."))
        // A neighbour that is on the page can be gone to.
        #expect(page.contains("<a href=\"#latent-7\">7</a>"))
    }

    @Test func activationsThatAreNoneShadeNothing() {
        let page = html([latent(1, frequency: 0, tokens: ["a", "b"], activations: [.nan, -1])])
        #expect(!page.contains("heat-share:n") && !page.contains("class=\"heat\""))
    }
}
