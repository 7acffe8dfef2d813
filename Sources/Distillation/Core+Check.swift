import LinearAlgebra
import SparseCoding
import TensorFiles

extension Core {
    /// Reads the core.json of an SAE. Where core.safetensors is beside it, its encoder vectors must be this SAE's, up to the
    /// scale of a latent: an index means nothing in another one.
    ///
    /// - Throws: `TensorFileError` for a file that is no core.json, `DistillationError.badCore`, `.coreOfAnother`.
    public static func read(_ path: String, of sae: SparseAutoencoder) throws -> (core: Core, isChecked: Bool) {
        let core = try read(path, width: sae.dSAE)
        guard !core.latents.isEmpty else { throw DistillationError.badCore(path: path, reason: "the core is empty") }
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
        guard exists(folder + "core.safetensors") else { return (core, false) }
        let vectors = try encoderRows(at: path, dIn: sae.dIn)
        for (i, latent) in core.latents.enumerated()
        where !isParallel(vectors.row(i), sae.encoder.row(latent.index), sae.dIn) {
            throw DistillationError.coreOfAnother(path: path, latent: latent.index)
        }
        return (core, true)
    }

    /// The latents of a core.json in an SAE: the one that they were selected from, or one that was trained with the core, whose
    /// first latents they are, in its order. Where core.safetensors is beside the file, encoder vectors tell; else it is taken
    /// to be the former.
    ///
    /// - Throws: as `read(_:of:)`.
    public static func latents(of path: String, in sae: SparseAutoencoder) throws
        -> (latents: [CoreLatent], isChecked: Bool)
    {
        do {
            let found = try read(path, of: sae)
            return (found.core.latents, found.isChecked)
        } catch let error as DistillationError {
            guard case .coreOfAnother = error else { throw error }
            let vectors = try encoderRows(at: path, dIn: sae.dIn)
            guard vectors.rows <= sae.dSAE,
                (0..<vectors.rows).allSatisfy({ isParallel(vectors.row($0), sae.encoder.row($0), sae.dIn) })
            else { throw error }
            let listed = try read(path, width: sae.dSAE).latents
            return (
                listed.enumerated().map { place, latent in
                    var latent = latent
                    latent.index = place
                    return latent
                }, true
            )
        }
    }

    private static func isParallel(
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int
    ) -> Bool {
        var (aa, bb, ab) = (0.0, 0.0, 0.0)
        for i in 0..<count {
            aa += Double(a[i]) * Double(a[i])
            bb += Double(b[i]) * Double(b[i])
            ab += Double(a[i]) * Double(b[i])
        }
        return aa == 0 && bb == 0 || ab >= (1 - 1e-6) * (aa * bb).squareRoot() && ab > 0
    }
}
