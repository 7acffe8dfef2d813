import LinearAlgebra
import Ranks

/// The ranks among which the latents of an SAE are cut, as a training step sees them: what it is told of all latents, and what it has to
/// do together. All else is a rank's own: parameters, moments, gradients and how long latents have been silent.
package final class LatentPeers {
    package let group: RankGroup
    package let cut: LatentCut
    let coreIsDense: Bool
    /// What the last choice that was to be kept was made of, on rank 0.
    private var shown: (candidates: Gathered, flags: [UInt8])?

    package init(_ group: RankGroup, _ cut: LatentCut, coreIsDense: Bool) {
        (self.group, self.cut, self.coreIsDense) = (group, cut, coreIsDense)
    }

    /// A selection among all latents, where there is one among the rank's.
    package func whole(_ context: SelectionContext) -> SelectionContext {
        var result = context
        result.latentCount = cut.layout.latentCount
        result.core = 0..<cut.layout.coreCount
        result.coreIsExempt = coreIsDense && cut.layout.coreCount > 0
        result.prefixWidths = cut.layout.prefixes
        return result
    }

    /// Has rank 0 choose among the entries of all ranks `[rows, F]`, in the order in which one rank would have them, and marks the rank's own.
    /// Of all only those come before it that are not below the value that `least` finds for all of them. `choice` returns `count` numbers, which every rank gets.
    /// What it was made of is kept for `backward`, if that is to follow.
    ///
    /// - Throws: what `choice` throws, on rank 0 only: the job has to end then.
    func choose(
        _ own: SparseCodes, marks: inout [UInt8], count: Int, keeping: Bool = false,
        least: (UnsafeBufferPointer<Float>) -> Float = { _ in 0 },
        _ choice: (SparseCodes, UnsafeMutableBufferPointer<UInt8>) throws -> [Double]
    ) throws -> [Double] {
        // Of the step before.
        if keeping { shown = nil }
        let parts = try group.gather(message(own))
        var (answers, numbers) = ([[UInt8]](), [Double](repeating: 0, count: count))
        if group.rank == 0 {
            let all = Gathered(parts, rows: own.rows, latents: cut.layout.latentCount, least: least)
            var flags = [UInt8](repeating: 0, count: all.codes.count)
            numbers = try flags.withUnsafeMutableBufferPointer { try choice(all.codes, $0) }
            answers = all.deal(flags, otherwise: 0)
            if keeping { shown = (all, flags) }
        }
        let found = try group.scatter(answers, count: own.count)
        if marks.count < own.count { marks = [UInt8](repeating: 0, count: own.count + own.count / 4) }
        for (i, mark) in found.enumerated() { marks[i] = mark }
        return try group.broadcast(numbers)
    }

    /// What rank 0 alone finds out, on all of them.
    ///
    /// - Throws: what `find` throws, on rank 0 only: the job has to end then.
    package func ask(_ find: () throws -> Int) throws -> Int {
        Int(exactly: try group.broadcast([group.rank == 0 ? Double(find()) : 0])[0]) ?? .max
    }

    /// Marks the `count` largest entries of a row on all ranks, each of which offers its own largest; nil where all of the `dead` latents of the
    /// ranks may stay.
    package func largest(
        _ count: Int, ofEachRow codes: () throws -> SparseCodes, dead: Int
    ) throws -> (codes: SparseCodes, marks: [UInt8])? {
        guard try group.sum([Double(dead)])[0] > Double(count) else { return nil }
        let codes = try codes()
        var marks: [UInt8] = []
        _ = try choose(codes, marks: &marks, count: 0) { all, flags in
            all.markLargest(count, ofEachRow: flags)
            return []
        }
        return (codes, marks)
    }

    /// Rank 0 counts what is the same on all.
    package var isFirst: Bool { group.rank == 0 }

    /// The numbers of a step from the squared norm of each rank's gradients, and rank 0's losses: other processors may have rounded theirs
    /// otherwise.
    package func whole(_ own: StepResults, gradientSquare: Double) throws -> StepResults {
        let all = try group.everyone(own.squares + [own.auxiliary, gradientSquare]), n = own.squares.count
        return StepResults(
            squares: Array(all[0][..<n]), auxiliary: all[0][n],
            gradientNorm: all.reduce(0) { $0 + $1[n + 1] }.squareRoot())
    }

    /// Rank 0's numbers of all latents `[1, F]` on every rank, which takes its own.
    func deal(_ all: Matrix?, into own: Matrix) throws {
        let parts = try all.map { all in try cut.all(group.count).map { bytes(Array($0.part(of: all).values)) } } ?? []
        let found = try group.scatter(parts, count: 4 * own.count)
        found.withUnsafeBytes {
            UnsafeMutableRawPointer(own.elements).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
    }

    /// A number of each of the candidates of the last choice that was kept, on rank 0 those of all in their order, which `body` replaces
    /// there; every rank gets its own back.
    func exchange(
        _ own: UnsafeBufferPointer<Float>,
        _ body: (SparseCodes, _ flags: [UInt8], inout [Float]) throws -> Void
    ) throws -> [Float] {
        let parts = try group.gather(bytes(Array(own)))
        var answers: [[UInt8]] = []
        if group.rank == 0 {
            let (candidates, flags) = shown!
            var all = candidates.collect(parts.map(floats))
            try body(candidates.codes, flags, &all)
            answers = candidates.deal(all, otherwise: 0).map(bytes)
            shown = nil
        }
        return floats(try group.scatter(answers, count: 4 * own.count))
    }

    private func bytes(_ values: [Float]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

    private func floats(_ bytes: [UInt8]) -> [Float] {
        [Float](unsafeUninitializedCapacity: bytes.count / 4) { buffer, count in
            count = bytes.count / 4
            UnsafeMutableRawBufferPointer(buffer).copyBytes(from: bytes)
        }
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

    /// What there is of each entry, to those who have sent it; of entries that are not shown the other value.
    func deal<Value>(_ values: [Value], otherwise other: Value) -> [[Value]] {
        var result = counts.map { [Value](repeating: other, count: $0) }
        for (value, origin) in zip(values, origins) { result[Int(origin.rank)][Int(origin.entry)] = value }
        return result
    }

    /// What the ranks have sent of each of their entries, in the order of those that are shown.
    func collect<Value>(_ parts: [[Value]]) -> [Value] { origins.map { parts[Int($0.rank)][Int($0.entry)] } }

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
