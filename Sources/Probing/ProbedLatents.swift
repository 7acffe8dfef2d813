import LinearAlgebra

/// Some of an SAE's latents, of which probes may choose.
package struct ProbedLatents: Sendable {
    /// Which of them: "all", "core", "random 1 of first group" …
    package let name: String
    /// Rising.
    package let latents: [Int]
    /// Of those, so many that fire most often on a task's training rows; nil for all.
    package let mostFrequent: Int?
    /// The set it is a control of, as many others of those that `from` names; nil for one of its own.
    package let control: Control?
    /// Latents of the SAE that it is a part of, from 0, as if there were no others; nil for all.
    package let prefix: Int?

    /// What a set is compared with.
    package struct Control: Sendable, Equatable {
        package let of: String
        package let from: String
    }

    private init(
        _ name: String, _ latents: [Int], mostFrequent: Int? = nil, of set: String? = nil, from: String = "",
        prefix: Int? = nil
    ) {
        (self.name, self.latents, self.mostFrequent, self.prefix) = (name, latents, mostFrequent, prefix)
        control = set.map { Control(of: $0, from: from) }
    }

    /// Its name without the number of its draw.
    var group: String {
        guard let control, mostFrequent == nil else { return name }
        return "random of \(control.from) for \(control.of)"
    }

    /// Sets by their `group`, in the order in which these come first.
    static func groups(_ sets: [ProbedLatents]) -> [(name: String, members: [Int])] {
        var result: [(name: String, members: [Int])] = []
        for (i, set) in sets.enumerated() {
            if let known = result.firstIndex(where: { $0.name == set.group }) {
                result[known].members.append(i)
            } else {
                result.append((set.group, [i]))
            }
        }
        return result
    }

    /// Those of the set that probes of rows with so many firings may take: of the most frequent ones, of equal ones the lower.
    func members(firings: [Int]) -> [Int] {
        guard let mostFrequent else { return latents }
        return Array(latents.sorted { (firings[$0], $1) > (firings[$1], $0) }.prefix(mostFrequent)).sorted()
    }

    /// The SAE as it would be if it ended after each of these numbers of latents.
    package static func prefixes(_ ends: [Int]) -> [ProbedLatents] {
        ends.map { ProbedLatents("prefix \($0)", Array(0..<$0), prefix: $0) }
    }

    /// All latents of an SAE, those of its core and first group, and controls of each: as many latents from outside the set, `draws` times at
    /// random, and for the core from the first group as well; and those that fire most often, for the core.
    package static func sets(
        latents: Int, core: Int, firstGroup: Int, draws: Int, seed: UInt64
    ) -> [ProbedLatents] {
        var result = [ProbedLatents("all", Array(0..<latents))]
        var stream: UInt32 = 0
        func add(_ name: String, _ count: Int, pools: [(name: String, end: Int)]) {
            guard count > 0, count < latents else { return }
            result.append(ProbedLatents(name, Array(0..<count)))
            for pool in pools {
                for draw in 0..<draws {
                    let random = CounterRandom(seed: seed, purpose: .randomCore, step: stream)
                    stream += 1
                    guard pool.end >= 2 * count else { continue }
                    let chosen = random.permutation(pool.end - count).prefix(count).map { Int($0) + count }.sorted()
                    result.append(
                        ProbedLatents(
                            "random \(draw + 1) of \(pool.name) for \(name)", chosen, of: name, from: pool.name))
                }
            }
        }
        add("core", core, pools: [("first group", firstGroup), ("all", latents)])
        if core > 0, latents >= 2 * core {
            result.append(
                ProbedLatents(
                    "most frequent for core", Array(core..<latents), mostFrequent: core, of: "core",
                    from: "most frequent"))
        }
        if firstGroup != core { add("first group", firstGroup, pools: [("all", latents)]) }
        return result
    }
}
