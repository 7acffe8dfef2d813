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
    /// One for each of the model's rotary embeddings.
    let rotaries: [Rotary]
    /// `[n, d]`: the residual stream on its way up.
    let stream: Matrix
    /// `[n, d]`: a block half's normed input, then its gradient.
    let normed: Matrix
    /// `[n, d]`: half a block's result before it is normed, or the second norm of a parallel block; nothing where there is neither.
    let result: Matrix
    /// `[n, (H + 2K)·h]`: queries, keys and values where no trace keeps them; on the way down their gradient.
    let queryKeyValue: Matrix
    /// `[n, H·h]`: attention's result, then its gradient.
    let mixed: Matrix
    /// `[n, 2m]`, or `[n, m]` without a gate: gate and up where no trace keeps them.
    let gateUp: Matrix
    /// `[n, m]`: the perceptron's activations, then their gradient.
    let hidden: Matrix
    let attention: Matrix
    /// Room for what a product with a weight widens.
    let panel: UnsafeMutablePointer<Float>
    let head: LanguageHead.Scratch
    private let description: DecoderDescription
    private var traces: [BlockTrace] = []

    init(lanes: Lanes, capacity n: Int, length: Int, panelCount: Int, _ description: DecoderDescription) {
        self.lanes = lanes
        self.description = description
        (capacity, self.length) = (n, length)
        rotaries = description.rotaries.map {
            Rotary(length: length, headDimension: description.attention.headDimension, $0)
        }
        let d = description.configuration.dModel, attends = description.widestAttention
        stream = Matrix(rows: n, columns: d)
        normed = Matrix(rows: n, columns: d)
        result = Matrix(rows: description.needsResult ? n : 0, columns: d)
        queryKeyValue = Matrix(rows: n, columns: attends.rowWidth)
        mixed = Matrix(rows: n, columns: attends.outputWidth)
        gateUp = Matrix(rows: n, columns: description.perceptron.inputWidth)
        hidden = Matrix(rows: n, columns: description.perceptron.width)
        attention = attends.scratch(length: length, lanes: lanes)
        head = LanguageHead.Scratch(
            rows: n, dModel: d, isCapped: description.finalSoftCap != nil, panelCount: panelCount, lanes: lanes)
        panel = head.panels.elements
    }

    /// What `count` blocks keep for the way down.
    func traces(_ count: Int) -> ArraySlice<BlockTrace> {
        while traces.count < count { traces.append(BlockTrace(tokenCount: capacity, description)) }
        return traces[..<count]
    }
}

/// What a block's backward pass needs of its forward pass: of a Llama block 4·(2d + (H + 2K)·h + 2m) bytes a token.
final class BlockTrace {
    /// The residual stream before the block, `[n, d]`.
    let input: Matrix
    /// Queries and keys after rotation, and values, `[n, (H + 2K)·h]`.
    let queryKeyValue: Matrix
    /// Queries and keys before their norms, `[n, (H + K)·h]`.
    let heads: Matrix?
    /// What attention gave before it was normed, `[n, d]`.
    let attentionResult: Matrix?
    /// The residual stream between the halves, `[n, d]`; nothing in a parallel block.
    let middle: Matrix
    /// Gate and up, `[n, 2m]`, or `[n, m]` without a gate.
    let gateUp: Matrix
    /// What the perceptron gave before it was normed, `[n, d]`.
    let perceptronResult: Matrix?

    init(tokenCount n: Int, _ description: DecoderDescription) {
        let d = description.configuration.dModel
        func stream(if wanted: Bool) -> Matrix? { wanted ? Matrix(rows: n, columns: d) : nil }
        input = Matrix(rows: n, columns: d)
        queryKeyValue = Matrix(rows: n, columns: description.widestAttention.rowWidth)
        heads = description.attention.hasHeadNorms ? Matrix(rows: n, columns: description.turnedWidth) : nil
        attentionResult = stream(if: description.hasPostNorms)
        middle = Matrix(rows: description.isParallel ? 0 : n, columns: d)
        gateUp = Matrix(rows: n, columns: description.perceptron.inputWidth)
        perceptronResult = stream(if: description.hasPostNorms)
    }
}

/// A model's workspaces between their uses. Who runs the model takes one, whoever else runs it meanwhile another.
final class WorkspacePool: Sendable {
    private let description: DecoderDescription
    /// Numbers of a panel of the model's weights.
    private let panelCount: Int
    private let idle = Mutex<[Workspace]>([])
    /// Bytes that were there when they were asked for.
    private let granted = Mutex(0)

    init(_ description: DecoderDescription, panelCount: Int) {
        (self.description, self.panelCount) = (description, panelCount)
    }

    /// Asks for the memory of running sequences of `length` tokens on all lanes, with traces of `blocks` blocks, before
    /// the first of them is run.
    ///
    /// - Throws: `ResourceError.memory`.
    func require(length: Int, blocks: Int) throws {
        var need = description.passMemory(length: length, blocks: blocks, lanes: Lanes.shared.count)
        need.add("panels of widened weights", 4 * Lanes.shared.count, panelCount)
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
            kept
            ?? Workspace(
                lanes: lanes, capacity: capacity, length: length, panelCount: panelCount, description)
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

extension DecoderDescription {
    /// What the workspaces of a pass take: for each lane n tokens of 2d + (H + 2K)·h + H·h + 3m numbers, of two more streams
    /// for the head and its tile of logits, and of each traced block 2d + (H + 2K)·h + 2m; more where a block has more norms.
    func passMemory(length: Int, blocks: Int, lanes: Int) -> MemoryNeed {
        let n = max(length, Decoder.passTokens)
        let (d, m) = (configuration.dModel, perceptron.width + perceptron.inputWidth)
        let (row, mixed) = (widestAttention.rowWidth, widestAttention.outputWidth)
        var need = MemoryNeed(
            "running the model on sequences of \(length) tokens needs",
            advice: "use shorter sequences, or fewer lanes (DMSAE_LANES)")
        need.add("activations", 4 * lanes, n, (needsResult ? 5 : 4) * d + row + mixed + m)
        need.add("attention", 4 * lanes, widestAttention.scratchCount(length: length))
        if blocks > 0 {
            let streams = 2 + (hasPostNorms ? 2 : 0) - (isParallel ? 1 : 0)
            let heads = attention.hasHeadNorms ? turnedWidth : 0
            need.add("traces", 4 * lanes, n, blocks, streams * d + row + heads + perceptron.inputWidth)
        }
        return need
    }

    /// The attention of any block: sizes are the same in all.
    package var widestAttention: CausalAttention { causalAttention(window: nil) }

    /// The attention of a block with this window.
    func causalAttention(window: Int?) -> CausalAttention {
        CausalAttention(
            headCount: attention.headCount, keyValueHeadCount: attention.keyValueHeadCount,
            headDimension: attention.headDimension, scale: attention.scale, softCap: attention.softCap, window: window)
    }

    /// (H + K)·h.
    package var turnedWidth: Int { (attention.headCount + attention.keyValueHeadCount) * attention.headDimension }

    /// Whether half a block's result stands beside the residual stream for a while.
    package var needsResult: Bool { hasPostNorms || isParallel }
}
