import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// A world of known features as a language model of one block: its activations after the block are sums of the features that fire, and the
/// next token's logits read the useful ones. Whatever takes a language model takes it.
public final class SyntheticModel: LanguageModel, @unchecked Sendable {
    /// The settings' file in the model's folder.
    public static let file = "synthetic.json"

    public let world: SyntheticWorld
    public let configuration: ModelConfiguration

    public init(_ world: SyntheticWorld) {
        self.world = world
        let s = world.settings
        configuration = ModelConfiguration(
            family: "synthetic", layerCount: 1, dModel: s.width, vocabularySize: s.vocabulary, contextLength: s.context)
    }

    /// Whether a folder holds one.
    public static func isAt(_ path: String) -> Bool { exists(path + "/" + file) }

    /// - Throws: `SyntheticError`, `ResourceError.memory`; what goes wrong while reading.
    public convenience init(path: String) throws {
        self.init(try SyntheticWorld(SyntheticSettings(contentsOf: path + "/" + Self.file)))
    }

    func check(_ batch: TokenBatch, _ hook: HookPoint, _ residual: Matrix? = nil) throws {
        guard hook.block == 0 else { throw LanguageModelError.layerOutOfRange(layer: hook.block, layerCount: 1) }
        guard hook.kind == .residPost else { throw SyntheticError.noSuchPlace(hook.name) }
        guard batch.length <= configuration.contextLength else {
            throw LanguageModelError.sequenceTooLong(
                length: batch.length, contextLength: configuration.contextLength)
        }
        for (position, id) in batch.ids.enumerated() where id < 0 || id >= configuration.vocabularySize {
            throw LanguageModelError.tokenOutOfRange(
                id: id, position: position, vocabularySize: configuration.vocabularySize)
        }
        if let residual {
            precondition(residual.rows == batch.tokenCount && residual.columns == configuration.dModel)
        }
    }

    public func residual(of batch: TokenBatch, at hook: HookPoint) throws -> Matrix {
        try check(batch, hook)
        let result = Matrix(rows: batch.tokenCount, columns: configuration.dModel)
        forEachPosition(of: batch) { $1.write(to: result.row($0)) }
        return result
    }

    /// The features that fire at every position, on the lanes.
    func forEachPosition(of batch: TokenBatch, _ body: (_ row: Int, _ firing: FiringFeatures) -> Void) {
        Lanes.shared.forRanges(batch.sequenceCount) { _, sequences in
            var firing = FiringFeatures(world)
            for s in sequences {
                let tokens = batch.ids[s * batch.length..<(s + 1) * batch.length]
                for t in tokens.indices {
                    firing.draw(after: tokens[tokens.startIndex...t])
                    body(t, firing)
                }
            }
        }
    }

    /// The features that fire at every position and their magnitudes, those of position p from offsets[p] on.
    public func firings(of batch: TokenBatch) -> (offsets: [Int], features: [Int], magnitudes: [Float]) {
        var (result, firing) = ((offsets: [0], features: [Int](), magnitudes: [Float]()), FiringFeatures(world))
        for s in 0..<batch.sequenceCount {
            let tokens = batch.ids[s * batch.length..<(s + 1) * batch.length]
            for t in tokens.indices {
                firing.draw(after: tokens[tokens.startIndex...t])
                result.features += firing.features
                result.magnitudes += firing.magnitudes
                result.offsets.append(result.features.count)
            }
        }
        return result
    }

    /// max(0, ⟨dᵢ, x − b⟩ − τ)/(1 − τ) of the useful features `[n, n_u]`, of rows of x.
    func readings(of x: Matrix) -> Matrix {
        let (d, result) = (configuration.dModel, Matrix(rows: x.rows, columns: world.readers.rows))
        let (threshold, rate) = (Float(world.settings.threshold), Float(1 / (1 - world.settings.threshold)))
        let centered = x.copy()
        for r in 0..<x.rows { for c in 0..<d { centered[r, c] -= world.bias[c] } }
        Lanes.shared.multiply(centered.view, world.readers.view.transposed, into: result.mutableView)
        for i in 0..<result.count { result[i] = max(0, result[i] - threshold) * rate }
        return result
    }

    func logits(reading readings: Matrix) -> Matrix {
        let result = Matrix(rows: readings.rows, columns: configuration.vocabularySize)
        Lanes.shared.multiply(readings.view, world.promotions.view.transposed, into: result.mutableView)
        return result
    }

    /// −log p of a target, and p in the place of the logits. A target of −1 has loss 0, and p 0.
    private static func loss(_ logits: UnsafeMutablePointer<Float>, _ count: Int, target: Int32) -> Float {
        guard target >= 0 else {
            logits.update(repeating: 0, count: count)
            return 0
        }
        var largest = logits[0]
        for v in 1..<count { largest = max(largest, logits[v]) }
        let own = Double(logits[Int(target)] - largest)
        var sum = 0.0
        for v in 0..<count {
            logits[v] = exp(logits[v] - largest)
            sum += Double(logits[v])
        }
        let rate = Float(1 / sum)
        for v in 0..<count { logits[v] *= rate }
        return Float(log(sum) - own)
    }

    public func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        try check(batch, hook, residual)
        return losses(reading: readings(of: residual), targets: batch.targets).losses
    }

    /// Losses of rows of x, as they come; a target of −1 has loss 0.
    func losses(of x: Matrix, targets: [Int32]) -> [Float] {
        losses(reading: readings(of: x), targets: targets).losses
    }

    /// Losses, and p `[n, V]`.
    func losses(reading readings: Matrix, targets: [Int32]) -> (losses: [Float], probabilities: Matrix) {
        let p = logits(reading: readings)
        var losses = [Float](repeating: 0, count: p.rows)
        losses.withUnsafeMutableBufferPointer { losses in
            let target = SendablePointer(losses.baseAddress!)
            Lanes.shared.forRanges(p.rows) { _, rows in
                for r in rows { target.pointer[r] = Self.loss(p.row(r), p.columns, target: targets[r]) }
            }
        }
        return (losses, p)
    }

    public func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix {
        try check(batch, hook, residual)
        return logits(reading: readings(of: residual))
    }

    public func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay {
        try check(batch, hook, residual)
        return SyntheticReplay(self, batch, residual)
    }

    /// Thresholds left out, as norms are elsewhere.
    public func directLogits(of directions: Matrix) -> Matrix {
        let readings = Matrix(rows: directions.rows, columns: world.readers.rows)
        Lanes.shared.multiply(directions.view, world.readers.view.transposed, into: readings.mutableView)
        return logits(reading: readings)
    }
}

/// Positions know nothing of each other, so a suffix is its own rows.
private final class SyntheticReplay: SuffixReplay {
    private let model: SyntheticModel
    private let batch: TokenBatch
    private let targets: [Int32]
    private let residual: Matrix
    let preferredRows = 4096

    init(_ model: SyntheticModel, _ batch: TokenBatch, _ residual: Matrix) {
        (self.model, self.batch, self.residual, targets) = (model, batch, residual, batch.targets)
    }

    var losses: [Float] { model.losses(of: residual, targets: targets) }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) {
        let d = residual.columns
        var target = losses
        for suffix in suffixes {
            let count = batch.length - suffix.first
            let x = Matrix(rows: count, columns: d)
            suffix.write(residual, length: batch.length, into: x.elements)
            let first = suffix.sequence * batch.length + suffix.first
            let found = model.losses(of: x, targets: Array(targets[first..<first + count]))
            target.update(from: found, count: count)
            target += count
        }
    }
}
