import Attribution
import SparseCoding

/// What absorption of several sets of latents comes to. Intervals hold 95% by Student's t over letters: words of a letter share their main
/// latents, so that more of them make nothing surer.
package struct AbsorptionSummary: Codable, Sendable {
    /// One set.
    package struct Mean: Codable, Sendable {
        /// "all", "prefix 512", "core" …; of random sets, "random of POOL for SET", letter by letter the mean over draws.
        package var set: String
        /// How many latents the main ones are chosen of.
        package var latents: Int
        /// F1 of sparse probes of the main latents.
        package var main_f1: Interval
        package var main_latents: Interval
        package var absorption_fraction: Interval
        package var full_absorption: Interval
    }

    /// Of a set less its controls, letter by letter.
    package struct Difference: Codable, Sendable {
        package var set: String
        /// Where random controls are drawn from, or "most frequent".
        package var from: String
        package var draws: Int
        package var main_f1: Interval
        package var absorption_fraction: Interval
        package var full_absorption: Interval
        /// On how many letters a smaller fraction is absorbed.
        package var less_absorbed_letters: Int
    }

    /// A group of the SAE's latents, in whom words are absorbed.
    package struct Group: Codable, Sendable {
        /// "core", "group 1" …
        package var group: String
        package var latents: Int
        /// Main latents of letters that are of it.
        package var main_latents: Int
        /// Absorbed words whose letter's first main latent is of it.
        package var absorbed_words: Int
        /// Absorbed words whose first absorber is of it.
        package var absorbing_words: Int
    }

    /// A letter, of all latents.
    package struct Letter: Codable, Sendable {
        package var letter: String
        package var probe_f1: Double
        package var main_latents: [Int]
        /// With 1, 2, … latents.
        package var sparse_f1: [Double]
    }

    /// A word that is absorbed, wholly or in part, of all latents.
    package struct Word: Codable, Sendable {
        package var word: String
        package var fraction: Double
        package var full: Bool
        /// The latents that stand in, at most three.
        package var absorbers: [Int]
    }

    package var sets: [Mean]
    package var differences: [Difference]
    package var groups: [Group]
    package var letters: [Letter]
    package var words: [Word]

    /// Sums up sets, of which the first is all latents.
    package init(
        _ found: [(set: ProbedLatents, letters: [AbsorptionEvaluation.Letter])], _ task: SpellingTask,
        probeF1: [Double?], layout: PrefixLayout
    ) {
        let all = found[0].letters
        let groups = ProbedLatents.groups(found.map(\.set))
        /// Letter by letter, the mean over members.
        func mean(_ members: [Int], _ value: (AbsorptionEvaluation.Letter) -> Double) -> [Double] {
            all.indices.map { i in
                members.reduce(0.0) { $0 + value(found[$1].letters[i]) } / Double(members.count)
            }
        }
        sets = groups.map { group in
            func interval(_ value: (AbsorptionEvaluation.Letter) -> Double) -> Interval {
                Interval(meanOf: mean(group.members, value))
            }
            let first = found[group.members[0]].set
            return Mean(
                set: group.name, latents: first.mostFrequent ?? first.latents.count,
                main_f1: interval { $0.splitting.mainF1 },
                main_latents: interval { Double($0.splitting.latents.count) },
                absorption_fraction: interval(\.meanFraction), full_absorption: interval(\.fullRate))
        }
        differences = groups.compactMap { group in
            guard let control = found[group.members[0]].set.control,
                let set = found.firstIndex(where: { $0.set.name == control.of })
            else { return nil }
            func changes(_ value: (AbsorptionEvaluation.Letter) -> Double) -> [Double] {
                zip(mean([set], value), mean(group.members, value)).map { $0 - $1 }
            }
            let fractions = changes(\.meanFraction)
            return Difference(
                set: control.of, from: control.from, draws: group.members.count,
                main_f1: Interval(meanOf: changes { $0.splitting.mainF1 }),
                absorption_fraction: Interval(meanOf: fractions),
                full_absorption: Interval(meanOf: changes(\.fullRate)),
                less_absorbed_letters: fractions.count { $0 < 0 })
        }
        letters = all.map {
            Letter(
                letter: SpellingWord.letters[$0.letter], probe_f1: probeF1[$0.letter] ?? 0,
                main_latents: $0.splitting.latents, sparse_f1: $0.splitting.f1)
        }
        let absorbed = all.flatMap { letter in
            letter.words.filter { !$0.absorption.absorbers.isEmpty }.map { (letter, $0.word, $0.absorption) }
        }
        words = absorbed.map { _, word, absorption in
            Word(
                word: task.words[word].text, fraction: absorption.fraction, full: absorption.isFull,
                absorbers: absorption.absorbers)
        }
        let ends = (layout.coreCount > 0 && !layout.coreIsPrefix ? [layout.coreCount] : []) + layout.prefixes
        self.groups = ends.indices.map { g in
            let range = (g == 0 ? 0 : ends[g - 1])..<ends[g]
            let cores = layout.coreCount > 0 ? 1 : 0
            return Group(
                group: g < cores ? "core" : "group \(g - cores + 1)", latents: range.count,
                main_latents: all.reduce(0) { $0 + $1.splitting.latents.count { range.contains($0) } },
                absorbed_words: absorbed.count { range.contains($0.0.splitting.latents[0]) },
                absorbing_words: absorbed.count { range.contains($0.2.absorbers[0]) })
        }
    }
}
