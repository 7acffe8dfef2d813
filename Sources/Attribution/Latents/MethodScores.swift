import TensorFiles

/// What one method says of the first m latents of an SAE.
public struct MethodScores: Sendable, Equatable {
    /// As tables call it: "gxa", "ablation:loss_delta".
    public var name: String
    /// [m].
    public var values: [Double]

    /// What a method says.
    public init(name: String, values: [Double]) { (self.name, self.values) = (name, values) }

    /// Reads the scores that `score` wrote, with each further output that has one number for a latent, or those of all methods
    /// of a comparison.json.
    ///
    /// - Parameters:
    ///   - weights: SHA-256 of the SAE's weights: scores that say of which SAE they are must be of that one.
    ///   - width: F, its latents.
    /// - Throws: `TensorFileError`.
    public static func read(_ path: String, weights: String, width: Int) throws -> [MethodScores] {
        let (found, scored): ([MethodScores], String?)
        if path.hasSuffix(".json") {
            let record = try ComparisonRecord.read(path)
            found = record.methods.map { MethodScores(name: $0.name, values: $0.scores) }
            scored = record.settings?["SAE.sha256"]
        } else {
            let file = try SafetensorsFile(path: path)
            found = try read(file)
            scored = file.metadata["SAE.sha256"]
        }
        if let scored, scored != weights {
            throw TensorFileError.unusable(
                file: path, what: "its scores are of another SAE, whose weights are others",
                next: "give scores of this SAE")
        }
        if let large = found.first(where: { $0.values.count > width }) {
            throw TensorFileError.unusable(
                file: path, what: "it scores \(large.values.count) latents, and the SAE has \(width)",
                next: "give scores of this SAE")
        }
        return found
    }

    private static func read(_ file: SafetensorsFile) throws -> [MethodScores] {
        let count = try file.require("scores", shape: [nil]).count
        let scorer = file.metadata["scorer"] ?? lastComponent(file.path)
        var found = [MethodScores(name: scorer, values: try file.doubles("scores"))]
        // An output says what its unit is; tensors beside outputs are no scores.
        for name in file.tensors.keys.sorted() where name != "scores" && file.metadata["\(name).unit"] != nil {
            guard let output = file.tensors[name], output.shape == [count], output.type.isFloatingPoint else {
                continue
            }
            found.append(MethodScores(name: "\(scorer):\(name)", values: try file.doubles(name)))
        }
        return found
    }
}
