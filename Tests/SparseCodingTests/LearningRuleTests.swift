import LinearAlgebra
import TestSupport
import Testing

import SparseCoding

/// Keeps the odd columns of all that is above the floors, remembers the gradients it is told and answers −2g + 0.01.
private final class PassingRule: SparsityRule, SparsityRuleLearning, @unchecked Sendable {
    let name = "passing"
    let version = "0"
    let scope = SelectionScope.all
    var learning: (any SparsityRuleLearning)? { self }
    let tensors = [
        LearnableTensor(
            name: "floor", description: "", initial: 0.3, minimum: 0, maximum: 1, learningRateMultiple: 0)
    ]
    private(set) var candidates = Matrix(rows: 0, columns: 0)
    private(set) var codeGradient = Matrix(rows: 0, columns: 0)

    func upperCount(_ context: SelectionContext) -> Int { .max }

    func floors(_ context: SelectionContext, into floors: UnsafeMutableBufferPointer<Float>) {
        for j in floors.indices { floors[j] = context.learnables[0][j] }
    }

    func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) {
        for e in 0..<candidates.count { selected[e] = UInt8(candidates.columnIndices[e] % 2) }
    }

    func backward(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, codeGradient: UnsafeBufferPointer<Float>,
        _ context: SelectionContext, preactivationGradient: UnsafeMutableBufferPointer<Float>,
        tensorGradients: [UnsafeMutableBufferPointer<Double>]
    ) -> Double {
        self.candidates = candidates.dense()
        self.codeGradient = Matrix(rows: candidates.rows, columns: candidates.columns)
        for r in 0..<candidates.rows {
            for e in candidates.entries(ofRow: r) {
                self.codeGradient[r, Int(candidates.columnIndices[e])] = codeGradient[e]
                preactivationGradient[e] = -2 * codeGradient[e] + 0.01
            }
        }
        return 0
    }

    func rescale(_ tensors: [Matrix], factor: Double) {}
}

/// What a rule that learns is told, and what becomes of its answer, against sums in Double. Tolerances as in
/// `GradientTests`.
@Suite struct LearningRuleTests {
    private let batch = 24
    private let d = 20
    private let latents = 28
    private let core = 3

    private func step(lanes: Int, silent: [Int], projecting: Bool = false) throws -> (
        Trainer, PassingRule, Matrix, StepRecord
    ) {
        let sae = try smallSAE(dIn: d, groups: [4, 6, 8, 10], core: core)
        var settings = TrainingSettings(k: 5, batchSize: batch, steps: 100)
        settings.deadAfterTokens = 1000
        let rule = PassingRule()
        let trainer = try Trainer(
            sae, plan: try TrainingPlan(settings, dIn: d, layout: sae.layout), rule: rule, tokensSinceFired: silent,
            on: Lanes(count: lanes))
        let x = randomMatrix(batch, d, seed: 9, from: -1.5, to: 1.5)
        return (trainer, rule, x, try trainer.computeGradients(x, projecting: projecting))
    }

    /// ⟨S_bg, W_dec,j⟩ for every b and j, kept or not.
    private func expectedCodeGradient(_ sae: SparseAutoencoder, _ x: Matrix, _ codes: Matrix) -> [[Double]] {
        let prefixes = sae.layout.prefixes
        let n = Double(prefixes.count)
        return (0..<batch).map { b in
            let residuals = prefixes.map { end in
                (0..<d).map { c in
                    (0..<end).reduce(Double(x[b, c]) - Double(sae.decoderBias[c])) {
                        $0 - Double(codes[b, $1]) * Double(sae.decoder[$1, c])
                    }
                }
            }
            return (0..<latents).map { j in
                let first = prefixes.firstIndex { j < $0 }!
                let suffix = (0..<d).map { c in (first..<prefixes.count).reduce(0.0) { $0 + residuals[$1][c] / n } }
                let along = (0..<d).reduce(0.0) { $0 + suffix[$1] * Double(sae.decoder[j, $1]) }
                return -2 / (n * Double(batch)) * along
            }
        }
    }

    @Test(arguments: [1, 2, 3]) func `a rule is told the gradient of every candidate, and its answer is used`(
        lanes: Int
    )
        throws
    {
        let (trainer, rule, x, _) = try step(lanes: lanes, silent: [Int](repeating: 0, count: latents))
        let expected = expectedCodeGradient(trainer.sae, x, trainer.lanes.codes.dense())
        var (told, wanted, bias) = ([Float](), [Double](), [Double](repeating: 0, count: latents))
        var encoder = [Double](repeating: 0, count: latents * d)
        var unkept = 0
        for b in 0..<batch {
            for j in 0..<latents {
                let isCandidate = rule.candidates[b, j] != 0
                let isCore = j < core && trainer.lanes.codes.dense()[b, j] > 0
                if isCandidate || isCore {
                    let answer = isCore ? expected[b][j] : -2 * expected[b][j] + 0.01
                    bias[j] += answer
                    for c in 0..<d where j >= core {
                        encoder[j * d + c] += answer * (Double(x[b, c]) - Double(trainer.sae.decoderBias[c]))
                    }
                }
                guard isCandidate else { continue }
                told.append(rule.codeGradient[b, j])
                wanted.append(expected[b][j])
                if trainer.lanes.codes.dense()[b, j] == 0 { unkept += 1 }
            }
        }
        #expect(unkept > 20 && told.count - unkept > 20, "both kinds are there")
        checkClose(told, wanted, tolerance: 2e-5, "∂L/∂f")
        checkClose(trainer.lanes.gradients.encoderBias.values, bias, tolerance: 2e-5, "∂L/∂b_enc")
        checkClose(
            (core..<latents).flatMap { j in (0..<d).map { trainer.lanes.gradients.encoderRow(j)[$0] } },
            Array(encoder[(core * d)...]), tolerance: 2e-5, "∂L/∂W_enc")
    }

    @Test func `a decoder row's gradient has no part of the rule's answer, projected or not`() throws {
        let silent = [Int](repeating: 0, count: latents)
        let (raw, _, _, _) = try step(lanes: 2, silent: silent)
        let (projected, _, _, _) = try step(lanes: 2, silent: silent, projecting: true)
        for j in stride(from: core, to: latents, by: 2) {
            let row = raw.sae.decoder.row(j)
            let g: [Float] = raw.lanes.gradients.decoderRow(j)
            let along = (0..<d).reduce(0.0) { $0 + Double(g[$1]) * Double(row[$1]) }
            // ε of 1e-6 in the norm, as in GradientTests.
            checkClose(
                projected.lanes.gradients.decoderRow(j), (0..<d).map { Double(g[$0]) - along * Double(row[$0]) },
                tolerance: 2e-5, "∂L/∂W_dec of latent \(j)")
        }
    }

    @Test func `candidates of a dead latent move it by the auxiliary loss alone`() throws {
        // Even columns are never kept, so those of them that have long been silent stay dead.
        let silent = (0..<latents).map { $0 % 4 == 0 ? 5000 : 0 }
        let (trainer, rule, x, record) = try step(lanes: 2, silent: silent)
        let dead = (core..<latents).filter { $0 % 4 == 0 }
        #expect(record.deadCount == dead.count && record.auxiliaryLoss > 0)
        let (codes, z) = (trainer.lanes.codes.dense(), trainer.lanes.auxiliary.codes.dense())
        let factor = -2 * trainer.plan.auxiliaryWeight / (Double(batch) * trainer.lanes.auxiliary.denominator)
        var expected = [Double](repeating: 0, count: latents)
        for b in 0..<batch {
            let left = (0..<d).map { c in
                (0..<latents).reduce(Double(x[b, c]) - Double(trainer.sae.decoderBias[c])) {
                    $0 - Double(codes[b, $1] + z[b, $1]) * Double(trainer.sae.decoder[$1, c])
                }
            }
            for j in dead where z[b, j] > 0 {
                expected[j] += factor * (0..<d).reduce(0) { $0 + left[$1] * Double(trainer.sae.decoder[j, $1]) }
            }
        }
        checkClose(
            dead.map { trainer.lanes.gradients.encoderBias[$0] }, dead.map { expected[$0] }, tolerance: 2e-5,
            "∂L/∂b_enc")
        for j in dead {
            #expect((0..<batch).contains { rule.candidates[$0, j] != 0 }, "latent \(j) is a candidate")
            #expect(trainer.lanes.gradients.decoderRow(j).contains { $0 != 0 }, "its decoder row has a gradient")
        }
    }
}
