import LinearAlgebra

/// A weight of a Llama-family decoder; blocks count from 0.
enum DecoderWeight {
    case embedding, finalNorm, head
    case attentionNorm(Int), query(Int), key(Int), value(Int), attentionOutput(Int)
    case perceptronNorm(Int), gate(Int), up(Int), down(Int)

    /// Its name in Hugging Face files.
    var huggingFaceName: String {
        switch self {
        case .embedding: "model.embed_tokens.weight"
        case .finalNorm: "model.norm.weight"
        case .head: "lm_head.weight"
        case .attentionNorm(let l): "model.layers.\(l).input_layernorm.weight"
        case .query(let l): "model.layers.\(l).self_attn.q_proj.weight"
        case .key(let l): "model.layers.\(l).self_attn.k_proj.weight"
        case .value(let l): "model.layers.\(l).self_attn.v_proj.weight"
        case .attentionOutput(let l): "model.layers.\(l).self_attn.o_proj.weight"
        case .perceptronNorm(let l): "model.layers.\(l).post_attention_layernorm.weight"
        case .gate(let l): "model.layers.\(l).mlp.gate_proj.weight"
        case .up(let l): "model.layers.\(l).mlp.up_proj.weight"
        case .down(let l): "model.layers.\(l).mlp.down_proj.weight"
        }
    }

    /// Its name in GGUF files.
    var ggufName: String {
        switch self {
        case .embedding: "token_embd.weight"
        case .finalNorm: "output_norm.weight"
        case .head: "output.weight"
        case .attentionNorm(let l): "blk.\(l).attn_norm.weight"
        case .query(let l): "blk.\(l).attn_q.weight"
        case .key(let l): "blk.\(l).attn_k.weight"
        case .value(let l): "blk.\(l).attn_v.weight"
        case .attentionOutput(let l): "blk.\(l).attn_output.weight"
        case .perceptronNorm(let l): "blk.\(l).ffn_norm.weight"
        case .gate(let l): "blk.\(l).ffn_gate.weight"
        case .up(let l): "blk.\(l).ffn_up.weight"
        case .down(let l): "blk.\(l).ffn_down.weight"
        }
    }
}

/// Reads a decoder's weights, checking each one's shape and that its numbers are finite.
struct DecoderWeights {
    let source: any WeightSource
    let name: (DecoderWeight) -> String
    let configuration: ModelConfiguration
    /// GGUF files hold the rows of each query and key head as (pair, half), we need (half, pair).
    let rowsArePairs: Bool

    /// The whole decoder.
    func decoder() throws -> Decoder {
        var need = MemoryNeed("the model \(source.path) needs", advice: "choose a smaller model")
        need.add("weights in single precision", 4, source.elementCount)
        try need.check()
        let (c, a) = (configuration, configuration.causalAttention)
        let embedding = try matrix(.embedding, [c.vocabularySize, c.dModel])
        let blocks = try (0..<c.layerCount).map { layer in
            try DecoderBlock(
                attentionNorm: norm(.attentionNorm(layer)),
                attention: SelfAttention(
                    queryKeyValue: stack([
                        halves(.query(layer), heads: c.headCount), halves(.key(layer), heads: c.keyValueHeadCount),
                        matrix(.value(layer), [c.keyValueHeadCount * c.headDimension, c.dModel]),
                    ]),
                    output: matrix(.attentionOutput(layer), [c.dModel, a.outputWidth]), attention: a),
                perceptronNorm: norm(.perceptronNorm(layer)),
                perceptron: GatedPerceptron(
                    gateUp: stack([
                        matrix(.gate(layer), [c.intermediateSize, c.dModel]),
                        matrix(.up(layer), [c.intermediateSize, c.dModel]),
                    ]),
                    down: matrix(.down(layer), [c.dModel, c.intermediateSize])))
        }
        let head = try c.isHeadTied ? embedding : matrix(.head, [c.vocabularySize, c.dModel])
        if c.isHeadTied { try refuseOtherHead(than: embedding) }
        try refuseUnknownTensors()
        return Decoder(
            configuration: c, embedding: embedding, blocks: blocks,
            head: LanguageHead(norm: try norm(.finalNorm), weight: head))
    }

    private func norm(_ weight: DecoderWeight) throws -> RootMeanSquareNorm {
        RootMeanSquareNorm(weight: try matrix(weight, [configuration.dModel]), epsilon: configuration.rmsNormEpsilon)
    }

    private func matrix(_ weight: DecoderWeight, _ shape: [Int]) throws -> Matrix {
        let result = try source.matrix(name(weight), shape: shape)
        guard result.isFiniteOnLanes else {
            throw LanguageModelError.notFinite(file: source.path, tensor: name(weight))
        }
        return result
    }

    /// A query or key weight with each head's rows as (half, pair).
    private func halves(_ weight: DecoderWeight, heads: Int) throws -> Matrix {
        let (h, d) = (configuration.headDimension, configuration.dModel)
        let stored = try matrix(weight, [heads * h, d])
        guard rowsArePairs else { return stored }
        let result = Matrix(rows: stored.rows, columns: d)
        for head in 0..<heads {
            for pair in 0..<h / 2 {
                for half in 0..<2 {
                    result.row(head * h + half * (h / 2) + pair)
                        .update(from: stored.row(head * h + 2 * pair + half), count: d)
                }
            }
        }
        return result
    }

    private func stack(_ parts: [Matrix]) -> Matrix {
        let result = Matrix(rows: parts.reduce(0) { $0 + $1.rows }, columns: parts[0].columns)
        var row = 0
        for part in parts {
            result.row(row).update(from: part.elements, count: part.count)
            row += part.rows
        }
        return result
    }

    /// A stored copy of a tied head must be one: transformers 4 would go by the setting, others by the weights.
    private func refuseOtherHead(than embedding: Matrix) throws {
        guard source.names.contains(name(.head)) else { return }
        let stored = try matrix(.head, [configuration.vocabularySize, configuration.dModel])
        guard (0..<stored.count).allSatisfy({ stored[$0] == embedding[$0] }) else {
            throw LanguageModelError.unsupportedSetting(
                file: source.path, key: "tie_word_embeddings", found: "true, and \(name(.head)) holds other weights",
                supported: "one of the two")
        }
    }

    /// A tensor we would leave unread (a bias, a norm per head) is a sign of a variant with other numbers.
    private func refuseUnknownTensors() throws {
        var known: [DecoderWeight] = [.embedding, .finalNorm, .head]
        for l in 0..<configuration.layerCount {
            known += [
                .attentionNorm(l), .query(l), .key(l), .value(l), .attentionOutput(l), .perceptronNorm(l), .gate(l),
                .up(l), .down(l),
            ]
        }
        let (frequencies, unknown) = source.names.subtracting(known.map(name)).sorted().reduce(
            into: ([String](), [String]())
        ) { if $1.hasSuffix(".rotary_emb.inv_freq") { $0.0.append($1) } else { $0.1.append($1) } }
        if !unknown.isEmpty {
            throw LanguageModelError.unexpectedTensors(file: source.path, names: unknown)
        }
        for tensor in frequencies { try refuseOtherFrequencies(tensor) }
    }

    /// Stored rotary frequencies are made again from the configuration, by transformers too: others would go unseen.
    private func refuseOtherFrequencies(_ tensor: String) throws {
        let c = configuration
        let own = Rotary.frequencies(headDimension: c.headDimension, theta: c.ropeTheta, scaling: c.ropeScaling)
        let stored = try source.matrix(tensor, shape: [own.count])
        // As they come back from half precision of either kind: 8 bits, or steps of 2⁻²⁴.
        let other = own.indices.first { !(abs(Double(stored[$0]) - own[$0]) <= max(0x1p-8 * own[$0], 0x1p-24)) }
        if let other {
            throw LanguageModelError.unsupportedSetting(
                file: source.path, key: "\(tensor)[\(other)]", found: "\(stored[other])",
                supported: "\(Float(own[other])), which config.json gives")
        }
    }
}

extension Matrix {
    /// `isFinite`, shared out to the lanes and without a branch per element: the largest magnitude's bits say
    /// whether any exponent is all ones.
    fileprivate var isFiniteOnLanes: Bool {
        let worst = Matrix(rows: Lanes.shared.count, columns: 16)
        let elements = elements
        Lanes.shared.forRanges(count, grain: 4096) { lane, range in
            var largest: UInt32 = 0
            for i in range { largest = max(largest, elements[i].bitPattern & 0x7FFF_FFFF) }
            worst[lane, 0] = Float(bitPattern: largest)
        }
        return (0..<worst.rows).allSatisfy { worst[$0, 0].isFinite }
    }
}
