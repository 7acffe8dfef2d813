import TensorFiles

/// A comparison with a folder of its parts: what it holds of this comparison is taken up, and what is new is put there,
/// so that one that was cut short goes on.
public struct ComparisonRun {
    /// The scorers and what they said so far.
    public let pass: ComparisonPass
    private let sequences: SampledSequences
    private let parts: String
    private let lock: OutputLock
    private let watch: PassWatch

    /// A comparison of `pass` over `sequences`, whose parts are files in the folder `parts` under `lock`.
    public init(
        _ pass: ComparisonPass, over sequences: SampledSequences, parts: String, lock: OutputLock, watch: PassWatch
    ) {
        self.pass = pass
        self.sequences = sequences
        self.parts = parts
        self.lock = lock
        self.watch = watch
    }

    /// Runs the sequences that no part holds. `vet` refuses a part before it is read, and what `isFatal` says of a
    /// scorer's error decides whether it ends all or that scorer alone.
    ///
    /// - Throws: what the model throws, and `watch` to stop; `ResourceError` where the memory for all is not there;
    ///   `TensorFileError`; `AttributionError.otherPass`.
    public func score(
        key: PassKey, draws: Int, vet: (String) throws -> Void, isFatal: (any Error) -> Bool
    ) throws {
        try pass.memory(draws: draws).check()
        var number = 0
        while pass.sequencesSeen < sequences.count {
            try watch.check()
            let own = pass.sequencesSeen..<min(pass.sequencesSeen + sequences.step, sequences.count)
            let path = parts + "/scores-\(number).safetensors"
            number += 1
            if exists(path) {
                try vet(path)
                let part = try ComparisonPart(path: path, key: key, next: pass)
                pass.resume(part)
                watch.advance(part.sequences.count * sequences.length, "")
                continue
            }
            let part = try pass.run(
                try sequences.sample(own), all: sequences, check: watch.check, isFatal: isFatal)
            if own.lowerBound == 0 { try pass.memory(draws: draws).check() }
            try lock.requireInPlace()
            try part.write(to: path, key: key)
            watch.advance(own.count * sequences.length, "")
        }
    }

    /// The curves of every method, those that a part holds as it has them.
    ///
    /// - Throws: what the model throws, and `watch` to stop; `TensorFileError`.
    public func curves(_ curves: FaithfulnessCurves, of comparison: Comparison, key: PassKey) throws -> ComparedCurves {
        func point(_ order: [Int], _ n: Int, removed: Bool, _ name: String) throws -> FaithfulnessCurves.SequenceLosses
        {
            try watch.check()
            defer { watch.advance(curves.tokenCount, name) }
            return try curves.losses(order, top: n, removed: removed)
        }
        let original = try curves.original()
        watch.advance(curves.tokenCount, "")
        let none = try point([], 0, removed: false, "no latents"),
            every = try point([], 0, removed: true, "all latents")
        var result = ComparedCurves(curves, original: original, every: every, none: none)
        for (number, (name, order)) in comparison.orders.enumerated() {
            let path = parts + "/curves-\(number).json"
            var key = key
            key["method"] = name
            // Whatever else was forgotten: these are curves of this order of latents.
            key["order.sha256"] = SHA256.hexadecimal(SHA256.digest(of: "\(order)"))
            if exists(path), let kept = try KeptCurve.read(path, key: key, of: curves) {
                result.points[name] = kept
                watch.advance(curves.tokenCount * curves.innerCounts.count * 2, name)
                continue
            }
            let kept = try curves.innerCounts.map { try point(order, $0, removed: false, name) }
            let removed = try curves.innerCounts.map { try point(order, $0, removed: true, name) }
            let own = CurvePoints(kept: [none] + kept + [every], removed: [every] + removed + [none])
            try lock.requireInPlace()
            try JSONRecord.write(KeptCurve(own, key: key), to: path)
            result.points[name] = own
        }
        return result
    }

    /// A number of forwards that was measured under this name when the comparison began, so that one which goes on has
    /// the same; measured now where none is kept.
    ///
    /// - Throws: what `measure` throws; `TensorFileError` for a number that is none.
    public static func keptForwards(_ name: String, in parts: String, measure: () throws -> Int) throws -> Int {
        let path = parts + "/budget.json"
        if exists(path), let kept = try JSONRecord.read([String: Int].self, from: path)[name] {
            guard (1...1 << 50).contains(kept) else {
                throw TensorFileError.malformed(
                    file: path, what: "it turns a time into \(kept) forwards", next: "delete it and compare again")
            }
            return kept
        }
        let forwards = try measure()
        try JSONRecord.write([name: forwards], to: path)
        return forwards
    }
}

/// Curves of every method of a comparison, and the losses that all of them begin and end with.
public struct ComparedCurves {
    /// By the method's name.
    public internal(set) var points: [String: CurvePoints] = [:]
    /// n of each point.
    public let counts: [Int]
    /// Means over all sequences, for the record.
    public let losses: ComparisonRecord.CurveLosses

    init(
        _ curves: FaithfulnessCurves, original: FaithfulnessCurves.SequenceLosses,
        every: FaithfulnessCurves.SequenceLosses, none: FaithfulnessCurves.SequenceLosses
    ) {
        counts = curves.counts
        let ones = [Int](repeating: 1, count: curves.sequenceCount)
        var losses = ComparisonRecord.CurveLosses()
        losses.sequences = curves.sequenceCount
        losses.original = original.mean(ones)
        losses.every = every.mean(ones)
        losses.none = none.mean(ones)
        self.losses = losses
    }
}
