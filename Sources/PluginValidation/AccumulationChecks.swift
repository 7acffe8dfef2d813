import Attribution
import LinearAlgebra
import SparseCoding

extension PluginCheck.Subject {
    /// A state through the sequences of a model, one shard for each of `cuts`.
    func accumulated(_ model: QuadraticModel, shards: [Range<Int>]) throws -> [[Double]] {
        let scorer = try plugin.scorer()
        guard let score = scorer.accumulation else {
            throw PluginCheck.NotApplicable(reason: "it does not accumulate")
        }
        let batch = model.batch, plan = model.plan
        let size = try score.stateSize(plan)
        try expect(size <= 1 << 30, "it asks for a state of \(size) bytes for \(plan.sequenceCount) short sequences")
        var states: [UnsafeMutableRawBufferPointer] = []
        defer { for state in states { state.baseAddress?.deallocate() } }
        for shard in shards {
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(64, size), alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0)
            let state = UnsafeMutableRawBufferPointer(start: memory.baseAddress, count: size)
            states.append(state)
            try score.begin(plan, state: state)
            for s in shard {
                var one = batch.sequence(s)
                one.evaluation = SequenceOf(model, s)
                try score.accumulate(one, plan, state: state)
            }
        }
        for other in states.dropFirst() {
            try score.merge(plan, state: states[0], other: UnsafeRawBufferPointer(other))
        }
        return try (0..<2).flatMap { _ in
            let outputs = score.outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
            defer { for output in outputs { output.deallocate() } }
            for output in outputs { output.initialize(repeating: 0) }
            try score.finish(plan, state: UnsafeRawBufferPointer(states[0]), into: outputs)
            return outputs.map(Array.init)
        }
    }
}

/// Questions about one sequence of a model, which is sequence 0 of its batch.
private final class SequenceOf: SplicedEvaluation {
    private let model: QuadraticModel
    private let sequence: Int

    init(_ model: QuadraticModel, _ sequence: Int) {
        self.model = model
        self.sequence = sequence
    }

    var preferredGroups: Int { model.preferredGroups }
    var remainingGroups: Int? { nil }

    func meanActivations() throws -> MeanActivations.Values { try model.meanActivations() }

    func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
        // Judged as questions about the one sequence they know of, and only then moved to its place.
        try model.batch.sequence(sequence).check(groups)
        let shift = sequence * model.length
        return try model.lossChanges(
            groups.map { group in
                var moved = group
                moved.sequence = sequence
                moved.edits = group.edits.map {
                    Edit(tokens: $0.tokens.lowerBound + shift..<$0.tokens.upperBound + shift, change: $0.change)
                }
                return moved
            })
    }

    func gradients(at points: [GradientPoint]) throws -> [Double] {
        for point in points { try model.batch.sequence(sequence).check(sequence: point.sequence, "point") }
        return try model.gradients(
            at: points.map { GradientPoint(sequence: sequence, rows: $0.rows, gradient: $0.gradient) })
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        try model.gradients(
            along: paths.map { GradientPath(sequence: sequence, base: $0.base, end: $0.end, gradient: $0.gradient) },
            alphas: alphas, weights: weights)
    }
}

extension PluginCheck {
    static let accumulationChecks = [
        PluginCheck(
            id: "outputs", rules: ["DMSAE-SCORER-11", "DMSAE-SCORER-07", "DMSAE-SCORER-08", "DMSAE-STATE-02"],
            promise: "it writes every output, none infinite, twice the same, with its state moved between any two calls"
        ) { subject in
            let model = QuadraticModel(seed: subject.seed, sequences: 4)
            let results = try subject.accumulated(model, shards: [0..<4])
            let (first, second) = (results[..<(results.count / 2)], results[(results.count / 2)...])
            try expect(
                zip(first, second).allSatisfy { $0.map(\.bitPattern) == $1.map(\.bitPattern) },
                "a second finish of the same state gives other numbers")
        },
        PluginCheck(
            id: "merge", rules: ["DMSAE-SCORER-10"], promise: "shards that are merged give what the whole pass gives"
        ) { subject in
            let model = QuadraticModel(seed: subject.seed, sequences: 5)
            let whole = try subject.accumulated(model, shards: [0..<5])
            let parts = try subject.accumulated(model, shards: [0..<2, 2..<3, 3..<5])
            let isExact = subject.has("merge-exact")
            for (i, (a, b)) in zip(whole, parts).enumerated() {
                let largest = a.reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
                for (j, (x, y)) in zip(a, b).enumerated() where !(x.isNaN && y.isNaN) {
                    let close = isExact ? x.bitPattern == y.bitPattern : abs(x - y) <= 1e-9 * largest
                    try expect(close, "element \(j) of output \(i) is \(x) in one pass and \(y) merged")
                }
            }
        },
        PluginCheck(
            id: "another-pass", rules: ["DMSAE-SCORER-09"],
            promise: "a second pass in another process gives the same bits"
        ) { subject in
            try applies(subject.has("deterministic"), "it does not say that it is deterministic")
            let model = QuadraticModel(seed: subject.seed, sequences: 3)
            let first = try subject.accumulated(model, shards: [0..<3])
            let second = try subject.accumulated(model, shards: [0..<3])
            try expect(
                zip(first, second).allSatisfy { $0.map(\.bitPattern) == $1.map(\.bitPattern) }, "the numbers differ")
        },
    ]
}
