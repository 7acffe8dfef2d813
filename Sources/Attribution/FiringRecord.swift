import Glibc
import LinearAlgebra

/// How often latents of an SAE fire, and on what: whether they are features, which some tokens have and most do not, or directions
/// that are always on.
public struct FiringRecord: Codable, Sendable, Equatable {
    /// How many latents it is about.
    public var latents: Int
    /// Of those, how many fired at all.
    public var alive: Int
    /// Mean over latents of the share of tokens on which each fires.
    public var mean: Double
    /// Median of it.
    public var median: Double
    /// How many fire on more than half of the tokens.
    public var above_half: Int
    /// Mean over latents with two firings or more of H / H₀: the entropy of the tokens' ids where the latent fires, over that of as
    /// many tokens spread evenly over the text. 1 for a latent that fires whatever the token is, 0 for one that fires on one token only.
    /// Nil where no latent fires twice. On at most 16,384 tokens, evenly spread, and fewer where latents
    /// fire more than eight million times on them.
    public var token_entropy: Double?
}

/// Counts firings over evaluated tokens.
package struct FiringCounts {
    private static let mostTokens = 16_384
    /// 32 MiB: an SAE that fires on everything must not take what grows with its width.
    package static let mostFirings = 1 << 23

    /// Every so many-th token is one whose id is looked at.
    private var stride: Int
    private let mostFirings: Int
    private var tokens = 0
    /// [F] tokens on which each fired.
    private var counts: [Int]
    /// Ids of all tokens that are looked at.
    private var ids: [Int32] = []
    /// Latents that fired on them, token by token, and where those of each end.
    private var (firings, ends): ([Int32], [Int]) = ([], [])

    /// Of `latents` latents on about `tokens` tokens.
    package init(latents: Int, tokens: Int, mostFirings: Int = FiringCounts.mostFirings) {
        counts = [Int](repeating: 0, count: latents)
        stride = max(1, (tokens + Self.mostTokens - 1) / Self.mostTokens)
        self.mostFirings = mostFirings
    }

    /// How many latents fired at all.
    package var alive: Int { counts.count { $0 > 0 } }

    /// Takes in row r of codes, which is of a token with this id.
    package mutating func add(_ codes: SparseCodes, row r: Int, id: Int32) {
        let isLookedAt = tokens % stride == 0
        if isLookedAt { ids.append(id) }
        for e in codes.entries(ofRow: r) {
            counts[Int(codes.columnIndices[e])] += 1
            if isLookedAt { firings.append(codes.columnIndices[e]) }
        }
        if isLookedAt { ends.append(firings.count) }
        tokens += 1
        while firings.count > mostFirings, ids.count > 1 { lookAtHalf() }
    }

    /// Forgets every second token that was looked at.
    private mutating func lookAtHalf() {
        var (firings, ends, ids) = ([Int32](), [Int](), [Int32]())
        for t in Swift.stride(from: 0, to: self.ids.count, by: 2) {
            firings += self.firings[(t == 0 ? 0 : self.ends[t - 1])..<self.ends[t]]
            ends.append(firings.count)
            ids.append(self.ids[t])
        }
        (self.firings, self.ends, self.ids, stride) = (firings, ends, ids, 2 * stride)
    }

    /// Those of a range of latents; nil of none, or on no token.
    package func record(of latents: Range<Int>, entropies: [Double?]) -> FiringRecord? {
        guard !latents.isEmpty, tokens > 0 else { return nil }
        let shares = counts[latents].map { Double($0) / Double(tokens) }.sorted()
        let middle = shares.count / 2
        let known = entropies[latents].compactMap { $0 }
        return FiringRecord(
            latents: latents.count, alive: counts[latents].count { $0 > 0 },
            mean: shares.reduce(0, +) / Double(shares.count),
            median: shares.count % 2 == 1 ? shares[middle] : (shares[middle - 1] + shares[middle]) / 2,
            above_half: shares.count { $0 > 0.5 },
            token_entropy: known.isEmpty ? nil : known.reduce(0, +) / Double(known.count))
    }

    /// [F] H / H₀ of each latent; nil of those with fewer than two firings, or where chance has one id too.
    package func entropies() -> [Double?] {
        var starts = [Int](repeating: 0, count: counts.count + 1)
        for latent in firings { starts[Int(latent) + 1] += 1 }
        for j in counts.indices { starts[j + 1] += starts[j] }
        var (next, sorted) = (starts, [Int32](repeating: 0, count: firings.count))
        for (t, id) in ids.enumerated() {
            for latent in firings[(t == 0 ? 0 : ends[t - 1])..<ends[t]] {
                sorted[next[Int(latent)]] = id
                next[Int(latent)] += 1
            }
        }
        var chance: [Int: Double] = [:]
        return counts.indices.map { j in
            let own = sorted[starts[j]..<starts[j + 1]]
            guard own.count >= 2 else { return nil }
            let even = chance[own.count] ?? Self.entropy((0..<own.count).map { ids[$0 * ids.count / own.count] })
            chance[own.count] = even
            return even > 0 ? Self.entropy(own) / even : nil
        }
    }

    /// −Σ p ln p over the distinct ids, nats.
    private static func entropy(_ ids: some Sequence<Int32>) -> Double {
        var (counts, all) = ([Int32: Int](), 0)
        for id in ids {
            counts[id, default: 0] += 1
            all += 1
        }
        // In an order of its own: sums of doubles hang on theirs, and a dictionary's is drawn at random.
        return counts.values.sorted().reduce(0) { $0 - Double($1) / Double(all) * log(Double($1) / Double(all)) }
    }
}
