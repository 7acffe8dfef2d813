import Attribution
import TensorFiles

/// What a file of an evaluation measures; files of one kind and the same settings are held side by side.
package enum EvaluationKind: String, Sendable, CaseIterable {
    case core, probes, absorption, meta, synthetic

    /// As pages head it.
    var title: String {
        switch self {
        case .core: "Core metrics"
        case .probes: "Sparse probes"
        case .absorption: "Absorption of first letters"
        case .meta: "Structure of decoder rows"
        case .synthetic: "Known features"
        }
    }

    /// What brackets hold, where a row is one SAE.
    var interval: String {
        switch self {
        case .core: "Brackets hold 95% of the results when sequences are drawn again."
        case .probes: "Areas under the ROC curve; brackets hold the mean's 95% interval by Student's t over tasks."
        case .absorption: "Brackets hold the mean's 95% interval by Student's t over letters."
        case .meta: "Of as many others, brackets hold 95% of draws."
        case .synthetic: "Of as many others, brackets hold 95% of draws."
        }
    }

    /// What the units of its measures are called: differences of two SAEs are paired by them.
    var units: String {
        switch self {
        case .probes: "tasks"
        case .absorption: "letters"
        case .core, .meta, .synthetic: "units"
        }
    }
}

/// Something that an evaluation says of an SAE.
struct EvaluationMeasure: Hashable, Sendable {
    /// What it is said of: "all latents", "the core".
    let part: String
    let name: String
    var places = 3
    /// Its name in the table of all evaluations; nil for what is not in it.
    var headline: String?
    /// Those of one figure stand side by side in it.
    var figure: String?
}

/// What a measure came to.
struct EvaluatedMeasure: Sendable {
    let measure: EvaluationMeasure
    let value: Interval
    /// By task or letter, where the value is a mean over such.
    var units: [String: Double] = [:]
}
