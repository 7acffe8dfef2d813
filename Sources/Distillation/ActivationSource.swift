import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// What trainings are made on: activations that a harvest stored, or that the model makes anew for each of them.
protocol ActivationSource: AnyObject {
    /// d.
    var dIn: Int { get }
    /// √(mean ‖x‖²), which inputs are divided by in training.
    var inputScale: Double { get }

    /// In which order trainings take them, for records.
    var order: String { get }

    /// The batches of a training, of `size` rows each, in the order of its seed.
    ///
    /// - Throws: `DistillationError` for a size that they cannot be read in.
    func batches(of size: Int, seed: UInt64) throws -> any TrainingBatches
}

/// The batches of one training.
public protocol TrainingBatches: AnyObject {
    /// Fills `target` [B, d] with the batch of a step, divided by `scale`. Steps are asked for one after the other.
    ///
    /// - Throws: what making activations throws; `DistillationError.interrupted`.
    func read(step: Int, scale: Float, into target: Matrix) throws

    /// What a checkpoint has to remember for `goOn`; nil where a step is found by its number.
    func place(of step: Int) throws -> String?

    /// Makes `step` the next one.
    ///
    /// - Returns: whether the place is one.
    func goOn(at step: Int, from place: String?) -> Bool

    /// Number of the block of rows that is read next: of trainings that share blocks, those at the least one go first.
    var blockNumber: Int { get }

    /// Whether the next batch, of so many rows, can be read without a block being made.
    func isAtHand(rows: Int) -> Bool

    /// Copies what is left of the block in memory, all of which the next batch takes, so that the next block may take its place.
    ///
    /// - Throws: `DistillationError.badPlace`.
    func setAside(rows: Int) throws

    /// Makes the block that is read next, where it is not in memory.
    ///
    /// - Throws: as `read`.
    func makeBlock() throws
}

extension TrainingBatches {
    public func place(of step: Int) -> String? { nil }
    public func goOn(at step: Int, from place: String?) -> Bool { true }
    public var blockNumber: Int { 0 }
    public func isAtHand(rows: Int) -> Bool { true }
    public func setAside(rows: Int) {}
    public func makeBlock() {}
}

/// Of what activations are, and how they came about.
public struct ActivationOrigin: Sendable {
    /// The model, by file name.
    public var model: String
    /// Where in it.
    public var hookPoint: HookPoint
    /// Tokens per sequence.
    public var contextLength: Int
    /// Positions that a splice would keep, and that are left out.
    public var policy: SplicePolicy
    /// SHA-256 of model and text, by what they are for.
    public var hashes: [String: String]

    public init(
        model: String, hookPoint: HookPoint, contextLength: Int, policy: SplicePolicy, hashes: [String: String]
    ) {
        (self.model, self.hookPoint, self.contextLength) = (model, hookPoint, contextLength)
        (self.policy, self.hashes) = (policy, hashes)
    }

    /// For comparing with that of an SAE.
    public var place: ModelPlace { ModelPlace(name: model, hashes: hashes, hook: hookPoint) }
}

extension SAEProvenance {
    /// Takes over which activations the SAE is trained on, but for their hashes.
    package mutating func take(_ origin: ActivationOrigin) {
        (model, hookPoint, contextLength) = (origin.model, origin.hookPoint, origin.contextLength)
        (keepFirst, sinks) = (origin.policy.keepFirst, origin.policy.sinkRatio ?? 0)
    }
}

extension SAEProvenance {
    /// Where an SAE's training left other positions out than are left out here, in sentences; nothing where it does not say.
    package func differences(of subject: String, from policy: SplicePolicy) -> [String] {
        var sentences: [String] = []
        if let keepFirst, keepFirst != policy.keepFirst {
            sentences.append(
                "\(subject) was trained with the first \(keepFirst) of each sequence's positions left out; here it is \(policy.keepFirst)"
            )
        }
        if let sinks, sinks != policy.sinkRatio ?? 0 {
            func text(_ ratio: Float) -> String {
                ratio == 0 ? "no positions" : "positions above \(ratio) times the median norm"
            }
            sentences.append(
                "\(subject) was trained with \(text(sinks)) left out as attention sinks; here it is \(text(policy.sinkRatio ?? 0))"
            )
        }
        return sentences
    }
}

extension ActivationStoreRecord {
    var origin: ActivationOrigin {
        ActivationOrigin(
            model: model, hookPoint: hookPoint, contextLength: contextLength,
            policy: SplicePolicy(
                keepFirst: keepFirst, specialTokens: Set(specialTokens), sinkRatio: sinkRatio),
            hashes: hashes)
    }
}

extension ActivationStore: ActivationSource {
    var dIn: Int { record.dIn }
    var inputScale: Double { record.inputScale }
    var order: String { "shuffled" }

    func batches(of size: Int, seed: UInt64) throws -> any TrainingBatches { try reader(batch: size, seed: seed) }
}

extension ActivationStore.Reader: TrainingBatches {}
