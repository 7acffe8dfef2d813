import LinearAlgebra

/// A tensor [F] that trains with the SAE.
public struct LearnableTensor: Sendable, Equatable, Codable {
    /// Its name in files.
    public var name: String
    /// One line for people.
    public var description: String
    /// Every element at the start.
    public var initial: Double
    /// Elements are clamped to `minimum...maximum` after each update.
    public var minimum: Double
    /// The largest value that it may take; see `minimum`.
    public var maximum: Double
    /// Multiple of the training's learning rate.
    public var learningRateMultiple: Double

    /// A described tensor.
    public init(
        name: String, description: String, initial: Double, minimum: Double, maximum: Double,
        learningRateMultiple: Double
    ) {
        self.name = name
        self.description = description
        self.initial = initial
        self.minimum = minimum
        self.maximum = maximum
        self.learningRateMultiple = learningRateMultiple
    }
}

/// The half of a rule that trains: floors, surrogate gradient, penalty.
public protocol SparsityRuleLearning: AnyObject, Sendable {
    /// The tensors, in the order of `SelectionContext.learnables`.
    var tensors: [LearnableTensor] { get }
    /// [F] pre-activations at and below which are not candidates.
    func floors(_ context: SelectionContext, into floors: UnsafeMutableBufferPointer<Float>) throws
    /// From ∂L/∂f of every candidate, kept or not, to ∂(L + penalty)/∂p, written, and ∂(L + penalty)/∂tensor, [F] each,
    /// added; returns the penalty.
    func backward(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, codeGradient: UnsafeBufferPointer<Float>,
        _ context: SelectionContext, preactivationGradient: UnsafeMutableBufferPointer<Float>,
        tensorGradients: [UnsafeMutableBufferPointer<Double>]
    ) throws -> Double
    /// Fits the tensors, in place, to pre-activations multiplied by `factor`.
    func rescale(_ tensors: [Matrix], factor: Double) throws
}

/// The half of a rule that says how a trained SAE is used, after looking at batches if it must.
public protocol SparsityRuleInference: AnyObject, Sendable {
    /// Changes with the layout of the state.
    var stateVersion: Int { get }
    /// Bytes of calibration state, owned by the caller, zero at first; 0: nothing to calibrate.
    func stateSize(latentCount: Int) throws -> Int
    /// Looks at a batch.
    func calibrate(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        state: UnsafeMutableRawBufferPointer) throws
    /// Adds the state of later batches.
    func merge(latentCount: Int, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws
    /// The form to use.
    func form(_ context: SelectionContext, state: UnsafeRawBufferPointer) throws -> InferenceForm
}
