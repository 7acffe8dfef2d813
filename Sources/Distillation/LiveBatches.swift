import Kernels
import LinearAlgebra
import TensorFiles

/// Batches of live activations: the rows of block after block, each in an order of its own. A batch goes on in the next block where one
/// ends, so that every row is used, and once.
///
/// Trainings of the same activations share a block: each sets aside what is left of it for a batch that goes on in the next one, and
/// only then is that made.
final class LiveBatches: TrainingBatches {
    /// Where a training is; what its checkpoints remember.
    struct Place: Codable, Equatable {
        /// The block's number, n.
        var block = 0
        /// Where it starts.
        var text = TextPlace()
        /// How many of its rows have been used.
        var row = 0
        /// What inputs are divided by.
        var inputScale: Double

        init(inputScale: Double) { self.inputScale = inputScale }

        /// As a checkpoint has it; nil for what no training was at.
        init?(_ text: String) {
            let possible = 0...(1 << 40)
            guard let place = try? JSONRecord.decode(Self.self, from: text, in: "checkpoint"),
                [place.block, place.text.pass, place.text.tokens, place.row].allSatisfy(possible.contains)
            else { return nil }
            self = place
        }
    }

    private let activations: LiveActivations
    private let seed: UInt64
    private var place: Place
    private var order: (block: Int, rows: [Int32])?
    private var nextStep = 0
    /// Where the last two steps began: a step that is prepared ahead is not the one that a checkpoint is of.
    private var places: [Int: Place] = [:]
    /// What the next batch has of blocks that are gone: its first rows, as the model made them.
    private var aside: Matrix?
    private var asideCount = 0

    /// Batches from the start of the text, in the orders of a seed.
    init(_ activations: LiveActivations, seed: UInt64) {
        (self.activations, self.seed) = (activations, seed)
        place = Place(inputScale: activations.inputScale)
    }

    func read(step: Int, scale: Float, into target: Matrix) throws {
        precondition(step == nextStep, "step \(step) of live activations after step \(nextStep - 1)")
        places[step - 2] = nil
        begin()
        var filled = 0
        if asideCount > 0, let aside {
            precondition(asideCount < target.rows && aside.columns == target.columns, "a batch of another size")
            target.elements.update(from: aside.elements, count: asideCount * target.columns)
            filled = asideCount
        }
        while filled < target.rows { filled += try take(target.rows - filled, into: target, after: filled) }
        Lanes.shared.forRanges(target.rows) { _, range in
            kernels.scale(target.row(range.lowerBound), 1 / scale, range.count * target.columns)
        }
        asideCount = 0
        nextStep += 1
    }

    /// The next step begins here, unless a part of its batch was set aside.
    private func begin() { if places[nextStep] == nil { places[nextStep] = place } }

    /// Copies at most `count` rows of the block that is next; how many there were.
    private func take(_ count: Int, into target: Matrix, after filled: Int) throws -> Int {
        let block = try activations.rows(at: place.text)
        guard place.row <= block.count else { throw DistillationError.badPlace(tokens: place.text.tokens) }
        let order = order(of: place.block, block.count)
        let (first, count) = (place.row, min(count, block.count - place.row))
        Lanes.shared.forRanges(count) { _, range in
            for i in range {
                target.row(filled + i).update(
                    from: self.activations.row(Int(order[first + i])), count: target.columns)
            }
        }
        place.row += count
        if place.row == block.count {
            (place.block, place.text, place.row) = (place.block + 1, block.end, 0)
        }
        return count
    }

    // MARK: Among trainings that share blocks

    var blockNumber: Int { place.block }

    func isAtHand(rows: Int) -> Bool {
        guard asideCount < rows else { return true }
        return activations.rowsInMemory(at: place.text).map { $0 - place.row >= rows - asideCount } ?? false
    }

    func setAside(rows: Int) throws {
        guard activations.rowsInMemory(at: place.text) != nil else { return }
        begin()
        let aside = aside ?? Matrix(rows: rows, columns: activations.dIn)
        self.aside = aside
        // Also of a block that has none, or none left: the next one is wanted then.
        asideCount += try take(rows - asideCount, into: aside, after: asideCount)
    }

    func makeBlock() throws { _ = try activations.rows(at: place.text) }

    /// A permutation of the rows of block n.
    private func order(of block: Int, _ rows: Int) -> [Int32] {
        if let order, order.block == block { return order.rows }
        let made = CounterRandom(seed: seed, purpose: .liveShuffle, step: UInt32(truncatingIfNeeded: block))
            .permutation(rows)
        order = (block, made)
        return made
    }

    func place(of step: Int) throws -> String? {
        guard let place = places[step] ?? (step == nextStep ? place : nil) else {
            preconditionFailure("step \(step) of live activations at step \(nextStep)")
        }
        return try JSONRecord.text(place, pretty: false)
    }

    func goOn(at step: Int, from text: String?) -> Bool {
        guard let text, let place = Place(text), place.inputScale == activations.inputScale else { return false }
        (self.place, nextStep, places, asideCount) = (place, step, [:], 0)
        return true
    }
}
