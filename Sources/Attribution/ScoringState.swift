import LinearAlgebra
import TensorFiles

/// What a scorer that accumulates knows after some sequences of a pass: a checkpoint to go on from, and a part that
/// others are merged with (DMSAE-STATE).
public struct ScoringState: Equatable, Sendable {
    /// All that the numbers depend on; states of another key are of another pass.
    public var key: PassKey
    /// The sequences that are in it.
    public var sequences: Range<Int>
    /// Tokens scored so far.
    public var tokenCount: Int
    /// Of those, the ones that some loss comes at or after.
    public var reachingTokens = 0
    /// [m] tokens at which each latent fired.
    public var activeCounts: [Int]
    /// The scorer's own bytes.
    public var bytes: [UInt8]
    /// Sequences on which the scorer crashed, and of which the state says nothing.
    public var leftOut: [Int] = []
    /// Evaluations that were taken from the pass's budget.
    public var evaluations = 0
    /// Which pass over the sequences it is in, for a scorer that looks more than once.
    public var pass = 0

    /// A state of the given parts.
    public init(key: PassKey, sequences: Range<Int>, tokenCount: Int, activeCounts: [Int], bytes: [UInt8]) {
        self.key = key
        self.sequences = sequences
        self.tokenCount = tokenCount
        self.activeCounts = activeCounts
        self.bytes = bytes
    }

    /// Of all that a file holds under the text of a key.
    private func digest(_ key: String) -> String {
        var digest = ContentDigest()
        digest.add(key)
        digest.add([sequences.lowerBound, sequences.upperBound, tokenCount, reachingTokens, evaluations, pass])
        digest.add(activeCounts)
        digest.add(leftOut)
        digest.add(bytes)
        return digest.hexadecimal
    }

    /// Writes the state; the file appears whole or stays as it was.
    /// - Throws: `TensorFileError`.
    public func write(to path: String) throws {
        var writer = SafetensorsWriter(metadata: ["key": key.text, "sha256": digest(key.text)])
        writer.add("sequences", integers: [Int64(sequences.lowerBound), Int64(sequences.upperBound)])
        writer.add("scored_tokens", integers: [Int64(tokenCount)])
        writer.add("reaching_tokens", integers: [Int64(reachingTokens)])
        writer.add("active", integers: activeCounts.map(Int64.init))
        writer.add("evaluations", integers: [Int64(evaluations)])
        writer.add("pass", integers: [Int64(pass)])
        writer.add("left_out", integers: leftOut.map(Int64.init))
        writer.add("state_bytes", integers: [Int64(bytes.count)])
        let words = (bytes.count + 7) / 8
        var padded = [Int64](repeating: 0, count: words)
        padded.withUnsafeMutableBytes { $0.copyBytes(from: bytes) }
        writer.add("state", integers: padded)
        try writer.write(to: path)
    }

    /// Reads a state of the pass `key` over `latents` latents, in sequences of `length` tokens; its key may have other
    /// entries where `judged` names them.
    /// - Throws: `TensorFileError` for a broken file; `AttributionError.otherPass`.
    public static func read(
        _ path: String, key: PassKey, except judged: Set<String> = [], latents: Int, sequenceCount: Int, length: Int
    ) throws -> ScoringState {
        let file = try SafetensorsFile(path: path)
        let kept = file.metadata["key"]
        try key.requireSame(as: kept, in: path, except: judged)
        func broken(_ what: String) -> TensorFileError {
            .malformed(file: path, what: what, next: "delete it and score again")
        }
        let range = try file.integers("sequences"), active = try file.integers("active")
        let count = try file.integers("state_bytes"), tokens = try file.integers("scored_tokens")
        let words = try file.integers("state"), leftOut = try file.integers("left_out")
        let evaluations = try file.integers("evaluations"), reaching = try file.integers("reaching_tokens")
        guard range.count == 2, range[0] >= 0, range[0] <= range[1], range[1] <= Int64(sequenceCount) else {
            throw broken("its sequences are \(range.prefix(3)) of \(sequenceCount)")
        }
        // One of before there were several.
        let passes = file.tensors["pass"] == nil ? [] : try file.integers("pass")
        guard passes.count == 1, (0...1_000_000).contains(passes[0]) else {
            throw broken("its pass is \(passes.prefix(3))")
        }
        // From the second pass on all sequences were counted.
        let counted = passes[0] > 0 ? 0..<Int64(sequenceCount) : range[0]..<range[1]
        guard tokens.count == 1, (0...Int64(counted.count) * Int64(length)).contains(tokens[0]) else {
            throw broken("it counts \(tokens.prefix(3)) scored tokens in sequences of \(length)")
        }
        guard reaching.count == 1, (0...tokens[0]).contains(reaching[0]) else {
            throw broken("it counts \(reaching.prefix(3)) of its \(tokens[0]) scored tokens as before a loss")
        }
        guard active.count == latents, active.allSatisfy({ (0...tokens[0]).contains($0) }) else {
            throw broken("it has counts of \(active.count) latents, or more than its \(tokens[0]) scored tokens")
        }
        guard count.count == 1, count[0] >= 0, count[0] <= Int64(words.count) * 8, Int64(words.count) * 8 - count[0] < 8
        else {
            throw broken("it has \(words.count) words for \(count.prefix(3)) bytes of state")
        }
        guard evaluations.count == 1, (0...1 << 50).contains(evaluations[0]) else {
            throw broken("it took \(evaluations.prefix(3)) evaluations")
        }
        guard leftOut.allSatisfy({ counted.contains($0) }) else {
            throw broken("it leaves out sequences \(leftOut.prefix(3)), which are not its own")
        }
        var state = ScoringState(
            key: key, sequences: Int(range[0])..<Int(range[1]), tokenCount: Int(tokens[0]),
            activeCounts: active.map { Int($0) },
            bytes: words.withUnsafeBytes { Array($0.prefix(Int(count[0]))) })
        state.reachingTokens = Int(reaching[0])
        state.evaluations = Int(evaluations[0])
        state.leftOut = leftOut.map { Int($0) }
        state.pass = Int(passes[0])
        guard state.digest(kept ?? "") == file.metadata["sha256"] else {
            throw broken("its numbers are not those that were written")
        }
        return state
    }
}
