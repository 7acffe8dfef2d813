import LinearAlgebra
import SparseCoding

/// The k·B largest by a full sort: the oracle of every faster selection.
public final class NaiveBatchTopK: SparsityRule {
    /// As the plugin calls itself.
    public let name = "naive-batchtopk"
    public let version = "0"
    /// The whole batch.
    public let scope = SelectionScope.batch

    /// Whether a device may choose in its place.
    public let keepsLargest: Bool

    public init(keepsLargest: Bool = false) { self.keepsLargest = keepsLargest }

    public func upperCount(_ context: SelectionContext) -> Int { context.batchBudget }

    /// Sorts by value, then row, then column.
    public func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) {
        let order = (0..<candidates.count).sorted {
            (candidates.values[$0], $1) > (candidates.values[$1], $0)
        }
        for e in order.prefix(context.batchBudget) { selected[e] = 1 }
    }
}
