import LinearAlgebra
import SparseCoding

/// An SAE of random parameters, none of them zero.
package func smallSAE(
    dIn: Int, groups: [Int], core: Int = 0, coreIsDense: Bool = true, seed: UInt64 = 1
) throws -> SparseAutoencoder {
    let layout = try PrefixLayout(groups: groups, coreCount: core)
    let sae = SparseAutoencoder(dIn: dIn, layout: layout, coreIsDense: coreIsDense)
    sae.initialize(seed: seed)
    sae.encoder.assign(randomMatrix(sae.dSAE, dIn, seed: seed + 1, from: -0.8, to: 0.8))
    sae.encoderBias.assign(randomMatrix(1, sae.dSAE, seed: seed + 2, from: -0.2, to: 0.2))
    sae.decoderBias.assign(randomMatrix(1, dIn, seed: seed + 3, from: -0.3, to: 0.3))
    return sae
}

/// TopK by a full sort of every row: k largest, ties to the lower column.
package final class NaiveTopK: SparsityRule {
    package let name = "naive-topk"
    package let version = "0"
    package let scope = SelectionScope.row

    package init() {}

    package func upperCount(_ context: SelectionContext) -> Int { context.batchBudget / context.batchRows }

    package func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) {
        for r in 0..<candidates.rows {
            let order = candidates.entries(ofRow: r).sorted {
                (candidates.values[$0], $1) > (candidates.values[$1], $0)
            }
            for e in order.prefix(upperCount(context)) { selected[e] = 1 }
        }
    }
}

/// Everything above a fixed value.
package final class FixedThreshold: SparsityRule {
    package let name = "fixed-threshold"
    package let version = "0"
    package let scope = SelectionScope.all
    package let threshold: Float

    package init(_ threshold: Float) { self.threshold = threshold }

    package func upperCount(_ context: SelectionContext) -> Int { Int.max }

    package func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) {
        for e in 0..<candidates.count where candidates.values[e] > threshold { selected[e] = 1 }
    }
}

extension Trainer {
    /// The arithmetic of a trainer on lanes.
    package var lanes: LaneArithmetic { arithmetic as! LaneArithmetic }
}
