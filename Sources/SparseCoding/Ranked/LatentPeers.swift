import LinearAlgebra
import Ranks

/// The ranks among which the latents of an SAE are cut, as a training step sees them: what it is told of all latents, and what it has to
/// do together. All else is a rank's own: parameters, moments, gradients and how long latents have been silent.
package final class LatentPeers: Sendable {
    package let group: RankGroup
    package let cut: LatentCut
    let coreIsDense: Bool

    package init(_ group: RankGroup, _ cut: LatentCut, coreIsDense: Bool) {
        (self.group, self.cut, self.coreIsDense) = (group, cut, coreIsDense)
    }

    /// A selection among all latents, where there is one among the rank's.
    func whole(_ context: SelectionContext) -> SelectionContext {
        var result = context
        result.latentCount = cut.layout.latentCount
        result.core = 0..<cut.layout.coreCount
        result.coreIsExempt = coreIsDense && cut.layout.coreCount > 0
        result.prefixWidths = cut.layout.prefixes
        return result
    }

    /// Has rank 0 choose among the entries of all ranks `[rows, F]`, in the order in which one rank would have them, and marks the rank's own.
    /// Of all only those come before it that are not below the value that `least` finds for all of them. `choice` returns `count` numbers, which every rank gets.
    ///
    /// - Throws: what `choice` throws, on rank 0 only: the job has to end then.
    func choose(
        _ own: SparseCodes, marks: inout [UInt8], count: Int,
        least: (UnsafeBufferPointer<Float>) -> Float = { _ in 0 },
        _ choice: (SparseCodes, UnsafeMutableBufferPointer<UInt8>) throws -> [Double]
    ) throws -> [Double] {
        let parts = try group.gather(message(own))
        var (answers, numbers) = ([[UInt8]](), [Double](repeating: 0, count: count))
        if group.rank == 0 {
            let all = Gathered(parts, rows: own.rows, latents: cut.layout.latentCount, least: least)
            var flags = [UInt8](repeating: 0, count: all.codes.count)
            numbers = try flags.withUnsafeMutableBufferPointer { try choice(all.codes, $0) }
            answers = all.answers(flags)
        }
        let found = try group.scatter(answers, count: own.count)
        if marks.count < own.count { marks = [UInt8](repeating: 0, count: own.count + own.count / 4) }
        for (i, mark) in found.enumerated() { marks[i] = mark }
        return try group.broadcast(numbers)
    }

    /// What rank 0 alone finds out, on all of them.
    ///
    /// - Throws: what `find` throws, on rank 0 only: the job has to end then.
    func ask(_ find: () throws -> Int) throws -> Int {
        Int(try group.broadcast([group.rank == 0 ? Double(find()) : 0])[0])
    }

    /// Codes of all latents, on rank 0; on the others the rank's own.
    func whole(_ own: SparseCodes) throws -> SparseCodes {
        let parts = try group.gather(message(own))
        guard group.rank == 0 else { return own }
        return Gathered(parts, rows: own.rows, latents: cut.layout.latentCount) { _ in -.infinity }.codes
    }

    /// [rows] entries of each row, then the columns among all latents, then the values.
    private func message(_ codes: SparseCodes) -> [UInt8] {
        let counts = (0..<codes.rows).map { Int32(codes.entries(ofRow: $0).count) }
        let columns = (0..<codes.count).map { Int32(cut.places[Int(codes.columnIndices[$0])]) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * codes.rows + 8 * codes.count)
        counts.withUnsafeBytes { bytes.append(contentsOf: $0) }
        columns.withUnsafeBytes { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: UnsafeRawBufferPointer(start: codes.values, count: 4 * codes.count))
        return bytes
    }
}

/// The entries of all ranks on rank 0.
private struct Gathered {
    let codes: SparseCodes
    /// [ranks] how many entries each has sent.
    private let counts: [Int]
    /// Of each entry that is shown: whose it is, and which of that rank's.
    private let origins: [(rank: Int32, entry: Int32)]

    init(
        _ parts: [[UInt8]], rows: Int, latents: Int, least: (UnsafeBufferPointer<Float>) -> Float
    ) {
        let counts = parts.map { ($0.count - 4 * rows) / 8 }
        let sizes = parts.map { Self.numbers(Int32.self, $0, at: 0, rows) }
        let columns = zip(parts, counts).map { Self.numbers(Int32.self, $0, at: 4 * rows, $1) }
        let values = zip(parts, counts).map { Self.numbers(Float.self, $0, at: 4 * rows + 4 * $1, $1) }
        let bound = values.flatMap { $0 }.withUnsafeBufferPointer(least)
        let codes = SparseCodes(rows: rows, columns: latents, capacity: counts.reduce(0, +))
        var (origins, at, next) = ([(rank: Int32, entry: Int32)](), 0, [Int](repeating: 0, count: parts.count))
        origins.reserveCapacity(counts.reduce(0, +))
        for row in 0..<rows {
            var left = sizes.map { Int($0[row]) }
            while true {
                // The lowest column that comes next on any rank.
                var from = -1
                for r in parts.indices
                where left[r] > 0 && (from < 0 || columns[r][next[r]] < columns[from][next[from]]) {
                    from = r
                }
                guard from >= 0 else { break }
                let entry = next[from]
                next[from] += 1
                left[from] -= 1
                guard values[from][entry] >= bound else { continue }
                codes.columnIndices[at] = columns[from][entry]
                codes.values[at] = values[from][entry]
                origins.append((Int32(from), Int32(entry)))
                at += 1
            }
            codes.rowOffsets[row + 1] = Int64(at)
        }
        (self.codes, self.counts, self.origins) = (codes, counts, origins)
    }

    /// The marks of each rank's entries.
    func answers(_ flags: [UInt8]) -> [[UInt8]] {
        var result = counts.map { [UInt8](repeating: 0, count: $0) }
        for (flag, origin) in zip(flags, origins) where flag != 0 { result[Int(origin.rank)][Int(origin.entry)] = flag }
        return result
    }

    private static func numbers<Number: BitwiseCopyable>(
        _ type: Number.Type, _ bytes: [UInt8], at first: Int, _ count: Int
    ) -> [Number] {
        bytes.withUnsafeBytes { bytes in
            (0..<count).map {
                bytes.loadUnaligned(fromByteOffset: first + $0 * MemoryLayout<Number>.size, as: type)
            }
        }
    }
}
