import Attribution
import TensorFiles

extension AutointerpSummary {
    /// What each method says of the latents, balanced accuracies, for those who show scores; nil where a file is no summary.
    ///
    /// - Parameters:
    ///   - weights: SHA-256 of the SAE's weights.
    ///   - width: F.
    /// - Throws: `TensorFileError`.
    package static func scores(in path: String, weights: String, width: Int) throws -> [MethodScores]? {
        guard path.hasSuffix(".json"), try JSONValue(contentsOf: path)["settings"]?["explainer"] != nil else {
            return nil
        }
        let summary = try JSONRecord.read(Self.self, from: path)
        guard summary.settings["SAE.sha256"] == weights,
            summary.latents.allSatisfy({ (0..<width).contains($0.latent) })
        else {
            throw TensorFileError.unusable(
                file: path, what: "its explanations are of another SAE, whose weights are others",
                next: "give those of this SAE")
        }
        return Set(summary.latents.flatMap(\.scores.keys)).sorted().map { method in
            var values = [Double](repeating: .nan, count: width)
            for latent in summary.latents {
                values[latent.latent] = latent.scores[method]?.balanced_accuracy ?? .nan
            }
            return MethodScores(name: method, values: values)
        }
    }
}
