import KernelTable
import LinearAlgebra
import Ranks
import TensorFiles

/// What rank 0 tells the others to do of a step, in the order of `StepArithmetic`.
enum StepOrder: UInt8 {
    case begin, select, countActive, chooseAuxiliary, computeLosses, computeEncoderGradients, results, update
    case setDecoderBias, setCoreBias, export, finish, inspect
}

/// A rank's latents of an SAE in training, and the arithmetic of a step with them.
package final class LatentShare: RankService {
    package static let kind = "latents in training"

    let peers: LatentPeers
    let sae: SparseAutoencoder
    let moments: AdamMoments
    let arithmetic: LaneArithmetic
    private let plan: TrainingPlan
    private var x = Matrix(rows: 0, columns: 0)

    var cut: LatentCut { peers.cut }
    private var group: RankGroup { peers.group }

    init(
        _ peers: LatentPeers, dIn: Int, subtractsDecoderBias: Bool, plan: TrainingPlan, rule: any SparsityRule,
        frozen: Int, lanes: Lanes
    ) {
        (self.peers, self.plan) = (peers, plan)
        sae = SparseAutoencoder(dIn: dIn, layout: peers.cut.own, coreIsDense: peers.coreIsDense)
        sae.subtractsDecoderBias = subtractsDecoderBias
        moments = AdamMoments(sae)
        let setting = StepSetting(
            plan: plan, rule: rule, learned: nil, frozenCount: peers.cut.places.count { $0 < frozen })
        arithmetic = LaneArithmetic(sae, moments, setting, lanes: lanes, peers: peers)
    }

    // MARK: On other ranks than 0

    /// Makes what rank 0 describes.
    package static func make(_ group: RankGroup, _ message: inout RankMessage, lanes: Lanes) throws -> LatentShare {
        let dIn: Int = message.read()
        let (groups, coreCount, coreIsPrefix) = (
            message.read([Int].self), message.read(Int.self), message.read(Bool.self)
        )
        let layout = try PrefixLayout(groups: groups, coreCount: coreCount, coreIsPrefix: coreIsPrefix)
        let (coreIsDense, subtractsDecoderBias): (Bool, Bool) = (message.read(), message.read())
        let plan = try JSONRecord.decode(TrainingPlan.self, from: message.read(), in: "the plan of rank 0")
        let rule = RuleOfRankZero(
            name: message.read(), version: message.read(), scope: SelectionScope(rawValue: message.read())!)
        let (frozen, hasMoments): (Int, Bool) = (message.read(), message.read())
        let peers = LatentPeers(
            group, try LatentCut(layout, rank: group.rank, of: group.count), coreIsDense: coreIsDense)
        let share = LatentShare(
            peers, dIn: dIn, subtractsDecoderBias: subtractsDecoderBias, plan: plan, rule: rule, frozen: frozen,
            lanes: lanes)
        for (matrix, _) in share.tensors(moments: hasMoments) {
            var rows = try group.receive(from: 0)
            rows.read(into: matrix.elements, count: matrix.count)
        }
        return share
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
        message.write(state.hasMoments)
        return message
    }

    package func perform(_ order: inout RankMessage) throws {
        guard let what = StepOrder(rawValue: order.read()) else { preconditionFailure("an order that is none") }
        switch what {
        case .begin:
            let (rows, isSilent): (Int, Bool) = (order.read(), order.read())
            let silent = isSilent ? order.read([Int32].self).map(Int.init) : nil
            if x.rows != rows { x = Matrix(rows: rows, columns: sae.dIn) }
            try group.share(x.buffer)
            try arithmetic.begin(x, silent: silent)
        case .select:
            let (mode, step): (Int32, Int) = (order.read(), order.read())
            _ = try arithmetic.select(
                SelectionContext(
                    SelectionMode(rawValue: mode)!, of: sae, rows: x.rows, meanActive: plan.k, step: step,
                    totalSteps: plan.steps))
        case .countActive: try collectCounts { _, _ in }
        case .chooseAuxiliary: try arithmetic.chooseAuxiliary(dead: order.read([Int32].self).map(Int.init))
        case .computeLosses: try arithmetic.computeLosses(projecting: order.read())
        case .computeEncoderGradients: try arithmetic.computeEncoderGradients()
        case .results: _ = try arithmetic.results()
        case .update: arithmetic.update(AdamStep(order.read([Float].self)))
        case .setDecoderBias: order.read(into: sae.decoderBias.elements, count: sae.dIn)
        case .setCoreBias: arithmetic.setCoreBias(order.read())
        case .export:
            let (first, end): (Int, Int) = (order.read(), order.read())
            try collect(first..<end, into: nil)
        case .finish: arithmetic.finish()
        case .inspect: _ = try inspect()
        }
    }

    // MARK: On all ranks

    /// Of the rank's latents.
    func tensors(moments wantsMoments: Bool) -> [(matrix: Matrix, isOfLatents: Bool)] {
        TrainerState.tensors(sae, wantsMoments ? moments : nil)
    }

    /// Brings how often each latent of each rank fired to rank 0.
    func collectCounts(_ body: (_ places: [Int], UnsafePointer<Int32>) -> Void) throws {
        var counts = [Int32](repeating: 0, count: sae.dSAE)
        counts.withUnsafeMutableBufferPointer { arithmetic.countActive(into: $0) }
        let cuts = try cut.all(group.count)
        try counts.withUnsafeBytes { counts in
            try group.collect(counts, sizes: cuts.map { 4 * $0.places.count }) { rank, counts in
                guard let start = counts.baseAddress else { return }
                body(cuts[rank].places, start.assumingMemoryBound(to: Int32.self))
            }
        }
    }

    /// Brings these of the tensors of all ranks into those of a state of all latents, on rank 0.
    func collect(_ numbers: Range<Int>, into state: TrainerState?) throws {
        let all = state.map { Array(TrainerState.tensors($0.sae, $0.moments)[numbers]) }
        try collect(Array(tensors(moments: true)[numbers]), into: all)
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
        let own = arithmetic.inspect()
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
