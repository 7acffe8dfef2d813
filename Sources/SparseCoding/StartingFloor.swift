import Glibc

/// The value above which a selection over a batch looks for its candidates.
///
/// Half of a new SAE's pre-activations are positive, and of those only k of F survive: what the last batch kept tells
/// where to start. It is a guess about speed, never about results: a selection that finds fewer candidates than it may
/// keep looks again from 0.
package struct StartingFloor {
    package private(set) var value: Float = 0

    package init() {}

    /// Candidates to aim at, relative to those kept. Early in a training the upper tail grows or shrinks by up to a
    /// fifth in a step; a candidate too many costs a few nanoseconds, one too few a product.
    private static let surplus = 1.5

    /// Takes in a selection: `found` entries above `floor`, `kept` of them at and above `least`.
    ///
    /// The logarithm of the number of entries above a value falls about linearly with it, so two points give the next.
    package mutating func follow(floor: Float, found: Int, least: Float, kept: Int) {
        guard kept > 0, least.isFinite, found > kept else {
            value = 0
            return
        }
        // Where the two points nearly coincide their slope says little: eight times their distance is far enough.
        let steps = min(8, log(Self.surplus) / log(Double(found) / Double(kept)))
        value = max(0, least - (least - floor) * Float(steps))
    }
}
