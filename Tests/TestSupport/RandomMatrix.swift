import LinearAlgebra

/// A matrix of uniform numbers in [low, high), a function of the seed.
public func randomMatrix(
    _ rows: Int, _ columns: Int, seed: UInt64 = 1, from low: Float = -1, to high: Float = 1
) -> Matrix {
    let result = Matrix(rows: rows, columns: columns)
    CounterRandom(seed: seed, purpose: .test)
        .fill(UnsafeMutableBufferPointer(start: result.elements, count: result.count), from: low, to: high)
    return result
}

/// A matrix of whole numbers in −bound...bound: sums of their products are exact in single precision, so index sets
/// and ties do not depend on the order of summation.
public func wholeMatrix(_ rows: Int, _ columns: Int, seed: UInt64, bound: Int) -> Matrix {
    let result = Matrix(rows: rows, columns: columns)
    let random = CounterRandom(seed: seed, purpose: .test, step: 1)
    for i in 0..<result.count {
        result[i] = Float(Int(random.block(UInt64(i)).x % UInt32(2 * bound + 1)) - bound)
    }
    return result
}

/// What an error says; "nothing failed" where none is thrown.
public func message(of body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "nothing failed"
}
