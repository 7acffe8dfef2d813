import KernelTable
import LinearAlgebra

/// All of a training step that is of size B·d, F·d or k·B, on whatever machine holds the SAE; what decides (schedules,
/// budgets, which latents are dead, thresholds, records) is `Trainer`'s, in small arrays of the host.
///
/// A step is `begin`, `select`, `chooseAuxiliary` where latents are dead, `computeLosses`, `replaceCodeGradients` where
/// the rule learns, `computeEncoderGradients`, `results`, `update`. An implementation may work behind a call and wait
/// only where one returns numbers. Everything runs on the caller's thread.
package protocol StepArithmetic: AnyObject {
    /// Begins a step with x [B, D], which stays as it is until the next; `silent` are latents that are dead unless they
    /// fire in it, ascending, those the auxiliary loss may be about; nil where there are none, on no rank.
    func begin(_ x: Matrix, silent: [Int]?) throws

    /// A matrix [B, D] for batches, in memory from which they get there soonest.
    func makeBatch() throws -> Matrix

    /// Whether a batch can be on its way while the one before is computed with.
    var preparesAhead: Bool { get }

    /// Starts to bring x, with which the next step will begin, to where it is computed with.
    func prepare(_ x: Matrix) throws

    /// Encodes the batch, lets the rule choose, and keeps the codes by token and by latent.
    ///
    /// - Throws: as `SparseEncoder.select`.
    func select(_ context: SelectionContext) throws -> SelectionSummary

    /// [F] entries above 0 of each latent among the codes.
    func countActive(into counts: UnsafeMutableBufferPointer<Int32>) throws

    /// Chooses what `dead` latents, some of the silent ones and at least one among all ranks, reconstruct with: the `auxiliaryCount`
    /// largest of a token, of equal ones those of the lower latents.
    func chooseAuxiliary(dead: [Int]) throws

    /// The losses' residuals and the gradients of decoder, decoder bias and codes. With `projecting`, those of decoder
    /// rows lose their part along the row.
    func computeLosses(projecting: Bool) throws

    /// For a rule that learns: brings it ∂L/∂f of its candidates, and takes ∂(L + penalty)/∂p in their place.
    /// Candidates of `dead` latents get no gradient: what could revive them comes from the auxiliary loss.
    func replaceCodeGradients(_ learned: any StepLearning, _ context: SelectionContext, dead: [Int]) throws

    /// Gradients of encoder, encoder bias and, through the encoder, decoder bias.
    func computeEncoderGradients() throws

    /// What the step has come to.
    func results() throws -> StepResults

    /// Adam, its gradient scale being the clip's factor; decoder rows are then unit rows again. It may be put off until the next batch is
    /// encoded.
    func update(_ step: AdamStep) throws

    /// Takes over b_dec of the state's SAE, which was changed.
    func decoderBiasChanged() throws

    /// Puts these in the place of b_enc of the first latents.
    func setCoreBias(_ biases: [Float]) throws

    /// Brings these of `TrainerState.tensors`, of the state that this began from, up to date: they are stale after
    /// `forget`, after every step, and, unless they are what it computes with, from the beginning on.
    func export(_ numbers: Range<Int>) throws

    /// Does without these again, and their memory where there is much of it.
    func forget(_ numbers: Range<Int>)

    /// After the last step: brings the parameters up to date, and does without the rest, of which nobody asks any more.
    func finish() throws

    /// x − b_dec [B, D] of the last batch, no rows before the first.
    func lastCentered() throws -> Matrix

    /// What the last batch left, for tests.
    func inspect() throws -> StepInspection

    /// How often a selection found too little and was made again.
    var repeatCount: Int { get }
}

/// The numbers of a step.
package struct StepResults {
    /// Σ_b ‖r_i‖² for each prefix.
    package var squares: [Double]
    /// L_aux, 0 where no latent is dead.
    package var auxiliary: Double
    /// ‖all gradients‖₂, rows that do not train left out.
    package var gradientNorm: Double

    package init(squares: [Double], auxiliary: Double, gradientNorm: Double) {
        (self.squares, self.auxiliary, self.gradientNorm) = (squares, auxiliary, gradientNorm)
    }
}

/// What a batch leaves besides its numbers.
package struct StepInspection {
    /// f [B, F].
    package let codes: SparseCodes
    /// z [B, F] of dead latents.
    package let auxiliary: SparseCodes
    /// mean_b ‖r − r̄‖².
    package let auxiliaryDenominator: Double
    /// ∂L of all parameters in their places; 0 for a latent without entry, and frozen rows of the encoder undefined.
    package let gradients: SparseAutoencoder

    package init(codes: SparseCodes, auxiliary: SparseCodes, auxiliaryDenominator: Double, gradients: SparseAutoencoder)
    {
        (self.codes, self.auxiliary) = (codes, auxiliary)
        (self.auxiliaryDenominator, self.gradients) = (auxiliaryDenominator, gradients)
    }
}

/// All that does not change over a training and that its arithmetic has to know.
package struct StepSetting {
    /// Its settings, resolved and checked.
    package let plan: TrainingPlan
    /// Chooses among the pre-activations.
    package let rule: any SparsityRule
    /// What a step of the rule learns, if it does.
    package let learned: (any StepLearning)?
    /// Encoder rows that do not train.
    package let frozenCount: Int

    /// What the rule keeps of a centred batch, on lanes; `places` are for a rule that learns.
    func select(
        _ centered: Matrix, with sae: SparseAutoencoder, _ context: SelectionContext, by encoder: SparseEncoder,
        beside: RowCandidates? = nil, places: CandidatePlaces?, into codes: SparseCodes
    ) throws -> SelectionSummary {
        guard let learned, let places else {
            return try encoder.select(
                centered, with: sae, rule: rule, context, budget: plan.budget, beside: beside, into: codes)
        }
        return try encoder.selectLearned(
            centered, with: sae, rule: rule, learned, context, beside: beside, places: places, into: codes)
    }
}

/// Where trainings are computed.
package protocol TrainingDevice: Sendable {
    /// What a run's record says of it, by name: "device", "precision", "driver" …; two runs of other records
    /// may differ in bits.
    var record: [String: String] { get }
    /// The memory that a training asks this machine for, besides the host's, nil if none.
    func memory(dIn: Int, layout: PrefixLayout, k: Double, batch: Int) -> MemoryNeed?
    /// Bytes that are left of memory of its own; nil if it has none.
    var freeMemory: Int? { get }
    /// How many ranks its latents are cut among.
    var rankCount: Int { get }
    /// Refuses what it cannot train, before anything is made for it.
    ///
    /// - Throws: `SparseCodingError.badSetting`.
    func check(_ layout: PrefixLayout, _ rule: any SparsityRule) throws
    /// Takes over a state; of a rank's latents among those of its peers, if there are any.
    func arithmetic(_ state: TrainerState, _ setting: StepSetting, among peers: LatentPeers?) throws
        -> any StepArithmetic
}

extension TrainingDevice {
    /// Lanes compute in the host's.
    package var freeMemory: Int? { nil }
    /// Most have all latents.
    package var rankCount: Int { 1 }
    /// Most train everything.
    package func check(_ layout: PrefixLayout, _ rule: any SparsityRule) throws {}
}
