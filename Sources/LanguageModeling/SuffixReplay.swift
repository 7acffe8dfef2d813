import LinearAlgebra

/// One sequence of a batch from some position to its end, with another residual stream there.
public struct SequenceSuffix: @unchecked Sendable {
    /// The sequence.
    public let sequence: Int
    /// Its first changed position, 0 ≤ first < T.
    public let first: Int
    /// The residual stream from there on, [T − first, d], borrowed for the call.
    public let residual: UnsafePointer<Float>

    /// A suffix.
    public init(sequence: Int, first: Int, residual: UnsafePointer<Float>) {
        self.sequence = sequence
        self.first = first
        self.residual = residual
    }
}

/// A batch that was run from a layer to its losses, of which suffixes can be run again with another residual stream.
///
/// A change at position t alters nothing before t, so keys and values of earlier positions are kept and only T − t
/// positions are computed. Many suffixes share the matrix products of one pass. One caller at a time.
public protocol SuffixReplay: AnyObject {
    /// [B·T] of the run itself; position t holds −log p(token t + 1), the last of a sequence 0.
    var losses: [Float] { get }
    /// Rows that a call should bring together to be cheap: about those of one pass.
    var preferredRows: Int { get }
    /// Writes the losses [T − first] of every suffix, one after the other. They differ from those of a whole run with
    /// the same residual stream by rounding only.
    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>)
}

/// The sizes and the scratch of a run of suffixes through some blocks.
final class SuffixPass {
    /// A suffix and where its rows begin.
    struct Suffix {
        let sequence: Int
        let first: Int
        let row: Int
    }

    let suffixes: [Suffix]
    /// T.
    let length: Int
    /// [n]
    let positions: [Int]
    let rotary: Rotary
    let normed: Matrix
    let queryKeyValue: Matrix
    let mixed: Matrix
    let gateUp: Matrix
    let hidden: Matrix
    let attentionScratch: Matrix

    /// A pass over `suffixes`; scratch comes from `old` where it is large enough.
    init(
        _ suffixes: ArraySlice<SequenceSuffix>, length: Int, rotary: Rotary, _ c: ModelConfiguration,
        reusing old: SuffixPass?
    ) {
        var row = 0
        self.suffixes = suffixes.map { suffix in
            defer { row += length - suffix.first }
            return Suffix(sequence: suffix.sequence, first: suffix.first, row: row)
        }
        self.length = length
        self.rotary = rotary
        positions = suffixes.flatMap { $0.first..<length }
        let n = row
        func scratch(_ width: Int, _ part: KeyPath<SuffixPass, Matrix>) -> Matrix {
            if let matrix = old?[keyPath: part], matrix.rows >= n { return matrix }
            return Matrix(rows: n, columns: width)
        }
        normed = scratch(c.dModel, \.normed)
        queryKeyValue = scratch(c.causalAttention.rowWidth, \.queryKeyValue)
        mixed = scratch(c.causalAttention.outputWidth, \.mixed)
        gateUp = scratch(2 * c.intermediateSize, \.gateUp)
        hidden = scratch(c.intermediateSize, \.hidden)
        attentionScratch = old?.attentionScratch ?? CausalAttention.scratch(length: length)
    }

    /// n.
    var rowCount: Int { positions.count }
}

/// The replay of a `Decoder`: the keys and values of every block above the layer, 8·K·h bytes a token and block.
final class DecoderReplay: SuffixReplay {
    let losses: [Float]
    let preferredRows = 256 * Lanes.shared.count
    private let batch: TokenBatch
    private let targets: [Int32]
    private let blocks: [DecoderBlock]
    private let head: LanguageHead
    private let configuration: ModelConfiguration
    /// Of each block, [B·T, 2K·h].
    private let past: [Matrix]
    private let rotary: Rotary
    private var pass: SuffixPass?

    init(
        _ batch: TokenBatch, losses: [Float], past: [Matrix], blocks: [DecoderBlock], head: LanguageHead,
        _ configuration: ModelConfiguration
    ) {
        self.batch = batch
        self.losses = losses
        self.past = past
        self.blocks = blocks
        self.head = head
        self.configuration = configuration
        targets = batch.targets
        rotary = Rotary(
            length: batch.length, headDimension: configuration.headDimension, theta: configuration.ropeTheta,
            scaling: configuration.ropeScaling)
    }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) {
        for suffix in suffixes {
            precondition(
                (0..<batch.sequenceCount).contains(suffix.sequence) && (0..<batch.length).contains(suffix.first),
                "a suffix of sequence \(suffix.sequence) from position \(suffix.first)")
        }
        var start = 0, written = 0
        while start < suffixes.count {
            var end = start, rows = 0
            repeat {
                rows += batch.length - suffixes[end].first
                end += 1
            } while end < suffixes.count && rows + batch.length - suffixes[end].first <= preferredRows
            run(suffixes[start..<end], into: losses + written)
            written += rows
            start = end
        }
    }

    private func run(_ suffixes: ArraySlice<SequenceSuffix>, into losses: UnsafeMutablePointer<Float>) {
        let pass = SuffixPass(suffixes, length: batch.length, rotary: rotary, configuration, reusing: pass)
        self.pass = pass
        let d = configuration.dModel
        let x = Matrix(rows: pass.rowCount, columns: d)
        var wanted: [Int32] = []
        wanted.reserveCapacity(pass.rowCount)
        for (suffix, placed) in zip(suffixes, pass.suffixes) {
            let count = batch.length - suffix.first
            x.row(placed.row).update(from: suffix.residual, count: count * d)
            let from = suffix.sequence * batch.length
            wanted += targets[(from + suffix.first)..<(from + batch.length)]
        }
        for (block, past) in zip(blocks, past) { block.forward(x.elements, past: past, pass) }
        head.losses(x.elements, targets: wanted[...], into: losses)
    }
}
