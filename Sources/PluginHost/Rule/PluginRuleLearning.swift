import CDMSAE
import LinearAlgebra
import PluginABI
import SparseCoding
import TensorFiles

/// What a rule plugin learns: its table `dmsae.sparsity_rule.learned/1`.
///
/// The tensors are the host's. Everything that comes back is checked: written, and finite.
final class PluginRuleLearning: SparsityRuleLearning {
    let tensors: [LearnableTensor]
    private let instance: PluginInstance
    private let table: dmsae_sparsity_rule_learned

    /// - Throws: `PluginABIError.missingTable`, `.wrongSize`, `.nullInTable`, `.badLearnable`.
    init(_ instance: PluginInstance, scope: SelectionScope) throws {
        self.instance = instance
        let table = try instance.table(
            DMSAE_SPARSITY_RULE_LEARNED, dmsae_sparsity_rule_learned.self,
            notNull: [
                ("learnable_count", \.learnable_count), ("learnable", \.learnable), ("floors", \.floors),
                ("backward", \.backward), ("rescale", \.rescale),
            ])
        self.table = table
        let path = instance.library.path
        func bad(_ index: Int, _ reason: String) -> PluginABIError {
            .badLearnable(plugin: instance.plugin.id, path: path, index: index, reason: reason)
        }
        guard scope == .all else { throw bad(0, "its rule has a rank as scope (DMSAE-LEARNED-08)") }
        let count = Int(instance.ask { table.learnable_count($0) })
        guard count <= 16 else { throw bad(count, "there are \(count); at most 16") }
        var tensors: [LearnableTensor] = []
        for i in 0..<count {
            guard let pointer = instance.ask({ table.learnable($0, UInt32(i)) }) else { throw bad(i, "it is null") }
            let c = try PluginTable(UnsafeRawPointer(pointer), name: "dmsae_learnable", path: path).growing(
                dmsae_learnable.self, from: DMSAE_LEARNABLE_SIZE_V1,
                notNull: [("name", \.name), ("description", \.description)])
            let name = try ForeignText.read(c.name) { bad(i, "its name is \($0)") }
            let text = printable(try ForeignText.read(c.description) { bad(i, "its description is \($0)") })
            guard !name.isEmpty,
                name.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }),
                !tensors.contains(where: { $0.name == name })
            else { throw bad(i, "its name '\(name)' is taken, or not made of a-z, 0-9, '_' (DMSAE-LEARNED-01)") }
            guard c.minimum.isFinite, c.maximum.isFinite, c.minimum <= c.initial, c.initial <= c.maximum else {
                throw bad(i, "it starts at \(c.initial), in \(c.minimum) to \(c.maximum) (DMSAE-LEARNED-02)")
            }
            guard c.learning_rate_multiple >= 0, c.learning_rate_multiple.isFinite else {
                throw bad(i, "its learning rate multiple is \(c.learning_rate_multiple)")
            }
            tensors.append(
                LearnableTensor(
                    name: name, description: text, initial: c.initial, minimum: c.minimum, maximum: c.maximum,
                    learningRateMultiple: c.learning_rate_multiple))
        }
        self.tensors = tensors
    }

    private func check(_ values: some Collection<Float>, _ function: String, _ what: String, _ rule: String) throws {
        guard let (i, value) = values.enumerated().first(where: { !$0.element.isFinite }) else { return }
        throw PluginCallError.badRuleValue(
            plugin: instance.plugin.id, path: instance.library.path, function: function, what: what, element: i,
            value: Unwritten.isLeft(in: value) ? nil : "\(value)", rule: rule)
    }

    private func check(_ values: some Collection<Double>, _ function: String, _ what: String, _ rule: String) throws {
        guard let (i, value) = values.enumerated().first(where: { !$0.element.isFinite }) else { return }
        throw PluginCallError.badRuleValue(
            plugin: instance.plugin.id, path: instance.library.path, function: function, what: what, element: i,
            value: Unwritten.isLeft(in: value) ? nil : "\(value)", rule: rule)
    }

    func floors(_ context: SelectionContext, into floors: UnsafeMutableBufferPointer<Float>) throws {
        precondition(floors.count == context.latentCount, "\(floors.count) floors for \(context.latentCount) latents")
        floors.update(repeating: Unwritten.float)
        try context.withArgument { argument in
            try instance.call("floors") { table.floors($0, argument, floors.baseAddress!, $1) }
        }
        try check(floors, "floors", "floors", "DMSAE-LEARNED-03")
    }

    func backward(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, codeGradient: UnsafeBufferPointer<Float>,
        _ context: SelectionContext, preactivationGradient: UnsafeMutableBufferPointer<Float>,
        tensorGradients: [UnsafeMutableBufferPointer<Double>]
    ) throws -> Double {
        preactivationGradient.update(repeating: Unwritten.float)
        var penalty = Unwritten.double
        // Something to point at where there is no candidate.
        let nothing = UnsafeMutablePointer<Float>.allocate(capacity: 1)
        defer { nothing.deallocate() }
        let gradients = tensorGradients.map { $0.baseAddress! }
        let marks = selected.baseAddress ?? UnsafeRawPointer(nothing).assumingMemoryBound(to: UInt8.self)
        try context.withArgument { argument in
            try withUnsafePointer(to: dmsae_csr(candidates)) { view in
                try instance.call("backward") {
                    table.backward(
                        $0, argument, view, marks, codeGradient.baseAddress ?? UnsafePointer(nothing),
                        preactivationGradient.baseAddress ?? nothing, gradients, &penalty, $1)
                }
            }
        }
        try check(preactivationGradient, "backward", "preactivation_gradient", "DMSAE-LEARNED-04")
        for (tensor, gradient) in zip(tensors, tensorGradients) {
            try check(gradient, "backward", "the gradient of \(tensor.name)", "DMSAE-LEARNED-04")
        }
        try check(CollectionOfOne(penalty), "backward", "penalty", "DMSAE-LEARNED-04")
        return penalty
    }

    func rescale(_ values: [Matrix], factor: Double) throws {
        let pointers = values.map(\.elements)
        try instance.call("rescale") { table.rescale($0, Int64(values.first?.count ?? 0), factor, pointers, $1) }
        for (tensor, matrix) in zip(tensors, values) {
            try check(matrix.values, "rescale", tensor.name, "DMSAE-LEARNED-07")
        }
    }
}

/// How a trained SAE is used without its rule: the plugin's table `dmsae.sparsity_rule.inference/1`.
final class PluginRuleInference: SparsityRuleInference {
    private let instance: PluginInstance
    private let table: dmsae_sparsity_rule_inference

    /// - Throws: `PluginABIError.missingTable`, `.wrongSize`, `.nullInTable`.
    init(_ instance: PluginInstance) throws {
        self.instance = instance
        table = try instance.table(
            DMSAE_SPARSITY_RULE_INFERENCE, dmsae_sparsity_rule_inference.self,
            notNull: [
                ("state_size", \.state_size), ("calibrate", \.calibrate), ("merge", \.merge), ("form", \.form),
            ])
    }

    var stateVersion: Int { Int(table.state_version) }

    func stateSize(latentCount: Int) throws -> Int {
        try ForeignSize.check(
            instance.ask { table.state_size($0, Int64(latentCount)) }, "a state", plugin: instance.plugin.id,
            path: instance.library.path)
    }

    func calibrate(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        state: UnsafeMutableRawBufferPointer
    ) throws {
        guard let marks = selected.baseAddress, let memory = state.baseAddress else { return }
        try context.withArgument { argument in
            try withUnsafePointer(to: dmsae_csr(candidates)) { view in
                try instance.call("calibrate") { table.calibrate($0, argument, view, marks, memory, $1) }
            }
        }
    }

    func merge(latentCount: Int, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws {
        guard let memory = state.baseAddress, let from = other.baseAddress else { return }
        try instance.call("merge") { table.merge($0, Int64(latentCount), memory, from, $1) }
    }

    func form(_ context: SelectionContext, state: UnsafeRawBufferPointer) throws -> InferenceForm {
        func bad(_ what: String, _ element: Int, _ value: String?) -> PluginCallError {
            .badRuleValue(
                plugin: instance.plugin.id, path: instance.library.path, function: "form", what: what, element: element,
                value: value, rule: "DMSAE-INFERENCE-01")
        }
        var thresholds = [Float](repeating: Unwritten.float, count: context.latentCount)
        // A form left unwritten shows in the thresholds, which then are too.
        var form = dmsae_inference_form.DMSAE_INFERENCE_THRESHOLDS
        var topK: Int64 = 0
        try context.withArgument { argument in
            try instance.call("form") {
                table.form($0, argument, state.baseAddress!, &form, &thresholds, &topK, $1)
            }
        }
        switch form {
        case .DMSAE_INFERENCE_THRESHOLDS:
            guard let j = thresholds.firstIndex(where: { !$0.isFinite }) else { return .thresholds(thresholds) }
            throw bad("thresholds", j, Unwritten.isLeft(in: thresholds[j]) ? nil : "\(thresholds[j])")
        case .DMSAE_INFERENCE_ROW_TOP_K:
            guard (1...Int64(context.latentCount)).contains(topK) else { throw bad("top_k", 0, "\(topK)") }
            return .rowTopK(Int(topK))
        default: throw bad("form", 0, "\(form.rawValue)")
        }
    }
}
