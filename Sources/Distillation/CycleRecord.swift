import Attribution
import SparseCoding
import TensorFiles

/// How one SAE turned out; `metrics.json`. Everything in it is a function of the recipe: no times. Of an SAE that was not trained
/// in the run, what its training would say is nil.
public struct SAERecord: Codable, Sendable, Equatable {
    /// Seed of its parameters.
    public var seed: UInt64?
    /// Latents frozen from the last core.
    public var frozenCore: Int
    /// Its last training step.
    public var lastStep: StepRecord?
    /// Latents that had been silent for the plan's number of tokens at the end.
    public var deadLatents: Int?
    /// F, latents of the SAE.
    public var width: Int

    /// "12", or "-" where no training counted them.
    public var dead: String { deadLatents.map { "\($0)" } ?? "-" }

    /// On the evaluation text.
    public var evaluation: EvaluationRecord
}

/// What a cycle did.
public struct CycleRecord: Codable, Sendable, Equatable {
    /// t, from 0.
    public var cycle: Int
    /// The SAE it trained.
    public var sae: SAERecord
    /// Size of the core it selected.
    public var coreSize: Int
    /// Of those, latents of the last core.
    public var carriedOver: Int
    /// With the last core; nil in cycle 0.
    public var jaccard: Double?
    /// Share of all attribution in the core.
    public var coverage: Double
    /// m₁, the candidates.
    public var candidates: Int
}

/// The whole run's outcome.
public struct DistillationRecord: Codable, Sendable, Equatable {
    /// Of cycles 0 to T, in order.
    public var cycles: [CycleRecord]
    /// |C*|, latents of the final core.
    public var coreSize: Int
    /// The final SAEs: those of one k together, in the order of the recipe.
    public var trials: [TrialRecord]
}

/// The ways a distillation is known to fail (arXiv:2512.24975, and small-scale runs of the method), read off its
/// records.
package enum FailureSignature {
    package static func found(in record: CycleRecord, first: CycleRecord?, tau: Double) -> [String] {
        let evaluation = record.sae.evaluation
        var warnings = commonSigns(record.sae, "cycle \(record.cycle)")
        if record.sae.frozenCore > 0 {
            if evaluation.l0_core < 0.5 {
                warnings.append(
                    "cycle \(record.cycle): the core has all but stopped firing "
                        + "(L0 of the core \(decimals(evaluation.l0_core, 2)) of \(record.sae.frozenCore) latents)")
            }
            if record.carriedOver == 0 {
                warnings.append(
                    "cycle \(record.cycle): no latent of the last core was selected again; raise k or train longer")
            }
        }
        if record.candidates > 0, Double(record.coreSize) > 0.8 * Double(record.candidates) {
            warnings.append(
                "cycle \(record.cycle): \(record.coreSize) of \(record.candidates) candidates were selected, so the "
                    + "selection says little; make the first group larger or lower τ (now \(decimals(tau, 2)))")
        }
        if let first, first.cycle != record.cycle {
            let (was, now) = (first.sae.evaluation.explained_variance, evaluation.explained_variance)
            if now < 0.5 * was {
                warnings.append(
                    "cycle \(record.cycle): reconstruction collapsed "
                        + "(explained variance \(decimals(now, 3)), \(decimals(was, 3)) in cycle 0)")
            }
        }
        return warnings
    }

    package static func commonSigns(_ record: SAERecord, _ name: String) -> [String] {
        var warnings: [String] = []
        if let dead = record.deadLatents, Double(dead) > Double(record.width) / 2 {
            warnings.append(
                "\(name): \(dead) of \(record.width) latents are dead; "
                    + "narrow the SAE, train longer or raise k")
        }
        if record.frozenCore > 0, let core = record.evaluation.firing_core, 2 * core.above_half >= core.latents {
            warnings.append(
                "\(name): \(core.above_half) of \(core.latents) core latents fire on more than half of the tokens: these are "
                    + "directions, not features; hold them at a rate (core_rate), or let them compete (core_mode sparse)"
            )
        }
        if record.frozenCore > 0, record.evaluation.l0_non_core < 0.05 * record.evaluation.l0 {
            warnings.append(
                "\(name): the dense core uses nearly the whole budget (L0 of the core "
                    + "\(decimals(record.evaluation.l0_core, 1)), outside it \(decimals(record.evaluation.l0_non_core, 1)))"
            )
        }
        return warnings
    }

    /// Before a training in which a dense core counts against the budget.
    package static func beforeTotalBudget(core: Int, k: Double) -> String? {
        guard Double(core) > k / 2 else { return nil }
        return "a dense core of \(core) latents against a total L0 of \(decimals(k, 0)): above half of k it may leave "
            + "nothing for the other latents; raise k or lower τ"
    }
}
