/// Trainings side by side on the same rows, so that what makes rows makes each once for all of them.
///
/// One after the other takes its steps on the block in memory. Where a batch goes on in the next block, a training sets its part aside
/// and waits; the next block is made when all wait. None of them notices: each has the batches, and the bits, that it has alone.
struct TrainingGroup {
    private(set) var members: [OngoingTraining]

    /// Goes on until one is done, and takes that out.
    ///
    /// A training that fails is taken out too; the others are where they were, and can be kept or go on.
    ///
    /// - Throws: as `OngoingTraining.advance` and `TrainingBatches.makeBlock`.
    mutating func next(_ stop: StopRequest) throws -> OngoingTraining {
        precondition(!members.isEmpty, "a group of nobody")
        while true {
            if let done = members.firstIndex(where: \.isDone) { return members.remove(at: done) }
            if let ready = members.first(where: \.isReady) {
                do {
                    while !ready.isDone && ready.isReady { try ready.advance() }
                } catch {
                    members.removeAll { $0 === ready }
                    throw error
                }
                continue
            }
            for member in members { try member.setAside() }
            try stop.check()
            // Those that went on from a checkpoint may be blocks apart.
            guard let last = members.compactMap(\.batches).min(by: { $0.blockNumber < $1.blockNumber }) else {
                preconditionFailure("nobody waits")
            }
            try last.makeBlock()
        }
    }

    /// A checkpoint of each.
    ///
    /// - Throws: as `OngoingTraining.keep`, after all have been tried.
    func keep() throws {
        var failure: (any Error)?
        for member in members {
            do { try member.keep() } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }
}
