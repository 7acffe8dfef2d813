import LinearAlgebra
import SparseCoding

/// What a training takes of a card, and how its arrays are cut.
struct StepMemory {
    let dIn: Int
    let layout: PrefixLayout
    let k: Double
    let batch: Int
    let exempt: Int
    /// Among which latents are cut; `layout` is the part of one.
    var ranks = 1

    /// Latents of a tile of pre-activations: 32 MiB at 2,048 tokens, which the second-level cache keeps until they have been
    /// looked at. `TILE` in collect.cu.
    static let tile = 4096

    /// Kernels hold a row of so many floats in the registers of a block.
    static let mostInputs = 8192
    /// `PREFIXES` in reconstruct.cu.
    static let mostPrefixes = 32
    /// Bits of a block's shared memory in bylatent.cu.
    static let mostRows = 8192 * 32

    /// What NCCL takes for its buffers, of each other rank: an allowance, more than its manual suggests for one machine.
    private static let exchangeBytes = 64 << 20

    private var latents: Int { layout.latentCount }
    private var stride: Int { DeviceMatrix.stride(dIn) }

    /// Candidates there is room for at first: several times what can be selected, since the floor is a guess.
    var candidates: Int {
        let selected = Int((k * Double(batch)).rounded(.up))
        return min(batch * latents, max(4 * selected, 65_536) + batch * exempt)
    }

    /// Refuses what the kernels are not written for.
    func check() throws(CUDAError) {
        for (name, value, most) in [
            ("the width of the activations", dIn, Self.mostInputs),
            ("the number of prefixes", layout.prefixes.count, Self.mostPrefixes),
            ("the batch", batch, Self.mostRows),
            // Kernels count in 32 bits.
            (
                "the number of reconstructed values", ranks == 1 ? 0 : layout.prefixes.count * batch * stride,
                Int(Int32.max)
            ),
        ] where value > most { throw .unsupported(name: name, value: value, most: most) }
        try Self.checkCandidates(candidates)
    }

    /// Kernels count candidates in 32 bits.
    static func checkCandidates(_ count: Int) throws(CUDAError) {
        guard count > Int(Int32.max) else { return }
        throw .unsupported(name: "the number of candidates in a batch", value: count, most: Int(Int32.max))
    }

    /// With F latents of D inputs (rows padded to four floats), B tokens and n prefixes, in bytes: parameters, gradients and
    /// both moments 4·8·F·D, and 100·F for what there is one of a latent; two batches x, x − b_dec and n weighted residuals 4·(n + 3)·B·D; a
    /// tile of pre-activations; candidates and codes 44 a one; the products' workspace; among ranks what the others send, 4·n·B·D, and NCCL's own.
    /// Dead latents take more once there are any, 4·B of each.
    func need(advice: String) -> MemoryNeed {
        let prefixes = layout.prefixes.count
        var need = MemoryNeed(
            "training \(latents) latents of \(dIn) inputs on batches of \(batch) needs", advice: advice)
        need.add("parameters, gradients and moments", 32, latents, stride)
        need.add("parameters, gradients and moments", 100, latents)
        need.add("batches", 4 * (prefixes + 3), batch, stride)
        need.add("batches", 4, batch, Self.tile)
        need.add("candidates", 44, candidates)
        need.add("workspace", MatrixProducts.workspaceBytes)
        if ranks > 1 {
            need.add("sums of ranks", 4 * prefixes, batch, stride)
            need.add("sums of ranks", Self.exchangeBytes, ranks - 1)
        }
        return need
    }
}
