import Glibc
import TensorFiles

/// Takes finished steps of other runs over into a run that would make the same: files are linked, marks are written anew for this
/// run, and so the folder is that of a run which made everything itself.
///
/// Linked, and copied where links cannot be: no file is ever changed in its place, so neither run can change the other's.
struct BorrowedSteps {
    let run: RunFolder
    let record: RunRecord
    let log: EventLog?

    /// Takes what is not there yet from `donors`, run folders by step.
    ///
    /// - Throws: `DistillationError.badStep` for a step that is not as its run wrote it; `TensorFileError`.
    func take(from donors: [SharedStep: String], cycles: Int) throws {
        func donor(_ step: SharedStep) throws -> Donor? { try donors[step].flatMap { try self.donor($0, of: step) } }
        if let donor = try donor(.harvest) { try takeStore(from: donor) }
        if let donor = try donor(.firstTraining), let store = try mark("store/store.json") {
            try takeTraining("cycle-0", from: donor, its: store, own: store)
        }
        if let donor = try donor(.firstCycle) { try takeCycles(0...0, from: donor) }
        if let donor = try donor(.cycles) { try takeCycles(0...cycles, from: donor) }
    }

    private struct Donor {
        let path: String
        let identity: String
        let events: [Substring]
    }

    /// A run of the same program, on the same machine, from the same files: of others, equal recipes do not make equal bits. Nil
    /// for such.
    private func donor(_ path: String, of step: SharedStep) throws -> Donor? {
        guard path != run.path, exists(path + "/run.json") else { return nil }
        let other = try JSONRecord.read(RunRecord.self, from: path + "/run.json")
        guard
            (other.version, other.blasCore, other.kernelLevel, other.lanes, other.model)
                == (record.version, record.blasCore, record.kernelLevel, record.lanes, record.model),
            other.device == record.device, hashes(of: other, for: step) == hashes(of: record, for: step)
        else { return nil }
        let log = path + "/events.jsonl"
        let events = exists(log) ? try readText(log, most: 1 << 30) ?? "" : ""
        return Donor(path: path, identity: other.identity, events: events.split(separator: "\n"))
    }

    /// Of the files that a step is made from.
    private func hashes(of record: RunRecord, for step: SharedStep) -> [String: String] {
        record.hashes.filter { name, _ in
            switch step {
            case .harvest: name.hasPrefix("model") || name.hasPrefix("text")
            case .firstTraining: !name.hasPrefix("scorer")
            case .firstCycle, .cycles: true
            }
        }
    }

    /// SHA-256 of a file of this run; nil while it is not there.
    private func mark(_ name: String) throws -> String? {
        run.has(name) ? try SHA256.hexadecimal(ofFile: run.path + "/" + name) : nil
    }

    private func takeStore(from donor: Donor) throws {
        let folder = donor.path + "/store"
        guard !run.has("store/store.json"), exists(folder + "/store.json") else { return }
        let record = try ActivationStore(folder).record
        let shards = record.shardRows.indices.map { lastComponent(ActivationStore.shardPath(folder, $0)) }
        try link(shards, from: folder, to: try run.folder("store"))
        try copyEvents(of: donor) { $0.hasPrefix(#"{"event":"store""#) }
        try link(["store.json"], from: folder, to: run.path + "/store")
    }

    /// Of a cycle's training; `its` and `own` are SHA-256 of the marks before it, which each run has its own of.
    private func takeTraining(_ cycle: String, from donor: Donor, its: String, own: String) throws {
        let folder = donor.path + "/" + cycle + "/sae"
        guard !run.has(cycle + "/sae/" + StepMark.name), exists(folder + "/" + StepMark.name) else { return }
        _ = try checked(folder) {
            try StepMark.check(Distillation.trainedFiles, of: folder, run: donor.identity, after: its)
        }
        let path = try run.folder(cycle + "/sae")
        try link(Distillation.trainedFiles, from: folder, to: path)
        try copyEvents(of: donor) { $0.hasPrefix(#"{"event":"step""#) && $0.contains(#""run":"\#(cycle)""#) }
        try StepMark.write(Distillation.trainedFiles, of: path, run: record.identity, after: own)
    }

    private func takeCycles(_ cycles: ClosedRange<Int>, from donor: Donor) throws {
        guard var own = try mark("store/store.json") else { return }
        var its = own
        for t in cycles {
            let name = "cycle-\(t)", folder = donor.path + "/" + name
            guard exists(folder + "/" + StepMark.name) else { return }
            let after = try checked(folder) {
                try StepMark.check(Distillation.cycleFiles, of: folder, run: donor.identity, after: its)
            }
            if let mark = try mark(name + "/" + StepMark.name) {
                (its, own) = (after, mark)
                continue
            }
            try takeTraining(name, from: donor, its: its, own: own)
            try link(Distillation.cycleFiles, from: folder, to: try run.folder(name))
            try copyEvents(of: donor) {
                $0.hasPrefix(#"{"event":"cycle""#) && $0.contains(#""cycle":\#(t),"#)
            }
            its = after
            own = try StepMark.write(
                Distillation.cycleFiles, of: run.path + "/" + name, run: record.identity, after: own)
        }
    }

    private func checked<Value>(_ step: String, _ check: () throws -> Value) throws -> Value {
        do { return try check() } catch { throw DistillationError.badStep(folder: step, reason: "\(error)") }
    }

    private func copyEvents(of donor: Donor, where isWanted: (Substring) -> Bool) throws {
        let lines = donor.events.filter(isWanted)
        if !lines.isEmpty { try log?.append(lines: lines.joined(separator: "\n") + "\n") }
    }

    private func link(_ names: [String], from source: String, to target: String) throws {
        for name in names {
            let (old, new) = (source + "/" + name, target + "/" + name)
            if name.contains("/") { try createFolder(parentFolder(of: new)) }
            // What a kill left of an earlier try.
            unlink(new)
            if Glibc.link(old, new) == 0 { continue }
            let file = try MappedFile(path: old)
            let copy = try AtomicFile(path: new)
            try copy.write(file.slice(0..<file.count))
            try copy.commit()
        }
    }
}
