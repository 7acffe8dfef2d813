import ArgumentParser
import Attribution
import Distillation
import LinearAlgebra
import TensorFiles

/// How much scorers may ask of the model beyond the pass that all share: a number of forwards, or a time.
enum EvaluationLimit: ExpressibleByArgument, Equatable {
    /// Sequences run again from the hook point, or steps of gradients.
    case forwards(Int)
    case time(seconds: Double)

    init?(argument: String) {
        if let number = Int(argument) {
            guard number >= 1 else { return nil }
            self = .forwards(number)
            return
        }
        for (unit, seconds) in [("min", 60.0), ("s", 1), ("h", 3600)] where argument.hasSuffix(unit) {
            // A thousand years, so that the number of forwards in it is one.
            guard let number = Double(argument.dropLast(unit.count)), number > 0, number * seconds < 3.2e10 else {
                return nil
            }
            self = .time(seconds: number * seconds)
            return
        }
        return nil
    }

    /// The number of forwards; a time is divided by what a whole sequence takes here.
    ///
    /// - Throws: what the model throws.
    func forwards(_ loaded: ScoringInput.Loaded) throws -> Int {
        switch self {
        case .forwards(let number): return number
        case .time(let limit):
            let sample = try loaded.sequences.sample(0..<min(4, loaded.tokens.sequenceCount))
            let (forwards, each) = try EvaluationBudget.forwards(
                in: limit, loaded.spliced, sample, clock: monotonicSeconds)
            Terminal.shared.note("--budget: a forward takes \(decimals(each, 3)) s here, so it is \(forwards) forwards")
            return forwards
        }
    }
}
