import TensorFiles

/// A method's curves as they are kept between the runs of a comparison.
public struct KeptCurve: Codable {
    private let key: String
    private let points: CurvePoints
    private let sha256: String

    public init(_ points: CurvePoints, key: PassKey) {
        self.key = key.text
        self.points = points
        sha256 = Self.digest(points, self.key)
    }

    /// The points in a file, if it is of this key: a comparison may go on with other aggregates of the same scores.
    /// There must be one for each of `curves`, of its sequences.
    ///
    /// - Throws: `TensorFileError` for a file that is damaged.
    public static func read(_ path: String, key: PassKey, of curves: FaithfulnessCurves) throws -> CurvePoints? {
        let kept = try JSONRecord.read(Self.self, from: path)
        guard kept.key == key.text else { return nil }
        func broken(_ what: String) -> TensorFileError {
            .malformed(file: path, what: what, next: "delete it and compare again")
        }
        let n = curves.counts.count, S = curves.sequenceCount
        guard kept.points.kept.count == n, kept.points.removed.count == n else {
            throw broken("it has \(kept.points.kept.count) and \(kept.points.removed.count) points of \(n)")
        }
        for losses in kept.points.kept + kept.points.removed {
            guard losses.sums.count == S, losses.counts.count == S else {
                throw broken(
                    "a point of it has \(losses.sums.count) losses and \(losses.counts.count) counts of \(S) sequences")
            }
            guard losses.counts == curves.averagedCounts, losses.sums.allSatisfy(\.isFinite) else {
                throw broken("a point of it is no loss over the positions of these sequences")
            }
        }
        guard kept.sha256 == digest(kept.points, kept.key) else {
            throw broken("its numbers are not those that were written")
        }
        return kept.points
    }

    private static func digest(_ points: CurvePoints, _ key: String) -> String {
        var digest = ContentDigest()
        digest.add(key)
        for losses in points.kept + points.removed {
            digest.add(losses.sums)
            digest.add(losses.counts)
        }
        return digest.hexadecimal
    }
}
