import LinearAlgebra
import Ranks
import TensorFiles

/// What a model is asked about a batch whose sequences are shared out among ranks. All that is of tokens is cut with them.
struct ModelQuestion {
    enum Kind: UInt8 {
        case residual, losses, lossesAndGradient, values, valuesAndGradient, finalScales, logits
    }

    let kind: Kind
    let batch: TokenBatch
    let hook: HookPoint
    /// [B·T, d]; nil where the activations are what is asked for.
    var residual: Matrix?
    var metric = TokenMetric.loss
    /// [B·T].
    var weights: [Float]?
    var rule = BackwardRule.plain

    /// [B·T] numbers, no more than `values` where there are none; and a row for each token, if rows were asked for.
    struct Answer {
        var values: [Float] = []
        var rows: Matrix?
    }

    /// The question about some of the sequences.
    func sequences(_ range: Range<Int>) -> ModelQuestion {
        let tokens = range.lowerBound * batch.length..<range.upperBound * batch.length
        var part = ModelQuestion(
            kind: kind, batch: batch.sequences(range), hook: hook, residual: residual?.copy(rows: tokens),
            metric: metric, weights: weights.map { Array($0[tokens]) }, rule: rule)
        if case .divergence(let own) = metric { part.metric = .divergence(from: own.copy(rows: tokens)) }
        return part
    }

    func answer(by model: any LanguageModel) throws -> Answer {
        func residual() -> Matrix { self.residual! }
        switch kind {
        case .residual: return Answer(rows: try model.residual(of: batch, at: hook))
        case .losses: return Answer(values: try model.losses(of: batch, residual: residual(), at: hook))
        case .lossesAndGradient:
            let (losses, gradient) = try model.lossesAndGradient(of: batch, residual: residual(), at: hook)
            return Answer(values: losses, rows: gradient)
        case .values:
            return Answer(values: try model.values(of: batch, residual: residual(), at: hook, metric: metric))
        case .valuesAndGradient:
            let (values, gradient) = try model.valuesAndGradient(
                of: batch, residual: residual(), at: hook, metric: metric, weights: weights, rule: rule)
            return Answer(values: values, rows: gradient)
        case .finalScales: return Answer(values: try model.finalScales(of: batch, residual: residual(), at: hook))
        case .logits: return Answer(rows: try model.logits(of: batch, residual: residual(), at: hook))
        }
    }
}

// MARK: As messages

extension RankMessage {
    mutating func write(_ question: ModelQuestion) {
        write(question.kind.rawValue)
        write(question.batch)
        write(question.hook)
        write(question.residual)
        switch question.metric {
        case .loss: write(UInt8(0))
        case .divergence(let own):
            write(UInt8(1))
            write(own)
        case .logitDifference(let a, let b):
            write(UInt8(2))
            write([a, b])
        case .direction(let direction, let layer):
            write(UInt8(3))
            write(direction)
            write(layer)
        }
        write(question.weights != nil)
        write(question.weights ?? [])
        write(question.rule.rawValue)
    }

    mutating func readQuestion() -> ModelQuestion {
        var question = ModelQuestion(
            kind: ModelQuestion.Kind(rawValue: read())!, batch: readBatch(), hook: readHook(), residual: readMatrix())
        switch read(UInt8.self) {
        case 1: question.metric = .divergence(from: readMatrix()!)
        case 2:
            let ids = read([Int32].self)
            question.metric = .logitDifference(ids[0], ids[1])
        case 3: question.metric = .direction(read(), layer: read())
        default: question.metric = .loss
        }
        let hasWeights: Bool = read()
        let weights: [Float] = read()
        question.weights = hasWeights ? weights : nil
        question.rule = BackwardRule(rawValue: read())
        return question
    }

    mutating func write(_ answer: ModelQuestion.Answer) {
        write(answer.values)
        write(answer.rows)
    }

    mutating func readAnswer() -> ModelQuestion.Answer { ModelQuestion.Answer(values: read(), rows: readMatrix()) }

    mutating func write(_ batch: TokenBatch) {
        write(batch.ids)
        write(batch.counts ?? [Int](repeating: batch.length, count: batch.sequenceCount))
        write(batch.length)
    }

    mutating func readBatch() -> TokenBatch { TokenBatch(ids: read(), counts: read(), length: read()) }

    mutating func write(_ hook: HookPoint) { write(hook.name) }

    mutating func readHook() -> HookPoint { HookPoint(read())! }

    mutating func write(_ matrix: Matrix?) {
        write(matrix?.rows ?? -1)
        guard let matrix else { return }
        write(matrix.columns)
        write(matrix.elements, count: matrix.count)
    }

    mutating func readMatrix() -> Matrix? {
        let rows: Int = read()
        guard rows >= 0 else { return nil }
        let matrix = Matrix(rows: rows, columns: read())
        read(into: matrix.elements, count: matrix.count)
        return matrix
    }
}
