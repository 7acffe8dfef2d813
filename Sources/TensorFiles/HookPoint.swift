/// A place in a decoder where its activations are read, replaced and differentiated, under TransformerLens' names:
/// `blocks.12.hook_resid_post`.
///
/// Here, and not with the models, because SAEs name the place that they were trained on.
public struct HookPoint: Sendable, Hashable {
    /// The block, counted from 0.
    public var block: Int
    /// Which place of the block.
    public var kind: Kind

    /// The places of a block that are known; the raw value is the end of the name.
    public enum Kind: String, Sendable, Hashable, CaseIterable, Codable {
        /// The residual stream that enters the block; of block 0 the embedding, with positions where they are learned.
        case residPre = "hook_resid_pre"
        /// What attention adds to the stream: after the norm of its result, where there is one.
        case attnOut = "hook_attn_out"
        /// What the perceptron adds to the stream, likewise.
        case mlpOut = "hook_mlp_out"
        /// The residual stream that the block hands on.
        case residPost = "hook_resid_post"
    }

    /// A place of block `block`.
    public init(block: Int, _ kind: Kind) {
        self.block = block
        self.kind = kind
    }

    /// The residual stream after block `layer`.
    public static func residPost(_ layer: Int) -> HookPoint { HookPoint(block: layer, .residPost) }

    /// The place of that name; nil for another name, or another spelling of one.
    public init?(_ name: String) {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "blocks", let block = Int(parts[1]), block >= 0, String(block) == parts[1],
            let kind = Kind(rawValue: String(parts[2]))
        else { return nil }
        self.init(block: block, kind)
    }

    /// The place whose module transformers names so: a whole block, or the norm of the perceptron's result, which Gemma has. A
    /// perceptron itself is none: whether its result is what is added depends on the family.
    public init?(transformers name: String) {
        func block(_ prefix: String, _ suffix: String) -> Int? {
            guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
            let digits = name.dropFirst(prefix.count).dropLast(suffix.count)
            guard let block = Int(digits), block >= 0, String(block) == digits else { return nil }
            return block
        }
        let blocks = ["model.layers.", "transformer.h.", "gpt_neox.layers."]
        if let found = blocks.lazy.compactMap({ block($0, ".output") ?? block($0, "") }).first {
            self = .residPost(found)
        } else if let found = block("model.layers.", ".post_feedforward_layernorm.output") {
            self.init(block: found, .mlpOut)
        } else {
            return nil
        }
    }

    /// As TransformerLens names it.
    public var name: String { "blocks.\(block).\(kind.rawValue)" }

    /// For messages: "layer 12" where it is the stream after the block, as people say, else its name.
    public var shown: String { kind == .residPost ? "layer \(block)" : name }

    /// The same place under its usual name: what enters a block is what the one before hands on.
    public var usual: HookPoint { kind == .residPre && block > 0 ? .residPost(block - 1) : self }

    /// What can be given, for messages.
    public static let supported = Kind.allCases.map { "blocks.L.\($0.rawValue)" }.joined(separator: ", ")

    // MARK: Records

    /// In records of names and texts: `layer`, and `hook` where it is another place than the stream after that layer. Records that were
    /// made before there were others say the same by it.
    public var entries: [String: String] {
        var entries = ["layer": "\(block)"]
        entries["hook"] = recordedKind?.rawValue
        return entries
    }

    /// Of such a record; nil where it names none, or another one than is known.
    public init?(entry: (String) -> String?) {
        guard let block = entry("layer").flatMap({ Int($0) }), block >= 0 else { return nil }
        guard let hook = entry("hook") else {
            self = .residPost(block)
            return
        }
        guard let kind = Kind(rawValue: hook) else { return nil }
        self.init(block: block, kind)
    }

    /// The kind as records have it beside the layer: nil for the stream after it.
    public var recordedKind: Kind? { kind == .residPost ? nil : kind }
}
