import Glibc
import LinearAlgebra
import TensorFiles

/// An SAE in a folder that SAELens loads: `cfg.json` (architecture jumprelu) and `sae_weights.safetensors`.
///
/// At inference a Matryoshka BatchTopK SAE is a JumpReLU SAE whose latents share one threshold; SAELens cannot load
/// its own `matryoshka_batchtopk` for inference, so this is the form every consumer reads. Latents of a dense core
/// have threshold 0. An unset threshold is written as −1 with `threshold_set: false`.
public enum SAEFolder {
    static let weightsName = "sae_weights.safetensors"
    package static let configurationName = "cfg.json"

    /// The files of a folder.
    public static let files = [configurationName, weightsName]

    /// Paths of the files of a folder.
    public static func paths(in folder: String) -> [String] { files.map { folder + "/" + $0 } }

    /// The file of an SAE's tensors.
    public static func weights(in folder: String) -> String { folder + "/" + weightsName }

    /// The file that says what they are.
    public static func configuration(in folder: String) -> String { folder + "/" + configurationName }

    /// Writes the folder. Everything is on the disk before the first file gets its name; of an older SAE `cfg.json`,
    /// without which there is no SAE, goes first and comes last, so that no kill leaves parts of two.
    ///
    /// - Parameter log: committed with the SAE that it tells of.
    /// - Throws: `TensorFileError` when the folder cannot be written.
    public static func write(
        _ sae: SparseAutoencoder, _ provenance: SAEProvenance, to folder: String, log: AtomicFile? = nil
    ) throws {
        try createFolder(folder)
        let thresholds: Matrix?
        switch sae.inference {
        case .threshold, .thresholds: thresholds = try sae.inferenceThresholds()
        case .rowTopK: thresholds = nil
        case nil: thresholds = Matrix(vector: [Float](repeating: -1, count: sae.dSAE))
        }
        var writer = SafetensorsWriter()
        writer.add("W_enc", sae.encoder.transposed())
        writer.add("b_enc", sae.encoderBias, shape: [sae.dSAE])
        writer.add("W_dec", sae.decoder)
        writer.add("b_dec", sae.decoderBias, shape: [sae.dIn])
        if let thresholds { writer.add("threshold", thresholds, shape: [sae.dSAE]) }
        let weights = try writer.file(at: folder + "/" + weightsName)
        let configuration = try JSONRecord.file(
            WrittenConfiguration(sae, provenance), at: folder + "/" + configurationName)
        try log?.sync()
        unlink(folder + "/" + configurationName)
        try weights.commit(syncingFolder: false)
        try log?.commit(syncingFolder: false)
        try configuration.commit()
    }
}

/// `cfg.json` as SAELens 6 reads it, with what is ours under `metadata.dmsae`.
struct WrittenConfiguration: Codable {
    var architecture: String
    /// Of a topk SAE.
    var k: Int?
    var d_in: Int
    var d_sae: Int
    var dtype = "float32"
    var device = "cpu"
    var apply_b_dec_to_input: Bool
    var normalize_activations = "none"
    var reshape_activations = "none"
    var metadata: Metadata

    struct Metadata: Codable {
        var sae_lens_version = "6.54.12"
        var model_name: String?
        var hook_name: String?
        var context_size: Int?
        var prepend_bos = false
        /// Of an SAE of another program, and of one group, it is not known.
        var training_architecture: String?
        var training_architecture_details: Details
        var dmsae: Own
    }

    struct Details: Codable {
        var k: Double?
        var matryoshka_widths: [Int]
    }

    struct Own: Codable {
        var format = 1
        var groups: [Int]
        var prefixes: [Int]
        var core: Int
        var core_mode: String
        var threshold_set: Bool
        var per_latent_thresholds: Bool
        var provenance: SAEProvenance

        enum CodingKeys: String, CodingKey, CaseIterable {
            case format, groups, prefixes, core, core_mode, threshold_set, per_latent_thresholds, provenance
        }
    }

    init(_ sae: SparseAutoencoder, _ provenance: SAEProvenance) {
        if case .rowTopK(let own) = sae.inference {
            (architecture, k) = ("topk", own)
        } else {
            architecture = "jumprelu"
        }
        d_in = sae.dIn
        d_sae = sae.dSAE
        apply_b_dec_to_input = sae.subtractsDecoderBias
        let (hasThreshold, hasLatentThresholds) =
            switch sae.inference {
            case .threshold: (true, false)
            case .thresholds: (true, true)
            case .rowTopK, nil: (false, false)
            }
        metadata = Metadata(
            model_name: provenance.model, hook_name: provenance.hookPoint?.name,
            context_size: provenance.contextLength,
            training_architecture: provenance.plan == nil && sae.layout.prefixes.count == 1
                ? nil : "matryoshka_batchtopk",
            training_architecture_details: Details(
                k: sae.rowTopK.map(Double.init) ?? provenance.plan?.k ?? provenance.k,
                matryoshka_widths: sae.layout.prefixes),
            dmsae: Own(
                groups: sae.layout.groups, prefixes: sae.layout.prefixes, core: sae.layout.coreCount,
                core_mode: sae.coreIsDense ? "dense" : "sparse",
                threshold_set: hasThreshold, per_latent_thresholds: hasLatentThresholds, provenance: provenance))
    }
}
