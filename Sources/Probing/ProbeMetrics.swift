/// How well scores tell two classes apart, as scikit-learn measures it.
package enum ProbeMetrics {
    /// Area under the ROC curve: how often a positive row scores above a negative one, ties counting half. Nil without both classes.
    package static func auc(_ scores: [Double], _ labels: [Bool]) -> Double? {
        let positives = labels.count { $0 }, negatives = labels.count - positives
        guard positives > 0, negatives > 0 else { return nil }
        let order = scores.indices.sorted { scores[$0] < scores[$1] }
        var (ranks, first) = (0.0, 0)
        while first < order.count {
            var last = first
            while last + 1 < order.count, scores[order[last + 1]] == scores[order[first]] { last += 1 }
            let tied = order[first...last].count { labels[$0] }
            // Ranks count from 1; ties share their mean.
            ranks += Double(tied) * (Double(first + last) / 2 + 1)
            first = last + 1
        }
        let P = Double(positives)
        return (ranks - P * (P + 1) / 2) / (P * Double(negatives))
    }

    /// Share of rows whose score is above 0 just where they are positive.
    package static func accuracy(_ scores: [Double], _ labels: [Bool]) -> Double {
        Double(zip(scores, labels).count { ($0 > 0) == $1 }) / Double(labels.count)
    }

    /// F1 of the positive class; 0 where nobody is said to be of it.
    package static func f1(_ scores: [Double], _ labels: [Bool]) -> Double {
        let right = zip(scores, labels).count { $0 > 0 && $1 }
        let all = scores.count { $0 > 0 } + labels.count { $0 }
        return all > 0 ? Double(2 * right) / Double(all) : 0
    }

    /// F1 of each class, weighted by its rows; 0 of a class that nobody is said to be of.
    package static func weightedF1(_ scores: [Double], _ labels: [Bool]) -> Double {
        [true, false].reduce(0.0) { sum, label in
            let right = zip(scores, labels).count { ($0 > 0) == label && $1 == label }
            let said = scores.count { ($0 > 0) == label }, are = labels.count { $0 == label }
            return sum + (said + are > 0 ? Double(2 * right) / Double(said + are) : 0) * Double(are)
        } / Double(labels.count)
    }
}
