import LanguageModeling
import LinearAlgebra
import TensorFiles

/// What a model has at the last token of a task's prompts: all that probes see.
package struct LastTokens {
    let model: any LanguageModel
    let tokenizer: Tokenizer
    private let hook: HookPoint
    let beginning: Int32?

    /// sae-probes keeps so many tokens of a prompt, the last.
    package static let mostTokens = 1024
    /// Positions of a pass, padding included.
    private static let passPositions = 4096

    /// Prompts begin with `beginning`, if it is there, as the model was trained.
    package init(model: any LanguageModel, tokenizer: Tokenizer, hook: HookPoint, beginning: Int32?) {
        (self.model, self.tokenizer, self.hook, self.beginning) = (model, tokenizer, hook, beginning)
    }

    /// x `[n, d]`. `progress` is told of prompts.
    ///
    /// - Throws: what the model and `progress` throw; `ProbingError.emptyPrompt`, `.notFinite`.
    package func activations(of task: ProbingTask, progress: (Int) throws -> Void) throws -> Matrix {
        try activations(of: tokens(of: task), named: task.name, progress: progress)
    }

    /// The same of rows of tokens, each at its last; an error calls them by a name.
    ///
    /// - Throws: what the model and `progress` throw; `ProbingError.notFinite`.
    package func activations(of prompts: [[Int32]], named name: String, progress: (Int) throws -> Void) throws -> Matrix
    {
        let result = Matrix(rows: prompts.count, columns: model.configuration.dModel)
        // Prompts of like lengths go together, so that little is padding.
        let order = prompts.indices.sorted { (prompts[$0].count, $0) < (prompts[$1].count, $1) }
        var first = 0
        while first < order.count {
            var last = first
            while last + 1 < order.count, (last + 2 - first) * prompts[order[last + 1]].count <= Self.passPositions {
                last += 1
            }
            let rows = Array(order[first...last]), length = prompts[order[last]].count
            let batch = TokenBatch(
                ids: rows.flatMap { prompts[$0] + [Int32](repeating: 0, count: length - prompts[$0].count) },
                counts: rows.map { prompts[$0].count }, length: length)
            let residual = try model.residual(of: batch, at: hook)
            for (i, row) in rows.enumerated() {
                let x = residual.row(i * length + prompts[row].count - 1)
                guard (0..<result.columns).allSatisfy({ x[$0].isFinite }) else {
                    throw ProbingError.notFinite(task: name, row: row + 1)
                }
                result.row(row).update(from: x, count: result.columns)
            }
            try progress(rows.count)
            first = last + 1
        }
        return result
    }

    /// The last tokens of each prompt, behind the one that every text begins with.
    package func tokens(of task: ProbingTask) throws -> [[Int32]] {
        let most = min(Self.mostTokens, model.configuration.contextLength)
        let start = beginning.map { [$0] } ?? []
        return try tokenizer.encode(documents: task.prompts).enumerated().map { row, ids in
            let kept = start + ids.suffix(most - start.count)
            guard !kept.isEmpty else { throw ProbingError.emptyPrompt(task: task.name, row: row + 1) }
            return kept
        }
    }
}
