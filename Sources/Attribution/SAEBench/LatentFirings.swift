import Glibc
import LinearAlgebra

/// On how many tokens, and in how many sequences, each latent fires.
struct LatentFirings: Sendable {
    private(set) var tokens = 0
    /// [F] tokens on which it fires, and sequences in which it does.
    private(set) var (counts, sequences): ([Int], [Int])
    /// [F] the last sequence in which it fired.
    private var last: [Int]

    init(latents: Int) {
        (counts, sequences) = ([Int](repeating: 0, count: latents), [Int](repeating: 0, count: latents))
        last = [Int](repeating: -1, count: latents)
    }

    /// Takes in row r of codes, a token of this sequence; sequences come one after the other.
    mutating func add(_ codes: SparseCodes, row r: Int, sequence: Int) {
        tokens += 1
        for e in codes.entries(ofRow: r) where codes.values[e] > 0 {
            let latent = Int(codes.columnIndices[e])
            counts[latent] += 1
            if last[latent] != sequence {
                last[latent] = sequence
                sequences[latent] += 1
            }
        }
    }

    /// [F] share of tokens.
    var densities: [Double] { counts.map { Double($0) / Double(tokens) } }

    /// Share of latents denser than this, and share of all firings that are theirs, 0 where nothing fires.
    func over(_ density: Double) -> (latents: Double, firings: Double) {
        let all = counts.reduce(0, +)
        let dense = counts.filter { Double($0) / Double(tokens) > density }
        return (
            Double(dense.count) / Double(counts.count), all > 0 ? Double(dense.reduce(0, +)) / Double(all) : 0
        )
    }
}

/// How many latents fire how often, in bins half a decade wide.
public struct DensityHistogram: Codable, Sendable, Equatable {
    /// [b + 1] log₁₀ of the densities that bins begin and end at, ends not included but for the last. What is rarer counts in the
    /// first.
    public var log10_edges: [Double]
    /// [b] latents of the core.
    public var core: [Int]
    /// [b] the others.
    public var non_core: [Int]
    /// Those that never fired.
    public var dead_core: Int
    public var dead_non_core: Int

    /// Of densities [F], the first `coreCount` of which are the core's.
    init(_ densities: [Double], coreCount: Int) {
        log10_edges = (0...12).map { Double($0) / 2 - 6 }
        let edges = log10_edges
        func bins(_ densities: ArraySlice<Double>) -> [Int] {
            var bins = [Int](repeating: 0, count: edges.count - 1)
            for density in densities where density > 0 {
                bins[max(0, min(bins.count - 1, Int((2 * (log10(density) + 6)).rounded(.down))))] += 1
            }
            return bins
        }
        (core, non_core) = (bins(densities.prefix(coreCount)), bins(densities.dropFirst(coreCount)))
        dead_core = densities.prefix(coreCount).count { $0 == 0 }
        dead_non_core = densities.dropFirst(coreCount).count { $0 == 0 }
    }
}
