import Kernels
import LinearAlgebra

/// One sequence of a batch from some position to its end, with other activations at the hook point there.
public struct SequenceSuffix: @unchecked Sendable {
    /// What the activations are from the first changed position on.
    public enum Content {
        /// These, [T − first, d], borrowed for the call.
        case rows(UnsafePointer<Float>)
        /// Those of the batch with these added in their order: what little there is to say is said, and whoever computes makes the
        /// rows where they are needed.
        case additions([Addition])
    }

    /// `factor` times a row [d], which is borrowed for the call, added to the activation of a position of the sequence.
    public struct Addition {
        public let position: Int
        public let factor: Float
        public let row: UnsafePointer<Float>

        public init(position: Int, factor: Float, row: UnsafePointer<Float>) {
            (self.position, self.factor, self.row) = (position, factor, row)
        }
    }

    /// Index of the sequence in its batch.
    public let sequence: Int
    /// Its first changed position, 0 ≤ first < T.
    public let first: Int
    public let content: Content

    public init(sequence: Int, first: Int, residual: UnsafePointer<Float>) {
        self.init(sequence: sequence, first: first, .rows(residual))
    }

    /// No addition is before `first`.
    public init(sequence: Int, first: Int, additions: [Addition]) {
        self.init(sequence: sequence, first: first, .additions(additions))
    }

    private init(sequence: Int, first: Int, _ content: Content) {
        (self.sequence, self.first, self.content) = (sequence, first, content)
    }

    /// Writes the activations [T − first, d] of a suffix of a batch whose own are `residual` `[B·T, d]`.
    package func write(_ residual: Matrix, length: Int, into rows: UnsafeMutablePointer<Float>) {
        let d = residual.columns
        switch content {
        case .rows(let own): rows.update(from: own, count: (length - first) * d)
        case .additions(let additions):
            rows.update(from: residual.row(sequence * length + first), count: (length - first) * d)
            for addition in additions {
                precondition((first..<length).contains(addition.position), "an addition at \(addition.position)")
                let row = rows + (addition.position - first) * d
                for c in 0..<d { row[c] += addition.factor * addition.row[c] }
            }
        }
    }
}

/// A batch that was run from a hook point to its losses, of which suffixes can be run again with other activations there.
///
/// A change at position t alters nothing before t, so keys and values of earlier positions are kept and only T − t
/// positions are computed. Many suffixes share the matrix products of one pass. One caller at a time.
public protocol SuffixReplay: AnyObject {
    /// [B·T] of the batch itself, made when first asked for; position t holds −log p(token t + 1), the last of a
    /// sequence 0.
    var losses: [Float] { get throws }
    /// Rows that a call should bring together to be cheap: those of enough passes to fill them well.
    var preferredRows: Int { get }
    /// Writes the losses [T − first] of every suffix, one after the other. They differ from those of a whole run with
    /// the same residual stream by rounding only.
    ///
    /// - Throws: what goes wrong on a device.
    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) throws
}

/// Suffixes on their way through some blocks, in somebody's workspace.
struct SuffixPass {
    /// A suffix and where its rows begin.
    struct Suffix {
        let sequence: Int
        let first: Int
        let row: Int
    }

    let workspace: Workspace
    let suffixes: [Suffix]
    /// T, tokens of a whole sequence.
    let length: Int
    /// [n] position of each row in its sequence.
    let positions: [Int]

    init(_ suffixes: [SequenceSuffix], length: Int, in workspace: Workspace) {
        var row = 0
        self.suffixes = suffixes.map { suffix in
            defer { row += length - suffix.first }
            return Suffix(sequence: suffix.sequence, first: suffix.first, row: row)
        }
        self.length = length
        self.workspace = workspace
        positions = suffixes.flatMap { $0.first..<length }
    }

    /// n, rows of all suffixes.
    var rowCount: Int { positions.count }
}

/// A block's keys and values of a whole batch.
struct KeyValues {
    private let attention: CausalAttention
    private let length: Int
    /// Keys transposed, `[B·K·h, T]`.
    private let keys: Matrix
    /// [B·T, K·h], not transposed.
    private let values: Matrix

    init(_ batch: TokenBatch, _ attention: CausalAttention) {
        self.attention = attention
        length = batch.length
        keys = Matrix(rows: batch.sequenceCount * attention.keyWidth, columns: length)
        values = Matrix(rows: batch.tokenCount, columns: attention.keyWidth)
    }

    /// Copies those of `tokens`, whole sequences, out of their rows of queries, keys and values `[n, (H + 2K)·h]`.
    func keep(_ rows: UnsafePointer<Float>, _ tokens: Range<Int>) {
        let width = attention.keyWidth
        for first in stride(from: tokens.lowerBound, to: tokens.upperBound, by: length) {
            let own = rows + (first - tokens.lowerBound) * attention.rowWidth + attention.outputWidth
            kernels.transpose(keys.row(first / length * width), length, own, attention.rowWidth, length, width)
            for t in 0..<length {
                values.row(first + t).update(from: own + t * attention.rowWidth + width, count: width)
            }
        }
    }

    /// Those of a sequence's first `count` positions.
    func before(_ count: Int, ofSequence s: Int) -> CausalAttention.Past {
        let width = attention.keyWidth
        return CausalAttention.Past(
            keys: keys.view.rows(s * width..<(s + 1) * width).columns(0..<count),
            values: values.view.rows(s * length..<s * length + count))
    }
}

/// The replay of a `Decoder`: the keys and values of every block above the cut, 8·K·h bytes a token and block, and of half a block
/// what its result is added to.
final class DecoderReplay: SuffixReplay {
    private(set) lazy var losses: [Float] = ownLosses()
    let preferredRows = 8 * Decoder.passTokens * Lanes.shared.count
    private let ownLosses: () -> [Float]
    private let batch: TokenBatch
    private let residual: Matrix
    private let targets: [Int32]
    private let cut: DecoderCut
    private let head: LanguageHead
    /// Of each block above.
    private let past: [KeyValues]
    /// What values are added to, `[B·T, d]`; nil where they are the stream.
    private let base: Matrix?
    private let workspaces: WorkspacePool

    /// `losses` makes those of the batch itself, should they be asked for.
    init(
        _ batch: TokenBatch, residual: Matrix, past: [KeyValues], base: Matrix?, cut: DecoderCut, head: LanguageHead,
        workspaces: WorkspacePool, losses: @escaping () -> [Float]
    ) {
        self.batch = batch
        self.residual = residual
        self.past = past
        self.base = base
        self.cut = cut
        self.head = head
        self.workspaces = workspaces
        ownLosses = losses
        targets = batch.targets
    }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) {
        var starts = [0]
        for suffix in suffixes {
            precondition(
                (0..<batch.sequenceCount).contains(suffix.sequence) && (0..<batch.length).contains(suffix.first),
                "a suffix of sequence \(suffix.sequence) from position \(suffix.first)")
            starts.append(starts.last! + batch.length - suffix.first)
        }
        let rows = suffixes.map { batch.length - $0.first }
        // Passes differ in size; with an eighth to spare hardly one needs a larger workspace.
        let passes = packed(rows, size: Decoder.passTokens * 7 / 8, lanes: Lanes.shared.count)
        let largest = passes.map { $0.reduce(0) { $0 + rows[$1] } }.max() ?? 0
        Lanes.shared.forShares(passes.count) { lanes, share in
            let found = Matrix(rows: 1, columns: largest)
            workspaces.withWorkspace(on: lanes, capacity: largest, length: batch.length) { workspace in
                for pass in passes[share] {
                    run(pass.map { suffixes[$0] }, in: workspace, into: found.elements)
                    var at = found.elements
                    for i in pass {
                        (losses + starts[i]).update(from: at, count: rows[i])
                        at += rows[i]
                    }
                }
            }
            extendLifetime(found)
        }
    }

    private func run(
        _ suffixes: [SequenceSuffix], in workspace: Workspace, into losses: UnsafeMutablePointer<Float>
    ) {
        let pass = SuffixPass(suffixes, length: batch.length, in: workspace)
        let x = workspace.stream
        var wanted: [Int32] = []
        wanted.reserveCapacity(pass.rowCount)
        for (suffix, placed) in zip(suffixes, pass.suffixes) {
            let count = (batch.length - suffix.first) * x.columns
            let from = suffix.sequence * batch.length
            suffix.write(residual, length: batch.length, into: x.row(placed.row))
            if let base { kernels.addScaled(x.row(placed.row), base.row(from + suffix.first), 1, count) }
            wanted += targets[(from + suffix.first)..<(from + batch.length)]
        }
        cut.forward(x.elements, past: past, pass)
        head.losses(x.elements, targets: wanted[...], into: losses, workspace.head)
    }
}

/// Puts runs of `rows` rows together into passes of about `size` rows, as many for each of `lanes`: the longest run first,
/// each to the pass with the fewest rows so far (Graham 1969). The passes come in an order in which equal shares of them
/// have about equal numbers of rows. Returns indices of runs.
package func packed(_ rows: [Int], size: Int, lanes: Int) -> [[Int]] {
    let wanted = (rows.reduce(0, +) + size * lanes - 1) / (size * lanes) * lanes
    var passes = [(runs: [Int], rows: Int)](repeating: ([], 0), count: min(wanted, rows.count))
    for i in rows.indices.sorted(by: { (rows[$1], $0) < (rows[$0], $1) }) {
        let pass = passes.indices.min { passes[$0].rows < passes[$1].rows }!
        passes[pass].runs.append(i)
        passes[pass].rows += rows[i]
    }
    // Dealt out like cards, the fullest first, there and back.
    passes.sort { $0.rows > $1.rows }
    var hands = [[[Int]]](repeating: [], count: lanes)
    let dealt = passes.count / lanes * lanes
    for (i, pass) in passes[..<dealt].enumerated() {
        let (turn, place) = i.quotientAndRemainder(dividingBy: lanes)
        hands[turn % 2 == 0 ? place : lanes - 1 - place].append(pass.runs)
    }
    return hands.flatMap { $0 } + passes[dealt...].map(\.runs)
}
