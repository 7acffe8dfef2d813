import Attribution
import Distillation
import TensorFiles
import TestSupport
import Testing

/// What is said of trials side by side.
@Suite struct TrialTableTests {
    private func record(_ name: String, _ core: String, score: Double, k: Double = 12, frozen: Int = 0) throws
        -> TrialRecord
    {
        let text = """
            {"trial": {"name": "\(name)", "core": "\(core)", "k": \(k), "seed": 1, "tokens": 640},
             "sae": {"deadLatents": 1, "frozenCore": \(frozen), "seed": 1, "width": 64, "evaluation": {
             "ce_loss_score": \(score), "ce_loss_with_ablation": 10, "ce_loss_with_sae": 3, "ce_loss_without_sae": 2,
             "cossim": 0.9, "explained_variance": 0.8, "frac_alive": 1, "l0": 12, "l0_core": 2, "l0_non_core": 8,
             "l2_ratio": 1, "tokens": 100}}}
            """
        return try JSONRecord.decode(TrialRecord.self, from: text, in: "test")
    }

    private func table(_ own: [Double], _ random: [Double]) throws -> TrialTable {
        TrialTable(
            try zip(own, random).map { a, b in
                [
                    try record("random", "random", score: b, frozen: 3),
                    try record("dmsae", "distilled", score: a, frozen: 3),
                ]
            })
    }

    @Test func theDistilledCoreIsWhatOthersAreHeldAgainst() throws {
        let table = try table([0.9], [0.875])
        #expect(table.reference(at: 12)?.trial.name == "dmsae" && table.difference(table.rows[1]) == nil)
        #expect(table.difference(table.rows[0])?.value == 0.875 - 0.9)
        #expect(table.rows.map(\.core) == ["3 random", "3 distilled"])
        #expect(
            table.findings() == [
                "At k = 12, dmsae has a CE loss score of 0.900; 2.0 of its 3 distilled latents fire on a token.",
                "random has 0.875 (-0.025); 2.0 of its 3 random latents fire.",
                "That is one seed: without an interval no difference between trials is a finding; seeds: 3 in the recipe gives one.",
            ])
        #expect(
            try TrialTable([]).findings().isEmpty
                && self.table([0.9, 0.8], [0.7, 0.9]).findings()[2].contains("two seeds"))
    }

    /// Seed by seed 0.010, 0.012 and 0.011 apart, while seeds are 0.1 apart: paired, that is a finding.
    @Test func aDifferenceIsAFindingOnlyWhereItsIntervalExcludes0() throws {
        let (low, high) = ([0.7, 0.8, 0.9], [0.71, 0.812, 0.911])
        // s = 0.001, so half is 4.3027 · 0.001 / √3 = 0.0025.
        let better = try table(high, low).findings(), worse = try table(low, high).findings()
        #expect(
            better[1]
                == "dmsae is better than random by 0.0110 [0.0085, 0.0135]; random has 0.800 (0.700 to 0.900); 2.0 of its 3 random "
                + "latents fire.")
        #expect(
            worse[1].hasPrefix(
                "dmsae is worse than random by 0.0110 [0.0085, 0.0135]; random has 0.811 (0.710 to 0.911)"))
        let neither = try table([0.7, 0.8, 0.9], [0.71, 0.79, 0.9]).findings()
        #expect(
            neither[1].hasPrefix(
                "dmsae is not shown to be better or worse than random: random has 0.800 (0.710 to 0.900), a difference of 0.0000 "
                    + "[-0.0248, 0.0248]"))
        #expect(
            neither[2]
                == "Brackets hold the 95% interval by Student's t over the differences of 3 seeds, trial less trial of one seed."
        )
    }

    @Test func trialsOfEachKAreHeldAgainstTheirOwn() throws {
        let table = TrialTable([
            [
                try record("dmsae", "distilled", score: 0.9), try record("baseline", "none", score: 0.8),
                try record("dmsae", "distilled", score: 0.5, k: 20), try record("baseline", "none", score: 0.75, k: 20),
            ]
        ])
        #expect(table.ks == [12, 20] && table.difference(table.rows[3])?.value == 0.25)
        #expect(table.findings().count == 5 && table.findings()[2].hasPrefix("At k = 20, dmsae has"))
        #expect(table.differ(\.k) && !table.differ(\.tokens))
    }
}
