import Attribution
import Glibc
import PluginHost
import Synchronization
import LinearAlgebra

extension PluginCheck {
    /// What a plugin does to the process that it is a guest in.
    static let processChecks = [
        PluginCheck(
            id: "leaves-as-found", rules: ["DMSAE-CALL-02", "DMSAE-HOST-02"],
            promise: "it changes nothing of the process that others are in too: floating-point modes, folder, locale, "
                + "variables, signals, timers, limits, priority, processors, umask; and leaves standard streams alone"
        ) { subject in
            let examined = try subject.plugin.examination()
            let call = try subject.call(examined)
            for _ in 0..<3 { _ = try call.run() }
            let changes = try examined.traces().changes
            try expect(
                changes.isEmpty, "after create and three calls of \(call.name): \(changes.joined(separator: "; "))")
        },
        PluginCheck(
            id: "no-leak", rules: [],
            promise: "calls on the same input leave no more memory, descriptors and threads behind than the first ones"
        ) { subject in
            let examined = try subject.plugin.examination()
            let call = try subject.call(examined)
            // What is kept on purpose, as scratch memory, is there after the first ones.
            for _ in 0..<30 { _ = try call.run() }
            _ = try examined.traces()
            let before = try examined.traces()
            let count = 120
            for _ in 0..<count { _ = try call.run() }
            let after = try examined.traces()
            func grows(_ what: String, _ values: KeyPath<ProcessTraces, Int>, byMoreThan most: Int) throws {
                let growth = after[keyPath: values] - before[keyPath: values]
                try expect(growth <= most, "\(count) calls of \(call.name) left \(growth) more \(what)")
            }
            try grows("bytes allocated", \.allocatedBytes, byMoreThan: 64 * count)
            // Pages come and go with the allocator; a page a call does not.
            try grows("bytes of memory in use", \.residentBytes, byMoreThan: 4096 * count)
            try grows("descriptors open", \.descriptors, byMoreThan: count / 10)
            try grows("threads", \.threads, byMoreThan: count / 10)
        },
        PluginCheck(
            id: "idle", rules: [], promise: "between calls its threads sleep", after: ["no-leak"]
        ) { subject in
            let examined = try subject.plugin.examination()
            let call = try subject.call(examined)
            for _ in 0..<3 { _ = try call.run() }
            // Threads may be started for large inputs only.
            _ = try subject.longCall(examined).run()
            try expect(
                !(try examined.traces().isBusy),
                "a second after a call of \(call.name) something in its process still runs; end or block its threads")
        },
        PluginCheck(
            id: "ends", rules: [],
            promise:
                "the program that loaded it ends when it exits, with its own status: nothing of it aborts or waits",
            after: ["idle"]
        ) { subject in
            let examined = try subject.plugin.examination()
            let call = try subject.call(examined)
            _ = try call.run()
            if let problem = try examined.ending() {
                throw Broken(reason: "when the program exits after a call of \(call.name), \(problem)")
            }
        },
        PluginCheck(
            id: "together", rules: ["DMSAE-STATE-03", "DMSAE-SCORER-05", "DMSAE-RULE-05"],
            promise: "many threads at once on one instance get the bits that one thread gets", after: ["state-moves"]
        ) { subject in
            try applies(subject.has("reentrant"), "it does not say that it is reentrant")
            try applies(subject.has("deterministic"), "it does not say that it is deterministic")
            try applies(!subject.has("needs-evaluation"), "the host lets it ask in one call at a time")
            let examined = try subject.plugin.examination()
            if let rule = examined.rule {
                let selection = Selection(seed: subject.seed)
                let turn = try examined.difference(selecting: selection.candidates, selection.context(rule))
                try expect(turn == nil, "beside other calls it keeps other candidates than alone")
            } else {
                let model = QuadraticModel(seed: subject.seed, sequences: 6)
                let sequence = try examined.difference(scoring: model.batch, model.plan)
                try expect(
                    sequence == nil, "beside other calls it scores sequence \(sequence ?? 0) otherwise than alone")
            }
        },
        PluginCheck(
            id: "cancel", rules: ["DMSAE-HOST-03", "DMSAE-EVAL-03"],
            promise: "a long call ends within 250 ms of being asked to stop"
        ) { subject in
            var least = Double.infinity
            // A busy machine delays a call; it does not delay five of five. A plugin that never asks is
            // as slow each time.
            for _ in 0..<5 where least > 0.25 {
                let stop = Stop()
                let isLate = subject.plugin.services.isCancelled
                let call = try subject.longCall(
                    PluginServices(log: { _ in }, isCancelled: { stop.isRaised() || isLate() }))
                stop.arm()
                do { _ = try call.run() } catch PluginCallError.cancelled where stop.elapsed() != nil {}
                guard let elapsed = stop.elapsed() else {
                    throw NotApplicable(reason: "no call of \(call.name) was long enough to be asked")
                }
                least = min(least, elapsed)
            }
            try expect(least <= 0.25, "a call went on for \(Int(least * 1000)) ms, five times of five")
        },
    ]

    /// A wish to stop that is there as soon as somebody looks, once it is armed; and when that was.
    private final class Stop: Sendable {
        private let isArmed = Atomic(false)
        private let raised = Mutex<Double?>(nil)

        func arm() { isArmed.store(true, ordering: .relaxed) }

        func isRaised() -> Bool {
            guard isArmed.load(ordering: .relaxed) else { return false }
            raised.withLock { $0 = $0 ?? monotonicSeconds() }
            return true
        }

        /// Seconds since somebody saw it.
        func elapsed() -> Double? { raised.withLock { $0.map { monotonicSeconds() - $0 } } }
    }
}

extension PluginCheck.Subject {
    fileprivate func call(_ examined: PluginExamination) throws -> MainCall {
        if let rule = examined.rule { return MainCall(rule, on: Selection(seed: seed)) }
        guard let scorer = examined.scorer else { preconditionFailure("neither a scorer nor a rule") }
        return try MainCall(scorer, on: QuadraticModel(seed: seed))
    }

    /// A call as large as those of a run; of one that asks the model, with some thousand questions in it.
    fileprivate func longCall(_ services: PluginServices) throws -> MainCall {
        if plugin.isRule { return MainCall(try plugin.rule(services: services), on: largeSelection) }
        return try MainCall(plugin.scorer(services: services), on: largeModel)
    }

    /// The same of a plugin that is examined.
    fileprivate func longCall(_ examined: PluginExamination) throws -> MainCall {
        if let rule = examined.rule { return MainCall(rule, on: largeSelection) }
        guard let scorer = examined.scorer else { preconditionFailure("neither a scorer nor a rule") }
        return try MainCall(scorer, on: largeModel)
    }

    private var largeSelection: Selection { Selection(seed: seed, rows: 2048, latents: 4096, perRow: 64, k: 32) }

    private var largeModel: QuadraticModel {
        has("needs-evaluation")
            ? QuadraticModel(seed: seed, sequences: 8, length: 64, latents: 200, dimensions: 64, perToken: 32)
            : QuadraticModel(seed: seed, sequences: 16, length: 128, latents: 512, dimensions: 256, perToken: 32)
    }
}
