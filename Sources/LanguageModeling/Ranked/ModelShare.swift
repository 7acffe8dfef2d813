import LinearAlgebra
import Ranks

/// What rank 0 asks of another rank's model.
enum ModelOrder: UInt8 {
    case ask, keep, suffixes, forget
}

/// A rank's model, which answers for its share of the sequences of each batch.
package final class ModelShare: RankService {
    package static let kind = "language model"

    private let model: any LanguageModel
    private let group: RankGroup
    /// Batches that were run, by number, and how long their sequences are.
    private var kept: [Int: (replay: any SuffixReplay, length: Int)] = [:]

    /// Makes what rank 0 asks for: `load` loads it.
    ///
    /// - Throws: `RankError`. What goes wrong with the model is answered.
    package static func make(
        _ group: RankGroup, _ message: inout RankMessage, load: (inout RankMessage) throws -> any LanguageModel
    ) throws -> any RankService {
        let result = Result { try load(&message) }
        try group.answer { _ in _ = try result.get() }
        return (try? result.get()).map { ModelShare($0, group) } ?? NoModel()
    }

    private init(_ model: any LanguageModel, _ group: RankGroup) { (self.model, self.group) = (model, group) }

    package func perform(_ order: inout RankMessage) throws {
        guard let what = ModelOrder(rawValue: order.read()) else { preconditionFailure("an order that is none") }
        switch what {
        case .ask:
            let question = order.readQuestion()
            try group.answer { $0.write(try question.answer(by: model)) }
        case .keep:
            let id: Int = order.read()
            let (batch, residual, hook) = (order.readBatch(), order.readMatrix()!, order.readHook())
            try group.answer { _ in
                kept[id] = (try model.replay(of: batch, residual: residual, at: hook), batch.length)
            }
        case .suffixes:
            let (id, wantsOwn): (Int, Bool) = (order.read(), order.read())
            guard let (replay, length) = kept[id] else { preconditionFailure("a batch that is not kept") }
            try group.answer { answer in
                if wantsOwn { return answer.write(try replay.losses) }
                let suffixes = SuffixMessage(reading: &order, width: model.configuration.dModel, length: length)
                answer.write(try suffixes.losses(by: replay, length: length))
            }
        case .forget: kept[order.read(Int.self)] = nil
        }
    }

    /// In the place of a model that could not be loaded, which rank 0 has been told.
    private final class NoModel: RankService {
        func perform(_ order: inout RankMessage) { preconditionFailure("an order to a model that is not there") }
    }
}

/// Suffixes on their way to the rank that keeps their sequences.
struct SuffixMessage {
    private let suffixes: [SequenceSuffix]
    /// What the suffixes point to.
    private let rows: Matrix

    /// The losses of all, one after the other.
    func losses(by replay: any SuffixReplay, length: Int) throws -> [Float] {
        let count = suffixes.reduce(0) { $0 + length - $1.first }
        var losses = [Float](repeating: 0, count: count)
        try losses.withUnsafeMutableBufferPointer { buffer in
            if let start = buffer.baseAddress { try replay.losses(of: suffixes, into: start) }
        }
        extendLifetime(rows)
        return losses
    }

    /// Rows that several of them add are sent once.
    static func write(
        _ suffixes: [SequenceSuffix], from first: Int, width: Int, length: Int, to message: inout RankMessage
    ) {
        var (places, sources) = ([UnsafePointer<Float>: Int](), [UnsafePointer<Float>]())
        func place(_ row: UnsafePointer<Float>) -> Int {
            if let place = places[row] { return place }
            places[row] = sources.count
            sources.append(row)
            return sources.count - 1
        }
        var heads = RankMessage()
        for suffix in suffixes {
            heads.write(suffix.sequence - first)
            heads.write(suffix.first)
            switch suffix.content {
            case .rows(let own):
                heads.write(-1)
                heads.write(sources.count)
                for t in 0..<length - suffix.first { sources.append(own + t * width) }
            case .additions(let additions):
                heads.write(additions.count)
                for addition in additions {
                    heads.write(addition.position)
                    heads.write(addition.factor)
                    heads.write(place(addition.row))
                }
            }
        }
        message.write(sources.count)
        for source in sources { message.write(source, count: width) }
        message.write(suffixes.count)
        message.append(heads)
    }

    init(reading message: inout RankMessage, width: Int, length: Int) {
        let rows = Matrix(rows: message.read(), columns: width)
        message.read(into: rows.elements, count: rows.count)
        let count: Int = message.read()
        suffixes = (0..<count).map { _ in
            let (sequence, first, additions): (Int, Int, Int) = (message.read(), message.read(), message.read())
            guard additions >= 0 else {
                return SequenceSuffix(sequence: sequence, first: first, residual: rows.row(message.read()))
            }
            return SequenceSuffix(
                sequence: sequence, first: first,
                additions: (0..<additions).map { _ in
                    SequenceSuffix.Addition(
                        position: message.read(), factor: message.read(), row: rows.row(message.read()))
                })
        }
        self.rows = rows
    }
}
