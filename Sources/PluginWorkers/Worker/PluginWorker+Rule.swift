import LinearAlgebra
import PluginABI
import PluginHost
import SparseCoding

/// What a worker does with a sparsity rule.
extension PluginWorker {
    func select(_ header: SelectionHeader, _ arena: Arena) throws {
        guard let candidates = try header.codes?.codes(arena, from: SelectionHeader.candidates) else {
            throw WorkerChannel.Broken(reason: "no candidates")
        }
        let memory = try GuardedMemory(count: candidates.count)
        try sparsityRule().select(
            from: candidates, header.context(arena), selected: memory.bytes.bindMemory(to: UInt8.self))
        try intact(memory, "select")
        try reply([memory])
    }

    func learn(_ kind: WorkerChannel.Kind, _ arena: Arena) throws {
        guard let learning = try sparsityRule().learning else {
            throw WorkerChannel.Broken(reason: "it learns nothing")
        }
        if kind == .rescale {
            let header = try arena.header(Rescaling.self)
            let tensors = try learning.tensors.indices.map { i in
                Matrix(vector: try arena.values(1 + i, Float.self, count: header.latentCount))
            }
            try learning.rescale(tensors, factor: Double(bitPattern: header.factor))
            var blocks = ArenaBlocks()
            for tensor in tensors { blocks.add(tensor, rows: 1) }
            return try channel.send(.done, Empty(), blocks)
        }
        let header = try arena.header(SelectionHeader.self), context = try header.context(arena)
        if kind == .floors {
            let floors = try GuardedMemory(count: 4 * header.latentCount)
            try learning.floors(context, into: floors.bytes.bindMemory(to: Float.self))
            try intact(floors, "floors")
            return try reply([floors])
        }
        guard let candidates = try header.codes?.codes(arena, from: SelectionHeader.candidates) else {
            throw WorkerChannel.Broken(reason: "no candidates")
        }
        let gradient = try GuardedMemory(count: 4 * candidates.count)
        let tensors = try learning.tensors.map { _ in try GuardedMemory(count: 8 * header.latentCount) }
        let penalty = try GuardedMemory(count: 8)
        let value = try learning.backward(
            candidates,
            selected: try arena.buffer(SelectionHeader.afterCandidates, UInt8.self, count: candidates.count),
            codeGradient: try arena.buffer(SelectionHeader.afterCandidates + 1, Float.self, count: candidates.count),
            context,
            preactivationGradient: gradient.bytes.bindMemory(to: Float.self),
            tensorGradients: tensors.map { $0.bytes.bindMemory(to: Double.self) })
        penalty.bytes.storeBytes(of: value, as: Double.self)
        for memory in [gradient] + tensors { try intact(memory, "backward") }
        try reply([penalty, gradient] + tensors)
    }

    func infer(_ kind: WorkerChannel.Kind, _ arena: Arena) throws {
        guard let inference = try sparsityRule().inference else { throw WorkerChannel.Broken(reason: "it has no form") }
        switch kind {
        case .ruleStateSize:
            let latents = try arena.header(Count.self).count
            try channel.send(.done, Count(count: try inference.stateSize(latentCount: latents)))
        case .ruleMerge:
            let latents = try arena.header(Count.self).count
            let other = arena.blocks[checked: 2] ?? UnsafeRawBufferPointer(start: nil, count: 0)
            let copy = try GuardedMemory(count: other.count)
            copy.bytes.copyBytes(from: other)
            copy.becomeReadOnly()
            try onState(arena, block: 1) {
                try inference.merge(latentCount: latents, state: $0, other: UnsafeRawBufferPointer(copy.bytes))
            }
        case .calibrate:
            let header = try arena.header(SelectionHeader.self), context = try header.context(arena)
            guard let candidates = try header.codes?.codes(arena, from: SelectionHeader.candidates) else {
                throw WorkerChannel.Broken(reason: "no candidates")
            }
            let selected = try arena.buffer(SelectionHeader.afterCandidates, UInt8.self, count: candidates.count)
            try onState(arena, block: 5) {
                try inference.calibrate(candidates, selected: selected, context, state: $0)
            }
        default:
            let context = try arena.header(SelectionHeader.self).context(arena)
            let state = try GuardedMemory(count: arena.blocks[checked: 1]?.count ?? 0)
            if let block = arena.blocks[checked: 1] { state.bytes.copyBytes(from: block) }
            state.becomeReadOnly()
            var blocks = ArenaBlocks()
            switch try inference.form(context, state: UnsafeRawBufferPointer(state.bytes)) {
            case .rowTopK(let k): try channel.send(.done, FormReply(topK: k), blocks)
            case .threshold(let shared):
                blocks.add([Float](repeating: shared, count: context.latentCount))
                try channel.send(.done, FormReply(topK: nil), blocks)
            case .thresholds(let thresholds):
                blocks.add(thresholds)
                try channel.send(.done, FormReply(topK: nil), blocks)
            }
        }
    }
}
