import Attribution
import Distillation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

@Suite struct CoreTests {
    private func core(_ scores: [Double], tau: Double = 1, cycle: Int, previous: Core? = nil) throws -> Core {
        Core(try CoreSelection(scores, fraction: tau), scores: scores, cycle: cycle, previous: previous)
    }

    @Test func aLatentIsBornOnceAndCarriedByItsPlaceInTheLastCore() throws {
        let first = try core([0, 5, 0, 9, 1], cycle: 0)
        #expect(first.latents.map(\.index) == [3, 1, 4] && first.latents.map(\.score) == [9, 5, 1])
        #expect(first.latents.allSatisfy { $0.previousIndex == nil && $0.born == 0 && $0.selectedIn == [0] })
        #expect(first.carriedOver == 0 && first.jaccard == nil && first.previousSize == 0 && first.candidates == 5)

        // In cycle 1 latents 0, 1, 2 are the last core's 3, 1, 4; 0 and 2 are selected again, and 3 and 5 are new.
        let second = try core([4, 0, 3, 8, 0, 1], cycle: 1, previous: first)
        #expect(second.latents.map(\.index) == [3, 0, 2, 5])
        #expect(second.latents.map(\.previousIndex) == [nil, 0, 2, nil])
        #expect(second.latents.map(\.born) == [1, 0, 0, 1])
        #expect(second.latents.map(\.selectedIn) == [[1], [0, 1], [0, 1], [1]])
        #expect(second.carriedOver == 2 && second.previousSize == 3 && second.jaccard == 2.0 / 5)
        #expect(second.stable.latents.map(\.index) == [0, 2], "C ∩ P, in falling order of score")

        // In cycle 2 latents 0…3 are 3, 0, 2, 5 of cycle 1.
        let third = try core([1, 2, 0, 0, 0, 7], cycle: 2, previous: second)
        #expect(third.latents.map(\.index) == [5, 1, 0])
        #expect(third.latents.map(\.born) == [2, 0, 1])
        #expect(third.latents.map(\.selectedIn) == [[2], [0, 1, 2], [1, 2]])
        #expect(third.jaccard == 2.0 / 5 && third.stable.latents.map(\.previousIndex) == [1, 0])
    }

    @Test func nothingCarriedOverLeavesAnEmptyStableCore() throws {
        let first = try core([1, 1], cycle: 0)
        let second = try core([0, 0, 3], cycle: 1, previous: first)
        #expect(second.carriedOver == 0 && second.jaccard == 0 && second.stable.latents.isEmpty)
    }

    @Test func aCoreAndItsEncoderVectorsComeBackFromTheirFiles() throws {
        let folder = TemporaryFolder()
        let sae = SparseAutoencoder(dIn: 7, layout: try PrefixLayout(groups: [2, 4]))
        sae.initialize(seed: 1)
        let first = try core([0, 5, 0, 9, 1, 0], cycle: 0)
        let rows = first.encoderRows(of: sae)
        #expect(rows.rows == 3)
        for (i, j) in [3, 1, 4].enumerated() {
            #expect((0..<7).allSatisfy { rows[i, $0] == sae.encoder[j, $0] })
        }
        sae.encoderBias.assign(randomMatrix(1, 6, seed: 2))
        try first.write(encoder: rows, biases: first.encoderBiases(of: sae), to: folder.path)
        #expect(folder.names == ["core.json", "core.safetensors"])
        var written = first
        written.encoderHash = try SHA256.hexadecimal(ofFile: folder.file("core.safetensors"))
        #expect(try JSONRecord.read(Core.self, from: folder.file("core.json")) == written)
        for name in ["core.json", "core.safetensors"] {
            #expect(try Core.encoderRows(at: folder.file(name), dIn: 7).values == rows.values)
            #expect(
                try Core.encoderBiases(at: folder.file(name), count: 3).values == [3, 1, 4].map { sae.encoderBias[$0] })
        }
        #expect(
            message { _ = try Core.encoderRows(at: folder.file("core.json"), dIn: 8) }
                == "\(folder.file("core.safetensors")): tensor \"W_enc\" has shape [7, 3], wanted [8, any]; "
                + "check that the file belongs with the others given")
    }

    /// Where a core's latents are: at their own places in the SAE that they were selected from, first in one that was trained with
    /// them, nowhere in another.
    @Test func aCoresLatentsAreFoundInTheSAEsThatHaveThem() throws {
        let folder = TemporaryFolder()
        let layout = try PrefixLayout(groups: [2, 4])
        let (sae, trained, other) = (
            SparseAutoencoder(dIn: 7, layout: layout), SparseAutoencoder(dIn: 7, layout: layout),
            SparseAutoencoder(dIn: 7, layout: layout)
        )
        sae.initialize(seed: 1)
        trained.initialize(seed: 2)
        other.initialize(seed: 3)
        let selected = try core([0, 5, 0, 9, 1, 0], cycle: 0)
        let rows = selected.encoderRows(of: sae)
        try selected.write(encoder: rows, biases: selected.encoderBiases(of: sae), to: folder.path)
        // A latent's scale is arbitrary.
        for (i, scale) in [2, 0.5, 1].enumerated() {
            for d in 0..<7 { trained.encoder[i, d] = Float(scale) * rows[i, d] }
        }
        let path = folder.file("core.json")
        #expect(try Core.latents(of: path, in: sae).latents.map(\.index) == [3, 1, 4])
        let found = try Core.latents(of: path, in: trained)
        #expect(found.latents.map(\.index) == [0, 1, 2] && found.latents.map(\.score) == [9, 5, 1] && found.isChecked)
        #expect(throws: DistillationError.coreOfAnother(path: path, latent: 3)) {
            try Core.latents(of: path, in: other)
        }
    }

    @Test func aLatentIsMarkedWithItsRankItsHistoryAndWhatMethodsSayOfIt() throws {
        let first = try core([5, 9], cycle: 0)
        let second = try core([0, 6, 0, 0, 8], cycle: 1, previous: first)
        let marks = LatentMark.marks(
            core: second.latents,
            scores: [
                MethodScores(name: "gxa", values: [1, .nan, 3]), MethodScores(name: "gxa", values: [7, 2]),
            ])
        #expect(marks.keys.sorted() == [0, 1, 2, 4])
        #expect(marks[4]?.core_rank == 1 && marks[4]?.selected_in == [1] && marks[4]?.scores == ["core.json": 8])
        #expect(marks[1]?.core_rank == 2 && marks[1]?.born == 0 && marks[1]?.selected_in == [0, 1])
        #expect(marks[1]?.scores == ["core.json": 6, "gxa (2)": 2])
        #expect(marks[0]?.core_rank == nil && marks[0]?.scores == ["gxa": 1, "gxa (2)": 7])
    }
}

@Suite struct FailureSignatureTests {
    /// A cycle that shows no sign of failure, with some of its numbers replaced.
    private func cycle(
        _ number: Int = 2, coreSize: Int = 20, carriedOver: Int = 10, frozen: Int = 25, l0Core: Double = 12,
        l0: Double = 70, variance: Double = 0.8, dead: Int = 100, aboveHalf: Int = 12
    ) throws -> CycleRecord {
        let folder = TemporaryFolder()
        let json = """
            {"cycle": \(number), "coreSize": \(coreSize), "carriedOver": \(carriedOver), "jaccard": 0.4, "coverage": 0.9,
             "candidates": 100, "sae": {"seed": 1, "frozenCore": \(frozen), "deadLatents": \(dead), "width": 1000,
              "lastStep": {"step": 9, "loss": 1, "prefixLosses": [1], "auxiliaryLoss": 0, "learningRate": 0,
               "gradientNorm": 1, "meanActiveCore": 1, "meanActiveNonCore": 1, "deadCount": 0},
              "evaluation": {"tokens": 10, "ce_loss_without_sae": 3, "ce_loss_with_sae": 4,
               "ce_loss_with_ablation": 9, "ce_loss_score": 0.8, "explained_variance": \(variance),
               "explained_variance_legacy": 0.8, "l0": \(l0), "l0_core": \(l0Core), "l0_non_core": \(l0 - l0Core),
               "cossim": 0.9, "l2_ratio": 0.9, "relative_reconstruction_bias": 1, "frac_alive": 0.9,
               "firing_core": {"latents": 25, "alive": 25, "mean": 0.5, "median": 0.4, "above_half": \(aboveHalf)}}}}
            """
        try AtomicFile.write(json, to: folder.file("cycle.json"))
        return try JSONRecord.read(CycleRecord.self, from: folder.file("cycle.json"))
    }

    private func found(_ record: CycleRecord) throws -> [String] {
        FailureSignature.found(in: record, first: try cycle(0, carriedOver: 0, frozen: 0, l0Core: 0), tau: 0.9)
    }

    @Test func aHealthyCycleWarnsOfNothing() throws {
        #expect(try found(cycle()).isEmpty)
        #expect(
            FailureSignature.found(in: try cycle(0, carriedOver: 0, frozen: 0, l0Core: 0), first: nil, tau: 0.9).isEmpty
        )
    }

    @Test func everySignatureHasItsWords() throws {
        #expect(
            try found(cycle(l0Core: 0.2)) == [
                "cycle 2: the core has all but stopped firing (L0 of the core 0.20 of 25 latents)"
            ])
        #expect(
            try found(cycle(carriedOver: 0)) == [
                "cycle 2: no latent of the last core was selected again; raise k or train longer"
            ])
        #expect(
            try found(cycle(coreSize: 81)) == [
                "cycle 2: 81 of 100 candidates were selected, so the selection says little; "
                    + "make the first group larger or lower τ (now 0.90)"
            ])
        #expect(
            try found(cycle(variance: 0.39)) == [
                "cycle 2: reconstruction collapsed (explained variance 0.390, 0.800 in cycle 0)"
            ])
        #expect(
            try found(cycle(aboveHalf: 13)) == [
                "cycle 2: 13 of 25 core latents fire on more than half of the tokens: these are directions, not features; hold "
                    + "them at a rate (core_rate), or let them compete (core_mode sparse)"
            ])
        #expect(
            try found(cycle(dead: 501)) == [
                "cycle 2: 501 of 1000 latents are dead; narrow the SAE, train longer or raise k"
            ])
        #expect(
            try found(cycle(l0Core: 68)) == [
                "cycle 2: the dense core uses nearly the whole budget (L0 of the core 68.0, outside it 2.0)"
            ])
    }

    @Test func aCoreAboveHalfOfKIsWarnedAboutBeforeATotalBudget() {
        #expect(FailureSignature.beforeTotalBudget(core: 32, k: 64) == nil)
        #expect(
            FailureSignature.beforeTotalBudget(core: 33, k: 64)
                == "a dense core of 33 latents against a total L0 of 64: above half of k it may leave nothing for the "
                + "other latents; raise k or lower τ")
    }
}
