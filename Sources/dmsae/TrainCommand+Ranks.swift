import ArgumentParser
import Distillation
import LinearAlgebra
import Ranks
import SparseCoding
import TensorFiles

/// A training whose latents are cut among the ranks of an MPI job. Every rank reads the same batches, from the same files.
extension TrainCommand {
    func run(among group: RankGroup) throws {
        // All that follows is a function of it and of files.
        try group.requireSame("command line", CommandLine.arguments.dropFirst().joined(separator: "\n"))
        try requireShareable()
        try Surroundings.prepareToCompute(advice: "lower --width or --batch, or start more processes")
        let rule = try plugins.rule(sparsity, output: out)
        let rows = try rows()
        let beginning = try beginning(dIn: rows.dIn, blocks: nil, among: group)
        let cut = try LatentCut(beginning.layout, rank: group.rank, of: group.count)
        let plan = try TrainingPlan(settings(), dIn: rows.dIn, layout: beginning.layout)
        let source = try measured(rows, "")
        let peers = LatentPeers(group, cut, coreIsDense: coreMode != .sparse)
        let device = RankedLanes(peers)
        let provenance = try provenance(plan, source, rows, rule, nil, device)
        try requireSame(provenance, group)
        let trainer = try Trainer(
            TrainerState(try startingPoint(beginning, cut, inputScale: source.scale), rule: rule), plan: plan,
            rule: rule, on: device)
        // Rank 0 alone has files; if it fails here the others are ended.
        var files: (lock: OutputLock, log: EventLog)?
        if group.rank == 0 {
            try warnOfOtherPlaces(source, nil)
            try OutputPlace.requireFolder(out, holdingOnly: "sae_weights.safetensors")
            files = (try OutputLock.folder(out), try EventLog(replacing: out + "/events.jsonl"))
        }
        defer { withExtendedLifetime(files?.lock) {} }
        let training = TrainingRun(
            name: out, steps: steps, progress: Terminal.shared, stop: Interruption.request, lock: files?.lock)
        do {
            let outcome = try training.train(
                trainer, from: source.read, log: files?.log, inputScale: source.scale)
            guard let sae = try peers.assembled(trainer.sae), let files else { return }
            try files.lock.requireInPlace()
            try SAEFolder.write(sae, provenance, to: out, log: files.log.replacement)
            try conclude(outcome, sae, plan, rule)
            let sent = Double(group.sentBytes) / Double(steps) / 1e6
            Terminal.shared.note("\(group.count) ranks, each of which sent about \(decimals(sent, 1)) MB a step")
        } catch RankError.interrupted {
            throw DistillationError.interrupted
        }
    }

    /// What is not shared among ranks yet is refused by name.
    private func requireShareable() throws {
        let unshared: [(String, Bool)] = [
            ("--model and --text", live.model != nil), ("--init", self.`init` != nil), ("--resume", resume),
            ("--dry-run", dry.dryRun), ("--device cuda", try place.isCard),
            ("--log tensorboard", log.boardClock != nil),
            ("--checkpoint-every", checkpoints.checkpointEvery != CheckpointOptions.everyMinutes),
        ]
        if let (option, _) = unshared.first(where: \.1) {
            throw ValidationError("\(option) is for one process; leave it out, or start the program alone")
        }
        // For what it refuses.
        _ = try place.trainingDevice()
    }

    /// Refuses ranks that read other files, or see another machine where that changes results.
    private func requireSame(_ provenance: SAEProvenance, _ group: RankGroup) throws {
        var parts = (provenance.settings ?? [:]).merging(provenance.hashes ?? [:]) { $0 + $1 }
        parts["plan"] = try JSONRecord.text(provenance.plan)
        parts["seed"] = "\(seed)"
        try group.requireSame("set of options", parts.keys.sorted().joined(separator: ", "))
        for key in parts.keys.sorted() { try group.requireSame(key, parts[key]!) }
    }

    /// The rank's latents, as they are drawn for all.
    private func startingPoint(
        _ beginning: Beginning, _ cut: LatentCut, inputScale: Float
    ) throws -> SparseAutoencoder {
        let sae = SparseAutoencoder(dIn: beginning.dIn, layout: cut.own, coreIsDense: coreMode != .sparse)
        let places = cut.places[..<cut.own.coreCount],
            biases = try coreBiases(
                beginning.layout.coreCount, inputScale: inputScale)
        let own = places.isEmpty ? nil : beginning.frozen?.copy(rows: places[0]..<places[0] + places.count)
        sae.initialize(
            seed: UInt64(seed), core: own, coreDecoder: coreDecoderInit,
            coreBias: biases.map { biases in Matrix(vector: places.map { biases[$0] }) }, places: cut.places)
        return sae
    }
}
