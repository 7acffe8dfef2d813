import TensorFiles

/// What the `cfg.json` of an SAELens folder says, every key of it understood, harmless or refused.
///
/// SAELens itself drops keys it does not know; here that could mean another function without a word. `metadata` is free
/// form by SAELens's definition (nothing in it is read when the SAE is applied): only the members named
/// here are looked at.
struct SAEConfiguration {
    let architecture: SAEArchitecture
    let subtractsDecoderBias: Bool
    /// What is read and rebuilt, nil where the file does not say.
    let hook: HookPoint?
    /// m₁ < … of a Matryoshka SAE that SAELens trained.
    let prefixes: [Int]?
    /// Active latents of a token that it was trained for, where the file says so.
    let k: Double?
    /// Whether p is multiplied by the norm of its decoder row before it is selected, and f divided
    /// by it before decoding.
    let rescalesByDecoderNorm: Bool
    /// Whether inputs are multiplied by the number in `activation_scaler.json`.
    let scalesInputs: Bool
    /// `metadata.dmsae`, nil for an SAE of another program.
    let own: SAEMembers?
    /// What it says of the training that is otherwise where the SAE is used here.
    let remarks: [String]
    private let widths: (dIn: Int?, dSAE: Int?)

    /// Keys that describe where an SAE comes from and say nothing of what it computes: those of SAELens before 6 stand
    /// at the top, with `dtype`, in which weights were stored and which is single precision here whatever it is there.
    private static let harmless: Set = [
        "device", "model_name", "model_class_name", "context_size", "dataset_path", "dataset_trust_remote_code",
        "sae_lens_version", "sae_lens_training_version", "neuronpedia_id", "exclude_special_tokens",
        "sequence_separator_token", "disable_concat_sequences", "l0",
        "num_dead_features",
    ]

    /// Reads `cfg.json` of `folder`.
    ///
    /// - Throws: `TensorFileError` for a file that is no JSON, `SparseCodingError.badFolder` for everything else.
    init(folder: String, file: String) throws {
        let root = try SAEMembers(folder: folder, name: "", value: try JSONValue(contentsOf: file))
        let metadata = try root.object("metadata")
        let isOld = try Self.isOld(root, metadata)
        architecture = try SAEArchitecture(root, isOld: isOld)
        scalesInputs = try Self.scalesInputs(root, isOld: isOld)
        try root.require("reshape_activations", "none", "only SAEs of whole vectors are read")
        if try root.truth("finetuning_scaling_factor") == true {
            throw root.refused("finetuning_scaling_factor", "use the SAE as it was before the fine-tuning")
        }
        rescalesByDecoderNorm = try root.truth("rescale_acts_by_decoder_norm") ?? false
        switch architecture {
        case .standard, .jumpReLU, .gated:
            if rescalesByDecoderNorm {
                throw root.refused(
                    "rescale_acts_by_decoder_norm", "only topk and batchtopk SAEs have that; correct cfg.json")
            }
        case .topK, .batchTopK: break
        }
        subtractsDecoderBias = try root.truth("apply_b_dec_to_input") ?? true
        widths = (try root.integer("d_in"), try root.integer("d_sae"))
        let precisions = ["float64", "float32", "float16", "bfloat16"]
        if let type = try root.text("dtype"), !precisions.contains(type.replacing("torch.", with: "")) {
            throw root.refused("dtype", "weights are read as " + precisions.joined(separator: ", "))
        }
        own = try metadata?.object("dmsae")
        let details = try metadata?.object("training_architecture_details")
        prefixes = try root.integers("matryoshka_widths") ?? details?.integers("matryoshka_widths")
        k = try root.number("k") ?? details?.number("k")
        hook = try Self.hook(root, metadata)
        remarks = [root, metadata].compactMap { $0 }.flatMap(SAETrainingText.remarks)
        try root.refuseOthers(
            than: Self.harmless.union([
                "architecture", "normalize_activations", "reshape_activations", "apply_b_dec_to_input", "d_in", "d_sae",
                "dtype", "metadata", "k", "rescale_acts_by_decoder_norm", "finetuning_scaling_factor", "activation_fn",
                "activation_fn_str", "activation_fn_kwargs", "matryoshka_widths",
            ]).union(Self.hookKeys).union(SAETrainingText.keys).union(SAETrainingSettings.keys))
    }

    /// Whether SAELens reads it by the rules of its versions before 6: where no version is named, too.
    private static func isOld(_ root: SAEMembers, _ metadata: SAEMembers?) throws -> Bool {
        let named = try root.text("sae_lens_version", orNull: true) ?? metadata?.text("sae_lens_version", orNull: true)
        guard let major = named?.prefix(while: \.isNumber), let number = Int(major) else { return true }
        return number < 6
    }

    /// What is done to inputs before they are encoded. Version 5 wrote true and false for two of the words.
    private static func scalesInputs(_ root: SAEMembers, isOld: Bool) throws -> Bool {
        let key = "normalize_activations"
        switch root[key] {
        case nil, .string("none"): return false
        case .bool(false) where isOld, .null where isOld: return false
        case .string("expected_average_only_in"): return true
        case .bool(true) where isOld: return true
        case .string("layer_norm"), .string("constant_norm_rescale"):
            throw root.refused(
                key, "each input is normalised by numbers of its own, which weights cannot hold; choose another SAE")
        case .string("covariance_whitening"):
            throw root.refused(
                key, "save it with SAELens's save_inference_model, which folds the whitening into the weights")
        default: throw root.refused(key, "fold the normalisation into the weights first")
        }
    }

    /// - Throws: `SparseCodingError.badFolder` where the weights have other sizes.
    func requireWidths(dIn: Int, dSAE: Int, folder: String) throws {
        for (name, said, found) in [("d_in", widths.dIn, dIn), ("d_sae", widths.dSAE, dSAE)]
        where said ?? found != found {
            throw SparseCodingError.badFolder(
                path: folder, reason: "\(name) is \(said!) in cfg.json, and the weights have \(found)",
                advice: "put the files of one SAE together")
        }
    }

    // MARK: Hooks

    private static let hookKeys = [
        "hook_name", "hook_point", "hook_layer", "hook_point_layer", "hook_head_index", "hook_point_head_index",
        "hook_name_out", "hook_layer_out", "hook_head_index_out", "hf_hook_name", "hf_hook_name_out", "hook_name_in",
        "hook_names",
    ]

    /// The hook point that names and numbers agree on; a number alone is that of the residual stream after the block.
    private static func hook(_ root: SAEMembers, _ metadata: SAEMembers?) throws -> HookPoint? {
        var hook: HookPoint?
        var layer: (value: Int, key: String)?
        func agree(_ value: Int, _ members: SAEMembers, _ key: String) throws {
            if let layer, layer.value != value {
                throw members.fails(
                    "\(layer.key) names layer \(layer.value) and \(members.name)\(key) layer \(value)",
                    "correct cfg.json")
            }
            layer = (value, members.name + key)
        }
        func agree(_ found: HookPoint, _ members: SAEMembers, _ key: String) throws {
            try agree(found.block, members, key)
            if let hook, hook != found {
                throw members.fails(
                    "it is of \(hook.name), and by \(members.name)\(key) of \(found.name)", "correct cfg.json")
            }
            hook = found
        }
        for members in [root, metadata].compactMap({ $0 }) {
            for key in ["hook_name", "hook_point"] {
                guard let name = try members.text(key, orNull: true) else { continue }
                guard let found = HookPoint(name) else {
                    throw members.refused(key, "supported are \(HookPoint.supported)")
                }
                try agree(found, members, key)
            }
            for key in ["hook_layer", "hook_point_layer"] {
                if let found = try members.integer(key, orNull: true) { try agree(found, members, key) }
            }
            if let name = try members.text("hf_hook_name", orNull: true) {
                guard let found = HookPoint(transformers: name) else {
                    throw members.refused("hf_hook_name", "only the output of a whole block is supported")
                }
                try agree(found, members, "hf_hook_name")
            }
            try refuseOtherPlaces(members)
        }
        return hook ?? layer.map { .residPost($0.value) }
    }

    /// One head, several places, or another place that is rebuilt than the one that is read.
    private static func refuseOtherPlaces(_ members: SAEMembers) throws {
        for key in hookKeys
        where key.contains("head_index") || key.hasSuffix("_out") || key == "hook_name_in" || key == "hook_names" {
            let isRead = key.hasSuffix("_out") && members[key] == members[String(key.dropLast("_out".count))]
            if let value = members[key], value != .null, !isRead {
                throw members.refused(key, "only SAEs that read and rebuild one whole place of the model are supported")
            }
        }
    }
}
