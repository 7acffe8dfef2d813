import Testing

/// The checker itself: what it does not see, no page is checked for.
@Suite struct MarkUpTests {
    @Test func tagsThatDoNotBalanceAreFaults() {
        #expect(MarkUp("<p>a <b>b</b><br>c</p>").faults == [])
        #expect(MarkUp("<p>a <b>b</p>").faults == ["</p>", "<p>", "<b>"])
        #expect(MarkUp("<p>a").faults == ["<p>"])
        #expect(MarkUp("a</p>").faults == ["</p>"])
        #expect(MarkUp("a <b").faults == ["a tag has no end: <b"])
        // A script that does not end takes the rest of the page with it.
        #expect(MarkUp("<script>a()").faults == ["<script>"])
    }

    @Test func tagsAndTextAreToldApart() {
        let page = MarkUp("<p class=\"x\">a &lt;b&gt; <i>nan</i></p><script>inf</script><img src=x />")
        #expect(page.faults == [] && page.tags == ["p", "i", "script", "img"])
        #expect(page.text == "a &lt;b&gt; nan")
    }
}
