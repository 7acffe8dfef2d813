import TensorFiles

/// Keys of a `cfg.json` that say on which text, and with a model loaded how, an SAE was trained. They change nothing of
/// what it computes, but another text or model gives it other activations than it knows.
enum SAETrainingText {
    static let keys: Set = ["prepend_bos", "seqpos_slice", "model_from_pretrained_kwargs"]

    /// What is otherwise here, in sentences with key and value.
    static func remarks(_ members: SAEMembers) -> [String] {
        func said(_ key: String) -> String { members.name + key }
        var remarks: [String] = []
        switch members["prepend_bos"] {
        case nil, .null, .bool(false): break
        case let value?:
            remarks.append(
                "\(said("prepend_bos")) is \(shown(value)): it was trained on sequences that begin with a beginning-of-text token, "
                    + "and rows of text have none here")
        }
        if let value = members["seqpos_slice"], !isWhole(value) {
            remarks.append(
                "\(said("seqpos_slice")) is \(shown(value)): it was trained on those positions of its sequences only, and is used "
                    + "on others too")
        }
        if let value = members["model_from_pretrained_kwargs"], value != .null {
            let others = value.object.map { $0.filter { !harmless.contains($0.key) && $0.value != .null } }
            for (key, value) in (others ?? ["": value]).sorted(by: { $0.key < $1.key }) {
                let name = said("model_from_pretrained_kwargs") + (key.isEmpty ? "" : "." + key)
                remarks.append(
                    "\(name) is \(shown(value)): its model was loaded in a way that is not known here, and may have had other "
                        + "activations")
            }
        }
        return remarks
    }

    /// All positions, or all but the first, which scores and averages leave out anyway.
    private static func isWhole(_ slice: JSONValue) -> Bool {
        guard slice != .null else { return true }
        guard let parts = slice.array else { return false }
        return zip(parts.indices, parts).allSatisfy { i, part in
            part == .null || (i == 0 && parts.count > 1 && [.integer(0), .integer(1)].contains(part))
                || (i == 2 && part == .integer(1))
        }
    }

    /// Arguments of TransformerLens's `from_pretrained` that leave the residual stream of a model without mean-centring
    /// norms as it is, and those of transformers that say where and in which precision it is loaded.
    private static let harmless: Set = [
        "center_writing_weights", "center_unembed", "fold_ln", "fold_value_biases", "refactor_factored_attn_matrices",
        "dtype", "torch_dtype", "device", "device_map", "n_devices", "move_to_device", "low_cpu_mem_usage",
        "trust_remote_code", "local_files_only", "cache_dir", "attn_implementation",
    ]

    private static func shown(_ value: JSONValue) -> String {
        value.array.map { "[" + $0.map(\.shown).joined(separator: ", ") + "]" } ?? value.shown
    }
}
