import Distillation

extension RunReport {
    /// A bar for each cycle's core, cut by the cycle its latents were born in, and the same as numbers.
    func origin() -> String {
        let all = records.seeds.filter { !$0.cores.isEmpty }
        guard all.count > 1 else { return all.first.map(origin) ?? "<p>There is no core yet.</p>" }
        return all.map { "<h3>Seed \($0.seed)</h3>" + origin($0) }.joined()
    }

    private func origin(_ seed: FinishedSeed) -> String {
        OriginFigure(
            bars: seed.cores.indices.map { ("cycle \($0)", seed.births($0).map(Double.init)) },
            axis: cycleAxis(seed.cores.count), label: "Origin of core latents",
            caption: "Latents of each cycle's core by the cycle they come from.", head: "core of"
        ).html
    }
}
