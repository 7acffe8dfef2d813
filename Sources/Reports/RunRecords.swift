import Distillation
import FoundationEssentials
import SparseCoding
import TensorFiles

/// What the folder of a distillation holds, finished or not.
struct RunRecords {
    let name: String
    let steps: FinishedSteps
    let trainings: [TrainingCurve]

    var run: RunRecord { steps.run }
    var seeds: [FinishedSeed] { steps.seeds }
    /// The final SAEs, side by side.
    var trials: TrialTable { TrialTable(seeds.map(\.trials)) }
    /// Cycles that are finished with some seed.
    var cycleCount: Int { seeds.map(\.cycles.count).max() ?? 0 }

    /// Something of a cycle over the seeds that have it.
    func spread(_ cycle: Int, _ value: (CycleRecord) -> Double?) -> Spread? {
        let all = seeds.compactMap { $0.cycles.indices.contains(cycle) ? value($0.cycles[cycle]) : nil }
        return all.isEmpty ? nil : Spread(all)
    }

    /// Reads it.
    ///
    /// - Throws: `DistillationError` for a step that is not as the run wrote it; `TensorFileError` for a folder that is
    ///   none, or records that cannot be read.
    init(folder: String) throws {
        name = lastComponent(folder)
        steps = try FinishedSteps(folder: folder)
        trainings = try TrainingCurve.read(folder + "/events.jsonl")
    }
}

/// How one training went.
struct TrainingCurve {
    /// Its folder in the run: "cycle-1", "final/k-64/dmsae".
    var name: String
    var steps: [Step] = []

    struct Step {
        var step: Int
        /// Mean active latents of the core per token.
        var core: Double
        /// Loss of the full width, on scaled activations.
        var loss: Double
    }

    /// Its name without that of a seed, and that: "cycle-1" and "seed-2".
    var parts: (name: String, seed: String) {
        guard name.hasPrefix("seed-"), let slash = name.firstIndex(of: "/") else { return (name, "") }
        return (String(name[name.index(after: slash)...]), String(name[..<slash]))
    }

    /// Whether it had a core that fired at some time.
    var hasCore: Bool { steps.contains { $0.core > 0 } }

    /// The fields of a step that are shown.
    private struct Event: Decodable {
        var event: String
        var run: String?
        var record: Record?

        struct Record: Decodable {
            var step: Int?
            var meanActiveCore: Double?
            var prefixLosses: [Double]?
        }
    }

    /// The trainings of a log, in its order; none if there is no log.
    ///
    /// - Throws: `TensorFileError.unreadable` if the log cannot be read.
    static func read(_ path: String) throws -> [TrainingCurve] {
        guard exists(path) else { return [] }
        let data: Data
        do { data = try Data(contentsOf: URL(filePath: path)) } catch {
            throw TensorFileError.unreadable(file: path, reason: "\(error)")
        }
        var curves: [TrainingCurve] = []
        for line in String(decoding: data, as: UTF8.self).split(separator: "\n") {
            // The last line may be cut off; others without these fields are of other events.
            guard let event = try? JSONRecord.decode(Event.self, from: String(line), in: path), event.event == "step",
                let run = event.run, let record = event.record, let step = record.step,
                let loss = record.prefixLosses?.last
            else { continue }
            let found = curves.firstIndex { $0.name == run }
            if found == nil { curves.append(TrainingCurve(name: run)) }
            let index = found ?? curves.count - 1
            // A training that was cut short and begun again starts over.
            if let last = curves[index].steps.last, last.step >= step {
                curves[index].steps.removeAll { $0.step >= step }
            }
            curves[index].steps.append(Step(step: step, core: record.meanActiveCore ?? 0, loss: loss))
        }
        return curves
    }

    /// At most about so many steps, evenly spread, the last among them.
    func thinned(to most: Int) -> [Step] {
        let step = max(1, (steps.count + most - 1) / most)
        return steps.indices.filter { $0 % step == 0 || $0 == steps.count - 1 }.map { steps[$0] }
    }
}
