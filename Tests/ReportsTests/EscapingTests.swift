import Reports
import Testing

@Suite struct EscapingTests {
    /// Text that means something to a browser or to the direction of writing, and what is written for it.
    static let hostile: [(String, String)] = [
        ("</script>", "&lt;/script&gt;"),
        ("<img src=x onerror=\"a()\">", "&lt;img src=x onerror=&quot;a()&quot;&gt;"),
        ("it's & \"so\"", "it&#39;s &amp; &quot;so&quot;"),
        ("&lt;", "&amp;lt;"),
        ("a\u{202E}b\u{2066}", "a‹U+202E›b‹U+2066›"),
        ("zero\u{200B}width\u{FEFF}", "zero‹U+200B›width‹U+FEFF›"),
        ("bell\u{7}nul\u{0}", "bell‹U+0007›nul‹U+0000›"),
        ("line\u{2028}", "line‹U+2028›"),
        ("\u{1F600} é 漢 \u{FFFD}", "\u{1F600} é 漢 \u{FFFD}"),
        ("tab\tline\n", "tab\tline\n"),
        // The same list as a terminal has: what has no width, and joiners that scripts need.
        ("\u{3164}\u{E0041}\u{115F}", "‹U+3164›‹U+E0041›‹U+115F›"),
        ("می\u{200C}خواهم 👩\u{200D}💻", "می\u{200C}خواهم 👩\u{200D}💻"),
    ]

    @Test(arguments: hostile) func whatABrowserWouldTakeForItsOwnIsText(_ text: String, _ written: String) {
        #expect(escape(text) == written)
    }

    @Test func aTokenShowsItsSpacesAndBreaks() {
        #expect(visible(" the") == "␣the")
        #expect(visible("\r\n") == "␍⏎")
        #expect(visible("\t <b>") == "⇥␣&lt;b&gt;")
        #expect(visible("") == "")
    }

    @Test func aLongNameKeepsItsEnds() {
        #expect(fitted("gxa", 3) == "gxa")
        #expect(fitted("ablation,sequences=2:first_order", 15) == "ablatio…t_order")
        #expect(fitted("ablation,sequences=2", 15).count == 15)
    }

    @Test func aNameBreaksBetweenItsParts() {
        #expect(breakable("a/b.so:<x>,k=1") == "a/<wbr>b.so:<wbr>&lt;x&gt;,<wbr>k=1")
    }
}
