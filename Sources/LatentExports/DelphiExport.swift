import Attribution
import TensorFiles

/// The cache of activations that Delphi 0.1.3 explains latents from: `latents/HOOKPOINT/FIRST_LAST.safetensors` with locations [n, 3] of
/// (sequence, position, latent − FIRST), activations [n] in half precision and all tokens [S, T], and config.json.
struct DelphiExport {
    private let exported: ExportedLatents
    private let hookpoint: String

    init(_ exported: ExportedLatents) {
        self.exported = exported
        hookpoint = exported.source.hookpoint
    }

    /// Latents of each file: as many files as Delphi's own five, or more, so that none takes half a gigabyte to make.
    private var splits: [Range<Int>] {
        let (width, firings) = (exported.width, exported.inspection.fired.latents.count)
        let count = min(width, max(5, firings / (1 << 25)))
        return (0..<count).map { width * $0 / count..<width * ($0 + 1) / count }
    }

    func write(to folder: ExportFolder, progress: (Int) throws -> Void) throws {
        let isWanted = exported.latents.reduce(into: [Bool](repeating: false, count: exported.width)) { $0[$1] = true }
        let splits = splits
        for latents in splits {
            try write(latents, isWanted, to: folder)
            try progress(isWanted[latents].count { $0 })
        }
        try folder.write(
            "latents/\(hookpoint)/config.json", JSONText.line { writeConfiguration(splits.count, to: &$0) })
    }

    /// Delphi's CacheConfig and the model's name; members that it does not read are passed over.
    private func writeConfiguration(_ splits: Int, to text: inout JSONText) {
        let inspection = exported.inspection
        text.member("dataset_repo", exported.source.dataset)
        text.member("dataset_split", "train")
        text.member("dataset_name", "")
        text.member("dataset_column", "text")
        text.member("batch_size", 32)
        text.member("cache_ctx_len", inspection.length)
        text.member("n_tokens", inspection.sequenceCount * inspection.length)
        text.member("n_splits", splits)
        text.member("model_name", exported.source.model)
        text.key("dmsae")
        text.object {
            $0.member("hook", exported.source.hook.name)
            $0.member("scored_tokens", inspection.tokenCount)
            $0.member("marks", "dmsae.jsonl")
        }
    }

    private func write(_ latents: Range<Int>, _ isWanted: [Bool], to folder: ExportFolder) throws {
        let (fired, length) = (exported.inspection.fired, exported.inspection.length)
        // Delphi widens both; u16 while everything fits.
        let isShort = max(exported.inspection.sequenceCount, length, latents.count) <= 1 << 16
        var (locations, activations): ([UInt8], [UInt8]) = ([], [])
        func put(_ number: Int) {
            if isShort {
                withUnsafeBytes(of: UInt16(number).littleEndian) { locations += $0 }
            } else {
                withUnsafeBytes(of: UInt32(number).littleEndian) { locations += $0 }
            }
        }
        var count = 0
        for e in fired.latents.indices {
            let latent = Int(fired.latents[e])
            guard latents.contains(latent), isWanted[latent] else { continue }
            let half = Float16(fired.activations[e])
            guard half.isFinite else {
                throw LatentExportError.beyondHalf(latent: latent, value: fired.activations[e])
            }
            // What half precision has as 0 fires nowhere for a reader.
            guard half > 0 else { continue }
            let token = Int(fired.tokens[e])
            put(token / length)
            put(token % length)
            put(latent - latents.lowerBound)
            withUnsafeBytes(of: half.bitPattern.littleEndian) { activations += $0 }
            count += 1
        }
        var writer = SafetensorsWriter()
        writer.add("locations", type: isShort ? .u16 : .u32, shape: [count, 3], bytes: locations)
        writer.add("activations", type: .f16, shape: [count], bytes: activations)
        // Padding has no id; 0 stands there, where nothing fires.
        writer.add(
            "tokens", integers32: exported.inspection.ids.map { max(0, $0) },
            shape: [exported.inspection.sequenceCount, length])
        let name = "latents/\(hookpoint)/\(latents.lowerBound)_\(latents.upperBound - 1).safetensors"
        try writer.write(to: folder.place(name))
    }
}

extension ExportedLatents.Source {
    /// The module of transformers whose result the hook is, without the name of the whole model, as sparsify and Delphi call it.
    package var hookpoint: String {
        let block = { (layer: Int) in
            switch family {
            case "gpt2": "h.\(layer)"
            default: "layers.\(layer)"
            }
        }
        let isNormedAfter = family.hasPrefix("gemma")
        let place = hook.usual
        switch (place.kind, family) {
        case (.residPost, _): return block(place.block)
        case (.residPre, "gpt2"): return "drop"
        case (.residPre, "gpt_neox"): return "embed_in"
        case (.residPre, _): return "embed_tokens"
        case (.attnOut, _) where isNormedAfter: return block(place.block) + ".post_attention_layernorm"
        case (.attnOut, "gpt2"): return block(place.block) + ".attn"
        case (.attnOut, "gpt_neox"): return block(place.block) + ".attention"
        case (.attnOut, _): return block(place.block) + ".self_attn"
        case (.mlpOut, _) where isNormedAfter: return block(place.block) + ".post_feedforward_layernorm"
        case (.mlpOut, _): return block(place.block) + ".mlp"
        }
    }
}
