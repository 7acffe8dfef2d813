import Kernels
import LanguageModeling
import LinearAlgebra
import SparseCoding

/// Looks at single latents: where they fire most, and what their decoder rows do.
public final class LatentInspection {
    private let sae: SparseAutoencoder
    private let model: any LanguageModel
    private let tokenizer: Tokenizer?
    private let ids: [Int32]
    private let fired: FiredEntries
    private let offsets: [Int]
    private let order: [Int32]

    /// How much is shown.
    public struct Extent: Sendable {
        /// Contexts to keep of each latent.
        public var contexts = 5
        /// Tokens before and after the highest of a context.
        public var radius = 12
        /// Promoted tokens, suppressed tokens, neighbours.
        public var tokens = 8

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
    /// - Throws: an unset threshold; `AttributionError.nothingScored`; what `progress` throws.
    public convenience init(
        _ sae: SparseAutoencoder, model: any LanguageModel, tokenizer: Tokenizer?,
        sample: () throws -> SpliceSample?, progress: (Int) throws -> Void
    ) throws {
        let encoding = SparseEncoder()
        var fired: FiredEntries?
        var ids: [Int32] = []
        while let next = try sample() {
            let codes = SparseCodes()
            try encoding.encode(next.residual, with: sae, into: codes)
            var entries = fired ?? FiredEntries(latentCount: sae.dSAE, length: next.tokens.length)
            entries.add(codes.restricted(toColumnsBelow: sae.dSAE, rows: next.replaced), scored: next.replaced)
            fired = entries
            ids += next.tokens.idsOrPadding
            try progress(next.tokenCount)
        }
        guard let fired, fired.scoredTokens.contains(where: { $0 > 0 }) else {
            throw AttributionError.nothingScored(tokens: ids.count)
        }
        self.init(
            sae, model: model, tokenizer: tokenizer, ids: ids,
            fired: fired)
    }

    /// Sequences that were looked at.
    public var sequenceCount: Int { fired.sequenceCount }

    /// Scored tokens of all sequences.
    public var tokenCount: Int { fired.scoredTokens.reduce(0, +) }

    /// The latents that fire at all, highest density first; ties: lower index first.
    public var byFrequency: [Int] {
        let frequency = fired.frequency
        return frequency.indices.filter { frequency[$0] > 0 }.sorted { (frequency[$0], $1) > (frequency[$1], $0) }
    }

    /// What is to be seen of some latents.
    public func records(of latents: [Int], _ extent: Extent = Extent()) -> [LatentRecord] {
        let frequency = fired.frequency
        let directions = Matrix(rows: latents.count, columns: sae.dIn)
        for (i, j) in latents.enumerated() { directions.row(i).update(from: sae.decoder.row(j), count: sae.dIn) }
        let logits = model.directLogits(of: directions)
        let norms = (0..<sae.dSAE).map { kernels.dot(sae.decoder.row($0), sae.decoder.row($0), sae.dIn).squareRoot() }
        return latents.enumerated().map { i, j in
            let isCandidate = j < fired.latentCount
            let own = isCandidate ? contexts(j, extent) : ([], 0)
            let ends = extremes(logits.row(i), logits.columns, extent.tokens)
            return LatentRecord(
                latent: j, frequency: isCandidate ? frequency[j] : 0, largest: own.1, contexts: own.0,
                promoted: ends.largest.map { token($0) }, suppressed: ends.smallest.map { token($0) },
                neighbours: neighbours(j, norms, extent.tokens))
        }
    }

    private func token(_ entry: (index: Int, value: Float)) -> LatentRecord.Token {
        LatentRecord.Token(text: text(Int32(entry.index)), value: Double(entry.value))
    }

    private func text(_ id: Int32) -> String { (try? tokenizer?.decodeText([id])) ?? "\(id)" }

    /// The highest activations, one a sequence; ties: earlier first.
    private func contexts(_ latent: Int, _ extent: Extent) -> ([LatentRecord.Context], Double) {
        let entries = order[offsets[latent]..<offsets[latent + 1]].map { Int($0) }
        var highest: [Int: Int] = [:]
        for e in entries {
            let s = fired.sequence(e)
            if let known = highest[s], fired.activations[known] >= fired.activations[e] { continue }
            highest[s] = e
        }
        let peaks = highest.values.sorted { (fired.activations[$0], $1) > (fired.activations[$1], $0) }
        let activations = Dictionary(
            uniqueKeysWithValues: entries.map { (Int(fired.tokens[$0]), Double(fired.activations[$0])) })
        let contexts = peaks.prefix(extent.contexts).map { peak in
            let (at, first) = (Int(fired.tokens[peak]), fired.sequence(peak) * fired.length)
            let reach = max(first, at - extent.radius)..<min(first + fired.length, at + extent.radius + 1)
            let shown = reach.prefix { ids[$0] >= 0 }
            return LatentRecord.Context(
                tokens: shown.map { text(ids[$0]) }, activations: shown.map { activations[$0] ?? 0 },
                peak: at - shown.lowerBound)
        }
        return (Array(contexts), peaks.first.map { Double(fired.activations[$0]) } ?? 0)
    }

    private func neighbours(_ latent: Int, _ norms: [Float], _ count: Int) -> [LatentRecord.Neighbour] {
        let own = sae.decoder.row(latent)
        var cosines = (0..<sae.dSAE).map { j -> Float in
            let scale = norms[j] * norms[latent]
            return scale > 0 ? kernels.dot(sae.decoder.row(j), own, sae.dIn) / scale : 0
        }
        cosines[latent] = -2
        return cosines.withUnsafeBufferPointer { extremes($0.baseAddress!, $0.count, min(count, $0.count - 1)).largest }
            .map { LatentRecord.Neighbour(latent: $0.index, cosine: Double($0.value)) }
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
