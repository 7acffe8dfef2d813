import LinearAlgebra
import SparseCoding

/// Every probe of one task.
package struct ProbedTask: Sendable {
    package let name: String
    package let trainCount: Int
    /// Of the activations themselves.
    package let dense: Probe
    /// Of each set, in the order given.
    package let sets: [[SparseProbe]]

    /// A probe of the latents that a ranking has first.
    package struct SparseProbe: Sendable {
        package let latents: [Int]
        package let probe: Probe
    }

    /// Probes x `[n, d]`, and of every set its first k latents for each k that it has; of all latents and of those of the core all of them,
    /// too. Every fit is by itself, on any lane.
    ///
    /// - Throws: `ProbingError`; what the encoder throws.
    package init(
        _ task: ProbingTask, _ x: Matrix, _ sae: SparseAutoencoder, sets: [ProbedLatents], ks: [Int],
        ranking: LatentRanking, lanes: Lanes = .shared
    ) throws {
        name = task.name
        let split = try ProbeSplit(labels: task.labels, task: task.name)
        trainCount = split.train.count
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        let features = FeatureRows(codes)
        let learnt = features.rows(split.train), firings = learnt.firings
        let order = ranking.order(learnt, split.train.map { task.labels[$0] })
        var choices: [[[Int]]] = []
        for set in sets {
            let members = Set(set.members(firings: firings))
            let own = order.filter(members.contains)
            let isWhole = set.name == "all" || set.name == "core" || set.control?.of == "core"
            let counts = ks.filter { $0 < own.count } + (isWhole || own.count <= ks.max() ?? 0 ? [own.count] : [])
            choices.append(counts.map { Array(own.prefix($0)) })
        }
        // The dense probe and that of all latents cost most, and begin one on each lane.
        let jobs = [features.columnCount] + choices.flatMap { $0 }.map(\.count)
        let flat = choices.flatMap { $0 }
        let probes = try Self.solve(jobs, lanes) { job in
            try job == 0
                ? Probe(FeatureRows(x), task.labels, split, task: task.name)
                : Probe(features.columns(flat[job - 1]), task.labels, split, task: task.name)
        }
        dense = probes[0]
        var at = 1
        self.sets = choices.map { choice in
            defer { at += choice.count }
            return zip(choice, probes[at...]).map { SparseProbe(latents: $0, probe: $1) }
        }
    }

    /// The probes of jobs, of which each lane takes the largest that is left.
    private static func solve(_ sizes: [Int], _ lanes: Lanes, _ body: @Sendable (Int) throws -> Probe) throws -> [Probe]
    {
        let order = sizes.indices.sorted { (sizes[$0], $1) > (sizes[$1], $0) }
        let queue = JobQueue(order)
        var results = [Result<Probe, any Error>?](repeating: nil, count: sizes.count)
        results.withUnsafeMutableBufferPointer { buffer in
            let results = SendablePointer(buffer.baseAddress!)
            lanes.run { _ in
                while let job = queue.next() { results.pointer[job] = Result { try body(job) } }
            }
        }
        return try results.map { try $0!.get() }
    }
}
