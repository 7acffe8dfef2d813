import Attribution

/// Latents as cards: where they fire most, what their decoder rows promote.
func latentCards(_ latents: [LatentRecord], badges: (Int) -> [String] = { _ in [] }) -> String {
    "<div class=\"grid\">" + latents.map { card($0, badges($0.latent)) }.joined(separator: "\n") + "</div>"
}

private func card(_ latent: LatentRecord, _ badges: [String]) -> String {
    var html = "<div class=\"card\"><h3>Latent \(latent.latent)</h3><div class=\"tokens\">fires on "
    html += "\(short(100 * latent.frequency, 2))% of the tokens"
    if !badges.isEmpty { html += ", in the core of " + badges.map(escape).joined(separator: ", ") }
    html += "</div><div class=\"tokens\">promotes \(tokens(latent.promoted))</div>"
    html += "<div class=\"tokens\">suppresses \(tokens(latent.suppressed))</div>"
    if !latent.neighbours.isEmpty {
        let near = latent.neighbours.prefix(5).map { "\($0.latent) (\(short($0.cosine, 2)))" }.joined(separator: ", ")
        html += "<div class=\"tokens\">nearest decoder rows \(near)</div>"
    }
    if latent.contexts.isEmpty { html += "<div class=\"context\">It did not fire.</div>" }
    for context in latent.contexts { html += contextLine(context, latent.largest) }
    return html + "</div>"
}

private func tokens(_ list: [LatentRecord.Token]) -> String {
    list.map { "<code>\(visible($0.text))</code>" }.joined(separator: " ")
}

private func contextLine(_ context: LatentRecord.Context, _ largest: Double) -> String {
    var html = "<div class=\"context\">"
    for (i, token) in context.tokens.enumerated() {
        let strength = largest > 0 ? context.activations[i] / largest : 0
        // A line break would tear the context apart.
        let text = escape(token.replacing("\n", with: "⏎"))
        guard strength > 0 else {
            html += text
            continue
        }
        let shown = i == context.peak ? "<b>\(text)</b>" : text
        html +=
            "<span style=\"background:rgba(var(--heat),\(short(0.12 + 0.5 * strength, 2)))\" title=\"\(short(context.activations[i], 4))\">\(shown)</span>"
    }
    return html + "</div>"
}

/// A token whose spaces and breaks can be seen.
private func visible(_ text: String) -> String {
    escape(text.replacing("\n", with: "⏎").replacing("\t", with: "⇥").replacing(" ", with: "␣"))
}
