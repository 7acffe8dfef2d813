import TensorFiles

/// What can go wrong with an SAE's shape, its file, its training or its sparsity rule.
public enum SparseCodingError: Error, CustomStringConvertible, Equatable {
    /// Group sizes that do not sum to the width.
    case groupsDoNotSum(groups: [Int], width: Int)
    /// A group size that is not positive.
    case emptyGroup(groups: [Int], index: Int)
    /// A core as wide as the SAE.
    case coreFillsWidth(core: Int, width: Int)
    /// A core that shrinks a group to nothing.
    case coreEmptiesGroup(core: Int, group: Int, groups: [Int])
    /// More active latents asked for than there are.
    case tooManyActive(k: Double, width: Int)
    /// A number of a training configuration out of its range.
    case badSetting(name: String, value: String, wanted: String)
    /// A batch of the wrong width.
    case inputWidth(found: Int, wanted: Int)
    /// Inference without a threshold.
    case thresholdUnset
    /// The dense core used the whole budget for many steps in a row.
    case starved(step: Int, steps: Int, k: Double, core: Int, meanActiveCore: Double)
    /// The loss is no longer a number.
    case diverged(step: Int, loss: Double)
    /// The gradients' norm is not a number or infinite.
    case gradientDiverged(step: Int, norm: Double)
    /// A pre-activation is infinite.
    case overflowed(step: Int, latent: Int)
    /// A rule broke its promise.
    case ruleSelectedTooMany(rule: String, selected: Int, allowed: Int)
    /// An SAE whose form a training with this rule would lose.
    case formNotContinued(form: String, rule: String, advice: String)
    /// A folder that does not hold an SAE this program reads.
    case badFolder(path: String, reason: String, advice: String)
    /// Decoder norms that cannot be folded into the latents without making another function of the SAE.
    case cannotFold(reason: String)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .groupsDoNotSum(let groups, let width):
            "groups \(list(groups)) sum to \(PrefixLayout.sum(groups)), not to the width \(width); "
                + "change --groups or --width"
        case .emptyGroup(let groups, let index):
            "group \(index + 1) of \(list(groups)) has no latent; every group needs at least one"
        case .coreFillsWidth(let core, let width):
            "a core of \(core) latents leaves none of \(width) to train; widen the SAE or lower τ"
        case .coreEmptiesGroup(let core, let group, let groups):
            "a core of \(core) latents leaves group \(group + 1) of \(list(groups)) empty; "
                + "make the group larger or lower τ"
        case .tooManyActive(let k, let width):
            "k = \(number(k)) exceeds the \(width) latents there are; lower --k"
        case .badSetting(let name, let value, let wanted):
            "\(name) is \(value); it must be \(wanted)"
        case .inputWidth(let found, let wanted):
            "the activations are \(found) wide, the SAE reads \(wanted); use activations of its own model"
        case .thresholdUnset:
            "this SAE's threshold was never set, so it cannot be applied to single tokens; "
                + "train it past --threshold-start (encode can do without: --mode batch)"
        case .starved(let step, let steps, let k, let core, let meanActiveCore):
            "step \(step): the core of \(core) latents used the whole budget for \(steps) steps in a row "
                + "(k = \(number(k)), L0 of the core \(number(meanActiveCore))), so nothing else learns; "
                + "raise k, lower τ, use the budget non-core, or let `train` go on with --allow-starvation"
        case .diverged(let step, let loss):
            "step \(step): the loss is \(loss); lower the learning rate, or look for NaN in the activations"
        case .gradientDiverged(let step, let norm):
            "step \(step): the gradients' norm is \(norm); lower the learning rate, or look for huge numbers in the "
                + "activations"
        case .overflowed(let step, let latent):
            "step \(step): the pre-activation of latent \(latent) is infinite; lower the learning rate, or look for "
                + "huge numbers in the activations"
        case .ruleSelectedTooMany(let rule, let selected, let allowed):
            "sparsity rule \(rule) selected \(selected) entries after promising at most \(allowed); report this to its author"
        case .formNotContinued(let form, let rule, let advice):
            "the SAE to start from \(form), which a training with the sparsity rule \(rule) would lose; \(advice), or start "
                + "without --init"
        case .badFolder(let path, let reason, let advice):
            "\(path) is not an SAE this program reads: \(reason); \(advice)"
        case .cannotFold(let reason):
            "the SAE's decoder rows have other norms than 1, which cannot be folded into its latents: \(reason); --no-fold takes "
                + "the latents on the scale that the file gives them"
        }
    }

    private func list(_ values: [Int]) -> String { values.map(String.init).joined(separator: ", ") }
    private func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15
            ? String(Int(value)) : String((value * 1000).rounded() / 1000)
    }
}
