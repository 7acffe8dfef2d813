import LinearAlgebra
import SparseCoding

/// The sizes that the cost of a training step depends on.
struct TrainingShape {
    var dIn = 576
    var width = 16384
    var k = 64
    var batch = 2048
    /// Latents of a dense core.
    var core = 0
    /// Share of the latents that are dead.
    var dead = 0.0

    /// The four sizes that the goals are stated for.
    static let standard = [(576, 4096), (576, 16384), (2304, 16384), (2304, 65536)].map {
        TrainingShape(dIn: $0.0, width: $0.1)
    }

    /// Growth in F, D and k, in B, with a core, and with dead latents.
    static let all =
        standard + standard.map { TrainingShape(dIn: $0.dIn, width: $0.width, k: 320) }
        + [512, 8192].map { TrainingShape(batch: $0) }
        + [TrainingShape(core: 200), TrainingShape(dead: 0.1), TrainingShape(dead: 0.6)]

    var title: String {
        "d = \(dIn), F = \(width), k = \(k), B = \(batch)" + (core > 0 ? ", dense core of \(core)" : "")
            + (dead > 0 ? ", \(number(100 * dead, 0))% dead" : "")
    }

    func layout() throws -> PrefixLayout {
        try PrefixLayout(groups: PrefixLayout.standardGroups(width: width), coreCount: core)
    }

    /// Entries of the codes of a batch: half of all pre-activations of random input are positive, so a core of c latents
    /// fires c/2 times a token.
    var entries: Double { Double(batch) * (Double(k) + Double(core) / 2) }

    /// Every `1/dead`-th latent after the core.
    func isDead(_ j: Int) -> Bool {
        j >= core && (Double(j + 1) * dead).rounded(.down) > (Double(j) * dead).rounded(.down)
    }

    var deadCount: Int { (0..<width).count { isDead($0) } }

    /// An SAE whose dead latents stay below every selection and above 0 half of the time, and tokens since each fired.
    func autoencoder() throws -> (sae: SparseAutoencoder, tokensSinceFired: [Int]) {
        let sae = SparseAutoencoder(dIn: dIn, layout: try layout())
        sae.initialize(seed: 1)
        for j in 0..<width where isDead(j) { for c in 0..<dIn { sae.encoder[j, c] *= 0.3 } }
        return (sae, (0..<width).map { isDead($0) ? 1 << 40 : 0 })
    }

    /// x [B, D] uniform with mean square 1/D, as the input scale leaves it.
    func input(_ index: UInt32) -> Matrix {
        let x = Matrix(rows: batch, columns: dIn)
        let bound = (3 / Float(dIn)).squareRoot()
        CounterRandom(seed: 1, purpose: .test, step: index)
            .fill(UnsafeMutableBufferPointer(start: x.elements, count: x.count), from: -bound, to: bound)
        return x
    }

    /// Entries of dead latents that the auxiliary loss reconstructs with.
    var auxiliaryEntries: Double { Double(batch * min(dIn / 2, deadCount)) }

    /// Bytes a phase has to move between memory and the caches: what its inner loops use again is counted once, a line
    /// that is written is read first. Panels of the batch stay in the second-level cache and are not counted.
    func bytes(of phase: TrainingPhase, lanes: Int) -> Double {
        let (parameters, batch) = (4 * Double(width * dIn), 4 * Double(self.batch * dIn))
        switch phase {
        // The encoder, once per lane; x. Of the step before, parameter, two moments and gradient in, all but the gradient
        // out, of encoder and decoder.
        case .selection: return (Double(lanes) + 2 * 7) * parameters + batch
        // Candidates in, codes out: by token and by latent.
        case .auxiliary: return 32 * auxiliaryEntries
        // Decoder rows for the reconstructions and again for the gradients, those read and written; x.
        case .losses: return 4 * parameters + batch
        // Encoder rows' gradients, read and written; encoder rows for b_dec's; x.
        case .gradients: return 3 * parameters + batch
        // The same of the biases.
        case .update: return 4 * Double(width + dIn) * 7
        }
    }

    /// What a training holds, in bytes: encoder and decoder with gradient and two moments each; x and x − b_dec; residuals
    /// of a panel for each lane and prefix; entries as candidates, codes, by latent and with their gradients; those of
    /// dead latents, and what they are chosen from; squares of gradient rows for each lane; tiles.
    func residentBytes(prefixes: Int, lanes: Int) -> Double {
        let picked = min(Double(dIn / 2 + 64) * 2, Double(deadCount)) + 512
        let panels = Double(lanes * (prefixes + 1)) * Double(512 << 10)
        return 32 * Double(width * dIn) + 8 * Double(batch * dIn) + panels + 64 * entries
            + (deadCount > 0 ? 48 * auxiliaryEntries + 8 * Double(batch) * picked : 0)
            + Double(lanes * (16 * width + (2 << 20)))
    }
}
