import Foundation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

import Attribution

/// Dashboards of the golden SAE against the definitions, over dense codes [96, 128].
@Suite struct LatentDashboardTests {
    private let splice: GoldenSplice
    private let sae: SparseAutoencoder
    private let inspection: LatentInspection
    private let codes: Matrix

    init() throws {
        let splice = try GoldenSplice()
        self.splice = splice
        sae = try splice.sae()
        let sample = try splice.sample()
        var left: SpliceSample? = sample
        inspection = try LatentInspection(
            sae, model: splice.model, tokenizer: nil,
            sample: {
                defer { left = nil }
                return left
            }, progress: { _ in })
        let sparse = SparseCodes()
        try SparseEncoder().encode(sample.residual, with: sae, into: sparse)
        codes = sparse.dense()
    }

    private func column(_ j: Int) -> [Float] { (0..<96).map { codes[$0, j] } }

    @Test func histogramsCountEveryFiringAndEveryTokenOfTheVocabularyOnce() throws {
        let logits = splice.model.directLogits(of: sae.decoder)
        for dashboard in inspection.dashboards(of: Array(0..<128)) {
            let j = dashboard.record.latent
            let firing = column(j).filter { $0 > 0 }
            #expect(dashboard.activations == LatentDashboard.Histogram(firing, bins: 50), "latent \(j)")
            #expect(dashboard.activations.counts.reduce(0, +) == firing.count)
            #expect(dashboard.logits.counts.reduce(0, +) == logits.columns)
            let row = (0..<logits.columns).map { logits[j, $0] }
            // The same product in other groups of rows.
            #expect(abs(dashboard.logits.high - Double(row.max() ?? 0)) < 1e-5 * Double(row.max() ?? 0))
        }
    }

    @Test func aHistogramHasItsExtremesInItsFirstAndLastBins() {
        let histogram = LatentDashboard.Histogram([1, 2, 2.5, 5] as [Float], bins: 4)
        #expect(histogram.counts == [1, 2, 0, 1] && histogram.low == 1 && histogram.high == 5)
        #expect(histogram.centers == [1.5, 2.5, 3.5, 4.5])
        #expect(LatentDashboard.Histogram([3, 3] as [Float], bins: 2).counts == [2, 0])
        #expect(LatentDashboard.Histogram([Float](), bins: 2).counts == [])
    }

    @Test func levelsDivideTheFiringsAndTheirContextsLieInThem() throws {
        var fires = 0
        for dashboard in inspection.dashboards(of: Array(0..<128)) {
            let own = column(dashboard.record.latent)
            let firing = own.filter { $0 > 0 }
            guard let largest = firing.max() else {
                #expect(dashboard.levels == [])
                continue
            }
            fires += 1
            #expect(dashboard.levels.count == 5 && dashboard.levels.first?.high == Double(largest))
            #expect(dashboard.levels.reduce(0) { $0 + $1.tokens } == firing.count)
            for level in dashboard.levels {
                let within = { (f: Double) in level.low < f && f <= level.high }
                #expect(level.tokens == firing.count { within(Double($0)) })
                #expect(level.contexts.count <= min(5, level.tokens) && level.contexts.isEmpty == (level.tokens == 0))
                for context in level.contexts { #expect(within(context.activations[context.peak])) }
            }
        }
        #expect(fires > 20)
    }

    @Test func correlationsAndAlignmentsAreThoseOfTheDefinitions() throws {
        let columns = (0..<128).map { j in column(j).map(Double.init) }
        for dashboard in inspection.dashboards(of: [0, 3, 9, 31, 77]) {
            let j = dashboard.record.latent
            func moments(_ k: Int) -> (pearson: Double, cosine: Double)? {
                let (a, b) = (columns[j], columns[k])
                let (ma, mb) = (a.reduce(0, +) / 96, b.reduce(0, +) / 96)
                let sum = { (x: [Double], y: [Double]) in zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
                let centered = (a.map { $0 - ma }, b.map { $0 - mb })
                let spread = sum(centered.0, centered.0) * sum(centered.1, centered.1)
                guard k != j, spread > 0, sum(a, b) > 0 else { return nil }
                return (
                    sum(centered.0, centered.1) / spread.squareRoot(), sum(a, b) / (sum(a, a) * sum(b, b)).squareRoot()
                )
            }
            let all = (0..<128).compactMap { k in moments(k).map { (k, $0) } }.sorted { $0.1.pearson > $1.1.pearson }
            #expect(dashboard.correlated.count == min(3, all.count))
            for (found, wanted) in zip(dashboard.correlated, all) {
                // Sums of 96 terms in two ways, of numbers of like size.
                #expect(abs(found.pearson - wanted.1.pearson) < 1e-12)
                #expect(abs(found.cosine - (moments(found.latent)?.cosine ?? 0)) < 1e-12)
            }
            let row = (0..<48).map { Double(sae.decoder[j, $0]) }
            let largest = row.indices.sorted { row[$0] > row[$1] }.prefix(3)
            #expect(dashboard.alignment.map(\.index) == Array(largest))
            let sum = row.reduce(0) { $0 + abs($1) }
            for component in dashboard.alignment {
                #expect(abs(component.share - abs(row[component.index]) / sum) < 1e-15)
            }
        }
    }

    /// Not when memory ends, and not for text that may never come.
    @Test func moreFiringsThanThereIsMemoryForAreRefusedWhenThereAreHalfAsMany() throws {
        let sample = try splice.sample()
        let firings = codes.values.count { $0 > 0 }
        func look(_ available: Int) -> (samples: Int, error: String) {
            var given = 0
            do {
                _ = try LatentInspection(
                    sae, model: splice.model, tokenizer: nil,
                    within: { MemoryLimit(available: available, reason: "this test has little") },
                    sample: {
                        given += 1
                        return given > 9 ? nil : sample
                    }, progress: { _ in })
                return (given, "")
            } catch { return (given, "\(error)") }
        }
        // Asked at 1, 3 and 7 samples, each time for as many firings again.
        #expect(look(32 * 7 * firings) == (10, ""))
        let refused = look(32 * 3 * firings)
        #expect(refused.samples == 7)
        #expect(refused.error.contains("keeping where latents fire on \(2 * 7 * 96) tokens, at"))
        #expect(refused.error.contains("lower --tokens"))
    }
}

@Suite struct MethodScoresTests {
    private let folder = TemporaryFolder()

    private func write(_ metadata: [String: String], count: Int = 3) throws -> String {
        var writer = SafetensorsWriter(metadata: metadata)
        writer.add("scores", (0..<count).map { Float($0) })
        writer.add("core", integers: [2, 1])
        writer.add("standard_error", [Float](repeating: 0.5, count: count))
        writer.add("loss_delta", [Float](repeating: 1, count: 2 * count), shape: [count, 2])
        writer.add("other", [Float](repeating: 1, count: count))
        try writer.write(to: folder.file("scores"))
        return folder.file("scores")
    }

    @Test func aFileOfScoresHasThoseOfItsScorerAndOutputsOfOneNumberALatent() throws {
        let path = try write([
            "scorer": "ablation,draws=8", "SAE.sha256": "abc", "standard_error.unit": "nats", "loss_delta.unit": "nats",
        ])
        #expect(
            try MethodScores.read(path, weights: "abc", width: 3) == [
                MethodScores(name: "ablation,draws=8", values: [0, 1, 2]),
                MethodScores(name: "ablation,draws=8:standard_error", values: [0.5, 0.5, 0.5]),
            ])
    }

    @Test func scoresOfAnotherSAEAreRefused() throws {
        let path = try write(["scorer": "gxa", "SAE.sha256": "abc"])
        #expect(
            throws: TensorFileError.unusable(
                file: path, what: "its scores are of another SAE, whose weights are others",
                next: "give scores of this SAE")
        ) { try MethodScores.read(path, weights: "abd", width: 3) }
        #expect(
            throws: TensorFileError.unusable(
                file: path, what: "it scores 3 latents, and the SAE has 2", next: "give scores of this SAE")
        ) { try MethodScores.read(path, weights: "abc", width: 2) }
    }
}
