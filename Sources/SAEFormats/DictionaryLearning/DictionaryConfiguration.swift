import SparseCoding
import TensorFiles

/// The `config.json` of dictionary_learning: how a dictionary was trained, and which class it is of.
///
/// Settings of a training change no result and are passed over by name; a key that is not known is refused.
struct DictionaryConfiguration {
    let kind: DictionaryKind
    /// As the file spells it.
    let className: String
    let model: String?
    let layer: Int?
    let contextLength: Int?
    let seed: UInt64?
    let groups: [Int]?
    let k: Int?
    private let folder: String
    private let widths: (dIn: Int?, dSAE: Int?)

    /// Keys of a trainer that say how it trained, or on what.
    private static let training: Set = [
        "trainer_class", "lr", "steps", "auxk_alpha", "warmup_steps", "decay_start", "threshold_beta",
        "threshold_start_step", "top_k_aux", "group_fractions", "group_weights", "weights_temperature", "device",
        "wandb_name", "bandwidth", "sparsity_penalty", "target_l0", "k_anneal_steps", "l1_penalty", "resample_steps",
        "sparsity_warmup_steps", "ghost_threshold", "sparsity_function", "initial_sparsity_penalty", "p_start", "p_end",
        "anneal_start", "sparsity_queue_length", "n_sparsity_updates", "top_k",
    ]

    init(_ file: String, folder: String) throws {
        self.folder = folder
        let root = try SAEMembers(
            folder: folder, file: DictionaryLearning.configurationName, name: "", value: try JSONValue(contentsOf: file)
        )
        guard let trainer = try root.object("trainer") else {
            throw root.fails("config.json has no object \"trainer\"", "fetch the config.json that belongs to the SAE")
        }
        guard let className = try trainer.text("dict_class") else {
            throw trainer.refused("dict_class", "write the class that the dictionary is of")
        }
        guard let kind = DictionaryKind.classes[className] else {
            throw trainer.refused(
                "dict_class", "supported are \(DictionaryKind.classes.keys.sorted().joined(separator: ", "))")
        }
        (self.kind, self.className) = (kind, className)
        model = try trainer.text("lm_name", orNull: true)
        layer = try trainer.integer("layer", orNull: true)
        seed = try trainer.integer("seed", orNull: true).flatMap { UInt64(exactly: $0) }
        groups = try trainer.integers("group_sizes")
        k = try trainer.integer("k", orNull: true)
        widths = (try trainer.integer("activation_dim"), try trainer.integer("dict_size"))
        if let module = try trainer.text("submodule_name", orNull: true),
            module != layer.map({ "resid_post_layer_\($0)" })
        {
            throw trainer.refused(
                "submodule_name", "only the residual stream after the block that \"layer\" names is supported")
        }
        try trainer.refuseOthers(
            than: Self.training.union([
                "dict_class", "lm_name", "layer", "seed", "group_sizes", "k", "activation_dim", "dict_size",
                "submodule_name",
            ]))
        let buffer = try root.object("buffer")
        contextLength = try buffer?.integer("ctx_len", orNull: true)
        try buffer?.require("io", "out", "only SAEs of what a block hands on are supported")
        try buffer?.refuseOthers(than: [
            "d_submodule", "io", "n_ctxs", "ctx_len", "refresh_batch_size", "out_batch_size", "device", "remove_bos",
            "add_special_tokens", "max_activation_norm_multiple",
        ])
        try root.refuseOthers(than: ["trainer", "buffer"])
    }

    func requireWidths(dIn: Int, dSAE: Int) throws {
        for (name, said, found) in [("activation_dim", widths.dIn, dIn), ("dict_size", widths.dSAE, dSAE)] {
            guard let said, said != found else { continue }
            throw fails(
                "\(name) is \(said) in config.json, and the weights have \(found)", "put the files of one SAE together")
        }
    }

    func fails(_ reason: String, _ advice: String) -> SparseCodingError {
        .badFolder(path: folder, reason: reason, advice: advice)
    }
}

/// `config.json` of a dictionary that we write, with the keys that dictionary_learning's and
/// SAEBench's readers ask for.
struct WrittenDictionary: Codable {
    struct Trainer: Codable {
        var trainer_class: String
        var dict_class: String
        var lr: Double?
        var steps: Int?
        var seed: UInt64?
        var activation_dim: Int
        var dict_size: Int
        var group_sizes: [Int]?
        var k: Int?
        var layer: Int?
        var lm_name: String?
    }

    struct Buffer: Codable {
        var io = "out"
        var ctx_len: Int?
    }

    var trainer: Trainer
    var buffer: Buffer

    init(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, _ kind: DictionaryKind, k: Int?, layer: Int?) {
        trainer = Trainer(
            trainer_class: kind.written.trainer, dict_class: kind.written.dictionary, lr: provenance.plan?.learningRate,
            steps: provenance.steps, seed: provenance.seed, activation_dim: sae.dIn, dict_size: sae.dSAE,
            group_sizes: kind == .matryoshkaBatchTopK ? sae.layout.groups : nil, k: k, layer: layer,
            lm_name: provenance.model)
        buffer = Buffer(ctx_len: provenance.contextLength)
    }
}
