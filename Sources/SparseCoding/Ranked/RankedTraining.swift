import KernelTable
import LinearAlgebra
import Ranks

/// The processors, or cards, of several processes: each computes with the latents that it has, and rank 0, where the `Trainer` is, tells
/// the others what to do.
package struct RankedTraining: TrainingDevice {
    private let group: RankGroup
    private let device: any TrainingDevice
    private let place: RankMessage

    /// - Parameters:
    ///   - device: where rank 0 computes.
    ///   - place: what the makers of `LatentShare` on the other ranks are told of where they shall, before all else.
    package init(_ group: RankGroup, on device: any TrainingDevice = Lanes.shared, place: RankMessage = RankMessage()) {
        (self.group, self.device, self.place) = (group, device, place)
    }

    package var record: [String: String] { device.record.merging(["ranks": "\(group.count)"]) { $1 } }

    package var rankCount: Int { group.count }

    /// That of the rank with the most latents.
    package func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed? {
        guard let cut = try? LatentCut(layout, rank: group.count - 1, of: group.count) else { return nil }
        return device.memory(dIn: dIn, layout: cut.own, k: k, batch: batch)
    }

    package var freeMemory: Int? { device.freeMemory }

    /// - Throws: `SparseCodingError.badSetting` for more ranks than a group has latents; what the device throws.
    package func check(_ layout: PrefixLayout, _ rule: any SparsityRule) throws {
        for rank in 0..<group.count {
            try device.check(LatentCut(layout, rank: rank, of: group.count).own, rule)
        }
    }

    /// - Throws: as `check`; `RankError`; what the device throws.
    package func arithmetic(
        _ state: TrainerState, _ setting: StepSetting, among peers: LatentPeers?
    ) throws -> any StepArithmetic {
        precondition(peers == nil, "latents that are cut twice")
        try check(state.sae.layout, setting.rule)
        return try RankedArithmetic(state, setting, group, on: device, place)
    }
}

/// A training step on all ranks, as the `Trainer` of rank 0 asks for it. What fails while the ranks are at it together ends their work.
package final class RankedArithmetic: StepArithmetic {
    private let state: TrainerState
    private let group: RankGroup
    /// Rank 0's latents.
    package let share: LatentShare
    private let cuts: [LatentCut]
    /// [F] whose each latent is, and which of that rank's.
    private let homes: [(rank: Int, latent: Int32)]
    private let id: Int

    init(
        _ state: TrainerState, _ setting: StepSetting, _ group: RankGroup, on device: any TrainingDevice,
        _ place: RankMessage
    ) throws {
        let layout = state.sae.layout
        let peers = LatentPeers(
            group, try LatentCut(layout, rank: 0, of: group.count), coreIsDense: state.sae.coreIsDense)
        let cuts = try peers.cut.all(group.count)
        var homes = [(rank: Int, latent: Int32)](repeating: (0, 0), count: layout.latentCount)
        for (rank, cut) in cuts.enumerated() {
            for (j, place) in cut.places.enumerated() { homes[place] = (rank, Int32(j)) }
        }
        (self.state, self.group, self.cuts, self.homes) = (state, group, cuts, homes)
        var description = place
        description.append(try LatentShare.description(state, setting))
        id = try group.together { try group.make(LatentShare.kind) { _ in description } }
        share = try group.together {
            try LatentShare(
                peers, dIn: state.sae.dIn, subtractsDecoderBias: state.sae.subtractsDecoderBias, setting,
                learns: setting.learned != nil, on: device
            ) { try Self.deal(state, cuts, to: $0, group) }
        }
    }

    deinit { group.release(id) }

    /// Gives each rank the rows of its latents. The matrices of the state are stale from now on, and give their memory back.
    private static func deal(
        _ state: TrainerState, _ cuts: [LatentCut], to share: TrainerState, _ group: RankGroup
    ) throws {
        func tensors(_ one: TrainerState) -> [(matrix: Matrix, isOfLatents: Bool)] {
            TrainerState.tensors(one.sae, state.hasMoments ? one.moments : nil)
        }
        for ((matrix, isOfLatents), (own, _)) in zip(tensors(state), tensors(share)) {
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

    package func begin(_ x: Matrix, silent: [Int]?) throws {
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

    package func makeBatch() throws -> Matrix { try share.arithmetic.makeBatch() }

    // The others get a batch when they begin with it.
    package var preparesAhead: Bool { false }
    package func prepare(_ x: Matrix) {}

    package func select(_ context: SelectionContext) throws -> SelectionSummary {
        try group.together {
            try order(.select) { message in
                message.write(context.mode.rawValue)
                message.write(context.step)
            }
            return try share.arithmetic.select(context)
        }
    }

    package func countActive(into counts: UnsafeMutableBufferPointer<Int32>) throws {
        try group.together {
            try order(.countActive)
            try share.collectCounts { places, own in for (j, place) in places.enumerated() { counts[place] = own[j] } }
        }
    }

    package func chooseAuxiliary(dead: [Int]) throws {
        try group.together { try share.arithmetic.chooseAuxiliary(dead: try order(.chooseAuxiliary, dead) { _ in }) }
    }

    package func computeLosses(projecting: Bool) throws {
        try group.together {
            try order(.computeLosses) { $0.write(projecting) }
            try share.arithmetic.computeLosses(projecting: projecting)
        }
    }

    package func replaceCodeGradients(_ learned: any StepLearning, _ context: SelectionContext, dead: [Int]) throws {
        try group.together {
            try share.arithmetic.replaceCodeGradients(
                share.learned!, context, dead: try order(.replaceCodeGradients, dead) { _ in })
        }
    }

    package func computeEncoderGradients() throws {
        try group.together {
            try order(.computeEncoderGradients)
            try share.arithmetic.computeEncoderGradients()
        }
    }

    package func results() throws -> StepResults {
        try group.together {
            try order(.results)
            return try share.arithmetic.results()
        }
    }

    package func update(_ step: AdamStep) throws {
        try group.together {
            try order(.update) { $0.write(step.numbers) }
            try share.arithmetic.update(step)
        }
    }

    package func decoderBiasChanged() throws {
        let bias = state.sae.decoderBias
        try group.together { try order(.setDecoderBias) { $0.write(bias.elements, count: bias.count) } }
        share.sae.decoderBias.assign(bias)
        try share.arithmetic.decoderBiasChanged()
    }

    package func setCoreBias(_ biases: [Float]) throws {
        func own(_ rank: Int) -> [Float] { cuts[rank].places.filter { $0 < biases.count }.map { biases[$0] } }
        try group.order(id) { rank in
            var message = RankMessage()
            message.write(StepOrder.setCoreBias.rawValue)
            message.write(own(rank))
            return message
        }
        try share.arithmetic.setCoreBias(own(0))
    }

    package func export(_ numbers: Range<Int>) throws {
        try group.together {
            try order(.export) { message in
                message.write(numbers.lowerBound)
                message.write(numbers.upperBound)
            }
            try share.collect(numbers, into: state)
        }
    }

    package func forget(_ numbers: Range<Int>) {
        for (matrix, _) in TrainerState.tensors(state.sae, state.moments)[numbers] { matrix.discard() }
    }

    package func finish() throws {
        try group.together {
            try order(.finish)
            try share.arithmetic.finish()
        }
        try export(TrainerState.parameters)
    }

    package func lastCentered() throws -> Matrix { try share.arithmetic.lastCentered() }

    package func inspect() throws -> StepInspection {
        try group.together {
            try order(.inspect)
            return try share.inspect()
        }
    }

    package var repeatCount: Int { share.arithmetic.repeatCount }
}
