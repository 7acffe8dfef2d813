import LanguageModeling
import LinearAlgebra
import TensorFiles

/// A batch on a card of which suffixes can be run again: the values at the hook point, what they are added to, and keys and values of
/// every block above lie there, 8·K·h bytes a token and block.
///
/// Suffixes go together in passes of one beginning, the largest multiple of `grain` that is not behind their first changed position: what
/// is then computed of positions before that is what it was. Additions are made on the card; only rows that somebody brings travel.
final class DeviceReplay: SuffixReplay {
    private let model: CUDALanguageModel
    private let batch: TokenBatch
    private let residual: Matrix
    private let hook: HookPoint
    private let targets: [Int32]
    private var kept: Kept?

    init(_ model: CUDALanguageModel, _ batch: TokenBatch, residual: Matrix, at hook: HookPoint) {
        (self.model, self.batch, self.residual, self.hook) = (model, batch, residual, hook)
        targets = batch.targets
    }

    /// Half of what the model wants to see together: a usual suffix is half a sequence.
    var preferredRows: Int { model.preferredReplayTokens / 2 }

    var losses: [Float] {
        get throws { try model.losses(of: batch, residual: residual, at: hook) }
    }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) throws {
        guard !suffixes.isEmpty else { return }
        try model.inTurn {
            let kept = try self.kept ?? Kept(model, batch, residual: residual, at: hook)
            self.kept = kept
            for pass in passes(suffixes, kept) { try kept.run(pass, suffixes, targets, into: losses) }
        }
    }

    /// Suffixes of one beginning, by their number, and where the losses of each go.
    struct Pass {
        let first: Int
        var suffixes: [(number: Int, target: Int)]
    }

    private func passes(_ suffixes: [SequenceSuffix], _ kept: Kept) -> [Pass] {
        let length = batch.length, grain = max(16, (length + 7) / 8)
        var (found, target) = ([Int: Pass](), 0)
        for (number, suffix) in suffixes.enumerated() {
            precondition(
                (0..<batch.sequenceCount).contains(suffix.sequence) && (0..<length).contains(suffix.first),
                "a suffix of sequence \(suffix.sequence) from position \(suffix.first)")
            let first = suffix.first / grain * grain
            found[first, default: Pass(first: first, suffixes: [])].suffixes.append((number, target))
            target += length - suffix.first
        }
        return found.values.sorted { $0.first < $1.first }.flatMap { all in
            // Parts of about equal size.
            let most = kept.sequencesTogether(from: all.first), count = all.suffixes.count
            let parts = (count + most - 1) / most, size = (count + parts - 1) / parts
            return stride(from: 0, to: count, by: size).map {
                Pass(first: all.first, suffixes: Array(all.suffixes[$0..<min($0 + size, count)]))
            }
        }
    }
}

/// What a card keeps of a batch.
private final class Kept {
    private let model: CUDALanguageModel
    private let cut: DeviceCut
    private let workspace: DeviceWorkspace
    private let length: Int
    /// `[B·T, d]`: the activations at the hook point, and what they are added to where they are not the stream.
    private let values: DeviceMatrix
    private let base: DeviceMatrix?
    /// Of each block above.
    private let keyValues: [DeviceKeyValues]
    private let edits: DeviceEdits

    init(_ model: CUDALanguageModel, _ batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws {
        let cut = try model.cut(batch, hook, residual), context = model.device.context
        try context.activate()
        var need = MemoryNeed(
            "running suffixes of \(batch.sequenceCount) sequences again needs",
            advice: "use fewer sequences at a time, or use --device cpu")
        need.add("activations", cut.needsBase ? 8 : 4, batch.tokenCount, DeviceMatrix.stride(residual.columns))
        for shape in cut.shapes { need.add("keys and values", 8, batch.tokenCount, shape.keyWidth) }
        try context.require(need)
        let values = try DeviceMatrix(rows: batch.tokenCount, columns: residual.columns, on: context)
        try values.assign(residual)
        let base =
            try cut.needsBase
            ? DeviceMatrix(rows: batch.tokenCount, columns: residual.columns, on: context) : nil
        let keyValues = try cut.shapes.map { try DeviceKeyValues($0, tokens: batch.tokenCount, on: context) }
        var last: DeviceWorkspace?
        try model.forEachPass(batch, blocks: 0) { (pass, tokens) throws(CUDAError) in
            let (x, d) = (pass.workspace.stream, values.stride)
            last = pass.workspace
            if let base {
                try model.embed(pass)
                try cut.makeBase(pass)
                try base.array.copy(x.array, tokens.count * d, at: tokens.lowerBound * d)
            }
            try x.array.copy(values.array, tokens.count * d, from: tokens.lowerBound * d)
            if let base { try pass.device.add(base.slice(fromRow: tokens.lowerBound), to: x, rows: pass.tokenCount) }
            try cut.forward(
                pass,
                pasts: keyValues.map {
                    DevicePast(kept: $0, direction: .keeping(firstSequence: tokens.lowerBound / pass.length))
                })
            // The copy of the ids on its way reads what those of the next pass are staged in.
            try context.synchronize()
        }
        edits = try DeviceEdits(on: context)
        (self.model, self.cut, length) = (model, cut, batch.length)
        (self.values, self.base, self.keyValues, workspace) = (values, base, keyValues, last!)
    }

    /// Suffixes of a pass, whose keys and values are of whole sequences.
    func sequencesTogether(from first: Int) -> Int {
        let rows = length - first
        var most = workspace.capacity / rows
        for shape in cut.shapes {
            most = min(most, workspace.spare.packed.count / (rows * shape.outputWidth + 2 * length * shape.keyWidth))
        }
        return max(1, most)
    }

    func run(
        _ run: DeviceReplay.Pass, _ suffixes: [SequenceSuffix], _ targets: [Int32],
        into losses: UnsafeMutablePointer<Float>
    ) throws(CUDAError) {
        let own = run.suffixes.map { suffixes[$0.number] }, rows = length - run.first
        var pass = DevicePass(device: model.device, workspace: workspace, sequences: own.count, length: rows)
        pass.first = run.first
        var wanted: [Int32] = []
        wanted.reserveCapacity(pass.tokenCount)
        for suffix in own {
            wanted += targets[suffix.sequence * length + run.first..<(suffix.sequence + 1) * length]
        }
        try workspace.load(targets: wanted[...])
        try edits.load(own, from: run.first, length: length, columns: values.columns)
        try edits.make(values, base, pass)
        let pasts = keyValues.map {
            DevicePast(kept: $0, direction: .continuing(sequences: edits.sequences))
        }
        try cut.forward(pass, pasts: pasts)
        try model.head.losses(workspace.stream, pass)
        var found = [Float](repeating: 0, count: pass.tokenCount)
        try found.withUnsafeMutableBufferPointer { (found) throws(CUDAError) in
            try workspace.storeValues(into: found.baseAddress!, count: found.count)
        }
        for (i, suffix) in own.enumerated() {
            let target = losses + run.suffixes[i].target
            for t in suffix.first..<length { target[t - suffix.first] = found[i * rows + t - run.first] }
        }
    }
}
