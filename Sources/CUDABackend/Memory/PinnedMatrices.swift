import LinearAlgebra
import Synchronization

/// Matrices of the host that a card writes and reads by itself, without a copy in between. Memory that nobody holds any more is used
/// again: to pin it takes longer than to fill it.
final class PinnedMatrices: Sendable {
    private let state: Mutex<State>

    private struct State: @unchecked Sendable {
        let context: CUDAContext
        var idle: [PinnedArray<Float>] = []
        /// Where lent ones begin.
        var lent: Set<UInt> = []
        var lentBytes = 0
    }

    /// Pinned memory is taken from everybody else; who holds on to more has ordinary matrices.
    private static let mostBytes = 1 << 29

    init(on context: CUDAContext) { state = Mutex(State(context: context)) }

    /// A matrix whose values are not defined; an ordinary one of zeros where too many are held.
    ///
    /// - Throws: `CUDAError.call`.
    func matrix(rows: Int, columns: Int) throws(CUDAError) -> Matrix {
        let count = rows * columns
        let array: PinnedArray<Float>? = try state.withLock { (state) throws(CUDAError) in
            guard count > 0, state.lentBytes + 4 * count <= Self.mostBytes else { return nil }
            let array: PinnedArray<Float>
            if let i = state.idle.firstIndex(where: { $0.count == count }) {
                array = state.idle.remove(at: i)
            } else {
                // Of sizes that are no longer asked for, none is kept.
                state.idle = []
                array = try PinnedArray(count, on: state.context)
            }
            state.lent.insert(UInt(bitPattern: array.elements))
            state.lentBytes += 4 * count
            return array
        }
        guard let array else { return Matrix(rows: rows, columns: columns) }
        return Matrix(rows: rows, columns: columns, elements: array.elements, owner: Loan(array, self))
    }

    /// Whether a matrix is one of these.
    func own(_ matrix: Matrix) -> Bool { state.withLock { $0.lent.contains(UInt(bitPattern: matrix.elements)) } }

    private func takeBack(_ array: PinnedArray<Float>) {
        state.withLock { state in
            state.lent.remove(UInt(bitPattern: array.elements))
            state.lentBytes -= 4 * array.count
            state.idle.append(array)
        }
    }

    /// Who keeps a matrix's memory, as long as somebody keeps the matrix.
    private final class Loan {
        private let array: PinnedArray<Float>
        private let matrices: PinnedMatrices

        init(_ array: PinnedArray<Float>, _ matrices: PinnedMatrices) {
            (self.array, self.matrices) = (array, matrices)
        }

        deinit { matrices.takeBack(array) }
    }
}
