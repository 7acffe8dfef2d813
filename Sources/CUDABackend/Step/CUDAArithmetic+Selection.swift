import LinearAlgebra
import SparseCoding

extension CUDAArithmetic {
    package func select(_ context: SelectionContext) throws -> SelectionSummary {
        try self.context.activate()
        if let learned = setting.learned { return try selectAboveFloors(learned, context) }
        switch setting.rule.scope {
        case .batch: return try selectLargest(context)
        case .row, .all: return try selectAmongAll(context)
        }
    }

    // MARK: What is found

    /// Goes through all pre-activations, a tile at a time.
    private func forTiles(_ body: (_ tile: Int, _ latents: Range<Int>) throws(CUDAError) -> Void) throws(CUDAError) {
        for tile in 0..<selection.tiles {
            let range = (tile * StepMemory.tile)..<min((tile + 1) * StepMemory.tile, latents)
            try products.multiply(
                batch.centered.slice, encoder.slice(fromRow: range.lowerBound).transposed,
                into: DeviceSlice(selection.products, stride: StepMemory.tile), m: rows, n: range.count, k: dIn,
                on: context.stream)
            try body(tile, range)
        }
    }

    /// Collects candidates above `floor` and their thresholds into the list, and says how many they are.
    private func collect(
        floor: Float, thresholds: DeviceMatrix? = nil, limit: Int, isTotal: Bool
    ) throws(CUDAError) -> SelectionArrays.Status {
        try selection.status.clear()
        let collect = try kernel("collect", "collect")
        try forTiles { (tile, range) throws(CUDAError) in
            try context.launch(
                collect, rows, threads: 256, selection.products, StepMemory.tile, range.lowerBound, range.count,
                encoderBias.array, pointer(thresholds), exempt, floor, UInt32(selection.capacity), selection.columns,
                selection.values, selection.segments, tile, selection.tiles, selection.status)
        }
        let rank = try kernel("rank", "rank")
        for shift in [20, 10, 0] {
            try context.launch(
                rank, context.multiprocessors, threads: 256, selection.columns, selection.values,
                UInt32(selection.capacity), exempt, UInt64(limit), isTotal, shift, selection.digits, selection.status)
        }
        try selection.status.download(selection.readStatus.elements, 1)
        try context.synchronize()
        return selection.readStatus.elements[0]
    }

    /// A floor above which there are `limit` candidates or more, and few more, or 0 where there are not so many; makes room for
    /// them and for all that exempt latents may have.
    private func survey(limit: Int, thresholds: DeviceMatrix? = nil) throws(CUDAError) -> Float {
        try selection.ranges.clear()
        let survey = try kernel("survey", "survey")
        try forTiles { (_, range) throws(CUDAError) in
            try context.launch(
                survey, min(rows, 4 * context.multiprocessors), threads: 256, selection.products, StepMemory.tile, rows,
                range.lowerBound, range.count, encoderBias.array, pointer(thresholds), exempt, selection.ranges)
        }
        let ranges = try selection.ranges.values()
        var (bin, above) = (ranges.count, 0)
        while bin > 0 && above < limit {
            bin -= 1
            above += Int(ranges[bin])
        }
        try selection.grow(to: above + rows * exempt)
        // Strictly above: the largest number below the range.
        return bin == 0 ? 0 : Float(bitPattern: UInt32(bin) << 19).nextDown
    }

    private func pointer(_ matrix: DeviceMatrix?) -> any KernelArgument {
        matrix.map { $0.array as any KernelArgument } ?? NullPointer()
    }

    private func refuseInfinite(_ status: SelectionArrays.Status, step: Int) throws {
        // Of ranks the first finds it among the candidates, and tells which latent of all it is; where it is the core's, the loss shows it.
        guard peers == nil, status.infinite != 0 else { return }
        throw SparseCodingError.overflowed(step: step, latent: Int(~status.infinite))
    }

    // MARK: The largest of the batch

    private func selectLargest(_ context: SelectionContext) throws -> SelectionSummary {
        var context = peers?.whole(context) ?? context
        let whole = context.batchBudget,
            limit = min(try sparseEncoder.upperCount(of: setting.rule, context), rows * context.latentCount)
        let guess = forcedFloor ?? startingFloor.value
        func collectEnough(_ floor: Float?) throws -> (SelectionArrays.Status, found: Int, core: Int, floor: Float) {
            let (status, floor) = try collectLargest(floor: floor, limit: limit)
            let totals = try totals(status, floor: floor)
            if setting.plan.budget == .total { context.batchBudget = max(0, whole - totals.core) }
            return (status, totals.found, totals.core, totals.floor)
        }
        var (status, found, core, floor) = try collectEnough(guess == 0 ? nil : guess)
        var most = min(limit, try sparseEncoder.upperCount(of: setting.rule, context))
        // A guess that was too high left too few.
        if guess > 0 && found < most {
            repeatCount += 1
            (status, found, core, floor) = try collectEnough(nil)
            most = min(limit, try sparseEncoder.upperCount(of: setting.rule, context))
        }
        try refuseInfinite(status, step: context.step)
        var least = status.kept > 0 ? Float(bitPattern: status.threshold) : Float.infinity
        var summary = SelectionSummary()
        summary.coreEntries = core
        if setting.rule.keepsLargest && peers == nil {
            summary.selectedEntries = Int(status.kept)
            summary.leastSelected = status.kept > 0 ? least : nil
            try keepRanked(entries: Int(status.kept) + Int(status.core))
        } else {
            least = try ask(
                context, allowed: most, showsAll: false, keepAll: false, core: Int(status.core), shown: least, &summary)
        }
        startingFloor.follow(floor: floor, found: found, least: least, kept: most)
        return summary
    }

    /// Collects this rank's candidates above a floor, that of a survey without one, or where there is no room for those above it, and
    /// returns it.
    private func collectLargest(floor: Float?, limit: Int) throws -> (SelectionArrays.Status, Float) {
        let isTotal = setting.plan.budget == .total
        var (surveyed, own) = (floor == nil, try floor ?? survey(limit: limit))
        var status = try collect(floor: own, limit: limit, isTotal: isTotal)
        while Int(status.found) > selection.capacity {
            repeatCount += 1
            if surveyed {
                // Products of the same numbers that differ from one pass to the next; none is known.
                try selection.grow(to: Int(status.found))
            } else {
                (surveyed, own) = (true, try survey(limit: limit))
            }
            status = try collect(floor: own, limit: limit, isTotal: isTotal)
        }
        return (status, own)
    }

    /// Entries found among the latents that compete and among those that do not, and the largest floor, on all ranks.
    private func totals(
        _ status: SelectionArrays.Status, floor: Float = 0
    ) throws -> (found: Int, core: Int, floor: Float) {
        let (found, core) = (Int(status.found) - Int(status.core), Int(status.core))
        return try sparseEncoder.totals(found: found, core: core, floor: floor)
    }

    /// Codes by token straight from the list.
    private func keepRanked(entries: Int) throws {
        try selection.growCodes(to: entries)
        try selection.cursors.clear()
        try placeRows(withCore: true, allTies: false, offsets: selection.rowOffsets)
        try writeRows(
            withCore: true, offsets: selection.rowOffsets, selection.keptColumns, selection.keptValues,
            counts: selection.cursors)
        try orderByLatent()
    }

    /// Where each row of the list's candidates that are not below the ranked one will begin; with exempt ones, and all that equal
    /// it, if they are asked for.
    private func placeRows(withCore: Bool, allTies: Bool, offsets: DeviceArray<Int32>) throws(CUDAError) {
        try context.launch(
            try kernel("countRows", "assemble"), (rows + 7) / 8, threads: 256, selection.segments, selection.tiles,
            selection.columns, selection.values, exempt, rows, selection.status, selection.rowCore, selection.rowAbove,
            selection.rowEqual)
        try context.launch(
            try kernel("offsetRows", "assemble"), 1, threads: 1024, selection.rowCore, selection.rowAbove,
            selection.rowEqual, rows, withCore, allTies, selection.status, selection.rowTies, offsets)
    }

    /// Writes the rows that `placeRows` found places for, and counts their latents if there is where.
    private func writeRows(
        withCore: Bool, offsets: DeviceArray<Int32>, _ columns: DeviceArray<Int32>, _ values: DeviceArray<Float>,
        counts: DeviceArray<Int32>?
    ) throws(CUDAError) {
        try context.launch(
            try kernel("writeRows", "assemble"), (rows + 7) / 8, threads: 256, selection.segments, selection.tiles,
            selection.columns, selection.values, exempt, rows, withCore, selection.status, selection.rowTies, offsets,
            columns.count, columns, values, counts.map { $0 as any KernelArgument } ?? NullPointer())
    }

    // MARK: A rule of the host's

    /// Every positive pre-activation, for a rule that looks at whole rows.
    private func selectAmongAll(_ context: SelectionContext) throws -> SelectionSummary {
        var context = peers?.whole(context) ?? context
        let status = try collectAll(thresholds: nil)
        try refuseInfinite(status, step: context.step)
        var summary = SelectionSummary()
        summary.coreEntries = try totals(status).core
        if setting.plan.budget == .total { context.batchBudget = max(0, context.batchBudget - summary.coreEntries) }
        let allowed =
            setting.rule.scope == .row
            ? min(try sparseEncoder.upperCount(of: setting.rule, context), context.latentCount) * rows : Int.max
        try ask(context, allowed: allowed, showsAll: true, keepAll: false, core: Int(status.core), &summary)
        return summary
    }

    /// Everything above the floors of a rule that learns.
    private func selectAboveFloors(
        _ learned: any StepLearning, _ context: SelectionContext
    ) throws -> SelectionSummary {
        let context = peers?.whole(context) ?? context
        try learned.updateFloors(context, exempt: exempt)
        let floors = try learnedFloors ?? DeviceMatrix(rows: 1, columns: latents, on: self.context)
        learnedFloors = floors
        try floors.assign(learned.floors)
        let status = try collectAll(thresholds: floors)
        try refuseInfinite(status, step: context.step)
        var summary = SelectionSummary()
        summary.coreEntries = try totals(status).core
        try ask(context, allowed: .max, showsAll: true, keepAll: true, core: Int(status.core), &summary)
        return summary
    }

    private func collectAll(thresholds: DeviceMatrix?) throws(CUDAError) -> SelectionArrays.Status {
        let all = rows * latents
        var status = try collect(floor: 0, thresholds: thresholds, limit: all, isTotal: false)
        if Int(status.found) > selection.capacity {
            try selection.grow(to: Int(status.found) + Int(status.found) / 4)
            status = try collect(floor: 0, thresholds: thresholds, limit: all, isTotal: false)
        }
        return status
    }

    /// Shows the rule the list's candidates that are not below the ranked one, `least`, and keeps those that it marks; with `keepAll` the
    /// others as 0. Returns the value below which nothing was shown.
    @discardableResult
    private func ask(
        _ context: SelectionContext, allowed: Int, showsAll: Bool, keepAll: Bool, core: Int, shown least: Float = 0,
        _ summary: inout SelectionSummary
    ) throws -> Float {
        let device = self.context
        let offsets = try DeviceArray<Int32>(rows + 1, on: device)
        try placeRows(withCore: false, allTies: true, offsets: offsets)
        let count = Int(try offsets.values(1, from: rows)[0])
        let shown = ShownCandidates(
            offsets: offsets, columns: try DeviceArray(count, on: device), values: try DeviceArray(count, on: device),
            marks: try DeviceArray(count, on: device), places: try DeviceArray(count, on: device), count: count)
        try writeRows(withCore: false, offsets: offsets, shown.columns, shown.values, counts: nil)
        try SelectionArrays.read(
            sparseEncoder.candidates, rows: rows, latents: latents, offsets: try offsets.values(), shown.columns,
            shown.values)
        let least = try sparseEncoder.mark(
            setting.rule, context, allowed: allowed, showsAll: showsAll, shown: least, keeping: keepAll, &summary)
        let marked = try sparseEncoder.selected.withUnsafeBufferPointer { (marks) throws(CUDAError) -> Int in
            if count > 0 { try shown.marks.upload(marks.baseAddress!, count) }
            try device.synchronize()
            return marks[..<count].count { $0 != 0 }
        }
        try selection.growCodes(to: core + (keepAll ? count : marked))
        try selection.cursors.clear()
        let blocks = (rows + 7) / 8
        try device.launch(
            try kernel("countMarked", "assemble"), blocks, threads: 256, selection.rowCore, offsets, shown.marks,
            keepAll, rows, selection.rowAbove)
        try sumUp(selection.rowAbove, rows, into: selection.rowOffsets)
        try device.launch(
            try kernel("writeMarked", "assemble"), blocks, threads: 256, selection.segments, selection.tiles,
            selection.columns, selection.values, exempt, offsets, shown.columns, shown.values, shown.marks, keepAll,
            rows, selection.rowOffsets, selection.keptColumns, selection.keptValues, shown.places, selection.cursors)
        selection.shown = shown
        try orderByLatent()
        return least
    }

    /// offsets [count + 1] of counts.
    private func sumUp(_ counts: DeviceArray<Int32>, _ count: Int, into offsets: DeviceArray<Int32>)
        throws(CUDAError)
    {
        let blocks = (count + 1023) / 1024
        try context.launch(
            try kernel("sumCounts", "assemble"), blocks, threads: 1024, counts, count, selection.countSums)
        try context.launch(
            try kernel("offsetCounts", "assemble"), blocks, threads: 1024, counts, count, selection.countSums, offsets)
    }

    // MARK: By latent

    private func orderByLatent() throws {
        let blocks = (rows + 7) / 8
        try sumUp(selection.cursors, latents, into: selection.offsets)
        try context.launch(
            try kernel("scatterEntries", "bylatent"), blocks, threads: 256, selection.rowOffsets, selection.keptColumns,
            selection.keptValues, rows, selection.offsets, selection.cursors, selection.looseRows,
            selection.looseValues, selection.looseSources)
        let words = (rows + 31) / 32
        let warps = min(8, 8192 / words)
        try context.launch(
            try kernel("orderEntries", "bylatent"), (latents + warps - 1) / warps, threads: 32 * warps,
            selection.offsets, latents, words, selection.looseRows, selection.looseValues, selection.looseSources,
            selection.entryRows, selection.entryValues, selection.places, selection.active)
        // On its way while losses are computed.
        try selection.ordered.record(on: context.stream)
        try selection.ordered.wait(in: context.copies)
        try selection.active.download(selection.readActive.elements, latents, on: context.copies)
        try selection.counted.record(on: context.copies)
    }

    package func countActive(into counts: UnsafeMutableBufferPointer<Int32>) throws {
        try context.activate()
        try selection.counted.synchronize()
        counts.baseAddress!.update(from: selection.readActive.elements, count: latents)
    }
}
