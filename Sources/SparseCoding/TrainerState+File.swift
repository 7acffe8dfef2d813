import LinearAlgebra
import TensorFiles

extension TrainerState {
    /// The name in a file of each of `tensors`.
    private static let names = ["sae", "first", "second"].flatMap { part in
        ["encoder", "decoder", "encoder_bias", "decoder_bias"].map { "\(part).\($0)" }
    }

    /// Every tensor of single precision, by its name in a file.
    private var matrices: [(name: String, matrix: Matrix)] {
        zip(Self.names, Self.tensors(sae, moments)).map { ($0, $1.matrix) }
            + learned.values.enumerated().map { ("learned.\($0)", $1) }
    }

    /// Writes all of it but for the file's name; the matrices are read from where they are, each of `tensors` between `bring` and `done`
    /// with its number.
    ///
    /// - Throws: `TensorFileError.unwritable`; what `bring` throws.
    package func file(
        at path: String, metadata: [String: String], bring: @escaping (Int) throws -> Void = { _ in },
        done: @escaping (Int) -> Void = { _ in }
    ) throws -> AtomicFile {
        var writer = SafetensorsWriter(metadata: metadata)
        for (i, (name, matrix)) in matrices.enumerated() {
            guard i < Self.names.count else {
                writer.add(name, matrix)
                continue
            }
            writer.add(name, matrix, bring: { try bring(i) }, done: { done(i) })
        }
        for i in learned.values.indices {
            writer.add("learned.\(i).first", doubles: learned.first[i])
            writer.add("learned.\(i).second", doubles: learned.second[i])
        }
        writer.add("tokens_since_fired", integers: firings.tokensSinceFired.map(Int64.init))
        writer.add("counters", integers: [step, starvedSteps].map(Int64.init))
        switch sae.inference {
        case .threshold(let shared): writer.add("inference.threshold", [shared])
        case .thresholds(let own): writer.add("inference.thresholds", own)
        case .rowTopK(let k): writer.add("inference.row_top_k", integers: [Int64(k)])
        case nil: break
        }
        return try writer.file(at: path)
    }

    /// Takes over the state that a file holds of a training of this shape and rule.
    ///
    /// - Throws: `TensorFileError` for a file of another shape.
    package mutating func restore(_ file: SafetensorsFile) throws {
        for (name, matrix) in matrices {
            _ = try file.require(name, shape: [matrix.rows, matrix.columns])
            matrix.elements.update(from: try file.floatPointer(name), count: matrix.count)
        }
        func vector<Element>(_ name: String, _ count: Int, _ read: (String) throws -> [Element]) throws -> [Element] {
            _ = try file.require(name, shape: [count])
            return try read(name)
        }
        learned = LearnedTensors(
            values: learned.values,
            first: try learned.values.indices.map { try vector("learned.\($0).first", sae.dSAE, file.doubles) },
            second: try learned.values.indices.map { try vector("learned.\($0).second", sae.dSAE, file.doubles) })
        firings = Firings(try vector("tokens_since_fired", sae.dSAE, file.integers).map { Int($0) })
        let counters = try vector("counters", 2, file.integers)
        (step, starvedSteps) = (Int(counters[0]), Int(counters[1]))
        sae.inference = try inference(of: file)
    }

    private func inference(of file: SafetensorsFile) throws -> InferenceForm? {
        if file.tensors["inference.threshold"] != nil { return .threshold(try file.matrix("inference.threshold")[0]) }
        if file.tensors["inference.thresholds"] != nil {
            return .thresholds(try file.matrix("inference.thresholds").values)
        }
        if file.tensors["inference.row_top_k"] != nil {
            return .rowTopK(Int(try file.integers("inference.row_top_k")[0]))
        }
        return nil
    }
}
