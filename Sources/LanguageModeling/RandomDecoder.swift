import Kernels
import LinearAlgebra
import TensorFiles

/// A decoder of the shape that a Hugging Face config.json describes, with weights that are drawn instead of read: for benchmarks
/// and tests of shapes of which no file is at hand.
///
/// - Throws: as for a config.json; `ResourceError.memory`.
package func randomDecoder(configuration text: String, seed: UInt64) throws -> Decoder {
    let settings = ModelSettings(file: "config.json", root: try JSONValue(parsing: text))
    let (description, family) = try settings.description()
    let isHalf = settings.root["torch_dtype"]?.string == "bfloat16"
    let weights = RandomWeights(description, isHalf ? .bf16 : .f32, seed: seed)
    return try DecoderWeights(weights, family.weights, description).decoder()
}

/// Matrices of entries that keep the size of what they multiply, and vectors around 1.
private struct RandomWeights: WeightSource {
    let path = "of random weights"
    let names: Set<String> = []
    let counts: [NumberFormat: Int]
    private let format: NumberFormat
    private let seed: UInt64

    init(_ description: DecoderDescription, _ format: NumberFormat, seed: UInt64) {
        let (c, p) = (description.configuration, description.perceptron)
        let (shape, d) = (description.widestAttention, description.configuration.dModel)
        let count =
            c.vocabularySize * d * (description.isHeadTied ? 1 : 2)
            + c.layerCount * d * (shape.rowWidth + shape.outputWidth + p.inputWidth + p.width)
        (counts, self.format, self.seed) = ([format: count], format, seed)
    }

    func rows(_ name: String, shape: [Int]) throws -> StoredRows {
        let rows = shape.dropLast().reduce(1, *), columns = shape.last ?? 1
        let result = Matrix(rows: rows, columns: columns)
        // FNV-1a: every name has numbers of its own.
        let own = name.utf8.reduce(0xcbf2_9ce4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let bound = (3 / Float(columns)).squareRoot()
        let (from, to): (Float, Float) = shape.count == 1 ? (0.7, 1.3) : (-bound, bound)
        Lanes.shared.forRanges(rows) { _, range in
            for r in range {
                CounterRandom(seed: own, purpose: .test, step: UInt32(r)).fill(
                    UnsafeMutableBufferPointer(start: result.row(r), count: columns), from: from, to: to)
            }
        }
        return format == .bf16 ? truncated(result) : StoredRows(result)
    }

    /// The upper halves of numbers.
    private func truncated(_ x: Matrix) -> StoredRows {
        // Two to a number of a matrix that keeps them.
        let halves = Matrix(rows: 1, columns: (x.count + 1) / 2)
        let target = UnsafeMutableRawPointer(halves.elements).bindMemory(to: UInt16.self, capacity: x.count)
        Lanes.shared.forRanges(x.count, grain: 4096) { _, range in
            for i in range { target[i] = UInt16(x[i].bitPattern >> 16) }
        }
        return StoredRows(target, .bf16, rows: x.rows, columns: x.columns, owner: halves)
    }
}
