import Attribution
import CDMSAE
import Glibc
import LanguageModeling
import PluginABI

/// What a scorer may ask about the batch of the call it is in: `dmsae.eval/1`, `dmsae.grad/1` and `dmsae.means/1`.
///
/// Lives for one call. Requests that break a rule are refused with a text that names it, and reach neither the model
/// nor memory that is not theirs.
struct EvaluationTurn: @unchecked Sendable {
    let evaluation: any SplicedEvaluation
    let argument: UnsafePointer<dmsae_scorer_batch>
    let sequenceOffsets: [Int64]
    private let scored: [UInt8]
    let dimension: Int
    let isCancelled: @Sendable () -> Bool
    let thread = pthread_self()

    init(
        _ batch: ScoringBatch, _ argument: UnsafePointer<dmsae_scorer_batch>,
        _ isCancelled: @escaping @Sendable () -> Bool
    ) {
        guard let evaluation = batch.evaluation else { preconditionFailure("a turn without an evaluation") }
        self.evaluation = evaluation
        self.argument = argument
        self.isCancelled = isCancelled
        sequenceOffsets = batch.sequenceOffsets
        scored = batch.scored
        dimension = batch.decoder.columns
    }

    /// A request that cannot be carried out.
    struct Refusal: Error {
        let status: dmsae_status
        let text: String

        static func invalid(_ text: String) -> Refusal { Refusal(status: .DMSAE_ERR_INVALID_ARGUMENT, text: text) }
    }

    private func length(_ sequence: Int) -> Int { Int(sequenceOffsets[sequence + 1] - sequenceOffsets[sequence]) }

    private func sequence(_ number: Int64, _ what: String) throws -> Int {
        guard (0..<Int64(sequenceOffsets.count - 1)).contains(number) else {
            throw Refusal.invalid("\(what) is of sequence \(number) of \(sequenceOffsets.count - 1)")
        }
        return Int(number)
    }

    func count(_ value: Int64, _ what: String) throws -> Int {
        guard (0...1 << 32).contains(value) else { throw Refusal.invalid("\(what) is \(value)") }
        return Int(value)
    }

    /// Refuses rows [tokens.count, d] with a number that is not finite, where they are read: at scored positions.
    private func check<Element: BinaryFloatingPoint>(
        _ rows: UnsafePointer<Element>, _ tokens: Range<Int>, _ what: String
    ) throws {
        for (r, t) in tokens.enumerated() where scored[t] != 0 {
            let row = UnsafeBufferPointer(start: rows + r * dimension, count: dimension)
            if let i = row.firstIndex(where: { !$0.isFinite }) {
                throw Refusal.invalid("\(what) has \(row[i]) at token \(t), element \(i)")
            }
        }
    }

    /// Refuses numbers that are not finite.
    func check(_ values: [Double], _ what: String) throws {
        if let i = values.firstIndex(where: { !$0.isFinite }) { throw Refusal.invalid("\(what)[\(i)] is \(values[i])") }
    }

    /// Refuses a null where the header has none.
    private func check(_ pointers: UnsafeRawPointer?..., what: String) throws {
        if pointers.contains(where: { $0 == nil || UInt(bitPattern: $0) == 0 }) {
            throw Refusal.invalid("\(what) is null")
        }
    }

    private func tokens(_ sequence: Int) -> Range<Int> {
        Int(sequenceOffsets[sequence])..<Int(sequenceOffsets[sequence + 1])
    }

    private func spend(_ groups: Int) throws {
        guard let remaining = evaluation.remainingGroups, remaining < groups else { return }
        throw AttributionError.budgetExhausted(asked: groups, remaining: remaining)
    }

    func losses(
        _ groups: UnsafeMutablePointer<dmsae_edit_group>, _ groupCount: Int64, _ edits: UnsafePointer<dmsae_edit>,
        _ editCount: Int64, of metric: EvaluationMetric = .loss
    ) throws {
        let (groupCount, editCount) = (try count(groupCount, "group_count"), try count(editCount, "edit_count"))
        let requests = try (0..<groupCount).map { i -> EditGroup in
            let group = groups[i]
            let sequence = try sequence(group.sequence, "group \(i)")
            guard group.first_edit >= 0, group.edit_count >= 0, group.first_edit <= editCount,
                group.edit_count <= Int64(editCount) - group.first_edit
            else {
                throw Refusal.invalid(
                    "group \(i) has edits from \(group.first_edit), \(group.edit_count) of them; there are \(editCount)"
                )
            }
            let range = Int(group.first_edit)..<Int(group.first_edit + group.edit_count)
            return EditGroup(
                sequence: sequence, edits: try range.map { try edit(edits[$0], $0, tokens(sequence), group: i) },
                losses: group.losses.map { UnsafeMutableBufferPointer(start: $0, count: length(sequence)) })
        }
        try spend(groupCount)
        let step = max(1, evaluation.preferredGroups)
        for start in stride(from: 0, to: groupCount, by: step) {
            if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
            let changes = try evaluation.changes(
                Array(requests[start..<min(start + step, groupCount)]), of: metric)
            for (i, change) in changes.enumerated() { groups[start + i].loss_change = change }
        }
    }

    private func edit(_ c: dmsae_edit, _ index: Int, _ sequence: Range<Int>, group: Int) throws -> Edit {
        guard 0 <= c.first_token, c.first_token <= c.end_token, c.end_token <= sequenceOffsets.last ?? 0 else {
            throw Refusal.invalid("edit \(index) is of tokens \(c.first_token) to \(c.end_token)")
        }
        let tokens = Int(c.first_token)..<Int(c.end_token)
        guard tokens.lowerBound >= sequence.lowerBound, tokens.upperBound <= sequence.upperBound else {
            throw Refusal.invalid(
                "edit \(index) is of tokens \(tokens), and the sequence of group \(group) has \(sequence)")
        }
        switch c.operation {
        case .DMSAE_EDIT_SCALE:
            return Edit(tokens: tokens, change: .scale(latent: Int(c.latent), factor: c.value))
        case .DMSAE_EDIT_SET: return Edit(tokens: tokens, change: .set(latent: Int(c.latent), value: c.value))
        case .DMSAE_EDIT_ROWS:
            guard let rows = c.rows else { throw Refusal.invalid("edit \(index) has no rows") }
            try check(rows, tokens, "edit \(index)")
            return Edit(tokens: tokens, change: .rows(rows))
        default: throw Refusal.invalid("edit \(index) has the operation \(c.operation.rawValue)")
        }
    }

    func gradients(
        _ points: UnsafeMutablePointer<dmsae_gradient_point>, _ pointCount: Int64, of metric: EvaluationMetric = .loss,
        _ rule: BackwardRule = .plain
    ) throws {
        let pointCount = try count(pointCount, "point_count")
        let requests = try (0..<pointCount).map { i in
            let sequence = try sequence(points[i].sequence, "point \(i)")
            try check(points[i].rows, points[i].gradient, what: "an array of point \(i)")
            try check(points[i].rows, tokens(sequence), "point \(i)")
            return GradientPoint(sequence: sequence, rows: points[i].rows, gradient: points[i].gradient)
        }
        try spend(pointCount)
        let step = 8
        for start in stride(from: 0, to: pointCount, by: step) {
            if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
            let losses = try evaluation.gradients(
                at: Array(requests[start..<min(start + step, pointCount)]), of: metric, rule: rule)
            for (i, loss) in losses.enumerated() { points[start + i].loss = loss }
        }
    }

    func gradients(
        _ paths: UnsafeMutablePointer<dmsae_gradient_path>, _ pathCount: Int64, _ alphas: UnsafePointer<Double>,
        _ weights: UnsafePointer<Double>, _ stepCount: Int64, of metric: EvaluationMetric = .loss,
        _ rule: BackwardRule = .plain
    ) throws {
        let (pathCount, stepCount) = (try count(pathCount, "path_count"), try count(stepCount, "step_count"))
        let requests = try (0..<pathCount).map { i in
            let sequence = try sequence(paths[i].sequence, "path \(i)")
            try check(paths[i].base, paths[i].end, paths[i].gradient, what: "an array of path \(i)")
            try check(paths[i].base, tokens(sequence), "the base of path \(i)")
            try check(paths[i].end, tokens(sequence), "the end of path \(i)")
            return GradientPath(sequence: sequence, base: paths[i].base, end: paths[i].end, gradient: paths[i].gradient)
        }
        let (groups, overflow) = pathCount.multipliedReportingOverflow(by: stepCount)
        if overflow { throw Refusal.invalid("path_count times step_count is more than there can be") }
        try spend(groups)
        let (alphas, weights) = (
            Array(UnsafeBufferPointer(start: alphas, count: stepCount)),
            Array(UnsafeBufferPointer(start: weights, count: stepCount))
        )
        try check(alphas, "alphas")
        try check(weights, "weights")
        for request in requests {
            if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
            try evaluation.gradients(along: [request], alphas: alphas, weights: weights, of: metric, rule: rule)
        }
    }
}

extension EvaluationTurn {
    func activations(_ means: UnsafeMutablePointer<Double>, _ scoredTokens: UnsafeMutablePointer<Int64>) throws {
        if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
        let values = try evaluation.meanActivations()
        means.update(from: values.means, count: values.means.count)
        scoredTokens.pointee = Int64(values.scoredTokens)
    }
}

extension HostTables {
    /// The tables behind the ids. They hold functions only, so one of each serves every instance.
    nonisolated(unsafe) static let evaluation = allocated(
        dmsae_host_eval(
            struct_size: UInt32(MemoryLayout<dmsae_host_eval>.size), reserved: 0,
            losses: { host, batch, groups, groupCount, edits, editCount, call in
                HostTables.answer(host, batch, DMSAE_EVAL, call) {
                    try $0.losses(groups, groupCount, edits, editCount)
                }
            },
            preferred_groups: { Int64(HostTables.of($0)?.currentTurn?.evaluation.preferredGroups ?? 1) },
            remaining: { host in
                guard let turn = HostTables.of(host)?.currentTurn else { return 0 }
                return turn.evaluation.remainingGroups.map(Int64.init) ?? .max
            }))

    nonisolated(unsafe) static let gradients = allocated(
        dmsae_host_grad(
            struct_size: UInt32(MemoryLayout<dmsae_host_grad>.size), reserved: 0,
            at: { host, batch, points, pointCount, call in
                HostTables.answer(host, batch, DMSAE_GRAD, call) { try $0.gradients(points, pointCount) }
            },
            along: { host, batch, paths, pathCount, alphas, weights, stepCount, call in
                HostTables.answer(host, batch, DMSAE_GRAD, call) {
                    try $0.gradients(paths, pathCount, alphas, weights, stepCount)
                }
            }))

    nonisolated(unsafe) static let means = allocated(
        dmsae_host_means(
            struct_size: UInt32(MemoryLayout<dmsae_host_means>.size), reserved: 0,
            activations: { host, batch, means, scoredTokens, call in
                HostTables.answer(host, batch, DMSAE_MEANS, call) { try $0.activations(means, scoredTokens) }
            }))

    /// Never freed, never written again.
    static func allocated<Table>(_ table: Table) -> UnsafePointer<Table> {
        let pointer = UnsafeMutablePointer<Table>.allocate(capacity: 1)
        pointer.initialize(to: table)
        return UnsafePointer(pointer)
    }

    /// Runs a request in the host's own floating-point environment and turns what it throws into a status and a text.
    static func answer(
        _ host: UnsafePointer<dmsae_host>, _ batch: UnsafePointer<dmsae_scorer_batch>, _ id: String,
        _ call: UnsafeMutablePointer<dmsae_call>, _ body: (EvaluationTurn) throws -> Void
    ) -> dmsae_status {
        func refuse(_ status: dmsae_status, _ text: String) -> dmsae_status {
            if let error = call.pointee.error, call.pointee.error_capacity > 0 {
                let bytes = "\(id): \(text)".utf8.prefix(Int(clamping: call.pointee.error_capacity) - 1)
                for (i, byte) in bytes.enumerated() { error[i] = CChar(bitPattern: byte) }
                error[bytes.count] = 0
            }
            return status
        }
        guard let turn = HostTables.of(host)?.currentTurn else {
            return refuse(
                .DMSAE_ERR_FAILED,
                "it is for calls of score and accumulate, by a plugin that declares "
                    + "DMSAE_PLUGIN_NEEDS_EVALUATION")
        }
        guard pthread_equal(turn.thread, pthread_self()) != 0 else {
            return refuse(.DMSAE_ERR_FAILED, "asked from another thread than the call's; it is [calling]")
        }
        guard turn.argument == batch else {
            return refuse(.DMSAE_ERR_INVALID_ARGUMENT, "asked about another batch than the call's")
        }
        return inDefaultFloatingPointEnvironment {
            do {
                try body(turn)
                return .DMSAE_OK
            } catch let refusal as EvaluationTurn.Refusal {
                return refuse(refusal.status, refusal.text)
            } catch let error as AttributionError {
                switch error {
                case .budgetExhausted: return refuse(.DMSAE_BUDGET_EXHAUSTED, "\(error)")
                case .metricUnsupported: return refuse(.DMSAE_ERR_UNSUPPORTED, "\(error)")
                case .badEdit: return refuse(.DMSAE_ERR_INVALID_ARGUMENT, "\(error)")
                default: return refuse(.DMSAE_ERR_FAILED, "\(error)")
                }
            } catch {
                // The host's own work was stopped, as when means are gathered over the whole pass.
                return turn.isCancelled() ? refuse(.DMSAE_CANCELLED, "") : refuse(.DMSAE_ERR_FAILED, "\(error)")
            }
        }
    }
}
