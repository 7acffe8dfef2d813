import Glibc
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// Which latents a core is selected from.
public enum CandidateScope: String, Sendable, Codable, CaseIterable {
    /// Those of the innermost prefix: the core and the first group.
    case inner
    /// Every latent.
    case all
}

/// What a scoring pass splices and looks at.
public struct ScoringSettings: Sendable {
    /// Width of the reconstruction that replaces the residual stream; nil for the innermost prefix.
    public var prefix: Int?
    /// Adds x − x̂ back, held constant: the model then runs on its own stream.
    public var errorTerm = false
    /// Candidates are all latents instead of those of the spliced prefix.
    public var allCandidates = false

    /// The paper's: innermost prefix, no error term.
    public init() {}
}

/// Splices the prefix reconstruction into real sequences and runs them to the loss and back: what every scorer of one
/// SAE looks at, made once for all of them.
public final class SplicedModel {
    /// What was asked for.
    public let settings: ScoringSettings
    /// Width of the spliced prefix.
    public let splicedWidth: Int
    /// Number of candidates, m.
    public let candidateCount: Int
    let model: any LanguageModel
    let hook: HookPoint
    let sae: SparseAutoencoder
    private let encoding = SparseEncoder()
    private let candidateDecoder: Matrix
    /// Of the spliced prefix's reconstruction, over all samples that were run.
    public private(set) var explainedVariance = ExplainedVariance()

    /// `model` with `sae` spliced in at `hook`.
    ///
    /// - Throws: `AttributionError` for widths that do not fit.
    public init(
        model: any LanguageModel, hook: HookPoint, sae: SparseAutoencoder, settings: ScoringSettings = ScoringSettings()
    ) throws {
        guard sae.dIn == model.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: sae.dIn, model: model.configuration.dModel)
        }
        splicedWidth = settings.prefix ?? sae.layout.innermost
        guard (1...sae.dSAE).contains(splicedWidth) else {
            throw AttributionError.badPrefix(found: splicedWidth, width: sae.dSAE)
        }
        candidateCount = settings.allCandidates ? sae.dSAE : splicedWidth
        candidateDecoder = sae.decoder.copy(rows: 0..<candidateCount)
        self.settings = settings
        self.model = model
        self.hook = hook
        self.sae = sae
    }

    /// Core latents among the candidates.
    public var coreCount: Int { min(sae.layout.coreCount, candidateCount) }

    /// A sample, spliced and differentiated.
    public struct Sample {
        let sample: SpliceSample
        package let batch: ScoringBatch
        let replay: SharedReplay
        /// x̂ [N, d], not spliced.
        public let reconstruction: Matrix
        /// f [N, candidates]; rows of positions that are not scored are empty.
        public var codes: SparseCodes { batch.codes }
        /// [N] next-token losses, nats.
        public var loss: [Float] { batch.loss }
        /// Which sequences they are.
        public var tokens: TokenBatch { sample.tokens }
        /// [N] 1 where the position is scored.
        public var scored: [UInt8] { batch.scored }
        /// Positions that were replaced, and so scored.
        public var scoredCount: Int { sample.replacedCount }

        /// Sequence s alone.
        func sequence(_ s: Int) -> Sample {
            let own = batch.sequence(s)
            let rows = s * tokens.length..<(s + 1) * tokens.length
            return Sample(
                sample: SpliceSample(tokens: tokens.sequences(s..<s + 1), residual: own.residual, replaced: own.scored),
                batch: own,
                replay: SharedReplay(
                    model: replay.model, tokens: tokens.sequences(s..<s + 1), residual: own.reconstruction,
                    hook: replay.hook),
                reconstruction: reconstruction.copy(rows: rows))
        }
    }

    /// Runs one sample, with what scorers need of its batch.
    ///
    /// - Throws: what the model throws; an unset threshold.
    public func run(_ sample: SpliceSample, needs: BatchNeeds = []) throws -> Sample {
        let all = try codes(of: sample)
        let reconstruction = sae.decode(all, prefix: splicedWidth)
        explainedVariance.add(sample, reconstruction)
        let spliced = settings.errorTerm ? sample.residual : sample.spliced(reconstruction)
        let (loss, gradient) = try model.lossesAndGradient(of: sample.tokens, residual: spliced, at: hook)
        let codes = candidates(of: all, sample)
        let length = sample.tokens.length
        var batch = ScoringBatch(
            codes: codes, decoder: candidateDecoder, decoderBias: sae.decoderBias, residual: sample.residual,
            reconstruction: spliced, gradient: gradient, loss: loss, tokens: sample.tokens.ids,
            sequenceOffsets: (0...sample.tokens.sequenceCount).map { Int64($0 * length) }, scored: sample.replaced,
            firstToken: 0, coreCount: coreCount, prefixWidths: sae.layout.prefixes.map(Int64.init),
            splicedWidth: splicedWidth, errorTermAdded: settings.errorTerm)
        batch.hook = hook
        batch.subtractsDecoderBias = sae.subtractsDecoderBias
        batch.documentOffsets = sample.tokens.documentOffsets(model.configuration)
        if needs.contains(.encoder) { batch.encoder = try ScoringBatch.Encoder(of: sae) }
        if needs.contains(.targetProbabilities) { batch.targetProbabilities = try targetProbabilities(of: sample) }
        return Sample(
            sample: sample, batch: batch,
            replay: SharedReplay(model: model, tokens: sample.tokens, residual: spliced, hook: hook),
            reconstruction: reconstruction)
    }

    /// [N] the model's own probability of each next token, 0 where there is none.
    private func targetProbabilities(of sample: SpliceSample) throws -> [Float] {
        let losses = try model.losses(of: sample.tokens, residual: sample.residual, at: hook)
        return zip(losses, sample.tokens.targets).map { $1 < 0 ? 0 : Float(exp(-Double($0))) }
    }

    /// f [N, m] of a sample: as in its batch.
    ///
    /// - Throws: an unset threshold.
    func candidateCodes(of sample: SpliceSample) throws -> SparseCodes { candidates(of: try codes(of: sample), sample) }

    private func candidates(of all: SparseCodes, _ sample: SpliceSample) -> SparseCodes {
        all.restricted(toColumnsBelow: candidateCount, rows: sample.replaced)
    }

    /// f [N, F] of a sample.
    ///
    /// - Throws: an unset threshold.
    func codes(of sample: SpliceSample) throws -> SparseCodes {
        let all = SparseCodes()
        try encoding.encode(sample.residual, with: sae, into: all)
        return all
    }

    /// Next-token losses [N] with a spliced prefix of the latents that `kept` [candidates] marks, the
    /// activations of others 0.
    ///
    /// - Throws: what the model throws.
    func losses(of sample: SpliceSample, codes all: SparseCodes, keeping kept: [Bool]) throws -> [Float] {
        let some = all.restricted(toColumnsBelow: splicedWidth) { kept[$0] }
        let reconstruction = sae.decode(some, prefix: splicedWidth)
        if settings.errorTerm {
            // x − x̂ stays what it was with every latent.
            let whole = sae.decode(all, prefix: splicedWidth)
            for i in 0..<reconstruction.count { reconstruction[i] += sample.residual[i] - whole[i] }
        }
        return try model.losses(of: sample.tokens, residual: sample.spliced(reconstruction), at: hook)
    }
}

extension SparseCodes {
    /// The entries of columns below `end` in the rows where `rows` is 1; other rows are empty.
    func restricted(toColumnsBelow end: Int, rows kept: [UInt8]) -> SparseCodes {
        restricted(columns: end) { r, j in kept[r] != 0 && j < end }
    }

    /// The entries of columns below `end` that are kept.
    func restricted(toColumnsBelow end: Int, keeping kept: (Int) -> Bool) -> SparseCodes {
        restricted(columns: end) { _, j in j < end && kept(j) }
    }

    private func restricted(columns: Int, _ isKept: (Int, Int) -> Bool) -> SparseCodes {
        let result = SparseCodes(rows: rows, columns: columns, capacity: count)
        var at = 0
        for r in 0..<rows {
            for e in entries(ofRow: r) where isKept(r, Int(columnIndices[e])) {
                result.columnIndices[at] = columnIndices[e]
                result.values[at] = values[e]
                at += 1
            }
            result.rowOffsets[r + 1] = Int64(at)
        }
        return result
    }
}
