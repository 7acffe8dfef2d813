import Attribution
import CDMSAE
import PluginABI
import TensorFiles

/// The totals and named outputs of a scorer plugin: its table `dmsae.scorer.accumulate/1`.
///
/// The state is the host's. What comes back is checked: every output element written, none infinite.
final class PluginAccumulation: AccumulatingScore {
    let outputs: [ScorerOutput]
    var stateVersion: Int { Int(table.state_version) }
    private let instance: PluginInstance
    private let table: dmsae_scorer_accumulate
    /// What it says of states of other builds, if it says something.
    private let states: dmsae_state?
    private let passes: dmsae_scorer_passes?
    var isSequential: Bool { instance.plugin.isSequential }

    /// Tensors of a scores file that the host itself writes: DMSAE-OUTPUT-01.
    private static let reserved: Set<String> = ["scores", "core", "per_token"]

    /// - Throws: `PluginABIError.missingTable`, `.wrongSize`, `.nullInTable`, `.badOutput`.
    init(_ instance: PluginInstance) throws {
        self.instance = instance
        table = try instance.table(
            DMSAE_SCORER_ACCUMULATE, dmsae_scorer_accumulate.self,
            notNull: [
                ("output_count", \.output_count), ("output", \.output), ("state_size", \.state_size),
                ("begin", \.begin), ("accumulate", \.accumulate), ("merge", \.merge), ("finish", \.finish),
            ])
        outputs = try Self.describe(table, instance)
        states =
            instance.plugin.extensions.contains(DMSAE_STATE)
            ? try instance.table(DMSAE_STATE, dmsae_state.self, notNull: [("accepts", \.accepts)]) : nil
        passes =
            instance.plugin.extensions.contains(DMSAE_SCORER_PASSES)
            ? try instance.table(
                DMSAE_SCORER_PASSES, dmsae_scorer_passes.self, notNull: [("pass_count", \.pass_count)]) : nil
        guard passes == nil || instance.plugin.isSequential else {
            throw PluginABIError.notSequential(plugin: instance.plugin.id, path: instance.library.path)
        }
    }

    private static func describe(_ table: dmsae_scorer_accumulate, _ instance: PluginInstance) throws -> [ScorerOutput]
    {
        let path = instance.library.path
        func bad(_ index: Int, _ reason: String) -> PluginABIError {
            .badOutput(plugin: instance.plugin.id, path: path, index: index, reason: reason)
        }
        let count = Int(instance.ask { table.output_count($0) })
        guard (1...64).contains(count) else { throw bad(0, "there are \(count) outputs; at least 1, at most 64") }
        var outputs: [ScorerOutput] = []
        for i in 0..<count {
            guard let pointer = instance.ask({ table.output($0, UInt32(i)) }) else { throw bad(i, "it is null") }
            let c = try PluginTable(UnsafeRawPointer(pointer), name: "dmsae_output", path: path).growing(
                dmsae_output.self, from: DMSAE_OUTPUT_SIZE_V1,
                notNull: [("name", \.name), ("unit", \.unit), ("description", \.description)])
            func text(_ pointer: UnsafePointer<CChar>, _ field: String) throws -> String {
                try ForeignText.read(pointer) { bad(i, "its \(field) is \($0)") }
            }
            let name = try text(c.name, "name")
            guard !name.isEmpty, name.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) || $0 == 95 })
            else { throw bad(i, "its name '\(name)' is not made of a-z, 0-9, '_' (DMSAE-OUTPUT-01)") }
            guard !outputs.contains(where: { $0.name == name }), !reserved.contains(name) else {
                throw bad(i, "its name '\(name)' is taken (DMSAE-OUTPUT-01)")
            }
            guard let shape = ScorerOutput.Shape(rawValue: c.shape.rawValue) else {
                throw bad(i, "its shape is \(c.shape.rawValue); 1 is [m], 2 [m, S], 3 [m, m], 4 [m, N]")
            }
            guard c.flags >> 32 == 0 else { throw bad(i, "it has flags that this dmsae must understand and does not") }
            let unit = printable(try text(c.unit, "unit"))
            guard !unit.isEmpty else { throw bad(i, "its unit is empty; write \"1\" for none") }
            func other(_ index: Int32) throws -> Int? {
                guard index != -1 else { return nil }
                guard (0..<count).contains(Int(index)) && Int(index) != i else {
                    throw bad(i, "it refers to output \(index) of \(count)")
                }
                return Int(index)
            }
            let role = try role(c.flags) { bad(i, $0) }
            if let role, shape != .latentSequence || outputs.contains(where: { $0.role == role }) {
                throw bad(i, "it is the second of the \(role) or not of shape [m, S] (DMSAE-OUTPUT-03)")
            }
            outputs.append(
                ScorerOutput(
                    name: name, shape: shape, unit: unit,
                    description: printable(try text(c.description, "description")),
                    higherIsBetter: c.flags & DMSAE_OUTPUT_HIGHER_IS_BETTER != 0,
                    standardErrorOf: try other(c.standard_error_of), countOf: try other(c.count_of), role: role))
        }
        let roles = Set(outputs.compactMap(\.role))
        guard roles.isEmpty || roles == [.terms] || roles.count == 3 else {
            throw bad(
                0, "it is made of \(roles.map(\.rawValue).sorted().joined(separator: " and ")) alone (DMSAE-OUTPUT-03)")
        }
        guard outputs[0].shape == .latent else { throw bad(0, "the score is not of shape [m] (DMSAE-OUTPUT-02)") }
        return outputs
    }

    private static func role(_ flags: UInt64, _ bad: (String) -> PluginABIError) throws -> ScorerOutput.Role? {
        let roles: [(UInt64, ScorerOutput.Role)] = [
            (DMSAE_OUTPUT_TERMS, .terms), (DMSAE_OUTPUT_EXPANSION, .expansions), (DMSAE_OUTPUT_SIZE, .sizes),
        ]
        let found = roles.filter { flags & $0.0 != 0 }
        guard found.count < 2 else { throw bad("it is two things at once to output 0 (DMSAE-OUTPUT-03)") }
        return found.first?.1
    }

    func passCount(_ plan: ScoringPlan) throws -> Int {
        guard let passes else { return 1 }
        var argument = dmsae_scoring_plan(plan)
        var count: Int64 = 0
        try instance.call("pass_count") { passes.pass_count($0, &argument, &count, $1) }
        guard (1...1_000_000).contains(count) else {
            throw PluginCallError.badPassCount(plugin: instance.plugin.id, path: instance.library.path, count: count)
        }
        return Int(count)
    }

    func accepts(stateOf version: String) throws -> Bool? {
        guard let states else { return nil }
        return version.withCString { version in instance.ask { states.accepts($0, version) } } != 0
    }

    func stateSize(_ plan: ScoringPlan) throws -> Int {
        var argument = dmsae_scoring_plan(plan)
        var bytes: UInt64 = 0
        try instance.call("state_size") { table.state_size($0, &argument, &bytes, $1) }
        let size = try ForeignSize.check(bytes, "a state", plugin: instance.plugin.id, path: instance.library.path)
        // The outputs are not there yet, and are of the plugin's choosing too.
        let results = outputs.reduce(UInt64(0)) {
            let (sum, overflow) = $0.addingReportingOverflow(UInt64(clamping: $1.count(plan).multipliedClamping(by: 8)))
            return overflow ? .max : sum
        }
        _ = try ForeignSize.check(
            results, "outputs", beside: bytes, plugin: instance.plugin.id, path: instance.library.path)
        return size
    }

    func begin(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws {
        var argument = dmsae_scoring_plan(plan)
        try instance.call("begin") { table.begin($0, &argument, memory(state), $1) }
    }

    func accumulate(_ batch: ScoringBatch, _ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws {
        var plan = dmsae_scoring_plan(plan)
        let needed = batch.limited(to: instance.plugin.batchNeeds)
        try needed.withArgument(minor: instance.library.functions.abi_minor_min) { argument in
            try instance.call("accumulate", about: batch, argument) {
                table.accumulate($0, &plan, argument, memory(state), $1)
            }
        }
    }

    func merge(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws {
        precondition(state.count == other.count, "states of \(state.count) and \(other.count) bytes")
        var argument = dmsae_scoring_plan(plan)
        let other = memory(UnsafeMutableRawBufferPointer(mutating: other))
        try instance.call("merge") { table.merge($0, &argument, memory(state), other, $1) }
    }

    func finish(
        _ plan: ScoringPlan, state: UnsafeRawBufferPointer, into results: [UnsafeMutableBufferPointer<Double>]
    ) throws {
        precondition(results.count == outputs.count, "\(results.count) buffers for \(outputs.count) outputs")
        for (output, result) in zip(outputs, results) {
            precondition(result.count == output.count(plan), "\(result.count) elements for output \(output.name)")
            result.update(repeating: Unwritten.double)
        }
        // An output of no elements still has an address.
        let nothing = UnsafeMutablePointer<Double>.allocate(capacity: 1)
        defer { nothing.deallocate() }
        let pointers = results.map { $0.baseAddress ?? nothing }
        var argument = dmsae_scoring_plan(plan)
        argument.pass = argument.pass_count
        let state = memory(UnsafeMutableRawBufferPointer(mutating: state))
        try instance.call("finish") { table.finish($0, &argument, state, pointers, $1) }
        for (output, result) in zip(outputs, results) {
            guard let i = result.firstIndex(where: { Unwritten.isLeft(in: $0) || $0.isInfinite }) else {
                continue
            }
            throw PluginCallError.badOutputValue(
                plugin: instance.plugin.id, path: instance.library.path, output: output.name, element: i,
                value: result[i].isInfinite ? "\(result[i])" : nil)
        }
    }

    /// DMSAE-STATE-01, and DMSAE-SCORER-07: a state of no bytes has an address too.
    private func memory(_ state: UnsafeMutableRawBufferPointer) -> UnsafeMutableRawPointer {
        guard let address = state.baseAddress else { preconditionFailure("a state without an address") }
        precondition(UInt(bitPattern: address) % 64 == 0, "a state that is not aligned to 64 bytes")
        return address
    }
}

extension Int {
    /// The product of two that are not negative, the largest number there is where that does not fit.
    fileprivate func multipliedClamping(by other: Int) -> Int {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
