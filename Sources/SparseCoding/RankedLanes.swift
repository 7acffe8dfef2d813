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
            let bytes = try group.gather(Array(UnsafeRawBufferPointer(start: source.elements, count: 4 * source.count)))
            guard let all else { continue }
            let (target, width) = (all[keyPath: part], part == \.encoderBias ? 1 : own.dIn)
            for (bytes, cut) in zip(bytes, cuts) {
                bytes.withUnsafeBytes { bytes in
                    for (j, place) in cut.places.enumerated() {
                        UnsafeMutableRawPointer(target.elements + place * width)
                            .copyMemory(from: bytes.baseAddress! + 4 * j * width, byteCount: 4 * width)
                    }
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
