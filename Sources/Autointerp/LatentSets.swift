import LinearAlgebra

/// Latents that are told of together: a core, or what it is compared with.
package struct LatentSet: Codable, Sendable, Equatable {
    /// "core", "random 1 of first group", "most frequent" …
    package var name: String
    /// In the order in which they were drawn, of a core rising.
    package var latents: [Int]
    /// How many latents it is drawn from, and how many of those can be explained and tested.
    package var of: Int
    package var explainable: Int
    /// The set it is a control of.
    package var control_of: String?

    package init(name: String, latents: [Int], of: Int, explainable: Int, control_of: String? = nil) {
        (self.name, self.latents, self.of, self.explainable, self.control_of) = (
            name, latents, of, explainable, control_of
        )
    }

    /// What is asked for.
    package struct Choice: Sendable {
        /// Latents of the core; none of an SAE without one.
        package var core: [Int] = []
        /// m₁, the innermost prefix.
        package var firstGroup: Int
        /// F.
        package var latents: Int
        /// Latents of each set at most; nil for the whole core, and 20 where there is none.
        package var count: Int?
        /// Random sets of each pool.
        package var draws = 1
        package var seed: UInt64 = 0

        package init(firstGroup: Int, latents: Int) { (self.firstGroup, self.latents) = (firstGroup, latents) }
    }

    /// The core and its controls, as `eval probes` has them: as many latents from outside it, at random from the first group and from all, and
    /// those that fire most often. Of an SAE without a core, latents of the first group and of all. Only latents that can be explained and
    /// tested are drawn, since only those are compared.
    ///
    /// - Parameters:
    ///   - canBeExplained: [F].
    ///   - frequency: [F].
    package static func sets(_ choice: Choice, canBeExplained: [Bool], frequency: [Double]) -> [LatentSet] {
        var result: [LatentSet] = []
        var stream: UInt32 = 0
        func add(_ name: String, from pool: [Int], _ count: Int, control set: String?, draws: Int) {
            let explainable = pool.filter { canBeExplained[$0] }
            for draw in 0..<draws {
                var numbers = Draws(CounterRandom(seed: choice.seed, purpose: .explainedLatents, step: stream))
                stream += 1
                let chosen = numbers.sample(explainable, count)
                guard !chosen.isEmpty else { continue }
                let number = draws > 1 ? " \(draw + 1)" : ""
                result.append(
                    LatentSet(
                        name: set == nil ? name : "random\(number) of \(name)", latents: chosen, of: pool.count,
                        explainable: explainable.count, control_of: set))
            }
        }
        guard !choice.core.isEmpty else {
            let count = choice.count ?? 20
            add("first group", from: Array(0..<choice.firstGroup), count, control: nil, draws: 1)
            if choice.firstGroup < choice.latents {
                add("all", from: Array(0..<choice.latents), count, control: nil, draws: 1)
            }
            return result
        }
        add("core", from: choice.core.sorted(), choice.count ?? choice.core.count, control: nil, draws: 1)
        guard let count = result.first?.latents.count else { return result }
        let isCore = Set(choice.core)
        let others = (0..<choice.latents).filter { !isCore.contains($0) }
        for (name, end) in [("first group", choice.firstGroup), ("all", choice.latents)] {
            add(name, from: others.filter { $0 < end }, count, control: "core", draws: choice.draws)
        }
        let frequent = others.filter { canBeExplained[$0] }.sorted { (frequency[$0], $1) > (frequency[$1], $0) }
        if !frequent.isEmpty {
            result.append(
                LatentSet(
                    name: "most frequent", latents: Array(frequent.prefix(count)), of: others.count,
                    explainable: frequent.count, control_of: "core"))
        }
        return result
    }
}
