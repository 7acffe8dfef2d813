import Attribution
import TensorFiles

/// Latents as cards: where they fire most, what their decoder rows promote. `more` gives further lines of a card as
/// names and HTML.
func latentCards(_ latents: [LatentRecord], more: (Int) -> [(name: String, html: String)] = { _ in [] }) -> String {
    let shown = Set(latents.map(\.latent))
    return "<div class=\"grid\">" + latents.map { card($0, more($0.latent), shown) }.joined(separator: "\n") + "</div>"
}

private func card(_ latent: LatentRecord, _ more: [(name: String, html: String)], _ shown: Set<Int>) -> String {
    var lines = more
    lines.append(
        ("fires on", "\(short(100 * latent.frequency, 2))% of the tokens, up to \(activation(latent.largest))"))
    lines.append(("promotes", tokens(latent.promoted)))
    lines.append(("suppresses", tokens(latent.suppressed)))
    let near = latent.neighbours.prefix(5).map { neighbour in
        let index =
            shown.contains(neighbour.latent)
            ? "<a href=\"#latent-\(neighbour.latent)\">\(neighbour.latent)</a>" : "\(neighbour.latent)"
        return "\(index) <small>(\(short(neighbour.cosine, 2)))</small>"
    }
    if !near.isEmpty { lines.append(("nearest", near.joined(separator: ", "))) }
    return "<article class=\"card\" id=\"latent-\(latent.latent)\"><h3>Latent \(latent.latent)</h3><dl>"
        + lines.filter { !$0.html.isEmpty }.map { "<dt>\($0.name)</dt><dd>\($0.html)</dd>" }.joined() + "</dl>"
        + (latent.contexts.isEmpty ? "<div class=\"context\">It did not fire.</div>" : "")
        + latent.contexts.map { context($0, latent.largest) }.joined() + "</article>"
}

private func tokens(_ list: [LatentRecord.Token]) -> String {
    list.map { "<code title=\"\(short($0.value)) logits per unit\">\(visible($0.text))</code>" }.joined(separator: " ")
}

private func context(_ context: LatentRecord.Context, _ largest: Double) -> String {
    let peak = context.activations.indices.contains(context.peak) ? context.activations[context.peak] : .nan
    return "<div class=\"context\"><small>\(activation(peak))</small>"
        + zip(context.tokens, context.activations).enumerated().map { i, token in
            shaded(token.0, token.1, largest, isPeak: i == context.peak)
        }.joined() + "</div>"
}

private func shaded(_ token: String, _ value: Double, _ largest: Double, isPeak: Bool) -> String {
    let strength = largest > 0 && value.isFinite ? min(1, max(0, value / largest)) : 0
    // A line break would tear the context apart.
    guard strength > 0 else { return escape(withBreaksShown(token)) }
    // The space before a word is left unshaded, or lines would end in shades of nothing; a token of nothing but spaces
    // shows them.
    let isBlank = token.allSatisfy(\.isWhitespace)
    let space = isBlank || token.first != " " ? "" : " "
    let text = isBlank ? visible(token) : escape(withBreaksShown(String(token.dropFirst(space.count))))
    return
        space
        + "<span class=\"heat\" style=\"--heat-share:\(short(0.15 + 0.6 * strength, 2))\" title=\"\(activation(value))\">"
        + (isPeak ? "<b>\(text)</b>" : text) + "</span>"
}

private func activation(_ value: Double) -> String { short(value, abs(value) < 10 ? 2 : 1) }
