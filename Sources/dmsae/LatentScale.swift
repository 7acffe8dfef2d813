import ArgumentParser
import LinearAlgebra
import SAEFormats
import SparseCoding

/// Options of commands that rank or show an SAE's latents.
struct ScaleOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Take latents on the scale that the file gives them. Without it the norms of decoder rows are folded into the "
                + "activations, so that files of one function, scaled differently, give the same."))
    var noFold = false

    /// Reads an SAE, with decoder rows of unit norm unless that was declined.
    ///
    /// - Throws: what reading throws; `SparseCodingError.cannotFold`.
    func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance, scale: LatentScale) {
        let (sae, provenance) = try SAEFormats.read(path)
        if noFold { return (sae, provenance, sae.decoderNorms == nil ? .unit : .own) }
        guard let norms = try sae.foldDecoderNorms() else { return (sae, provenance, .unit) }
        Terminal.shared.note(
            "decoder rows of \(norms.latents.count) of the SAE's \(sae.dSAE) latents have norms from \(norms.extent); they are "
                + "folded into the latents (--no-fold leaves them)")
        return (sae, provenance, .folded)
    }
}

/// On which scale latents were taken; as results record it.
enum LatentScale: String {
    /// Decoder rows have unit norm in the file already.
    case unit = "unit"
    /// Their norms were folded into the latents.
    case folded = "folded"
    /// They are as in the file, of other norms than 1.
    case own = "as in the file"
}
