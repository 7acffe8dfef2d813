import LinearAlgebra
import TensorFiles

/// One scorer over a pass or a part of it: goes on from what was kept, keeps what it knows after every sample, leaves
/// out what it is told to, and comes to scores and a core.
public final class ScoringRun {
    /// Where the state of a scorer of totals is kept after every sample.
    public struct Checkpoint {
        let path: String
        let lock: OutputLock

        /// A file that is this program's to write.
        public init(_ path: String, _ lock: OutputLock) {
            self.path = path
            self.lock = lock
        }
    }

    /// The scorer and what it knows so far.
    public let pass: ScoringPass
    /// Scores, or counts of what fired.
    public let accumulator: ScoreAccumulator
    /// The sequences that are this run's, all or those of a shard.
    public let part: Range<Int>
    /// Sequences that were left out, and of which the scores say nothing.
    public private(set) var leftOut: [Int] = []
    private let sequences: SampledSequences
    /// Of which pass what it keeps is.
    public var key: PassKey
    private var next: Int
    private var everyToken: Matrix?

    /// A run at the first sequence of `part`; `key` says of which pass what it keeps is.
    ///
    /// - Throws: what the scorer throws; `AttributionError.stateTooLarge`.
    public init(
        _ pass: ScoringPass, _ accumulator: ScoreAccumulator, over sequences: SampledSequences, part: Range<Int>? = nil,
        key: PassKey
    ) throws {
        self.pass = pass
        self.accumulator = accumulator
        self.sequences = sequences
        self.part = part ?? 0..<sequences.count
        self.key = key
        next = self.part.lowerBound
        if part != nil, let name = pass.sequentialScorer { throw AttributionError.sequential(scorer: name) }
        try pass.begin(sequences: sequences.count, tokens: sequences.tokenCount)
        pass.start(at: next, length: sequences.length)
    }

    /// Tokens that are left to do.
    public var remainingTokens: Int {
        let later = (pass.passCount - pass.passNumber - 1) * part.count
        return (part.upperBound - next + later) * sequences.length
    }

    /// From the first sample on, keeps every score of a token, or for a scorer of totals what each sequence's
    /// term is made of.
    public func keepEveryToken(of scorer: any AttributionScorer) {
        if scorer.scoresTokens {
            everyToken = Matrix(rows: sequences.tokenCount, columns: pass.candidateCount)
        } else {
            pass.keepLossChanges(sequences: sequences.count, length: sequences.length)
        }
    }

    // MARK: What was kept

    /// Takes the finished shards of the pass, in order, in the place of scoring; `vet` refuses a file
    /// before it is read, or names entries of its key that may be other than this run's.
    ///
    /// - Throws: `AttributionError` for states that do not make one pass; what `vet` and
    ///   the scorer throw; `TensorFileError`.
    public func merge(_ paths: [String], vet: (String) throws -> Set<String>) throws {
        if let name = pass.sequentialScorer { throw AttributionError.sequential(scorer: name) }
        for path in paths {
            try pass.merge(try state(path, vet), path: path, length: sequences.length, accumulator)
        }
        guard pass.sequencesSeen == sequences.count else {
            throw AttributionError.shardsMissing(from: pass.sequencesSeen, of: sequences.count)
        }
        next = part.upperBound
    }

    /// Goes on from a checkpoint, if there is one.
    ///
    /// - Throws: as `merge`; `TensorFileError.unwritable` where there could be none.
    public func resume(_ checkpoint: Checkpoint, vet: (String) throws -> Set<String>) throws {
        let path = checkpoint.path
        guard exists(path) else { return try AtomicFile.requireWritable(path) }
        let state = try state(path, vet)
        guard state.sequences.lowerBound == part.lowerBound, state.sequences.upperBound <= part.upperBound else {
            throw AttributionError.otherShard(path: path, found: state.sequences, wanted: part)
        }
        try pass.resume(state, path: path, length: sequences.length, accumulator)
        next = state.sequences.upperBound
    }

    private func state(_ path: String, _ vet: (String) throws -> Set<String>) throws -> ScoringState {
        let judged = try vet(path)
        let state = try ScoringState.read(
            path, key: key, except: judged, latents: pass.candidateCount, sequenceCount: sequences.count,
            length: sequences.length)
        leftOut += state.leftOut
        return state
    }

    // MARK: The pass

    /// Scores what is left. A sample on which the scorer fails is left out if `leavesOut` says so of its sequences.
    ///
    /// - Throws: what the model and the scorer throw, and `watch` to stop; what cannot be written.
    public func run(
        keeping checkpoint: Checkpoint?, watch: PassWatch,
        leavesOut: (Range<Int>, any Error) -> Bool = { _, _ in false }
    ) throws {
        while true {
            try finishPass(keeping: checkpoint, watch, leavesOut)
            guard pass.passNumber + 1 < pass.passCount else { return }
            pass.begin(pass: pass.passNumber + 1)
            next = part.lowerBound
        }
    }

    private func finishPass(
        keeping checkpoint: Checkpoint?, _ watch: PassWatch, _ leavesOut: (Range<Int>, any Error) -> Bool
    ) throws {
        while next < part.upperBound {
            try watch.check()
            let own = next..<min(next + sequences.step, part.upperBound)
            let sample = try sequences.sample(own)
            if leftOut.contains(own.lowerBound) {
                // Every pass has the same batches.
                pass.skip(sample)
            } else {
                do { try score(sample, own) } catch  where leavesOut(own, error) {
                    pass.skip(sample)
                    leftOut += own
                }
            }
            watch.advance(sample.tokenCount, "")
            next = own.upperBound
            if let checkpoint { try keep(checkpoint) }
        }
    }

    private func score(_ sample: SpliceSample, _ own: Range<Int>) throws {
        let scores = try pass.score(sample)
        // What fired was counted in the first pass.
        guard pass.passNumber == 0 else { return }
        scores.add(to: accumulator)
        if let everyToken {
            scores.scatter(
                into: everyToken, firstRow: own.lowerBound * sequences.length, signed: accumulator.isSigned)
        }
        // Terms that are something else are found out here, and not after the last sequence only.
        if own.lowerBound == part.lowerBound { _ = try pass.lossChanges() }
    }

    private func keep(_ checkpoint: Checkpoint) throws {
        var state = pass.state(key: key, from: part.lowerBound, accumulator)
        state.leftOut = leftOut
        try checkpoint.lock.requireInPlace()
        try state.write(to: checkpoint.path)
    }

    /// What the pass came to; `measure` says what its scores are, given the scorer's outputs.
    ///
    /// - Throws: `AttributionError` for a pass in which nothing was scored, or of which no core follows;
    ///   what the scorer throws.
    public func result(tau: Double, measure: ([ScorerOutput]) -> ScoreMeasure) throws -> ScoringResult {
        guard accumulator.tokenCount > 0 else { throw AttributionError.nothingScored(tokens: sequences.tokenCount) }
        let scores = try pass.totals(accumulator), outputs = try pass.outputs()
        let core = try CoreSelection(
            scores, fraction: tau, tokens: accumulator.tokenCount, measure: measure(outputs.map(\.output)))
        return ScoringResult(
            scores: scores, core: core, scoredTokens: accumulator.tokenCount, outputs: outputs,
            sequenceCount: sequences.count, length: sequences.length, everyToken: everyToken,
            lossChanges: try pass.lossChanges())
    }
}

extension ScoringPass.Scores {
    /// Writes the scores as rows of a dense matrix, as they are aggregated: absolute unless signed.
    fileprivate func scatter(into matrix: Matrix, firstRow: Int, signed: Bool) {
        for r in 0..<codes.rows {
            for e in codes.entries(ofRow: r) {
                matrix[firstRow + r, Int(codes.columnIndices[e])] = signed ? values[e] : abs(values[e])
            }
        }
    }
}
