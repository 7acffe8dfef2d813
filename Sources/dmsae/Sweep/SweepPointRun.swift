import Distillation
import Glibc
import LanguageModeling
import SAEFormats
import TensorFiles

/// One point of a sweep in this process: a distillation that takes over what others have done.
struct SweepPointRun {
    private let command: SweepCommand
    private let folder: String

    init(_ command: SweepCommand, folder: String) { (self.command, self.folder) = (command, folder) }

    /// Runs it, or goes on with it.
    ///
    /// - Throws: what stops a run; it is left beside the point's folder too.
    func run(_ index: Int) throws {
        let sweep = try Sweep(folder: folder)
        // Before lanes are started: results hang on their number.
        setenv("DMSAE_LANES", "\(sweep.lanes)", 1)
        let point = try sweep.point(index)
        let failure = folder + "/" + point.failure
        let run = folder + "/" + point.folder
        Interruption.install(advice: "interrupted; continue with: dmsae sweep \(folder) --point \(index)")
        if let parent = command.parent { Interruption.end(with: parent) }
        // One whose sweep was killed goes on to its end.
        while try isWritten(run) {
            try Interruption.request.check()
            usleep(500_000)
        }
        if exists(run + "/result.json") { return }
        unlink(failure)
        do { try distill(point, of: sweep) } catch DistillationError.interrupted {
            throw DistillationError.interrupted
        } catch  where !Interruption.request.isRaised {
            try JSONRecord.write(SweepFailure(error: "\(error)"), to: failure)
            throw error
        }
    }

    /// Whether another process is at it.
    private func isWritten(_ run: String) throws -> Bool {
        guard exists(run) else { return false }
        do { _ = try OutputLock.folder(run) } catch OutputLockError.inUse { return true }
        return false
    }

    private func distill(_ point: SweepPoint, of sweep: Sweep) throws {
        var recipe = point.recipe
        let run = folder + "/" + point.folder
        let start = try recipe.adoptStart()
        try recipe.validate()
        try Surroundings.prepareToCompute(
            advice: "lower sae.width, train.batch, context, sequences or score.tokens of the recipe")
        var corpora: [Corpus] = []
        let device = try command.place.trainingDevice()
        var parts = try DistillationParts(recipe, command.plugins, on: command.place, folder: run, corpora: &corpora)
        parts.device = device
        parts.start = start
        parts.checkpoints = command.checkpoints.policy
        // What a point takes is told, and shown by the bar, as if its trainings came one after the other.
        parts.together = 1
        parts.donors = try sweep.work().donors(of: point, in: folder)
        let distillation = try Distillation(
            recipe, parts: parts, folder: run, progress: Terminal.shared, stop: Interruption.request)
        _ = try distillation.distill(resuming: exists(run + "/run.json"))
        for corpus in corpora { Terminal.shared.warn(skippedIn: corpus) }
    }
}
