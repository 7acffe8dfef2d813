import Attribution
import TensorFiles

/// Latents of an SAE as one page to look through: searched, sorted by what any method says, filtered by core and birth, each with what it
/// does at several activations.
///
/// What is shown of a latent is data and is made visible by the page's script, a latent at a time. Up to 1000 latents all of it is in the
/// page, which then stands alone; of more, the details lie in files beside it, which `dmsae serve` hands out.
public struct LatentsReport {
    private let title: String
    private let facts: [ComparisonRecord.Fact]
    private let marks: [Int: LatentMark]
    private var latents: [LatentSummary] = []
    private var chunks: [[UInt8]] = []

    /// Latents of a page that stands alone.
    package static let mostAlone = 1000
    /// Latents of a chunk of details.
    package static let chunkSize = 100

    /// A page of no latents yet, with what they are of.
    public init(title: String, facts: [ComparisonRecord.Fact], marks: [Int: LatentMark] = [:]) {
        (self.title, self.facts, self.marks) = (title, facts, marks)
    }

    /// Shows `latents`, in the order in which `dashboards` are asked for, a chunk at a time; calls `progress` with the number of each.
    ///
    /// - Throws: what `progress` throws.
    public mutating func add(
        _ latents: [Int], progress: (Int) throws -> Void = { _ in }, dashboards: ([Int]) -> [LatentDashboard]
    ) throws {
        for first in stride(from: 0, to: latents.count, by: Self.chunkSize) {
            let chunk = dashboards(Array(latents[first..<min(first + Self.chunkSize, latents.count)]))
            self.latents += chunk.map { LatentSummary($0, marks[$0.record.latent]) }
            chunks.append(LatentDetails.json(chunk))
            try progress(chunk.count)
        }
    }

    /// Writes the page and, where they do not fit into it, first the files of details into a folder beside it.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func write(to path: String) throws {
        guard latents.count > Self.mostAlone else { return try AtomicFile.write(html(), to: path) }
        let folder = Self.detailsFolder(of: lastComponent(path))
        try createFolder(parentFolder(of: path) + "/" + folder)
        for (number, chunk) in chunks.enumerated() {
            try AtomicFile.write(chunk, to: "\(parentFolder(of: path))/\(folder)/\(number).json")
        }
        try AtomicFile.write(page(detailsIn: folder), to: path)
    }

    /// The name of the folder of a page's details: "core.html" has them in "core-latents".
    public static func detailsFolder(of page: String) -> String {
        (page.hasSuffix(".html") ? String(page.dropLast(5)) : page) + "-latents"
    }

    /// The page as one HTML file with all details in it.
    public func html() -> String { page(detailsIn: nil) }

    private func page(detailsIn folder: String?) -> String {
        var page = HTMLPage(title: title)
        page.begin(title, findings: [summary], facts: facts.map { ($0.name, $0.value) })
        let methods = Set(latents.flatMap { Array($0.mark?.scores.keys ?? [:].keys) }).sorted()
        let index = JSONText.document { text in
            text.member("size", Self.chunkSize)
            text.member("folder", folder)
            text.member("methods", methods.map(withControlsShown))
            text.key("latents")
            text.list { list in for latent in latents { list.object { latent.write(to: &$0, methods: methods) } } }
        }
        var data = embedded(index, id: "latents-index")
        if folder == nil { for (i, chunk) in chunks.enumerated() { data += embedded(chunk, id: "latents-\(i)") } }
        page.section(
            "Latents", id: "latents", Self.frame + data,
            note:
                "What a latent fires on, at its highest activation and below, shaded by the activation, the highest token underlined; the "
                + "tokens whose logits its decoder row moves most; the latents with the most similar decoder rows, and those that "
                + "fire where it does. Arrow keys go from latent to latent, / to the search.")
        page.script = latentsScript
        return page.html()
    }

    /// JSON inside a page: nothing in it ends the element, since no "<" is left.
    private func embedded(_ json: [UInt8], id: String) -> String {
        let text = String(decoding: json, as: UTF8.self).replacing("<", with: "\\u003c")
        return "<script type=\"application/json\" id=\"\(id)\">\(text)</script>\n"
    }

    private static let frame = """
        <noscript><p>This page shows its latents by its script, which is not run here.</p></noscript>
        <div class="choices">
        <label>Search <input type="search" id="latent-search" placeholder="a token or a number" autocomplete="off"></label>
        <label>Sort by <select id="latent-sort"></select></label>
        <label><input type="checkbox" id="latent-reverse"> reversed</label>
        <label id="latent-core-choice">Core <select id="latent-core"><option value="">all</option><option value="in">in the core</option>\
        <option value="out">others</option></select></label>
        <label id="latent-birth-choice">Born in cycle <select id="latent-birth"><option value="">any</option></select></label>
        </div>
        <p class="note" id="latent-count" aria-live="polite"></p>
        <div class="browser"><ol class="rows" id="latent-rows"></ol><article class="card" id="latent-detail" aria-live="polite"></article></div>
        <figure id="latent-density"></figure>

        """

    private var summary: String {
        let frequencies = latents.map(\.frequency).sorted()
        guard let least = frequencies.first, let most = frequencies.last else { return "There are no latents here." }
        guard latents.count > 1 else { return "One latent; it fires on \(short(100 * least, 2))% of the tokens." }
        let silent = latents.count { $0.frequency == 0 }
        return
            "\(latents.count) latents; they fire on \(short(100 * least, 2))% to \(short(100 * most, 2))% of the tokens, half of "
            + "them on \(short(100 * frequencies[latents.count / 2], 2))% or more"
            + (silent > 0 ? "; \(silent) did not fire." : ".")
    }
}
