/// A page that stands alone: no network, no file beside it; light and dark, narrow and wide, on paper.
///
/// By hand: a template library would have to be told to escape each value, and here nothing but `escape`
/// makes text of one.
struct HTMLPage {
    let title: String
    private var head = ""
    private var sections: [(id: String, heading: String, html: String)] = []

    /// A script for the end of the page, if it has any.
    var script = ""

    init(title: String) { self.title = title }

    /// The page's beginning: what it is, what was found, the most important first, and what it was found on.
    mutating func begin(_ heading: String, findings: [String], facts: [(name: String, value: String)]) {
        head = "<h1>\(escape(heading))</h1>"
        if let first = findings.first { head += "<p class=\"lead\">\(escape(first))</p>" }
        if findings.count > 1 {
            head += "<ul>" + findings.dropFirst().map { "<li>\(escape($0))</li>" }.joined() + "</ul>"
        }
        head += "<p class=\"facts\">"
        head += facts.map { "<span>\(escape($0.name)) <b>\(escape($0.value))</b></span> " }.joined() + "</p>"
    }

    /// A heading and what stands under it; `id` names the section.
    mutating func section(_ heading: String, id: String, _ content: String, note: String = "") {
        let note = note.isEmpty ? "" : "<p class=\"note\">\(escape(note))</p>"
        sections.append((id, heading, note + content))
    }

    func html() -> String {
        let contents = sections.map { "<a href=\"#\($0.id)\">\(escape($0.heading))</a> " }.joined()
        let body = sections.map { "<section id=\"\($0.id)\"><h2>\(escape($0.heading))</h2>\n\($0.html)</section>\n" }
            .joined()
        let hasFigures = body.contains("<svg class=\"plot\"") || script.contains("offerSaving")
        let scripts = [hasFigures ? figureScript : "", script].filter { !$0.isEmpty }
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(escape(title))</title>
            <style>\(stylesheet)</style>
            </head>
            <body>
            <main>
            <header>\(head)\(sections.count > 1 ? "<nav>\(contents)</nav>" : "")</header>
            \(body)</main>
            \(scripts.map { "<script>\n\($0)\n</script>" }.joined(separator: "\n"))
            </body>
            </html>

            """
    }
}
