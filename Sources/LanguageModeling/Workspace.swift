import LinearAlgebra
import Synchronization

/// The scratch of one run at a time of up to `capacity` tokens through a decoder's blocks and head.
///
/// Made once and used again: fresh memory costs a page fault every 4 KiB, which for one batch of SmolLM2-135M is as
/// much as its attention.
final class Workspace: @unchecked Sendable {
    /// Who computes: all lanes together, or the one lane that holds the workspace.
    let lanes: Lanes
    /// Tokens, n below.
    let capacity: Int
    /// The longest sequence.
    let length: Int
    let rotary: Rotary
    /// `[n, d]`: the residual stream on its way up.
    let stream: Matrix
    /// `[n, d]`: a block half's normed input, then its gradient.
    let normed: Matrix
    /// `[n, (H + 2K)·h]`: queries, keys and values where no trace keeps them; on the way down their gradient.
    let queryKeyValue: Matrix
    /// `[n, H·h]`: attention's result, then its gradient.
    let mixed: Matrix
    /// `[n, 2m]`: gate and up where no trace keeps them.
    let gateUp: Matrix
    /// `[n, m]`: the perceptron's activations, then their gradient.
    let hidden: Matrix
    let attention: Matrix
    let head: LanguageHead.Scratch
    private let configuration: ModelConfiguration
    private var traces: [BlockTrace] = []

    init(lanes: Lanes, capacity n: Int, length: Int, _ configuration: ModelConfiguration) {
        self.lanes = lanes
        self.configuration = configuration
        (capacity, self.length) = (n, length)
        rotary = Rotary(
            length: length, headDimension: configuration.headDimension, theta: configuration.ropeTheta,
            scaling: configuration.ropeScaling)
        let d = configuration.dModel, m = configuration.intermediateSize
        stream = Matrix(rows: n, columns: d)
        normed = Matrix(rows: n, columns: d)
        queryKeyValue = Matrix(rows: n, columns: configuration.causalAttention.rowWidth)
        mixed = Matrix(rows: n, columns: configuration.causalAttention.outputWidth)
        gateUp = Matrix(rows: n, columns: 2 * m)
        hidden = Matrix(rows: n, columns: m)
        attention = configuration.causalAttention.scratch(length: length, lanes: lanes)
        head = LanguageHead.Scratch(rows: n, dModel: d, lanes: lanes)
    }

    /// What `count` blocks keep for the way down.
    func traces(_ count: Int) -> ArraySlice<BlockTrace> {
        while traces.count < count { traces.append(BlockTrace(tokenCount: capacity, configuration)) }
        return traces[..<count]
    }
}

/// What a block's backward pass needs of its forward pass, 4·(2d + (H + 2K)·h + 2m) bytes a token.
final class BlockTrace {
    /// The residual stream before the block, `[n, d]`.
    let input: Matrix
    /// Queries and keys after rotation, and values, `[n, (H + 2K)·h]`.
    let queryKeyValue: Matrix
    /// The residual stream between the halves, `[n, d]`.
    let middle: Matrix
    /// Gate and up, `[n, 2m]`.
    let gateUp: Matrix

    init(tokenCount n: Int, _ configuration: ModelConfiguration) {
        input = Matrix(rows: n, columns: configuration.dModel)
        queryKeyValue = Matrix(rows: n, columns: configuration.causalAttention.rowWidth)
        middle = Matrix(rows: n, columns: configuration.dModel)
        gateUp = Matrix(rows: n, columns: 2 * configuration.intermediateSize)
    }
}

/// A model's workspaces between their uses. Who runs the model takes one, whoever else runs it meanwhile another.
final class WorkspacePool: Sendable {
    private let configuration: ModelConfiguration
    private let idle = Mutex<[Workspace]>([])
    /// Bytes that were there when they were asked for.
    private let granted = Mutex(0)

    init(_ configuration: ModelConfiguration) { self.configuration = configuration }

    /// Asks for the memory of running sequences of `length` tokens on all lanes, with traces of `blocks` blocks, before
    /// the first of them is run.
    ///
    /// - Throws: `ResourceError.memory`.
    func require(length: Int, blocks: Int) throws {
        let need = configuration.passMemory(length: length, blocks: blocks, lanes: Lanes.shared.count)
        try granted.withLock { granted in
            guard need.bytes > granted else { return }
            // What is held already was asked for before and is no longer free.
            try need.check(MemoryLimit.current.raised(by: granted))
            granted = need.bytes
        }
    }

    /// Runs `body` with a workspace of at least `capacity` tokens in sequences of up to `length`.
    func withWorkspace(on lanes: Lanes, capacity: Int, length: Int, _ body: (Workspace) -> Void) {
        // Whatever they are for, most then have one size and serve each other.
        let capacity = max(capacity, Decoder.passTokens)
        let kept = idle.withLock { idle in
            idle.firstIndex { $0.lanes === lanes && $0.capacity >= capacity && $0.length >= length }
                .map { idle.remove(at: $0) }
        }
        let workspace =
            kept ?? Workspace(lanes: lanes, capacity: capacity, length: length, configuration)
        body(workspace)
        idle.withLock { idle in
            idle.append(workspace)
            // One for every lane and one for all; sizes that are no longer asked for go first.
            if idle.count > Lanes.shared.count + 1 { idle.removeFirst() }
        }
    }
}

extension Lanes {
    /// The calling lane alone.
    static let calling = Lanes(count: 1)

    /// Cuts 0..<count into one range of the same size for every lane, each for `Lanes.calling`, all at once; then what
    /// is left over, less than one each, for all lanes together.
    ///
    /// Where there is enough for every lane to work by itself, none waits for another before the end.
    func forShares(_ count: Int, _ body: (_ lanes: Lanes, _ share: Range<Int>) -> Void) {
        let each = count / self.count
        if each > 0 { run { lane in body(.calling, lane * each..<(lane + 1) * each) } }
        if each * self.count < count { body(self, each * self.count..<count) }
    }
}

extension ModelConfiguration {
    /// What the workspaces of a pass take: for each lane n tokens of 2d + (H + 2K)·h + H·h + 3m numbers, of two more streams
    /// for the head and its tile of logits, and of each traced block 2d + (H + 2K)·h + 2m.
    func passMemory(length: Int, blocks: Int, lanes: Int) -> MemoryNeed {
        let n = max(length, Decoder.passTokens)
        let (d, m) = (dModel, intermediateSize)
        let (row, mixed) = (causalAttention.rowWidth, causalAttention.outputWidth)
        var need = MemoryNeed(
            "running the model on sequences of \(length) tokens needs",
            advice: "use shorter sequences, or fewer lanes (DMSAE_LANES)")
        need.add("activations", 4 * lanes, n, 4 * d + row + mixed + 3 * m)
        need.add("attention", 4 * lanes, causalAttention.scratchCount(length: length))
        if blocks > 0 { need.add("traces", 4 * lanes, n, blocks, 2 * d + row + 2 * m) }
        return need
    }

    var causalAttention: CausalAttention {
        CausalAttention(headCount: headCount, keyValueHeadCount: keyValueHeadCount, headDimension: headDimension)
    }
}
