/// A page that stands alone: no network, no file beside it; light and dark, narrow and wide, on paper.
struct HTMLPage {
    let title: String
    private(set) var body = ""

    /// Data and a script at the end of the page, if it has any.
    var script = ""

    init(title: String) { self.title = title }

    /// A heading and what stands under it; `id` names the section.
    mutating func section(_ heading: String, id: String, _ content: String, note: String = "") {
        body += "<section id=\"\(id)\"><h2>\(escape(heading))</h2>"
        if !note.isEmpty { body += "<p class=\"note\">\(escape(note))</p>" }
        body += content + "</section>\n"
    }

    mutating func add(_ html: String) { body += html }

    func html() -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>\(escape(title))</title>
        <style>\(Self.style)</style>
        </head>
        <body>
        <main>
        \(body)</main>
        \(script.isEmpty ? "" : "<script>\n\(script)\n</script>")
        </body>
        </html>

        """
    }

    /// Series colours are those of Okabe and Ito, which the colour-blind tell apart; dark yellow in the place of yellow.
    private static let style = """
        :root{--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--paper:#fff;--tint:#f3f5f7;--heat:0,114,178;
        --c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#8a7a00;--c5:#56b4e9;--c6:#e69f00;--c7:#5b6570}
        @media (prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#9aa5b1;--line:#39424c;--paper:#14181d;--tint:#1d232a;
        --heat:86,180,233;--c0:#4ba6e0;--c1:#f0813a;--c2:#2bc79b;--c3:#e39cc4;--c4:#d9c94a;--c5:#8fd0f5;--c6:#ffbf47;--c7:#9aa5b1}}
        *{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
        font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
        main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}h1{font-size:1.5em;line-height:1.25;margin:0 0 .4em}
        h2{font-size:1.15em;margin:2em 0 .4em}h3{font-size:1em;margin:0 0 .3em}p{margin:.4em 0;max-width:72ch}
        .lead{font-size:1.1em}.note,.facts{color:var(--soft)}.facts span{margin-right:1.2em;white-space:nowrap;display:inline-block}
        .scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
        th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
        th:first-child,td:first-child{text-align:left;padding-left:0}th{font-weight:600;color:var(--soft)}
        td small{color:var(--soft)}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr));gap:20px}
        figure{margin:0;min-width:0}figcaption{color:var(--soft);font-size:.9em}svg{width:100%;height:auto;display:block}
        svg text{fill:var(--soft);font:11px system-ui,"DejaVu Sans",sans-serif}.frame{stroke:var(--line);fill:none}
        .legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin:.3em 0;font-size:.9em}
        .legend i{display:inline-block;width:1.2em;height:.2em;margin-right:.4em;vertical-align:middle}
        .card{border:1px solid var(--line);border-radius:6px;padding:12px;min-width:0}
        .context{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.82em;line-height:1.6;margin:.35em 0;
        overflow-wrap:anywhere;border-top:1px solid var(--line);padding-top:.35em}
        .context b{font-weight:700;text-decoration:underline}.tokens{font-size:.88em;overflow-wrap:anywhere}
        code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;background:var(--tint);padding:0 .25em;border-radius:3px}
        select{font:inherit;color:inherit;background:var(--tint);border:1px solid var(--line);border-radius:4px;max-width:100%}
        @media print{main{max-width:none;padding:0}section,.card,figure{break-inside:avoid}select{border:0}}
        """.replacing("\n", with: "")
}

/// Text as it may stand in HTML, attribute values included.
func escape(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\"": result += "&quot;"
        case "'": result += "&#39;"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}

/// A table that scrolls on its own when the page is narrower. Cells are HTML.
func table(_ heads: [String], _ rows: [[String]]) -> String {
    "<div class=\"scroll\"><table><thead><tr>" + heads.map { "<th>\(escape($0))</th>" }.joined()
        + "</tr></thead><tbody>"
        + rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined(separator: "\n")
        + "</tbody></table></div>"
}

/// Names with their colours.
func legend(_ names: [String]) -> String {
    "<div class=\"legend\">"
        + names.enumerated().map {
            "<span><i style=\"background:\(color($0.offset))\"></i>\(escape($0.element))</span>"
        }.joined() + "</div>"
}

/// The colour of a series.
func color(_ index: Int) -> String { "var(--c\(index % 8))" }
