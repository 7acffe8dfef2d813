import KernelTable
import LinearAlgebra
import Ranks

/// The processors of several machines, or several processes of one: each computes with the latents that it has, and rank 0, where the
/// `Trainer` is, tells the others what to do.
package struct RankedTraining: TrainingDevice {
    private let group: RankGroup
    private let lanes: Lanes

    package init(_ group: RankGroup, lanes: Lanes = .shared) { (self.group, self.lanes) = (group, lanes) }

    package var record: [String: String] { ["ranks": "\(group.count)"] }

    package var rankCount: Int { group.count }

    package func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed? { nil }

    /// - Throws: `SparseCodingError.badSetting` for a rule that learns, and for more ranks than a group has latents.
    package func check(_ layout: PrefixLayout, _ rule: any SparsityRule) throws {
        guard rule.learning == nil else {
            throw SparseCodingError.badSetting(
                name: "ranks", value: "\(group.count)", wanted: "1 for the rule \(rule.name), which learns")
        }
        for rank in 0..<group.count { _ = try LatentCut(layout, rank: rank, of: group.count) }
    }

    /// - Throws: as `check`; `RankError`.
    package func arithmetic(_ state: TrainerState, _ setting: StepSetting) throws -> any StepArithmetic {
        try check(state.sae.layout, setting.rule)
        return try RankedArithmetic(state, setting, group, lanes)
    }
}

/// A training step on all ranks, as the `Trainer` of rank 0 asks for it. What fails while the ranks are at it together ends their work.
private final class RankedArithmetic: StepArithmetic {
    private let state: TrainerState
    private let group: RankGroup
    private let share: LatentShare
    private let cuts: [LatentCut]
    /// [F] whose each latent is, and which of that rank's.
    private let homes: [(rank: Int, latent: Int32)]
    private let id: Int

    init(_ state: TrainerState, _ setting: StepSetting, _ group: RankGroup, _ lanes: Lanes) throws {
        let layout = state.sae.layout
        let peers = LatentPeers(
            group, try LatentCut(layout, rank: 0, of: group.count), coreIsDense: state.sae.coreIsDense)
        let cuts = try peers.cut.all(group.count)
        var homes = [(rank: Int, latent: Int32)](repeating: (0, 0), count: layout.latentCount)
        for (rank, cut) in cuts.enumerated() {
            for (j, place) in cut.places.enumerated() { homes[place] = (rank, Int32(j)) }
        }
        share = LatentShare(
            peers, dIn: state.sae.dIn, subtractsDecoderBias: state.sae.subtractsDecoderBias, plan: setting.plan,
            rule: setting.rule, frozen: setting.frozenCount, lanes: lanes)
        (self.state, self.group, self.cuts, self.homes) = (state, group, cuts, homes)
        let description = try LatentShare.description(state, setting)
        id = try group.together { try group.make(LatentShare.kind) { _ in description } }
        try group.together { try deal() }
    }

    deinit { group.release(id) }

    /// Gives each rank the rows of its latents. The matrices of the state are stale from now on, and give their memory back.
    private func deal() throws {
        let all = TrainerState.tensors(state.sae, state.hasMoments ? state.moments : nil)
        for ((matrix, isOfLatents), (own, _)) in zip(all, share.tensors(moments: state.hasMoments)) {
            func part(_ rank: Int) -> Matrix { isOfLatents ? cuts[rank].part(of: matrix) : matrix }
            for rank in 1..<group.count {
                let part = part(rank)
                var message = RankMessage()
                message.write(part.elements, count: part.count)
                try group.send(message, to: rank)
            }
            own.assign(part(0))
            matrix.discard()
        }
    }

    // MARK: Orders

    private func order(_ what: StepOrder, _ write: (inout RankMessage) -> Void = { _ in }) throws {
        var message = RankMessage()
        message.write(what.rawValue)
        write(&message)
        try group.order(id, all: message)
    }

    /// An order with the numbers of some latents: each rank gets its own, by its own numbers. Returns rank 0's.
    private func order(_ what: StepOrder, _ latents: [Int], _ write: (inout RankMessage) -> Void) throws -> [Int] {
        var parts = [[Int32]](repeating: [], count: group.count)
        for j in latents { parts[homes[j].rank].append(homes[j].latent) }
        try group.order(id) { rank in
            var message = RankMessage()
            message.write(what.rawValue)
            write(&message)
            message.write(parts[rank])
            return message
        }
        return parts[0].map(Int.init)
    }

    // MARK: StepArithmetic

    func begin(_ x: Matrix, silent: [Int]?) throws {
        try group.together {
            func head(_ message: inout RankMessage) {
                message.write(x.rows)
                message.write(silent != nil)
            }
            var own: [Int]?
            if let silent { own = try order(.begin, silent, head) } else { try order(.begin, head) }
            try group.share(x.buffer)
            try share.arithmetic.begin(x, silent: own)
        }
    }

    func makeBatch() -> Matrix { share.arithmetic.makeBatch() }

    // The others get a batch when they begin with it.
    var preparesAhead: Bool { false }
    func prepare(_ x: Matrix) {}

    func select(_ context: SelectionContext) throws -> SelectionSummary {
        try group.together {
            try order(.select) { message in
                message.write(context.mode.rawValue)
                message.write(context.step)
            }
            return try share.arithmetic.select(context)
        }
    }

    func countActive(into counts: UnsafeMutableBufferPointer<Int32>) throws {
        try group.together {
            try order(.countActive)
            try share.collectCounts { places, own in for (j, place) in places.enumerated() { counts[place] = own[j] } }
        }
    }

    func chooseAuxiliary(dead: [Int]) throws {
        try group.together { try share.arithmetic.chooseAuxiliary(dead: try order(.chooseAuxiliary, dead) { _ in }) }
    }

    func computeLosses(projecting: Bool) throws {
        try group.together {
            try order(.computeLosses) { $0.write(projecting) }
            try share.arithmetic.computeLosses(projecting: projecting)
        }
    }

    func replaceCodeGradients(_ learned: LearnedGradients, _ context: SelectionContext, dead: [Int]) {
        preconditionFailure("rules that learn are refused")
    }

    func computeEncoderGradients() throws {
        try group.together {
            try order(.computeEncoderGradients)
            try share.arithmetic.computeEncoderGradients()
        }
    }

    func results() throws -> StepResults {
        try group.together {
            try order(.results)
            return try share.arithmetic.results()
        }
    }

    func update(_ step: AdamStep) throws {
        try group.together {
            try order(.update) { $0.write(step.numbers) }
            share.arithmetic.update(step)
        }
    }

    func decoderBiasChanged() throws {
        let bias = state.sae.decoderBias
        try group.together { try order(.setDecoderBias) { $0.write(bias.elements, count: bias.count) } }
        share.sae.decoderBias.assign(bias)
    }

    func setCoreBias(_ biases: [Float]) throws {
        func own(_ rank: Int) -> [Float] { cuts[rank].places.filter { $0 < biases.count }.map { biases[$0] } }
        try group.order(id) { rank in
            var message = RankMessage()
            message.write(StepOrder.setCoreBias.rawValue)
            message.write(own(rank))
            return message
        }
        share.arithmetic.setCoreBias(own(0))
    }

    func export(_ numbers: Range<Int>) throws {
        try group.together {
            try order(.export) { message in
                message.write(numbers.lowerBound)
                message.write(numbers.upperBound)
            }
            try share.collect(numbers, into: state)
        }
    }

    func forget(_ numbers: Range<Int>) {
        for (matrix, _) in TrainerState.tensors(state.sae, state.moments)[numbers] { matrix.discard() }
    }

    func finish() throws {
        try group.together {
            try order(.finish)
            share.arithmetic.finish()
        }
        try export(TrainerState.parameters)
    }

    func lastCentered() -> Matrix { share.arithmetic.lastCentered() }

    func inspect() throws -> StepInspection {
        try group.together {
            try order(.inspect)
            return try share.inspect()
        }
    }

    var repeatCount: Int { share.arithmetic.repeatCount }
}
