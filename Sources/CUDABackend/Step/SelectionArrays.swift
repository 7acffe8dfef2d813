import LinearAlgebra

/// What a selection finds and keeps.
final class SelectionArrays {
    /// `Status` in prelude.cu.
    struct Status: BitwiseCopyable {
        var found: UInt64 = 0
        var core: UInt32 = 0
        /// ~j of the lowest latent j that was infinite, 0 for none.
        var infinite: UInt32 = 0
        var threshold: UInt32 = 0
        var ties: UInt32 = 0
        var kept: UInt32 = 0
        var done: UInt32 = 0
        var remaining: UInt32 = 0
        var unused: UInt32 = 0
    }

    /// Candidates that there is room for.
    private(set) var capacity = 0
    private(set) var columns: DeviceArray<Int32>
    private(set) var values: DeviceArray<Float>
    /// [B, tiles] where a row's candidates of a tile begin, and how many they are.
    let segments: DeviceArray<UInt64>
    let tiles: Int
    /// [B, tile] pre-activations without bias.
    let products: DeviceArray<Float>
    let status: DeviceArray<Status>
    let readStatus: PinnedArray<Status>
    /// Counts of digits, zero between rankings.
    let digits: DeviceArray<UInt32>
    let ranges: DeviceArray<UInt64>
    // [B] each.
    let rowCore, rowAbove, rowEqual, rowTies: DeviceArray<Int32>

    /// Codes by token.
    let rowOffsets: DeviceArray<Int32>
    private(set) var keptColumns: DeviceArray<Int32>
    private(set) var keptValues: DeviceArray<Float>
    /// Codes by latent, with their gradients.
    let offsets: DeviceArray<Int32>
    let cursors: DeviceArray<Int32>
    /// Sums of a thousand counts each.
    let countSums: DeviceArray<Int32>
    private(set) var looseRows, looseSources: DeviceArray<Int32>
    private(set) var looseValues: DeviceArray<Float>
    private(set) var entryRows: DeviceArray<Int32>
    private(set) var entryValues: DeviceArray<Float>
    private(set) var deltas: DeviceArray<Float>
    /// Where each of the codes by token is among those by latent.
    private(set) var places: DeviceArray<Int32>
    /// Codes that there is room for.
    private(set) var codeCapacity = 0
    /// [F] entries above 0.
    let active: DeviceArray<Int32>
    let readActive: PinnedArray<Int32>
    /// When `active` is on its way to the host.
    let ordered, counted: DeviceEvent
    /// What a rule of the host's is shown.
    var shown: ShownCandidates?
    private let context: CUDAContext

    init(rows: Int, latents: Int, candidates: Int, on context: CUDAContext) throws(CUDAError) {
        self.context = context
        func array<T>(_ count: Int, _ type: T.Type = T.self) throws(CUDAError) -> DeviceArray<T> {
            try DeviceArray(count, on: context)
        }
        tiles = (latents + StepMemory.tile - 1) / StepMemory.tile
        capacity = candidates
        (columns, values) = (try array(candidates), try array(candidates))
        segments = try array(rows * tiles)
        products = try array(rows * StepMemory.tile)
        (status, readStatus) = (try array(1), try PinnedArray(1, on: context))
        (digits, ranges) = (try array(2048), try array(4096))
        (rowCore, rowAbove, rowEqual, rowTies) = (try array(rows), try array(rows), try array(rows), try array(rows))
        rowOffsets = try array(rows + 1)
        (offsets, cursors) = (try array(latents + 1), try array(latents + 1))
        countSums = try array((max(rows, latents) + 1023) / 1024)
        (keptColumns, keptValues) = (try array(1), try array(1))
        (looseRows, looseSources, looseValues) = (try array(1), try array(1), try array(1))
        (entryRows, entryValues, deltas, places) = (try array(1), try array(1), try array(1), try array(1))
        (active, readActive) = (try array(latents), try PinnedArray(latents, on: context))
        (ordered, counted) = (try DeviceEvent(on: context), try DeviceEvent(on: context))
        try digits.clear()
        try growCodes(to: candidates / 2)
    }

    /// Makes room for so many candidates; what is there is lost.
    func grow(to count: Int) throws(CUDAError) {
        guard count > capacity else { return }
        try StepMemory.checkCandidates(count)
        var need = MemoryNeed(
            "a selection among \(count) candidates needs", advice: "lower --batch, or use --device cpu")
        need.add("candidates", 8, count)
        try context.require(need)
        try context.synchronize()
        columns = try DeviceArray(count, on: context)
        values = try DeviceArray(count, on: context)
        capacity = count
    }

    /// Makes room for so many codes; what is there is lost.
    func growCodes(to count: Int) throws(CUDAError) {
        guard count > codeCapacity else { return }
        let count = max(count, codeCapacity + codeCapacity / 2)
        guard count <= Int(Int32.max) else {
            throw .unsupported(name: "the number of selected entries in a batch", value: count, most: Int(Int32.max))
        }
        var need = MemoryNeed(
            "a batch of \(count) selected entries needs", advice: "lower --batch, or use --device cpu")
        need.add("codes", 36, count)
        try context.require(need)
        try context.synchronize()
        keptColumns = try DeviceArray(count, on: context)
        keptValues = try DeviceArray(count, on: context)
        looseRows = try DeviceArray(count, on: context)
        looseSources = try DeviceArray(count, on: context)
        looseValues = try DeviceArray(count, on: context)
        entryRows = try DeviceArray(count, on: context)
        entryValues = try DeviceArray(count, on: context)
        deltas = try DeviceArray(count, on: context)
        places = try DeviceArray(count, on: context)
        codeCapacity = count
    }

    /// The codes by token, for tests.
    func codes(rows: Int, latents: Int) throws(CUDAError) -> SparseCodes {
        let codes = SparseCodes()
        try Self.read(
            codes, rows: rows, latents: latents, offsets: try rowOffsets.values(rows + 1), keptColumns, keptValues)
        return codes
    }

    /// Fills `codes` with rows that lie on the card.
    static func read(
        _ codes: SparseCodes, rows: Int, latents: Int, offsets: [Int32], _ columns: DeviceArray<Int32>,
        _ values: DeviceArray<Float>
    ) throws(CUDAError) {
        let count = Int(offsets[rows])
        codes.reset(rows: rows, columns: latents, capacity: count)
        for r in 0...rows { codes.rowOffsets[r] = Int64(offsets[r]) }
        try columns.download(codes.columnIndices, count)
        try values.download(codes.values, count)
        try columns.context.synchronize()
    }
}

/// Candidates in rows, what a rule made of them, and where they went.
struct ShownCandidates {
    let offsets: DeviceArray<Int32>
    let columns: DeviceArray<Int32>
    let values: DeviceArray<Float>
    let marks: DeviceArray<UInt8>
    /// Where each is among the codes by token.
    let places: DeviceArray<Int32>
    let count: Int
}
