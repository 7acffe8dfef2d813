import Glibc
import LinearAlgebra
import TensorFiles

/// Where an SAE comes from; kept under `metadata.dmsae` because SAELens has no names for it.
public struct SAEProvenance: Codable, Sendable, Equatable {
    /// Language model, by name.
    public var model: String?
    /// The block whose output the SAE reads, counted from 0.
    public var layer: Int?
    /// Tokens per sequence in training.
    public var contextLength: Int?
    /// Seed of the parameters.
    public var seed: UInt64?
    /// √(mean ‖x‖²) that inputs were divided by in training, already folded into b_enc, b_dec and the threshold.
    public var inputScale: Double?
    /// The sparsity rule.
    public var rule: String?
    /// Every setting of it, defaults included.
    public var ruleSettings: [String: String]?
    /// What of the command that trained it is not in the plan.
    public var settings: [String: String]?
    /// SHA-256 of what it was made from, by what that is for: activations, core, starting point, plugin.
    public var hashes: [String: String]?
    /// Every number of the training.
    public var plan: TrainingPlan?
    /// Training steps behind it.
    public var steps: Int?
    /// What cfg.json says of the training that is otherwise where the SAE is used here, in sentences; not kept.
    public var remarks: [String] = []

    public init() {}

    private enum CodingKeys: String, CodingKey {
        case model, layer, contextLength, seed, inputScale, rule, ruleSettings, settings, hashes, plan, steps
    }
}

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

    /// Writes the folder. Everything is on the disk before the first file gets its name; of an older SAE `cfg.json`, without
    /// which there is no SAE, goes first and comes last, so that no kill leaves parts of two.
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
            Configuration(sae, provenance), at: folder + "/" + configurationName)
        try log?.sync()
        unlink(folder + "/" + configurationName)
        try weights.commit(syncingFolder: false)
        try log?.commit(syncingFolder: false)
        try configuration.commit()
    }

    /// Reads a folder written by this program or by SAELens (architecture jumprelu or topk).
    ///
    /// - Throws: `TensorFileError` for a broken file, `SparseCodingError.badFolder` for an SAE of another kind, one of another
    ///   place in the model than the residual stream after a block, or files that contradict each other.
    public static func read(_ folder: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let path = folder + "/" + configurationName
        let configuration = try SAEConfiguration(folder: folder, file: path)
        func unsupported(_ reason: String, _ advice: String) -> SparseCodingError {
            .badFolder(path: folder, reason: reason, advice: advice)
        }
        let file = try SafetensorsFile(path: folder + "/" + weightsName)
        let shape = try file.require("W_dec", shape: [nil, nil]).shape
        let (dSAE, dIn) = (shape[0], shape[1])
        guard dSAE > 0, dIn > 0 else { throw unsupported("W_dec is \(dSAE) × \(dIn)", "write it again") }
        try configuration.requireWidths(dIn: dIn, dSAE: dSAE, folder: folder)
        var shapes = ["W_dec": [dSAE, dIn], "W_enc": [dIn, dSAE], "b_enc": [dSAE], "b_dec": [dIn]]
        if configuration.selection == .threshold { shapes["threshold"] = [dSAE] }
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) { _ = try file.require(name, shape: shape) }
        if let other = file.tensors.keys.sorted().first(where: { shapes[$0] == nil }) {
            throw unsupported(
                "the weights hold a tensor \"\(other)\", which no \(shapes["threshold"] == nil ? "topk" : "jumprelu") SAE has",
                "fold what it does into the others, or leave it out if it does nothing")
        }
        let own = try configuration.own.map { try OwnConfiguration($0) }
        let layout = try readLayout(configuration, own, width: dSAE, folder: folder)
        let sae = SparseAutoencoder(dIn: dIn, layout: layout, coreIsDense: own?.coreIsDense ?? true)
        sae.encoder.assign(try file.matrix("W_enc").transposed())
        sae.encoderBias.assign(try file.matrix("b_enc"))
        sae.decoder.assign(try file.matrix("W_dec"))
        sae.decoderBias.assign(try file.matrix("b_dec"))
        for (name, part) in [
            ("W_enc", sae.encoder), ("b_enc", sae.encoderBias), ("W_dec", sae.decoder), ("b_dec", sae.decoderBias),
        ]
        where !part.isFinite {
            throw unsupported("\(name) holds NaN or infinity", "train it again or use another checkpoint")
        }
        sae.subtractsDecoderBias = configuration.subtractsDecoderBias
        switch configuration.selection {
        case .topK(let k):
            guard k <= dSAE else { throw unsupported("its k is \(k), and it has \(dSAE) latents", "correct cfg.json") }
            sae.inference = .rowTopK(k)
        case .threshold: try readThresholds(try file.matrix("threshold"), own, into: sae, unsupported)
        }
        var provenance = SAEProvenance()
        if let own {
            provenance = try JSONRecord.read(Configuration.self, from: path, allowingOtherKeys: true).metadata.dmsae
                .provenance
            try own.check(provenance)
        }
        if let said = provenance.layer, let hook = configuration.layer, said != hook {
            throw unsupported(
                "metadata.dmsae.provenance.layer is \(said), and the hook is that of layer \(hook)", "correct cfg.json")
        }
        provenance.layer = provenance.layer ?? configuration.layer
        provenance.remarks = configuration.remarks
        return (sae, provenance)
    }

    private static func readThresholds(
        _ thresholds: Matrix, _ own: OwnConfiguration?, into sae: SparseAutoencoder,
        _ unsupported: (String, String) -> SparseCodingError
    ) throws {
        // An infinite threshold switches a latent off; NaN would do so without anyone having meant it.
        guard !thresholds.values.contains(where: \.isNaN) else {
            throw unsupported("threshold holds NaN", "train it again or use another checkpoint")
        }
        guard let own, !own.hasLatentThresholds else {
            sae.inference = .thresholds(thresholds.values)
            return
        }
        let common = thresholds[sae.dSAE - 1]
        if own.hasThreshold { sae.inference = .threshold(common) }
        for j in 0..<sae.dSAE {
            let wanted = own.hasThreshold && sae.exemptCore.contains(j) ? 0 : own.hasThreshold ? common : -1
            guard thresholds[j] == wanted else {
                throw unsupported(
                    "the threshold of latent \(j) is \(thresholds[j]), and by metadata.dmsae it is \(wanted)",
                    "remove metadata.dmsae if the thresholds were changed on purpose")
            }
        }
    }

    /// The layout that `cfg.json` states. What is wrong with it is a fault of the file, whatever a training would be told.
    private static func readLayout(
        _ configuration: SAEConfiguration, _ own: OwnConfiguration?, width: Int, folder: String
    ) throws -> PrefixLayout {
        do {
            return try layout(configuration, own, width: width)
        } catch let error as SparseCodingError {
            throw SparseCodingError.badFolder(
                path: folder, reason: String(error.description.prefix { $0 != ";" }),
                advice:
                    "correct \(own == nil ? "matryoshka_widths" : "metadata.dmsae") in cfg.json, or write the SAE again"
            )
        }
    }

    private static func layout(
        _ configuration: SAEConfiguration, _ own: OwnConfiguration?, width: Int
    ) throws -> PrefixLayout {
        if let own {
            let layout = try PrefixLayout(groups: own.groups, width: width, coreCount: own.core)
            for (name, said) in [("prefixes", own.prefixes), ("matryoshka_widths", configuration.prefixes)] {
                guard let said, said != layout.prefixes else { continue }
                throw SparseCodingError.badSetting(
                    name: name, value: "\(said), and by groups and core it is \(layout.prefixes)", wanted: "the same")
            }
            return layout
        }
        guard let prefixes = configuration.prefixes, !prefixes.isEmpty else { return try PrefixLayout(groups: [width]) }
        guard prefixes.allSatisfy({ (1...width).contains($0) }) else {
            throw SparseCodingError.badSetting(
                name: "matryoshka_widths", value: "\(prefixes), beyond 1 to d_sae, \(width)", wanted: "within")
        }
        let ends = prefixes.last == width ? prefixes : prefixes + [width]
        return try PrefixLayout(groups: zip(ends, [0] + ends).map { $0 - $1 }, width: width)
    }
}

/// `metadata.dmsae`, but for the provenance: what SAELens has no names for.
private struct OwnConfiguration {
    let groups: [Int]
    let prefixes: [Int]
    let core: Int
    let coreIsDense: Bool
    let hasThreshold: Bool
    let hasLatentThresholds: Bool
    private let members: SAEMembers

    init(_ members: SAEMembers) throws {
        self.members = members
        func required<Value>(_ key: String, _ value: Value?) throws -> Value {
            guard let value else { throw members.refused(key, "write the SAE again") }
            return value
        }
        guard try members.integer("format") == 1 else {
            throw members.refused("format", "this program knows format 1; use the version that wrote the SAE")
        }
        groups = try required("groups", try members.integers("groups"))
        prefixes = try required("prefixes", try members.integers("prefixes"))
        core = try required("core", try members.integer("core"))
        let mode = try required("core_mode", try members.text("core_mode"))
        guard mode == "dense" || mode == "sparse" else { throw members.refused("core_mode", "write dense or sparse") }
        coreIsDense = mode == "dense"
        hasThreshold = try required("threshold_set", try members.truth("threshold_set"))
        hasLatentThresholds = try required("per_latent_thresholds", try members.truth("per_latent_thresholds"))
        try members.refuseOthers(than: Set(Configuration.Own.CodingKeys.allCases.map(\.rawValue)))
    }

    /// Refuses what the decoder of `provenance` passed over: keys that it does not know, and 1.0 for a whole number.
    func check(_ provenance: SAEProvenance) throws {
        guard let own = try members.object("provenance"), let document = members["provenance"] else { return }
        if let key = try JSONRecord.unknownKey(in: document, of: provenance) {
            throw members.fails(
                "\(members.name)provenance.\(key) is not known here",
                "remove it from cfg.json if it says nothing of the SAE")
        }
        for key in ["layer", "contextLength", "seed", "steps"] { _ = try own.integer(key, orNull: true) }
        guard let plan = try own.object("plan") else { return }
        for key in [
            "batchSize", "steps", "warmupSteps", "decayStart", "thresholdStart", "deadAfterTokens", "auxiliaryCount",
        ] { _ = try plan.integer(key, orNull: true) }
    }
}

/// `cfg.json` as SAELens 6 reads it, with what is ours under `metadata.dmsae`.
private struct Configuration: Codable {
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
        var training_architecture = "matryoshka_batchtopk"
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
            model_name: provenance.model, hook_name: provenance.layer.map { "blocks.\($0).hook_resid_post" },
            context_size: provenance.contextLength,
            training_architecture_details: Details(
                k: sae.rowTopK.map(Double.init) ?? provenance.plan?.k, matryoshka_widths: sae.layout.prefixes),
            dmsae: Own(
                groups: sae.layout.groups, prefixes: sae.layout.prefixes, core: sae.layout.coreCount,
                core_mode: sae.coreIsDense ? "dense" : "sparse",
                threshold_set: hasThreshold, per_latent_thresholds: hasLatentThresholds, provenance: provenance))
    }
}
