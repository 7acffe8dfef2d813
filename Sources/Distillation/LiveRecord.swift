import TensorFiles

/// What the live activations of a run are and how they came about; `store/live.json`, its first step's mark where nothing is stored.
struct LiveRecord: Codable, Equatable {
    /// d.
    var dIn: Int
    /// √(mean ‖x‖²) over the first block: what inputs are divided by in every training.
    var inputScale: Double
    /// Tokens of the text before those that are trained on: the ones that are scored, and evaluated where there is no other text for that.
    var skippedTokens: Int
    /// The model, by file name.
    var model: String
    /// The block.
    var layer: Int
    /// Where in the block; nil for the residual stream after it.
    var hook: HookPoint.Kind?
    /// Tokens per sequence.
    var contextLength: Int
    /// SHA-256 of model and text, by what they are for.
    var hashes: [String: String]
    /// What else the rows depend on: tokens of a block, sequences of a pass, what is left out.
    var settings: [String: String]
    /// SHA-256 of this without this line.
    var seal = ""

    /// Of activations whose scale is known.
    init(_ live: LiveActivations, skippedTokens: Int) {
        (dIn, inputScale, self.skippedTokens) = (live.dIn, live.inputScale, skippedTokens)
        let origin = live.origin
        (model, contextLength, hashes) = (origin.model, origin.contextLength, origin.hashes)
        (layer, hook) = (origin.hookPoint.block, origin.hookPoint.recordedKind)
        settings = live.settings
    }

    /// Where it lies in a run.
    static func path(in folder: String) -> String { folder + "/store/live.json" }

    /// With its seal.
    func sealed() throws -> LiveRecord {
        var result = self
        result.seal = ""
        result.seal = SHA256.hexadecimal(SHA256.digest(of: try JSONRecord.text(result)))
        return result
    }

    /// - Throws: `TensorFileError`; `DistillationError.stepDiffers` for one that is not as a run wrote it.
    static func read(_ path: String) throws -> LiveRecord {
        let record = try JSONRecord.read(LiveRecord.self, from: path)
        guard try record.sealed() == record, record.inputScale > 0, record.inputScale.isFinite else {
            throw DistillationError.stepDiffers("\(path) is not as the run wrote it")
        }
        return record
    }
}
