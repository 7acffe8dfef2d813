import ArgumentParser
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

    /// The number of forwards: a time is divided by what a whole sequence takes here, from the hook point to the losses. A
    /// change late in a sequence takes less, so the time is an upper bound.
    ///
    /// - Throws: what the model throws.
    func forwards(_ loaded: ScoringInput.Loaded) throws -> Int {
        switch self {
        case .forwards(let number): return number
        case .time(let limit):
            let sample = try loaded.sample(0..<min(4, loaded.tokens.sequenceCount))
            func run() throws -> Double {
                let start = monotonicSeconds()
                _ = try loaded.model.losses(of: sample.tokens, residual: sample.residual, afterLayer: loaded.layer)
                return monotonicSeconds() - start
            }
            // The first run touches memory for the first time.
            _ = try run()
            let each = try run() / Double(sample.tokens.sequenceCount)
            let forwards = max(1, Int(min(limit / max(each, 1e-9), 1e15)))
            Terminal.shared.note("--budget: a forward takes \(decimals(each, 3)) s here, so it is \(forwards) forwards")
            return forwards
        }
    }
}
