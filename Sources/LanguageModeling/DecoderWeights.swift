import TensorFiles
import LinearAlgebra

/// Reads a decoder's weights as its description asks for them, checking each one's shape and that its numbers are finite.
final class DecoderWeights {
    private let source: any WeightSource
    private let table: WeightTable
    private let description: DecoderDescription
    private var known: Set<String> = []

    init(_ source: any WeightSource, _ table: WeightTable, _ description: DecoderDescription) {
        self.source = source
        self.table = table
        self.description = description
    }

    /// The whole decoder.
    func decoder() throws -> Decoder {
        var need = MemoryNeed("the model \(source.path) needs", advice: "choose a smaller model")
        for (format, count) in source.counts.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            let kept = table.isTransposed ? .f32 : format
            need.add(
                kept == format ? "weights in \(format.name)" : "weights in single precision, of \(format.name)",
                kept.bytes(count))
        }
        try need.check()
        let c = description.configuration
        let embedding = try weight(.embedding, [c.vocabularySize, c.dModel])
        let positions =
            try description.hasLearnedPositions ? matrix(.positions, [c.contextLength, c.dModel]) : nil
        let blocks = try description.layers.indices.map(block)
        let head = try description.isHeadTied ? embedding : weight(.head, [c.vocabularySize, c.dModel])
        let finalNorm = try norm(.finalNorm, .finalNormBias)
        if description.isHeadTied { try refuseOtherHead(than: embedding) }
        try refuseUnread()
        return Decoder(
            description, embedding: embedding, positions: positions, blocks: blocks,
            head: LanguageHead(norm: finalNorm, weight: head, softCap: description.finalSoftCap))
    }

    private func block(_ layer: Int) throws -> DecoderBlock {
        try DecoderBlock(
            attentionNorm: norm(.attentionNorm, .attentionNormBias, layer), attention: attention(layer),
            attentionPostNorm: description.hasPostNorms ? norm(.attentionPostNorm, nil, layer) : nil,
            perceptronNorm: norm(.perceptronNorm, .perceptronNormBias, layer), perceptron: perceptron(layer),
            perceptronPostNorm: description.hasPostNorms ? norm(.perceptronPostNorm, nil, layer) : nil,
            isParallel: description.isParallel)
    }

    private func attention(_ layer: Int) throws -> SelfAttention {
        let (a, d) = (description.attention, description.configuration.dModel)
        let (q, kv) = (a.headCount * a.headDimension, a.keyValueHeadCount * a.headDimension)
        return try SelfAttention(
            queryKeyValue: stacked([
                read(.query, [q, d], layer, heads: a.headCount),
                read(.key, [kv, d], layer, heads: a.keyValueHeadCount),
                read(.value, [kv, d], layer, heads: a.keyValueHeadCount),
            ]),
            inputBias: a.hasInputBias
                ? stack([
                    matrix(.queryBias, [q], layer, heads: a.headCount).transposed(),
                    matrix(.keyBias, [kv], layer, heads: a.keyValueHeadCount).transposed(),
                    matrix(.valueBias, [kv], layer, heads: a.keyValueHeadCount).transposed(),
                ]).transposed() : nil,
            headNorms: a.hasHeadNorms
                ? (headNorm(.queryNorm, layer), headNorm(.keyNorm, layer)) : nil,
            output: weight(.attentionOutput, [d, q], layer),
            outputBias: a.hasOutputBias ? matrix(.attentionOutputBias, [d], layer) : nil,
            rotary: description.layers[layer].rotary,
            attention: description.causalAttention(window: description.layers[layer].window))
    }

    private func perceptron(_ layer: Int) throws -> Perceptron {
        let (p, d) = (description.perceptron, description.configuration.dModel)
        let up = try read(.up, [p.width, d], layer)
        return try Perceptron(
            activation: p.activation, input: stacked((p.isGated ? [read(.gate, [p.width, d], layer)] : []) + [up]),
            inputBias: p.hasBias ? matrix(.upBias, [p.width], layer) : nil,
            down: weight(.down, [d, p.width], layer),
            outputBias: p.hasBias ? matrix(.downBias, [d], layer) : nil)
    }

    // MARK: One weight

    private func norm(_ weight: DecoderWeight, _ bias: DecoderWeight?, _ layer: Int? = nil) throws -> Norm {
        let (n, d) = (description.norm, description.configuration.dModel)
        let read = try matrix(weight, [d], layer)
        return Norm(
            n.kind, weight: n.isStoredLessOne ? read.plusOne() : read,
            bias: try n.kind == .layer ? bias.map { try matrix($0, [d], layer) } : nil, epsilon: n.epsilon)
    }

    private func headNorm(_ weight: DecoderWeight, _ layer: Int) throws -> Norm {
        let read = try matrix(weight, [description.attention.headDimension], layer)
        return Norm(
            weight: description.norm.isStoredLessOne ? read.plusOne() : read, epsilon: description.norm.epsilon)
    }

    private func name(_ weight: DecoderWeight, _ layer: Int?) -> (name: String, layout: StoredLayout) {
        guard let place = table[weight] else { preconditionFailure("\(weight) has no place in the family's table") }
        let parts = place.name.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts.count == 2 ? "\(parts[0])\(layer ?? 0)\(parts[1])" : place.name
        let long = table.optionalPrefix + name
        return (source.names.contains(long) || !source.names.contains(name) ? long : name, place.layout)
    }

    /// A bias `[out]` or another small tensor in single precision, as a row if it is a vector.
    private func matrix(
        _ weight: DecoderWeight, _ shape: [Int], _ layer: Int? = nil, heads: Int = 1
    ) throws -> Matrix {
        let (name, layout) = name(weight, layer)
        let stored = try source.rows(name, shape: layout.shape(of: shape)).matrix()
        known.insert(name)
        guard stored.isFinite else { throw LanguageModelError.notFinite(file: source.path, tensor: name) }
        return layout.unpacked(stored, isVector: shape.count == 1, heads: heads)
    }

    /// A weight `[out, in]` in the form that the file has it, if it has its rows.
    private func read(
        _ weight: DecoderWeight, _ shape: [Int], _ layer: Int? = nil, heads: Int = 1
    ) throws -> ReadWeight {
        let (name, layout) = name(weight, layer)
        let stored = try source.rows(name, shape: layout.shape(of: shape))
        known.insert(name)
        let read = ReadWeight(name: name, rows: stored, order: layout.order(of: stored.rows, heads: heads))
        guard case .column = layout else { return read }
        return ReadWeight(
            name: name, rows: StoredRows(layout.unpacked(stored.matrix(), isVector: false, heads: heads)))
    }

    private func weight(_ weight: DecoderWeight, _ shape: [Int], _ layer: Int? = nil) throws -> WeightMatrix {
        try stacked([read(weight, shape, layer)])
    }

    /// Weights on top of each other, every number of which is finite.
    private func stacked(_ weights: [ReadWeight]) throws -> WeightMatrix {
        let stacked = WeightMatrix(stacking: weights)
        if stacked.isFinite { return stacked }
        let culprit = weights.first { !WeightMatrix(stacking: [$0]).isFinite } ?? weights[0]
        throw LanguageModelError.notFinite(file: source.path, tensor: culprit.name)
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
    private func refuseOtherHead(than embedding: WeightMatrix) throws {
        let name = name(.head, nil).name
        guard source.names.contains(name) else { return }
        let stored = try weight(.head, [embedding.rows, embedding.columns])
        guard stored.hasSameNumbers(as: embedding) else {
            throw LanguageModelError.unsupportedSetting(
                file: source.path, key: "tie_word_embeddings", found: "true, and \(name) holds other weights",
                supported: "one of the two")
        }
    }

    /// A tensor that was not read (a bias, a norm per head) is a sign of a variant with other numbers.
    private func refuseUnread() throws {
        let unread = source.names.subtracting(known).subtracting(table.described).sorted().filter { name in
            !table.unreadSuffixes.contains(where: name.hasSuffix)
        }
        let (frequencies, unknown) = unread.reduce(into: ([String](), [String]())) {
            if $1.hasSuffix(".rotary_emb.inv_freq") { $0.0.append($1) } else { $0.1.append($1) }
        }
        if !unknown.isEmpty { throw LanguageModelError.unexpectedTensors(file: source.path, names: unknown) }
        for tensor in frequencies { try refuseOtherFrequencies(tensor) }
    }

    /// Stored rotary frequencies are made again from the configuration, by transformers too: others would go unseen.
    private func refuseOtherFrequencies(_ tensor: String) throws {
        guard let rotary = description.rotaries.first else { return }
        let own = (0..<rotary.dimension / 2).map(rotary.frequency)
        let stored = try source.rows(tensor, shape: [own.count]).matrix()
        // As they come back from half precision of either kind: 8 bits, or steps of 2⁻²⁴.
        let other = own.indices.first { !(abs(Double(stored[$0]) - own[$0]) <= max(0x1p-8 * own[$0], 0x1p-24)) }
        if let other {
            throw LanguageModelError.unsupportedSetting(
                file: source.path, key: "\(tensor)[\(other)]", found: "\(stored[other])",
                supported: "\(Float(own[other])), which config.json gives")
        }
    }
}

extension StoredLayout {
    /// The shape of the tensor that holds a weight of this one.
    fileprivate func shape(of shape: [Int]) -> [Int] {
        switch self {
        case .plain, .pairs: shape
        case .column(_, let count): Array(shape.dropFirst()) + [count * shape[0]]
        case .ofHead(_, let count): [count * shape[0]] + shape.dropFirst()
        }
    }

    /// The weight out of what is stored. Vectors are rows.
    fileprivate func unpacked(_ stored: Matrix, isVector: Bool, heads: Int) -> Matrix {
        switch self {
        case .plain: return stored
        case .column(let index, let count):
            if count == 1 { return isVector ? stored : stored.transposed() }
            let out = stored.columns / count
            let part = Matrix(rows: stored.rows, columns: out)
            for r in 0..<stored.rows { part.row(r).update(from: stored.row(r) + index * out, count: out) }
            return isVector ? part : part.transposed()
        case .ofHead, .pairs:
            let rows = isVector ? stored.transposed() : stored
            guard let order = order(of: rows.rows, heads: heads) else { return stored }
            let result = Matrix(rows: order.count, columns: rows.columns)
            for (r, from) in order.enumerated() { result.row(r).update(from: rows.row(from), count: rows.columns) }
            return isVector ? result.transposed() : result
        }
    }

    /// Which of the stored rows (elements of a vector) the weight's are; nil for all as they are, or where columns are.
    fileprivate func order(of rows: Int, heads: Int) -> [Int]? {
        switch self {
        case .plain, .column: return nil
        case .ofHead(let index, let count):
            let h = rows / count / heads
            return (0..<rows / count).map { ($0 / h * count + index) * h + $0 % h }
        case .pairs:
            let h = rows / heads
            return (0..<rows).map { row in
                let (half, pair) = (row % h).quotientAndRemainder(dividingBy: h / 2)
                return row / h * h + 2 * pair + half
            }
        }
    }
}

extension Matrix {
    /// 1 + w in single precision, as the model computes it.
    fileprivate func plusOne() -> Matrix {
        let result = copy()
        for i in 0..<count { result[i] += 1 }
        return result
    }
}
