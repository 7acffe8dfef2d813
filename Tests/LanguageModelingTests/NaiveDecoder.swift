import Glibc
import TensorFiles

/// The oracle: a Llama decoder in Double, one sequence, one loop per sum, written from the equations alone.
struct NaiveDecoder {
    typealias Rows = [[Double]]

    let layers: Int
    let heads: Int
    let keyValueHeads: Int
    let headDimension: Int
    let theta: Double
    let epsilon: Double
    let weights: [String: Rows]

    init(
        file: String, layers: Int, heads: Int, keyValueHeads: Int, headDimension: Int, theta: Double, epsilon: Double
    ) throws {
        (self.layers, self.heads, self.keyValueHeads) = (layers, heads, keyValueHeads)
        (self.headDimension, self.theta, self.epsilon) = (headDimension, theta, epsilon)
        let source = try SafetensorsFile(path: file)
        weights = try source.tensors.mapValues { tensor in
            let values = try source.doubles(tensor.name)
            return (0..<tensor.rows).map { Array(values[$0 * tensor.columns..<($0 + 1) * tensor.columns]) }
        }
    }

    static func norm(_ x: [Double], _ weight: [Double], _ epsilon: Double) -> [Double] {
        let r = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(x.count) + epsilon).squareRoot()
        return zip(x, weight).map { $0 * r * $1 }
    }

    static func rotated(_ head: [Double], position: Int, theta: Double) -> [Double] {
        let half = head.count / 2
        var result = head
        for i in 0..<half {
            let angle = Double(position) * pow(theta, -2 * Double(i) / Double(head.count))
            result[i] = head[i] * cos(angle) - head[i + half] * sin(angle)
            result[i + half] = head[i + half] * cos(angle) + head[i] * sin(angle)
        }
        return result
    }

    /// Rotary and causal attention on rows of queries, keys and values `[T, (H + 2K)·h]`.
    static func attention(_ rows: Rows, heads: Int, keyValueHeads: Int, headDimension h: Int, theta: Double) -> Rows {
        rows.indices.map { t in
            (0..<heads).flatMap { j -> [Double] in
                let group = j / (heads / keyValueHeads)
                func part(_ row: Int, _ head: Int) -> [Double] { Array(rows[row][head * h..<(head + 1) * h]) }
                let query = rotated(part(t, j), position: t, theta: theta)
                let scores = (0...t).map { s in
                    let key = rotated(part(s, heads + group), position: s, theta: theta)
                    return exp(zip(query, key).reduce(0) { $0 + $1.0 * $1.1 } / Double(h).squareRoot())
                }
                let total = scores.reduce(0, +)
                return (0..<h).map { i in
                    (0...t).reduce(0) { $0 + scores[$1] / total * part($1, heads + keyValueHeads + group)[i] }
                }
            }
        }
    }

    static func swiGLU(_ gate: [Double], _ up: [Double]) -> [Double] {
        zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
    }

    /// The residual stream `[T, d]` through layers `range`.
    func residual(_ x: Rows, through range: Range<Int>) -> Rows {
        var x = x
        for layer in range {
            func w(_ name: String) -> Rows { weights["model.layers.\(layer).\(name).weight"]! }
            let rows = x.map { row -> [Double] in
                let y = Self.norm(row, w("input_layernorm")[0], epsilon)
                return w("self_attn.q_proj") * y + w("self_attn.k_proj") * y + w("self_attn.v_proj") * y
            }
            let mixed = Self.attention(
                rows, heads: heads, keyValueHeads: keyValueHeads, headDimension: headDimension, theta: theta)
            for t in x.indices {
                x[t] = sum(x[t], w("self_attn.o_proj") * mixed[t])
                let y = Self.norm(x[t], w("post_attention_layernorm")[0], epsilon)
                x[t] = sum(x[t], w("mlp.down_proj") * Self.swiGLU(w("mlp.gate_proj") * y, w("mlp.up_proj") * y))
            }
        }
        return x
    }

    /// Σ losses of one sequence when `x` is the residual stream after `layer`.
    func loss(_ x: Rows, afterLayer layer: Int, ids: [Int32]) -> Double {
        let x = residual(x, through: layer + 1..<layers)
        return (0..<x.count - 1).reduce(0) { total, t in
            let y = Self.norm(x[t], weights["model.norm.weight"]![0], epsilon)
            let logits = (weights["lm_head.weight"] ?? weights["model.embed_tokens.weight"]!) * y
            return total + log(logits.reduce(0) { $0 + exp($1) }) - logits[Int(ids[t + 1])]
        }
    }
}

private func * (matrix: [[Double]], vector: [Double]) -> [Double] {
    matrix.map { row in
        var sum = 0.0
        for i in row.indices { sum += row[i] * vector[i] }
        return sum
    }
}

private func sum(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 + $1 } }
