import LinearAlgebra

/// Some of an SAE's latents, of which probes may choose.
package struct ProbedLatents: Sendable {
    /// Which of them: "all", "core", "random 1 of first group" …
    package let name: String
    /// Rising.
    package let latents: [Int]
    /// The set it is a control of, as many others drawn at random from those of `from`; nil for one of its own.
    package let control: (of: String, from: String)?

    /// All latents of an SAE, those of its core and first group, and `draws` random controls of each: as many latents, drawn from all outside
    /// the set, and for the core from the first group as well.
    package static func sets(
        latents: Int, core: Int, firstGroup: Int, draws: Int, seed: UInt64
    ) -> [ProbedLatents] {
        var result = [ProbedLatents(name: "all", latents: Array(0..<latents), control: nil)]
        var stream: UInt32 = 0
        func add(_ name: String, _ count: Int, pools: [(name: String, end: Int)]) {
            guard count > 0, count < latents else { return }
            result.append(ProbedLatents(name: name, latents: Array(0..<count), control: nil))
            for pool in pools {
                for draw in 0..<draws {
                    let random = CounterRandom(seed: seed, purpose: .randomCore, step: stream)
                    stream += 1
                    guard pool.end >= 2 * count else { continue }
                    let chosen = random.permutation(pool.end - count).prefix(count).map { Int($0) + count }.sorted()
                    result.append(
                        ProbedLatents(
                            name: "random \(draw + 1) of \(pool.name) for \(name)", latents: chosen,
                            control: (name, pool.name)))
                }
            }
        }
        add("core", core, pools: [("first group", firstGroup), ("all", latents)])
        if firstGroup != core { add("first group", firstGroup, pools: [("all", latents)]) }
        return result
    }
}
