import KernelTable
import LinearAlgebra
import Ranks
import TensorFiles

/// What rank 0 tells the others to do of a step, in the order of `StepArithmetic`.
enum StepOrder: UInt8 {
    case begin, select, countActive, chooseAuxiliary, computeLosses, replaceCodeGradients, computeEncoderGradients,
        results, update
    case setDecoderBias, setCoreBias, export, finish, inspect
}

/// A rank's latents of an SAE in training, and the arithmetic of a step with them.
package final class LatentShare: RankService {
    package static let kind = "latents in training"

    let peers: LatentPeers
    package let arithmetic: any StepArithmetic
    let learned: LearnedShare?
    /// What the arithmetic began from, of the rank's latents.
    private let state: TrainerState
    private let plan: TrainingPlan
    private var x = Matrix(rows: 0, columns: 0)
    private var context: SelectionContext?

    var sae: SparseAutoencoder { state.sae }
    var cut: LatentCut { peers.cut }
    private var group: RankGroup { peers.group }

    /// - Parameters:
    ///   - setting: that of all latents; of a rule that learns rank 0 alone has what it learns.
    ///   - learns: whether it does.
    ///   - fill: writes parameters and moments of the rank's latents.
    init(
        _ peers: LatentPeers, dIn: Int, subtractsDecoderBias: Bool, _ setting: StepSetting, learns: Bool,
        on device: any TrainingDevice, filling fill: (TrainerState) throws -> Void
    ) throws {
        (self.peers, plan) = (peers, setting.plan)
        let sae = SparseAutoencoder(dIn: dIn, layout: peers.cut.own, coreIsDense: peers.coreIsDense)
        sae.subtractsDecoderBias = subtractsDecoderBias
        state = TrainerState(sae, rule: setting.rule)
        try fill(state)
        learned = learns ? LearnedShare(setting.learned, among: peers) : nil
        arithmetic = try device.arithmetic(
            state,
            StepSetting(
                plan: setting.plan, rule: setting.rule, learned: learned,
                frozenCount: peers.cut.places.count { $0 < setting.frozenCount }), among: peers)
    }

    // MARK: On other ranks than 0

    /// Makes what rank 0 describes.
    ///
    /// - Throws: what the device throws; `RankError`; `MemoryLimitError`.
    package static func make(
        _ group: RankGroup, _ message: inout RankMessage, on device: any TrainingDevice
    ) throws -> LatentShare {
        let dIn: Int = message.read()
        let (groups, coreCount, coreIsPrefix) = (
            message.read([Int].self), message.read(Int.self), message.read(Bool.self)
        )
        let layout = try PrefixLayout(groups: groups, coreCount: coreCount, coreIsPrefix: coreIsPrefix)
        let (coreIsDense, subtractsDecoderBias): (Bool, Bool) = (message.read(), message.read())
        let plan = try JSONRecord.decode(TrainingPlan.self, from: message.read(), in: "the plan of rank 0")
        let rule = RuleOfRankZero(
            name: message.read(), version: message.read(), scope: SelectionScope(rawValue: message.read())!)
        let (frozen, learns, hasMoments): (Int, Bool, Bool) = (message.read(), message.read(), message.read())
        let peers = LatentPeers(
            group, try LatentCut(layout, rank: group.rank, of: group.count), coreIsDense: coreIsDense)
        try memory(peers.cut, dIn: dIn, plan).check()
        return try LatentShare(
            peers, dIn: dIn, subtractsDecoderBias: subtractsDecoderBias,
            StepSetting(plan: plan, rule: rule, learned: nil, frozenCount: frozen), learns: learns, on: device
        ) { state in
            for (matrix, _) in TrainerState.tensors(state.sae, hasMoments ? state.moments : nil) {
                var rows = try group.receive(from: 0)
                rows.read(into: matrix.elements, count: matrix.count)
            }
        }
    }

    /// What a rank above 0 takes: that of a training of its latents, reconstructions that are shared twice, and one tensor's rows on their way.
    private static func memory(_ cut: LatentCut, dIn: Int, _ plan: TrainingPlan) -> MemoryNeed {
        var need = TrainingPlan.memory(
            dIn: dIn, layout: cut.own, k: plan.k, batch: plan.batchSize,
            advice: "start more processes, or lower the SAE's width or the batch")
        need.add("reconstructions of all ranks", 8 * (cut.layout.prefixes.count + 1), plan.batchSize, dIn)
        return need
    }

    /// What there is of all latents, for who makes the share of a rank.
    static func description(_ state: TrainerState, _ setting: StepSetting) throws -> RankMessage {
        let sae = state.sae
        var message = RankMessage()
        message.write(sae.dIn)
        message.write(sae.layout.groups)
        message.write(sae.layout.coreCount)
        message.write(sae.layout.coreIsPrefix)
        message.write(sae.coreIsDense)
        message.write(sae.subtractsDecoderBias)
        message.write(try JSONRecord.text(setting.plan))
        message.write(setting.rule.name)
        message.write(setting.rule.version)
        message.write(setting.rule.scope.rawValue)
        message.write(setting.frozenCount)
        message.write(setting.learned != nil)
        message.write(state.hasMoments)
        return message
    }

    package func perform(_ order: inout RankMessage) throws {
        guard let what = StepOrder(rawValue: order.read()) else { preconditionFailure("an order that is none") }
        switch what {
        case .begin:
            let (rows, isSilent): (Int, Bool) = (order.read(), order.read())
            let silent = isSilent ? order.read([Int32].self).map(Int.init) : nil
            if x.rows != rows {
                x = rows == plan.batchSize ? try arithmetic.makeBatch() : Matrix(rows: rows, columns: sae.dIn)
            }
            try group.share(x.buffer)
            try arithmetic.begin(x, silent: silent)
        case .select:
            let (mode, step): (Int32, Int) = (order.read(), order.read())
            context = SelectionContext(
                SelectionMode(rawValue: mode)!, of: sae, rows: x.rows, meanActive: plan.k, step: step,
                totalSteps: plan.steps)
            _ = try arithmetic.select(context!)
        case .countActive: try collectCounts { _, _ in }
        case .chooseAuxiliary: try arithmetic.chooseAuxiliary(dead: order.read([Int32].self).map(Int.init))
        case .computeLosses: try arithmetic.computeLosses(projecting: order.read())
        case .replaceCodeGradients:
            try arithmetic.replaceCodeGradients(
                learned!, context!, dead: order.read([Int32].self).map(Int.init))
        case .computeEncoderGradients: try arithmetic.computeEncoderGradients()
        case .results: _ = try arithmetic.results()
        case .update: try arithmetic.update(AdamStep(order.read([Float].self)))
        case .setDecoderBias:
            order.read(into: sae.decoderBias.elements, count: sae.dIn)
            try arithmetic.decoderBiasChanged()
        case .setCoreBias: try arithmetic.setCoreBias(order.read())
        case .export:
            let (first, end): (Int, Int) = (order.read(), order.read())
            try collect(first..<end, into: nil)
        case .finish: try arithmetic.finish()
        case .inspect: _ = try inspect()
        }
    }

    // MARK: On all ranks

    /// Brings how often each latent of each rank fired to rank 0.
    func collectCounts(_ body: (_ places: [Int], UnsafePointer<Int32>) -> Void) throws {
        var counts = [Int32](repeating: 0, count: sae.dSAE)
        try counts.withUnsafeMutableBufferPointer { try arithmetic.countActive(into: $0) }
        let cuts = try cut.all(group.count)
        try counts.withUnsafeBytes { counts in
            try group.collect(counts, sizes: cuts.map { 4 * $0.places.count }) { rank, counts in
                guard let start = counts.baseAddress else { return }
                body(cuts[rank].places, start.assumingMemoryBound(to: Int32.self))
            }
        }
    }

    /// Brings these of the tensors of all ranks into those of a state of all latents, on rank 0.
    func collect(_ numbers: Range<Int>, into whole: TrainerState?) throws {
        func tensors(_ state: TrainerState) -> [(matrix: Matrix, isOfLatents: Bool)] {
            Array(TrainerState.tensors(state.sae, state.moments)[numbers])
        }
        try arithmetic.export(numbers)
        try collect(tensors(state), into: whole.map(tensors))
        arithmetic.forget(numbers)
    }

    /// Brings what there is of each latent to its place; what is not of latents is the same on all ranks.
    private func collect(
        _ own: [(matrix: Matrix, isOfLatents: Bool)], into all: [(matrix: Matrix, isOfLatents: Bool)]?
    ) throws {
        let cuts = try cut.all(group.count)
        for (i, (source, isOfLatents)) in own.enumerated() {
            let target = all?[i].matrix
            guard isOfLatents else {
                target?.assign(source)
                continue
            }
            let width = source.count / sae.dSAE
            try group.collect(
                UnsafeRawBufferPointer(start: source.elements, count: 4 * source.count),
                sizes: cuts.map { 4 * $0.places.count * width }
            ) { rank, rows in
                guard let target, let start = rows.baseAddress else { return }
                for (j, place) in cuts[rank].places.enumerated() {
                    UnsafeMutableRawPointer(target.elements + place * width)
                        .copyMemory(from: start + 4 * j * width, byteCount: 4 * width)
                }
            }
        }
    }

    /// What the last batch left on all ranks, on rank 0; on the others the rank's own.
    func inspect() throws -> StepInspection {
        let own = try arithmetic.inspect()
        let (codes, auxiliary) = (try peers.whole(own.codes), try peers.whole(own.auxiliary))
        let all =
            group.rank == 0
            ? SparseAutoencoder(dIn: sae.dIn, layout: cut.layout, coreIsDense: sae.coreIsDense) : nil
        try collect(TrainerState.tensors(own.gradients), into: all.map { TrainerState.tensors($0) })
        return StepInspection(
            codes: codes, auxiliary: auxiliary, auxiliaryDenominator: own.auxiliaryDenominator,
            gradients: all ?? own.gradients)
    }
}

/// A rule on a rank that does not ask it.
private final class RuleOfRankZero: SparsityRule {
    let name: String
    let version: String
    let scope: SelectionScope

    init(name: String, version: String, scope: SelectionScope) {
        (self.name, self.version, self.scope) = (name, version, scope)
    }

    func upperCount(_ context: SelectionContext) -> Int { preconditionFailure("rank 0 asks the rule") }

    func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) { preconditionFailure("rank 0 asks the rule") }
}

extension AdamStep {
    /// Its numbers, as `numbers` gives them.
    init(_ n: [Float]) {
        self.init(
            beta1: n[0], beta2: n[1], epsilon: n[2], stepSize: n[3], inverseRootCorrection: n[4], gradientScale: n[5])
    }

    var numbers: [Float] { [beta1, beta2, epsilon, stepSize, inverseRootCorrection, gradientScale] }
}
