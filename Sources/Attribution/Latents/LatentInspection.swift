import Kernels
import LanguageModeling
import LinearAlgebra
import SparseCoding

/// Looks at single latents: where they fire most, and what their decoder rows do.
public final class LatentInspection {
    let sae: SparseAutoencoder
    private let model: any LanguageModel
    private let tokenizer: Tokenizer?
    /// [S·T], −1 for padding.
    package let ids: [Int32]
    /// Where every latent fired.
    package let fired: FiredEntries
    let offsets: [Int]
    let order: [Int32]
    private var texts: [Int32: String] = [:]
    private lazy var norms = (0..<sae.dSAE).map {
        kernels.dot(sae.decoder.row($0), sae.decoder.row($0), sae.dIn).squareRoot()
    }
    private(set) lazy var moments = ActivationMoments(fired)

    /// How much is shown.
    public struct Extent: Sendable {
        /// Contexts to keep of each latent.
        public var contexts = 5
        /// Tokens before and after the highest of a context.
        public var radius = 12
        /// Promoted tokens, suppressed tokens, neighbours.
        public var tokens = 8
        /// Intervals of the activation that are looked at beside the highest, and contexts of each.
        public var levels = 5
        /// Contexts of an interval.
        public var levelContexts = 5
        /// Bins of histograms.
        public var bins = 50
        /// Correlated latents, and components of the decoder row.
        public var related = 3

        /// Five contexts of twelve tokens to each side, eight tokens.
        public init() {}
    }

    /// Latents that fired on the sequences of the tokens `ids` [S·T], −1 for padding; without a tokenizer tokens are shown by their ids.
    package init(
        _ sae: SparseAutoencoder, model: any LanguageModel, tokenizer: Tokenizer?, ids: [Int32], fired: FiredEntries
    ) {
        self.sae = sae
        self.model = model
        self.tokenizer = tokenizer
        self.ids = ids
        self.fired = fired
        (offsets, order) = fired.byLatent()
    }

    /// Runs samples through the SAE to see where every latent fires.
    ///
    /// - Parameter limit: what memory there is; asked each time that there are twice as many firings, before there may be as many again.
    /// - Throws: an unset threshold; `AttributionError.nothingScored`; `ResourceError.memory`; what `progress` throws.
    public convenience init(
        _ sae: SparseAutoencoder, model: any LanguageModel, tokenizer: Tokenizer?,
        within limit: () -> MemoryLimit = { .current }, sample: () throws -> SpliceSample?,
        progress: (Int) throws -> Void
    ) throws {
        let encoding = SparseEncoder()
        var fired: FiredEntries?
        var ids: [Int32] = []
        var roomFor = 0
        while let next = try sample() {
            let codes = SparseCodes()
            try encoding.encode(next.residual, with: sae, into: codes)
            var entries = fired ?? FiredEntries(latentCount: sae.dSAE, length: next.tokens.length)
            // Taken out, or each batch would copy all that are there.
            fired = nil
            entries.add(codes.restricted(toColumnsBelow: sae.dSAE, rows: next.replaced), scored: next.replaced)
            fired = entries
            ids += next.tokens.idsOrPadding
            if entries.latents.count > roomFor {
                roomFor = 2 * entries.latents.count
                try Self.memory(ofTwice: entries.latents.count, on: ids.count).check(limit())
            }
            try progress(next.tokenCount)
        }
        guard let fired, fired.scoredTokens.contains(where: { $0 > 0 }) else {
            throw AttributionError.nothingScored(tokens: ids.count)
        }
        self.init(
            sae, model: model, tokenizer: tokenizer, ids: ids,
            fired: fired)
    }

    /// What it takes to go on to twice as many firings: 12 bytes for each of them while the others are still there, and 4 for their order
    /// by latent.
    private static func memory(ofTwice firings: Int, on tokens: Int) -> MemoryNeed {
        var need = MemoryNeed(
            "keeping where latents fire on \(2 * tokens) tokens, at \(firings / max(1, tokens)) a token, needs another",
            advice: "lower --tokens")
        need.add("firings", 32, firings)
        return need
    }

    /// Sequences that were looked at.
    public var sequenceCount: Int { fired.sequenceCount }

    /// T, tokens of a sequence.
    public var length: Int { fired.length }

    /// [F] share of the scored tokens at which each latent fires.
    public var frequencies: [Double] { fired.frequency }

    /// Scored tokens of all sequences.
    public var tokenCount: Int { fired.scoredTokens.reduce(0, +) }

    /// The latents that fire at all, highest density first; ties: lower index first.
    public var byFrequency: [Int] {
        let frequency = fired.frequency
        return frequency.indices.filter { frequency[$0] > 0 }.sorted { (frequency[$0], $1) > (frequency[$1], $0) }
    }

    /// What is to be seen of some latents.
    public func records(of latents: [Int], _ extent: Extent = Extent()) -> [LatentRecord] {
        var records: [LatentRecord] = []
        for part in parts(latents) {
            let (logits, cosines) = (logits(of: part), cosines(of: part))
            for (i, j) in part.enumerated() {
                records.append(record(j, logits: logits.row(i), cosines: cosines.row(i), extent))
            }
            extendLifetime((logits, cosines))
        }
        return records
    }

    /// The same with all that dashboards show; a few hundred latents at a time, since their contexts are many.
    public func dashboards(of latents: [Int], _ extent: Extent = Extent()) -> [LatentDashboard] {
        var dashboards: [LatentDashboard] = []
        for part in parts(latents) {
            let (logits, cosines) = (logits(of: part), cosines(of: part))
            var shown = part.enumerated().map { i, j in
                LatentDashboard(record(j, logits: logits.row(i), cosines: cosines.row(i), extent))
            }
            let moments = moments
            shown.withUnsafeMutableBufferPointer { shown in
                Lanes.shared.forRanges(part.count) { _, range in
                    let sums = CoactivationSums(moments, fired)
                    for i in range {
                        let row = UnsafeBufferPointer(start: logits.row(i), count: logits.columns)
                        shown[i].logits = LatentDashboard.Histogram(row, bins: extent.bins)
                        shown[i].activations = LatentDashboard.Histogram(activations(of: part[i]), bins: extent.bins)
                        shown[i].alignment = alignment(of: part[i], extent.related)
                        shown[i].correlated = sums.correlated(with: part[i], entries(of: part[i]), extent.related)
                    }
                }
            }
            for i in shown.indices { shown[i].levels = levels(of: part[i], largest: shown[i].record.largest, extent) }
            dashboards += shown
            extendLifetime((logits, cosines))
        }
        return dashboards
    }

    /// So many latents at a time that their logits and cosines take 64 MiB or so.
    private func parts(_ latents: [Int]) -> [[Int]] {
        let step = max(1, (1 << 24) / max(sae.dSAE, model.configuration.vocabularySize))
        return stride(from: 0, to: latents.count, by: step).map {
            Array(latents[$0..<min($0 + step, latents.count)])
        }
    }

    /// [n, d] decoder rows.
    private func directions(_ latents: [Int]) -> Matrix {
        let rows = Matrix(rows: latents.count, columns: sae.dIn)
        for (i, j) in latents.enumerated() { rows.row(i).update(from: sae.decoder.row(j), count: sae.dIn) }
        return rows
    }

    private func logits(of latents: [Int]) -> Matrix { model.directLogits(of: directions(latents)) }

    /// [n, F] cosines of decoder rows with all; 0 with a row of zeros.
    private func cosines(of latents: [Int]) -> Matrix {
        let (rows, result) = (directions(latents), Matrix(rows: latents.count, columns: sae.dSAE))
        Lanes.shared.multiply(rows.view, sae.decoder.view.transposed, into: result.mutableView)
        for (i, j) in latents.enumerated() {
            let row = result.row(i)
            for other in 0..<sae.dSAE {
                let scale = norms[other] * norms[j]
                row[other] = scale > 0 ? row[other] / scale : 0
            }
        }
        extendLifetime(rows)
        return result
    }

    private func record(
        _ j: Int, logits: UnsafePointer<Float>, cosines: UnsafeMutablePointer<Float>, _ extent: Extent
    ) -> LatentRecord {
        let own = highest(of: j, extent)
        let ends = extremes(logits, model.configuration.vocabularySize, extent.tokens)
        cosines[j] = -2
        let near = extremes(cosines, sae.dSAE, min(extent.tokens, sae.dSAE - 1)).largest
        return LatentRecord(
            latent: j, frequency: j < fired.latentCount ? moments.frequency(of: j) : 0, largest: own.largest,
            contexts: own.contexts, promoted: ends.largest.map { token($0) },
            suppressed: ends.smallest.map { token($0) },
            neighbours: near.map { .init(latent: $0.index, cosine: Double($0.value)) })
    }

    private func token(_ entry: (index: Int, value: Float)) -> LatentRecord.Token {
        LatentRecord.Token(text: text(Int32(entry.index)), value: Double(entry.value))
    }

    /// A token as text.
    package func text(_ id: Int32) -> String {
        if let known = texts[id] { return known }
        let text = (try? tokenizer?.decodeText([id])) ?? "\(id)"
        texts[id] = text
        return text
    }

    /// Where a latent fired, in the order of tokens.
    package func entries(of latent: Int) -> ArraySlice<Int32> {
        latent < fired.latentCount ? order[offsets[latent]..<offsets[latent + 1]] : []
    }

    private func activations(of latent: Int) -> [Float] { entries(of: latent).map { fired.activations[Int($0)] } }

    /// The highest activations, one a sequence; ties: earlier first.
    private func highest(of latent: Int, _ extent: Extent) -> (contexts: [LatentRecord.Context], largest: Double) {
        var highest: [Int: Int] = [:]
        for e in entries(of: latent).map({ Int($0) }) {
            let s = fired.sequence(e)
            if let known = highest[s], fired.activations[known] >= fired.activations[e] { continue }
            highest[s] = e
        }
        let peaks = highest.values.sorted { (fired.activations[$0], $1) > (fired.activations[$1], $0) }
        return (
            contexts(of: latent, around: Array(peaks.prefix(extent.contexts)), radius: extent.radius),
            peaks.first.map { Double(fired.activations[$0]) } ?? 0
        )
    }

    /// What stands around entries of a latent.
    func contexts(of latent: Int, around peaks: [Int], radius: Int) -> [LatentRecord.Context] {
        let own = entries(of: latent)
        return peaks.map { peak in
            let (at, first) = (Int(fired.tokens[peak]), fired.sequence(peak) * fired.length)
            let reach = max(first, at - radius)..<min(first + fired.length, at + radius + 1)
            let shown = reach.prefix { ids[$0] >= 0 }
            var activations = [Double](repeating: 0, count: shown.count)
            // Entries are in the order of tokens: from the first that lies in the window.
            var (low, high) = (own.startIndex, own.endIndex)
            while low < high {
                let middle = (low + high) / 2
                if fired.tokens[Int(own[middle])] < Int32(reach.lowerBound) { low = middle + 1 } else { high = middle }
            }
            for e in own[low...].lazy.map({ Int($0) }) {
                guard Int(fired.tokens[e]) < shown.endIndex else { break }
                activations[Int(fired.tokens[e]) - shown.startIndex] = Double(fired.activations[e])
            }
            return LatentRecord.Context(
                tokens: shown.map { text(ids[$0]) }, activations: activations, peak: at - shown.lowerBound)
        }
    }

    /// The `count` largest, falling, and smallest, rising; ties: lower index first.
    private func extremes(_ values: UnsafePointer<Float>, _ n: Int, _ count: Int) -> (
        largest: [(index: Int, value: Float)], smallest: [(index: Int, value: Float)]
    ) {
        func best(_ isBefore: (Float, Float) -> Bool) -> [(index: Int, value: Float)] {
            var kept: [(index: Int, value: Float)] = []
            for i in 0..<n {
                if kept.count == count, let last = kept.last, !isBefore(values[i], last.value) { continue }
                let place = kept.firstIndex { isBefore(values[i], $0.value) } ?? kept.count
                kept.insert((i, values[i]), at: place)
                if kept.count > count { kept.removeLast() }
            }
            return kept
        }
        return (best(>), best(<))
    }
}
