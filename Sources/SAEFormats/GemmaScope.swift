import LinearAlgebra
import SparseCoding
import TensorFiles

/// Gemma Scope: `params.npz` with W_enc, b_enc, W_dec, b_dec and threshold. JumpReLU without subtraction of b_dec.
///
/// A folder or the file itself. Where it lies says what it is of: `gemma-scope-2b-pt-mlp/layer_12/width_65k/…`.
package struct GemmaScope: ReadOnlySAEFormat {
    package let name = "gemma_scope"
    private static let fileName = "params.npz"

    /// For `SAEFormats`, and where the format is meant by name.
    package init() {}

    private func file(_ path: String) -> String { path.hasSuffix(".npz") ? path : path + "/" + Self.fileName }

    package func recognizes(_ path: String) -> Bool { exists(file(path)) }

    package func files(_ path: String) -> [String] { [file(path)] }

    package func read(_ path: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let archive = try NumpyArchive(path: file(path))
        func fails(_ reason: String, _ advice: String) -> SparseCodingError {
            .badFolder(path: path, reason: reason, advice: advice)
        }
        let known: Set = ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"]
        if let other = archive.names.sorted().first(where: { !known.contains($0) }) {
            throw fails(
                "it holds an array \"\(other)\", which no SAE of Gemma Scope has", "leave it out if it does nothing")
        }
        let decoder = try archive.matrix("W_dec", shape: [nil, nil])
        let (dSAE, dIn) = (decoder.rows, decoder.columns)
        guard dSAE > 0, dIn > 0 else { throw fails("W_dec is \(dSAE) × \(dIn)", "fetch it again") }
        let sae = try SparseAutoencoder.made(
            encoder: ("W_enc", try archive.matrix("W_enc", shape: [dIn, dSAE]).transposed()),
            encoderBias: ("b_enc", try archive.matrix("b_enc", shape: [dSAE])), decoder: ("W_dec", decoder),
            decoderBias: ("b_dec", try archive.matrix("b_dec", shape: [dIn])), fails)
        let thresholds = try archive.matrix("threshold", shape: [dSAE]).values
        guard !thresholds.contains(where: \.isNaN) else { throw fails("threshold holds NaN", "fetch it again") }
        sae.inference = .thresholds(thresholds)
        sae.subtractsDecoderBias = false
        var provenance = SAEProvenance()
        provenance.hookPoint = try Self.hook(path, fails)
        return (sae, provenance)
    }

    /// The layer of `layer_12`, at the place that the end of `gemma-scope-2b-pt-res` names; without such a folder, the residual stream.
    private static func hook(
        _ path: String, _ fails: (String, String) -> SparseCodingError
    ) throws -> HookPoint? {
        let folders = path.split(separator: "/")
        var kind = HookPoint.Kind.residPost
        if let release = folders.last(where: { $0.contains("gemma-scope-") }),
            let site = release.split(separator: "-").last
        {
            switch site {
            case "res": kind = .residPost
            case "mlp": kind = .mlpOut
            case "att", "transcoders":
                throw fails(
                    "it lies in \(release), whose place in the model is "
                        + (site == "att" ? "hook_z, what attention's heads give" : "the perceptron, read and rebuilt"),
                    "supported are -res and -mlp")
            default: break
            }
        }
        let layer = folders.lazy.compactMap { part -> Int? in
            part.hasPrefix("layer_") ? Int(part.dropFirst("layer_".count)) : nil
        }.first
        return layer.map { HookPoint(block: $0, kind) }
    }
}
