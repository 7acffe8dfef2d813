import LinearAlgebra
import Ranks
import TensorFiles

/// A language model on every rank of a job, each of which runs its share of the sequences of a batch. On rank 0.
///
/// Sequences never see each other, so that cutting them changes the rounding of matrix products at most.
package final class RankedModel: LanguageModel, @unchecked Sendable {
    /// Rank 0's.
    package let own: any LanguageModel
    private let group: RankGroup
    private let id: Int

    /// Has each rank load the model that `description` is about while `load` does so here.
    ///
    /// - Throws: what `load` throws; `RankError.failed` for a rank that cannot load it.
    package init(
        among group: RankGroup, _ description: RankMessage, load: () throws -> any LanguageModel
    ) throws {
        self.group = group
        id = try group.together { try group.make(ModelShare.kind) { _ in description } }
        (own, _) = try group.answers(of: Array(1..<group.count), patiently: true, while: load)
    }

    deinit { group.release(id) }

    /// Where it is computed, for records.
    package var record: [String: String] { ["ranks": "\(group.count)"] }

    package var configuration: ModelConfiguration { own.configuration }

    /// The sequences of each rank, as many for each, the lower ranks first.
    static func shares(_ sequences: Int, among ranks: Int) -> [Range<Int>] {
        let ends = (0...ranks).map { (sequences * $0 + ranks - 1) / ranks }
        return (0..<ranks).map { ends[$0]..<ends[$0 + 1] }
    }

    private func ask(_ question: ModelQuestion) throws -> ModelQuestion.Answer {
        let shares = Self.shares(question.batch.sequenceCount, among: group.count)
        let asked = (1..<group.count).filter { !shares[$0].isEmpty }
        guard !asked.isEmpty else { return try question.answer(by: own) }
        try group.order(id) { rank in
            guard !shares[rank].isEmpty else { return nil }
            var message = RankMessage()
            message.write(ModelOrder.ask.rawValue)
            message.write(question.sequences(shares[rank]))
            return message
        }
        let (first, others) = try group.answers(of: asked) {
            try question.sequences(shares[0]).answer(by: own)
        }
        var result = ModelQuestion.Answer(values: first.values)
        result.values.reserveCapacity(question.batch.tokenCount)
        var parts = [first.rows]
        for var message in others {
            let part = message.readAnswer()
            result.values += part.values
            parts.append(part.rows)
        }
        if let width = first.rows?.columns {
            let rows = Matrix(rows: question.batch.tokenCount, columns: width)
            var at = rows.elements
            for case let part? in parts {
                at.update(from: part.elements, count: part.count)
                at += part.count
            }
            result.rows = rows
        }
        return result
    }

    // MARK: LanguageModel

    package func residual(of batch: TokenBatch, at hook: HookPoint) throws -> Matrix {
        try ask(ModelQuestion(kind: .residual, batch: batch, hook: hook)).rows!
    }

    package func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        try ask(ModelQuestion(kind: .losses, batch: batch, hook: hook, residual: residual)).values
    }

    package func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix) {
        let answer = try ask(
            ModelQuestion(kind: .lossesAndGradient, batch: batch, hook: hook, residual: residual))
        return (answer.values, answer.rows!)
    }

    package func values(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric
    ) throws -> [Float] {
        try ask(ModelQuestion(kind: .values, batch: batch, hook: hook, residual: residual, metric: metric)).values
    }

    package func valuesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric, weights: [Float]?,
        rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix) {
        let answer = try ask(
            ModelQuestion(
                kind: .valuesAndGradient, batch: batch, hook: hook, residual: residual, metric: metric,
                weights: weights, rule: rule))
        return (answer.values, answer.rows!)
    }

    package func finalScales(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        try ask(ModelQuestion(kind: .finalScales, batch: batch, hook: hook, residual: residual)).values
    }

    package func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix {
        try ask(ModelQuestion(kind: .logits, batch: batch, hook: hook, residual: residual)).rows!
    }

    // Few rows, and no sequences to cut.
    package func headRows(_ ids: [Int32]) throws -> Matrix { try own.headRows(ids) }
    package func directLogits(of directions: Matrix) -> Matrix { own.directLogits(of: directions) }

    package var preferredReplayTokens: Int { group.count * own.preferredReplayTokens }

    package func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay {
        try RankedReplay(of: batch, residual, at: hook, own: own, group, model: id)
    }
}

/// The replay of a batch whose sequences are kept by the ranks that ran them.
private final class RankedReplay: SuffixReplay {
    private let own: any SuffixReplay
    private let group: RankGroup
    private let model: Int
    private let id: Int
    private let shares: [Range<Int>]
    private let length: Int
    private let width: Int
    private let residual: Matrix
    private var found: [Float]?

    init(
        of batch: TokenBatch, _ residual: Matrix, at hook: HookPoint, own: any LanguageModel, _ group: RankGroup,
        model: Int
    ) throws {
        (self.group, self.model, self.residual) = (group, model, residual)
        let (shares, length) = (RankedModel.shares(batch.sequenceCount, among: group.count), batch.length)
        (self.shares, self.length, width) = (shares, length, residual.columns)
        let id = group.nextService()
        self.id = id
        func rows(_ rank: Int) -> Matrix {
            residual.copy(rows: shares[rank].lowerBound * length..<shares[rank].upperBound * length)
        }
        try group.order(model) { rank in
            guard !shares[rank].isEmpty else { return nil }
            var message = RankMessage()
            message.write(ModelOrder.keep.rawValue)
            message.write(id)
            message.write(batch.sequences(shares[rank]))
            message.write(rows(rank))
            message.write(hook)
            return message
        }
        (self.own, _) = try group.answers(of: (1..<group.count).filter { !shares[$0].isEmpty }) {
            try own.replay(of: batch.sequences(shares[0]), residual: rows(0), at: hook)
        }
    }

    deinit {
        var message = RankMessage()
        message.write(ModelOrder.forget.rawValue)
        message.write(id)
        try? group.order(model, all: message)
    }

    private func message(wantsOwn: Bool) -> RankMessage {
        var message = RankMessage()
        message.write(ModelOrder.suffixes.rawValue)
        message.write(id)
        message.write(wantsOwn)
        return message
    }

    var losses: [Float] {
        get throws {
            if let found { return found }
            let asked = (1..<group.count).filter { !shares[$0].isEmpty }
            try group.order(model) { asked.contains($0) ? message(wantsOwn: true) : nil }
            let (first, others) = try group.answers(of: asked) { try own.losses }
            let all = others.reduce(into: first) { all, answer in
                var answer = answer
                all += answer.read([Float].self)
            }
            found = all
            return all
        }
    }

    var preferredRows: Int { group.count * own.preferredRows }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) throws {
        var parts = [[Int]](repeating: [], count: group.count)
        var starts = [0]
        for (i, suffix) in suffixes.enumerated() {
            parts[shares.firstIndex { $0.contains(suffix.sequence) }!].append(i)
            starts.append(starts.last! + length - suffix.first)
        }
        let asked = (1..<group.count).filter { !parts[$0].isEmpty }
        try group.order(model) { rank in
            guard !parts[rank].isEmpty else { return nil }
            var message = message(wantsOwn: false)
            SuffixMessage.write(
                parts[rank].map { suffixes[$0] }, from: shares[rank].lowerBound, width: width, length: length,
                to: &message)
            return message
        }
        let rows = parts[0].reduce(0) { $0 + length - suffixes[$1].first }
        let (first, others) = try group.answers(of: asked) {
            var first = [Float](repeating: 0, count: rows)
            try first.withUnsafeMutableBufferPointer { buffer in
                if let start = buffer.baseAddress, rows > 0 {
                    try own.losses(of: parts[0].map { suffixes[$0] }, into: start)
                }
            }
            return first
        }
        func place(_ found: [Float], _ part: [Int]) {
            var at = 0
            for i in part {
                for t in 0..<length - suffixes[i].first { losses[starts[i] + t] = found[at + t] }
                at += length - suffixes[i].first
            }
        }
        place(first, parts[0])
        for (rank, answer) in zip(asked, others) {
            var answer = answer
            place(answer.read(), parts[rank])
        }
    }
}
