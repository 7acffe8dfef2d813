import Distillation
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Activations that NumPy wrote (`Fixtures/corpus/make.py`), and safetensors shards: the same 200 rows of 8 numbers.
@Suite struct ActivationFilesTests {
    private let folder = TemporaryFolder()
    private let pattern = fixture("corpus/x*.npy")

    /// Every number is one of binary16 too.
    private static let rows: [[Float]] = (0..<200).map { r in
        (0..<8).map { Float((r * 8 + $0) * 37 % 257 - 128) / 32 }
    }

    private func training(_ path: String, batch: Int = 64, _ order: TrainingRows.Order, isScaled: Bool = false) throws
        -> TrainingRows
    {
        try TrainingRows(
            path, batch: batch, order: order, isScaled: isScaled, progress: SilentProgress(), stop: StopRequest())
    }

    private func read(_ source: TrainingRows, step: Int, batch: Int = 64) throws -> [[Float]] {
        let target = Matrix(rows: batch, columns: source.dIn)
        try source.read(step, target)
        return (0..<batch).map { r in (0..<source.dIn).map { target[r, $0] } }
    }

    private func message(_ path: String) -> String {
        do {
            _ = try training(path, .ofFile)
            return "read"
        } catch { return "\(error)" }
    }

    private func write(_ name: String, _ range: Range<Int>, tensor: String = "x", also: String? = nil) throws {
        let x = Matrix(rows: range.count, columns: 8, Self.rows[range].flatMap { $0 })
        var writer = SafetensorsWriter()
        writer.add(tensor, x)
        if let also { writer.add(also, x) }
        try writer.write(to: folder.file(name))
    }

    @Test func filesAreReadInTheOrderOfTheirNamesAndFromTheStartAgain() throws {
        try write("a.safetensors", 0..<90, also: "y")
        try write("b.safetensors", 90..<200, tensor: "activations")
        for path in [pattern, folder.path, folder.file("?.safetensors")] {
            let source = try training(path, .ofFile)
            #expect(source.dIn == 8 && source.scale == 1 && source.origin == nil)
            #expect(source.files.count == (path == pattern ? 3 : 2))
            for step in 0..<5 {
                #expect(try read(source, step: step) == (0..<64).map { Self.rows[(step * 64 + $0) % 200] }, "\(path)")
            }
        }
        let one = try training(fixture("corpus/x2.npy"), .ofFile)
        #expect(try read(one, step: 0) == Array(Self.rows[130..<194]))
    }

    @Test func anEpochHasEveryRowOnceInAnOrderOfItsOwn() throws {
        let source = try training(pattern, .shuffled(seed: 3))
        func epoch(_ source: TrainingRows, _ n: Int) throws -> [[Float]] {
            try (0..<3).flatMap { try read(source, step: 3 * n + $0) }
        }
        let first = try epoch(source, 0), second = try epoch(source, 1)
        // Three chunks of 64 rows; the last eight fill none.
        for found in [first, second] { #expect(Set(found) == Set(Self.rows[..<192]) && found.count == 192) }
        #expect(first != second && first != Array(Self.rows[..<192]))
        // Neighbours are not neighbours any more, within a chunk either.
        let places = Dictionary(uniqueKeysWithValues: Self.rows.enumerated().map { ($1, $0) })
        let neighbours = zip(first, first.dropFirst()).count { places[$1]! - places[$0]! == 1 }
        #expect(neighbours < 10)
        // A function of seed and epoch, whatever was read before.
        #expect(try epoch(try training(pattern, .shuffled(seed: 3)), 1) == second)
        #expect(try epoch(try training(pattern, .shuffled(seed: 4)), 0) != first)
    }

    @Test func theScaleIsTheRootOfTheMeanSquaredNorm() throws {
        let square = Self.rows.reduce(0.0) { $0 + $1.reduce(0.0) { $0 + Double($1) * Double($1) } }
        let wanted = (square / 200).squareRoot()
        let source = try training(pattern, .ofFile, isScaled: true)
        // Norms are sums of eight squares in single precision.
        #expect(abs(Double(source.scale) - wanted) < 1e-6 * wanted)
        #expect(try read(source, step: 0)[5] == Self.rows[5].map { $0 * (1 / source.scale) })
    }

    @Test func whatCannotBeTrainedOnIsRefusedByName() throws {
        try write("a.safetensors", 0..<90)
        let narrow = folder.file("b.safetensors")
        var writer = SafetensorsWriter()
        writer.add("x", Matrix(rows: 4, columns: 7))
        try writer.write(to: narrow)
        #expect(
            message(folder.path) == "\(narrow): tensor \"x\" has shape [4, 7], wanted [any, 8]; "
                + "check that the file belongs with the others given")
        writer = SafetensorsWriter()
        writer.add("x", Matrix(rows: 2, columns: 8, [Float](repeating: 1, count: 12) + [.nan, 1, 1, 1]))
        try writer.write(to: narrow)
        #expect(
            message(folder.path)
                == "\(narrow): row 1 holds NaN or infinity, or numbers beyond measure; check how it was made")
        let ids = fixture("corpus/rows.npy")
        #expect(message(ids).hasPrefix("\(ids): tensor \"rows.npy\" is I32, wanted F64, F32, F16 or BF16"))
        #expect(
            message(folder.file("*.npy"))
                == "\(folder.file("*.npy")): no .npy and no .safetensors file is there; give a store, such files, or a pattern for "
                + "them")
        try write("shard-00000.safetensors", 0..<90)
        #expect(message(folder.path) == "activation store \(folder.path): it was not finished; harvest it again")
        #expect(message(fixture("corpus/x1.npy")).hasPrefix("60 rows of activations do not fill one batch of 64"))
    }
}
