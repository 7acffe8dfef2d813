import Kernels
import LinearAlgebra

/// What pre-activations are made of: W_encᵀ [F, D] and b_enc [1, F].
struct EncoderWeights {
    let weights: Matrix
    let bias: Matrix
}

extension SparseAutoencoder {
    var encoderPart: EncoderWeights { EncoderWeights(weights: encoder, bias: encoderBias) }

    /// The encoder of the latents that are exempt from selection, copied.
    var exemptPart: EncoderWeights {
        let part = EncoderWeights(
            weights: encoder.copy(rows: exemptCore), bias: Matrix(rows: 1, columns: exemptCore.count))
        part.bias.elements.update(from: encoderBias.elements, count: exemptCore.count)
        return part
    }
}

/// From activations to sparse codes; owns the scratch that a batch needs, so that a training step allocates nothing
/// of the size of its batch once it is warm.
public final class SparseEncoder {
    let lanes: Lanes
    let tiles: PreactivationTiles
    let found: [CandidateList]
    let core: [CandidateList]
    let peers: LatentPeers?
    /// What has to be done to rows of the encoder before they are computed with.
    let due: DeferredUpdate?
    /// What a rule was shown last; something else once all of it was kept and is the codes.
    package let candidates = SparseCodes()
    let coreCodes = SparseCodes()
    /// What it marked of them, and more behind.
    package internal(set) var selected: [UInt8] = []
    private var zeroThresholds = Matrix(rows: 1, columns: 0)
    var startingFloor = StartingFloor()
    /// Pruning costs three passes over the list; below this many entries beyond twice the limit it does not pay.
    package var pruningSlack = 65_536
    /// How often a list was cut while it grew, for tests: a selection that never prunes does not test pruning.
    package var pruningCount: Int { found.reduce(0) { $0 + $1.cuts } }

    /// How often a batch was gone through again because its starting floor was too high, for tests and benchmarks.
    package var repeatCount = 0
    /// Set by tests in the place of what the last batch suggests.
    package var forcedFloor: Float?

    /// An encoder that works on these lanes.
    public convenience init(lanes: Lanes = .shared) { self.init(lanes: lanes, peers: nil) }

    /// One of the latents of a rank.
    package convenience init(lanes: Lanes, peers: LatentPeers?) { self.init(lanes: lanes, peers: peers, due: nil) }

    /// One of an SAE in training.
    init(lanes: Lanes, peers: LatentPeers?, due: DeferredUpdate?) {
        self.lanes = lanes
        self.peers = peers
        self.due = due
        tiles = PreactivationTiles(lanes: lanes)
        found = (0..<lanes.count).map { _ in CandidateList() }
        core = (0..<lanes.count).map { _ in CandidateList() }
    }

    /// x − b_dec, or x for an SAE that does not subtract it, [N, D] into `target`.
    public func center(_ x: Matrix, for sae: SparseAutoencoder, into target: Matrix) throws {
        guard x.columns == sae.dIn else { throw SparseCodingError.inputWidth(found: x.columns, wanted: sae.dIn) }
        let shift: Float = sae.subtractsDecoderBias ? -1 : 0
        lanes.forRanges(x.rows) { _, rows in
            for r in rows {
                kernels.combine(target.row(r), 1, x.row(r), shift, sae.decoderBias.elements, x.columns)
            }
        }
    }

    /// Codes at inference: f = p where p > threshold and p > 0, or the k largest positive p of each row, [N, F].
    ///
    /// - Throws: `SparseCodingError` for a wrong width or an unset threshold.
    public func encode(_ x: Matrix, with sae: SparseAutoencoder, into codes: SparseCodes) throws {
        let centered = Matrix(rows: x.rows, columns: x.columns)
        try center(x, for: sae, into: centered)
        if case .rowTopK(let k) = sae.inference {
            collect(centered, sae.encoderPart, rows: 0..<x.rows, thresholds: nil, exempt: 0, limit: nil)
            candidates.assemble(found, rows: x.rows, columns: sae.dSAE, lanes: lanes)
            return codes.becomeLargest(k, ofEachRow: candidates, lanes: lanes)
        }
        let thresholds = try sae.inferenceThresholds()
        collect(
            centered, sae.encoderPart, rows: 0..<x.rows, thresholds: thresholds, exempt: 0, limit: nil)
        codes.assemble(found, rows: x.rows, columns: sae.dSAE, lanes: lanes)
    }

    /// Streams the pre-activations of `rows` and collects those above `floor` and above their thresholds into `found`,
    /// the positive ones of latents below `exempt` into `core`. With a `limit`, each lane keeps a superset of its
    /// `limit` largest: once it holds twice as many, everything below the limit-th is dropped and can never matter
    /// again. `beside` takes what it wants of each tile. Returns the largest floor that a lane ended with.
    @discardableResult
    func collect(
        _ centered: Matrix, _ encoder: EncoderWeights, rows: Range<Int>, thresholds: Matrix?, exempt: Int, limit: Int?,
        floor: Float = 0, beside: RowCandidates? = nil
    ) -> Float {
        for list in found { list.removeAll() }
        for list in core { list.removeAll() }
        let thresholds = thresholds ?? zeros(encoder.weights.rows)
        var floors = [Float](repeating: floor, count: lanes.count)
        floors.withUnsafeMutableBufferPointer { floors in
            let floors = SendablePointer(floors.baseAddress!)
            let compactAbove = kernels.compactAbove
            tiles.forEach(input: centered, rows: rows, encoder: encoder.weights, bounds: [exempt], due: due) { tile in
                let isCore = tile.latents.upperBound <= exempt
                let list = isCore ? core[tile.lane] : found[tile.lane]
                let first = tile.latents.lowerBound
                let floor = isCore ? 0 : floors.pointer[tile.lane]
                for r in tile.rows {
                    list.reserve(tile.latents.count)
                    let count = compactAbove(
                        tile.row(r), encoder.bias.elements + first, thresholds.elements + first, floor,
                        tile.latents.count, Int32(truncatingIfNeeded: first), list.columns + list.count,
                        list.values + list.count)
                    list.append(count, row: r - rows.lowerBound)
                }
                if let limit, !isCore, list.count > 2 * limit + pruningSlack {
                    floors.pointer[tile.lane] = max(floor, list.prune(to: limit))
                    list.cuts += 1
                }
                beside?.take(tile, bias: encoder.bias)
            }
        }
        return floors.max() ?? floor
    }

    /// Brings the tiles of a batch to `beside` alone.
    package func bringTiles(of centered: Matrix, _ sae: SparseAutoencoder, to beside: RowCandidates) {
        tiles.forEach(input: centered, rows: 0..<centered.rows, encoder: sae.encoder) {
            beside.take($0, bias: sae.encoderBias)
        }
    }

    private func zeros(_ count: Int) -> Matrix {
        if zeroThresholds.columns < count { zeroThresholds = Matrix(rows: 1, columns: count) }
        return zeroThresholds
    }
}

extension SparseCodes {
    /// Marks the k largest entries of each row, of equal ones those of the lower columns.
    func markLargest(_ k: Int, ofEachRow marks: UnsafeMutableBufferPointer<UInt8>) {
        for r in 0..<rows {
            let entries = entries(ofRow: r)
            var (least, ties) = (-Float.infinity, entries.count)
            if entries.count > k {
                let rank = rankThreshold(values + entries.lowerBound, entries.count, k)
                (least, ties) = (rank.value, rank.equalCount)
            }
            for e in entries where values[e] >= least {
                if values[e] == least {
                    guard ties > 0 else { continue }
                    ties -= 1
                }
                marks[e] = 1
            }
        }
    }

    /// Drops the entries that are not marked.
    func keep(_ marks: [UInt8]) {
        var (at, first) = (0, 0)
        for r in 0..<rows {
            let end = Int(rowOffsets[r + 1])
            for e in first..<end where marks[e] != 0 {
                (columnIndices[at], values[at]) = (columnIndices[e], values[e])
                at += 1
            }
            first = end
            rowOffsets[r + 1] = Int64(at)
        }
    }

    /// The k largest entries of each row of `all`, of equal ones those of the lower columns, columns ascending.
    func becomeLargest(_ k: Int, ofEachRow all: SparseCodes, lanes: Lanes) {
        reset(rows: all.rows, columns: all.columns, capacity: 0)
        for r in 0..<all.rows { rowOffsets[r + 1] = Int64(min(k, all.entries(ofRow: r).count)) }
        sumRowCounts()
        guard k > 0 else { return }
        lanes.forRanges(all.rows) { _, rows in
            for r in rows {
                let (entries, to) = (all.entries(ofRow: r), Int(rowOffsets[r]))
                let from = entries.lowerBound
                keepLargest(
                    k, all.columnIndices + from, all.values + from, entries.count, columnIndices + to, values + to)
            }
        }
    }
}

/// Copies the k largest (k from 1) of some entries, of equal ones the first, in their order, to where they may already be;
/// nothing is written behind them. Returns the least of them, or 0 if there are no more than k. Values are positive.
@discardableResult
func keepLargest(
    _ k: Int, _ columns: UnsafePointer<Int32>, _ values: UnsafePointer<Float>, _ count: Int,
    _ keptColumns: UnsafeMutablePointer<Int32>, _ keptValues: UnsafeMutablePointer<Float>
) -> Float {
    guard count > k else {
        keptColumns.update(from: columns, count: count)
        keptValues.update(from: values, count: count)
        return 0
    }
    let least = rankThreshold(values, count, k)
    // Up to the last of the equal ones that stay, all that are not below it; from there on, all above it.
    var (end, ties) = (0, least.equalCount)
    while ties > 0 {
        if values[end] == least.value { ties -= 1 }
        end += 1
    }
    let kept = kernels.keepAtLeast(columns, values, end, least.value, keptColumns, keptValues)
    if kept < k {
        _ = kernels.keepAtLeast(
            columns + end, values + end, count - end, least.value.nextUp, keptColumns + kept, keptValues + kept)
    }
    return least.value
}
