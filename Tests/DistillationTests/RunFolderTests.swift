import Dispatch
import Distillation
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// The record of a run.
func runRecord(steps: Int = 1) throws -> RunRecord {
    try JSONRecord.decode(
        RunRecord.self,
        from: """
            {"version": "1", "recipe": {"train.steps": "\(steps)", "final.k": "[8]", "model": "a/model"},
            "blasCore": "Haswell", "kernelLevel": 3, "lanes": 2, "model": "model", "rule": "jumprelu 1.0.0",
            "ruleSettings": {"bandwidth": "0.05"}, "scorer": "gxa 1.0.0", "scorerSettings": {}, "hashes": {"model": "ab"},
            "seeds": [1, 2]}
            """, in: "here")
}

@Suite struct RunFolderTests {
    private let folder = TemporaryFolder()

    private func record(_ steps: Int) throws -> RunRecord { try runRecord(steps: steps) }

    @Test func ofTwoThatStartTheSameRunOneHasItAndTheOtherLeavesNothing() throws {
        for attempt in 0..<40 {
            let path = folder.file("run-\(attempt)")
            let winners = Mutex<[Int]>([])
            let barrier = DispatchSemaphore(value: 0)
            DispatchQueue.concurrentPerform(iterations: 2) { who in
                if who == 0 { barrier.signal() } else { barrier.wait() }
                guard let lock = try? OutputLock.folder(path), let own = try? runRecord(steps: who) else { return }
                if (try? RunFolder(path).open(own, resuming: false)) != nil { winners.withLock { $0.append(who) } }
                withExtendedLifetime(lock) {}
            }
            let won = winners.withLock { $0 }
            #expect(won.count == 1)
            let kept = try JSONRecord.read(RunRecord.self, from: path + "/run.json")
            #expect(try kept == record(won.first ?? -1))
        }
    }

    @Test func aRunIsTheSameByWhatItIsMadeFromAndNotByWhereThatIs() throws {
        let run = RunFolder(folder.file("run"))
        try createFolder(run.path)
        _ = try run.open(try record(1), resuming: false)
        var moved = try record(1)
        moved.recipe["model"] = "b/renamed"
        moved.model = "renamed"
        moved.recipe["final.k"] = "[8, 16]"
        let (kept, _) = try run.open(moved, resuming: true)
        #expect(kept.model == "model" && kept.recipe["model"] == "a/model" && kept.recipe["final.k"] == "[8, 16]")
    }

    @Test func anotherMachineGoesOnIfAsked() throws {
        let run = RunFolder(folder.file("run"))
        try createFolder(run.path)
        _ = try run.open(try record(1), resuming: false)
        var elsewhere = try record(1)
        elsewhere.lanes = 4
        elsewhere.device = ["ranks": "2"]
        #expect(
            message { _ = try run.open(elsewhere, resuming: true) }
                == "the run in \(run.path) was started with lanes = 2, now it is 4; resume it there, or here with --elsewhere, to other bits"
        )
        let (kept, changed) = try run.open(elsewhere, resuming: true, elsewhere: true)
        #expect(kept.lanes == 2 && kept.device == nil)
        #expect(changed == ["lanes": "2, now 4", "the device's ranks": "unset, now 2"])
        elsewhere.seeds = [1, 3]
        #expect(message { _ = try run.open(elsewhere, resuming: true, elsewhere: true) }.contains("seeds = 1 2"))
    }

    @Test func anotherCauseIsNamed() throws {
        let changes: [(change: (inout RunRecord) -> Void, what: String)] = [
            ({ $0.hashes["model"] = "cd" }, "SHA-256 of model = ab, now it is cd"),
            ({ $0.hashes["text"] = "cd" }, "SHA-256 of text = unset, now it is cd"),
            ({ $0.ruleSettings = ["bandwidth": "0.03"] }, "the sparsity rule's bandwidth = 0.05, now it is 0.03"),
            ({ $0.scorerSettings = ["seed": "7"] }, "the scorer's seed = unset, now it is 7"),
            ({ $0.ruleSettings = nil }, "the sparsity rule's bandwidth = 0.05, now it is unset"),
            ({ $0.seeds = [1, 3] }, "seeds = 1 2, now it is 1 3"),
            ({ $0.recipe["train.steps"] = "2" }, "train.steps = 1, now it is 2"),
        ]
        let run = RunFolder(folder.file("run"))
        try createFolder(run.path)
        _ = try run.open(try record(1), resuming: false)
        for (change, what) in changes {
            var other = try record(1)
            change(&other)
            #expect(
                message { _ = try run.open(other, resuming: true) }
                    == "the run in \(run.path) was started with \(what); resume it with its own recipe or choose another --out"
            )
        }
    }
}
