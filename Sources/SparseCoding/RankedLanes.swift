import LinearAlgebra
import Ranks

/// The processors of several machines, or several processes of one: each computes with the latents that it has.
package struct RankedLanes: TrainingDevice {
    private let lanes: Lanes
    package let peers: LatentPeers?

    package init(_ peers: LatentPeers, lanes: Lanes = .shared) { (self.peers, self.lanes) = (peers, lanes) }

    package var record: [String: String] { ["ranks": "\(peers?.group.count ?? 1)"] }

    package func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed? { nil }

    package func arithmetic(_ state: TrainerState, _ setting: StepSetting) -> any StepArithmetic {
        LaneArithmetic(state, setting, lanes: lanes, peers: peers)
    }
}

extension LatentPeers {
    /// The SAE of all latents, made of the ranks' `own`, on rank 0; nil on the others.
    package func assembled(_ own: SparseAutoencoder) throws -> SparseAutoencoder? {
        let all =
            group.rank == 0 ? SparseAutoencoder(dIn: own.dIn, layout: cut.layout, coreIsDense: own.coreIsDense) : nil
        let cuts = try (0..<group.count).map { try LatentCut(cut.layout, rank: $0, of: group.count) }
        for part in [\SparseAutoencoder.encoder, \.decoder, \.encoderBias] {
            let source = own[keyPath: part]
            let width = part == \.encoderBias ? 1 : own.dIn
            try group.collect(
                UnsafeRawBufferPointer(start: source.elements, count: 4 * source.count),
                sizes: cuts.map { 4 * $0.places.count * width }
            ) { rank, rows in
                guard let target = all?[keyPath: part] else { return }
                for (j, place) in cuts[rank].places.enumerated() {
                    UnsafeMutableRawPointer(target.elements + place * width)
                        .copyMemory(from: rows.baseAddress! + 4 * j * width, byteCount: 4 * width)
                }
            }
        }
        guard let all else { return nil }
        all.decoderBias.assign(own.decoderBias)
        all.inference = own.inference
        all.subtractsDecoderBias = own.subtractsDecoderBias
        return all
    }
}
