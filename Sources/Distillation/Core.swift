import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One latent of a core and its history.
public struct CoreLatent: Codable, Sendable, Equatable {
    /// Its index in this cycle's SAE.
    public var index: Int
    /// Its index in the previous core (which is its place in it), nil if it is new.
    public var previousIndex: Int?
    /// The cycle that first selected it.
    public var born: Int
    /// Every cycle that selected it, this one included.
    public var selectedIn: [Int]
    /// Its aggregated attribution.
    public var score: Double
}

/// The latents a cycle selected, falling by score; `core.json`, with their encoder vectors in `core.safetensors`.
public struct Core: Codable, Sendable, Equatable {
    /// The cycle that selected it.
    public var cycle: Int
    /// Latents that were candidates.
    public var candidates: Int
    /// The share of all attribution that the core has.
    public var coverage: Double
    /// Size of the previous core.
    public var previousSize: Int
    /// In falling order of score.
    public var latents: [CoreLatent]
    /// What it was selected from and how: model, layer, SAE, scorer, τ.
    public var origin: [String: String]?
    /// SHA-256 of core.safetensors as it was written with this.
    public var encoderHash: String?

    /// A cycle's core from its selection: indices below the previous core's size are that core's latents, since a
    /// frozen encoder vector is what a latent is across cycles.
    public init(_ selection: CoreSelection, scores: [Double], cycle: Int, previous: Core?) {
        self.cycle = cycle
        candidates = scores.count
        coverage = selection.coverage
        previousSize = previous?.latents.count ?? 0
        latents = selection.latents.map { index in
            guard let previous, index < previous.latents.count else {
                return CoreLatent(
                    index: index, previousIndex: nil, born: cycle, selectedIn: [cycle], score: scores[index])
            }
            let ancestor = previous.latents[index]
            return CoreLatent(
                index: index, previousIndex: index, born: ancestor.born, selectedIn: ancestor.selectedIn + [cycle],
                score: scores[index])
        }
    }

    /// |selected ∩ previous core|.
    public var carriedOver: Int { latents.count { $0.previousIndex != nil } }

    /// |C ∩ P| / |C ∪ P| with the previous core P; nil in cycle 0.
    public var jaccard: Double? {
        guard previousSize > 0 else { return nil }
        return Double(carriedOver) / Double(latents.count + previousSize - carriedOver)
    }

    /// C* = C^(T) ∩ C^(T−1): the latents that were in the previous core too, order kept, with their share of all
    /// attribution in the last cycle.
    public var stable: Core {
        var result = self
        result.latents = latents.filter { $0.previousIndex != nil }
        let sum = { (latents: [CoreLatent]) in latents.reduce(0) { $0 + $1.score } }
        result.coverage *= sum(result.latents) / sum(latents)
        return result
    }

    /// The latents' encoder vectors [c, D], in this order.
    public func encoderRows(of sae: SparseAutoencoder) -> Matrix {
        let result = Matrix(rows: latents.count, columns: sae.dIn)
        for (i, latent) in latents.enumerated() {
            result.row(i).update(from: sae.encoder.row(latent.index), count: sae.dIn)
        }
        return result
    }

    /// The latents' b_enc [1, c], in this order.
    public func encoderBiases(of sae: SparseAutoencoder) -> Matrix {
        Matrix(vector: latents.map { sae.encoderBias[$0.index] })
    }

    /// Writes core.json and core.safetensors (`W_enc` [D, c] and `b_enc` [c]) into a folder.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func write(encoder: Matrix, biases: Matrix, to folder: String) throws {
        var writer = SafetensorsWriter()
        writer.add("W_enc", encoder.transposed())
        writer.add("b_enc", biases, shape: [biases.count])
        try writer.write(to: folder + "/core.safetensors")
        var listed = self
        listed.encoderHash = try SHA256.hexadecimal(ofFile: folder + "/core.safetensors")
        try JSONRecord.write(listed, to: folder + "/core.json")
    }

    /// Reads core.json back and checks that it is one of an SAE of `width` latents.
    ///
    /// - Throws: `TensorFileError` for a file that is no core.json, `DistillationError.badCore`.
    package static func read(_ path: String, width: Int) throws -> Core {
        let core = try JSONRecord.read(Core.self, from: path)
        let indices = Set(core.latents.map(\.index))
        guard (0...width).contains(core.previousSize), indices.count == core.latents.count,
            indices.allSatisfy({ (0..<width).contains($0) }),
            core.latents.allSatisfy({ $0.previousIndex == nil || $0.previousIndex == $0.index }),
            core.latents.allSatisfy({ ($0.previousIndex != nil) == ($0.index < core.previousSize) })
        else {
            throw DistillationError.badCore(
                path: path, reason: "it lists a latent twice, or one that is none of \(width), or with another history")
        }
        return core
    }

    /// The file with the encoder vectors of core.json, the one beside it, or of a core.safetensors.
    public static func encoderFile(at path: String) -> String {
        guard path.hasSuffix(".json") else { return path }
        return (path.lastIndex(of: "/").map { String(path[...$0]) } ?? "") + "core.safetensors"
    }

    /// b_enc [1, c] of the latents whose encoder vectors `encoderRows` gives, on activations as they are.
    ///
    /// - Throws: `TensorFileError` for a file without them.
    public static func encoderBiases(at path: String, count: Int) throws -> Matrix {
        let file = try SafetensorsFile(path: encoderFile(at: path))
        _ = try file.require("b_enc", shape: [count])
        return try file.finiteMatrix("b_enc")
    }

    /// Encoder vectors [c, D] of core.json (beside its core.safetensors) or of a core.safetensors.
    ///
    /// - Throws: `TensorFileError` when there is none or it has another width; `DistillationError.badCore` when the
    ///   two files are of different cores, or hold what no encoder can.
    public static func encoderRows(at path: String, dIn: Int) throws -> Matrix {
        let file = encoderFile(at: path)
        let core = try path == file ? nil : JSONRecord.read(Core.self, from: path)
        if let hash = core?.encoderHash, try hash != SHA256.hexadecimal(ofFile: file) {
            throw DistillationError.badCore(
                path: path, reason: "core.safetensors beside it is not the one that was written with it")
        }
        let listed = core?.latents.count
        let tensors = try SafetensorsFile(path: file)
        _ = try tensors.require("W_enc", shape: [dIn, nil])
        let rows = try tensors.matrix("W_enc").transposed()
        guard rows.rows > 0 else { throw DistillationError.badCore(path: file, reason: "the core is empty") }
        guard listed == nil || listed == rows.rows else {
            throw DistillationError.badCore(
                path: path, reason: "it lists \(listed ?? 0) latents, and core.safetensors beside it holds \(rows.rows)"
            )
        }
        guard rows.isFinite else {
            throw DistillationError.badCore(path: file, reason: "W_enc holds NaN or infinity")
        }
        return rows
    }
}
