import LinearAlgebra
import TestSupport

/// Floats at an address that is no multiple of a vector, with sentinels on both sides that no kernel may touch.
final class GuardedRow {
    private let storage: Matrix
    let count: Int

    private static let margin = 33
    private static let sentinel: Float = 1.25e30

    init(_ values: [Float]) {
        count = values.count
        storage = Matrix(rows: 1, columns: values.count + 2 * Self.margin)
        storage.fill(Self.sentinel)
        for i in values.indices { pointer[i] = values[i] }
    }

    /// `count` numbers in [low, high).
    convenience init(random count: Int, seed: UInt64, from low: Float = -2, to high: Float = 2) {
        self.init(randomMatrix(1, count, seed: seed, from: low, to: high).values)
    }

    var pointer: UnsafeMutablePointer<Float> { storage.elements + Self.margin }
    var values: [Float] { (0..<count).map { pointer[$0] } }
    var doubles: [Double] { values.map(Double.init) }

    /// Whether everything around the row is as it was.
    var isIntact: Bool {
        (0..<Self.margin).allSatisfy {
            storage[$0] == Self.sentinel && storage[storage.columns - 1 - $0] == Self.sentinel
        }
    }
}
