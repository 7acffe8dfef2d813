import Attribution
import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct FiringRecordTests {
    /// Codes [N, F] where latent j fires on token t if `fires` says so.
    private func codes(_ rows: Int, _ latents: Int, _ fires: (Int, Int) -> Bool) -> SparseCodes {
        let dense = Matrix(rows: rows, columns: latents)
        for t in 0..<rows { for j in 0..<latents where fires(t, j) { dense[t, j] = 1 } }
        return SparseCodes(dense: dense)
    }

    private func counts(_ codes: SparseCodes, ids: [Int32]) -> FiringCounts {
        var counts = FiringCounts(latents: codes.columns, tokens: ids.count)
        for (t, id) in ids.enumerated() { counts.add(codes, row: t, id: id) }
        return counts
    }

    @Test func sharesAreOfTokensAndEntropiesAreThoseOfChanceForWhatFiresOnAnything() throws {
        // Eight ids in turn. Latent 0 fires everywhere, 1 on id 3 alone, 2 on every fourth token (ids 0 and 4), 3 once, 4 never.
        let ids = (0..<64).map { Int32($0 % 8) }
        let counts = counts(
            codes(64, 5) { t, j in
                [true, t % 8 == 3, t % 4 == 0, t == 5, false][j]
            }, ids: ids)
        let entropies = counts.entropies()
        let all = try #require(counts.record(of: 0..<5, entropies: entropies))
        #expect(all.latents == 5 && all.alive == 4 && counts.alive == 4 && all.above_half == 1)
        #expect(all.mean == (1 + 8.0 / 64 + 16.0 / 64 + 1.0 / 64) / 5 && all.median == 8.0 / 64)
        // Of 64 tokens spread evenly ln 8; of 16, every fourth, ln 2; of 8, every eighth, id 0 alone, which says nothing.
        let expected: [Double?] = [1, nil, 1, nil, nil]
        for (found, expected) in zip(entropies, expected) {
            #expect((found == nil) == (expected == nil) && abs((found ?? 1) - (expected ?? 1)) < 1e-12)
        }
        #expect(all.token_entropy == 1)
        #expect(counts.record(of: 4..<5, entropies: entropies)?.token_entropy == nil)
        #expect(counts.record(of: 2..<2, entropies: entropies) == nil)
    }

    /// Against the definition, over a dictionary of counts for each latent.
    @Test func entropiesAreThoseOfTheDefinition() throws {
        let random = randomMatrix(300, 7, seed: 3, from: 0, to: 1)
        let ids: [Int32] = (0..<300).map { (t: Int) -> Int32 in
            let (a, b) = (t * 37 % 101, t * 11 % 13)
            return Int32(a * b % 17)
        }
        let codes = codes(300, 7) { t, j in random[t, j] < 0.1 * Float(j) }
        let found = counts(codes, ids: ids).entropies()
        func entropy(_ ids: [Int32]) -> Double {
            Dictionary(grouping: ids) { $0 }.values.reduce(0) {
                let p = Double($1.count) / Double(ids.count)
                return $0 - p * Foundation.log(p)
            }
        }
        for j in 0..<7 {
            let own = (0..<300).filter { random[$0, j] < 0.1 * Float(j) }.map { ids[$0] }
            guard own.count > 1 else {
                #expect(found[j] == nil)
                continue
            }
            let even = (0..<own.count).map { ids[$0 * 300 / own.count] }
            // Sums of seventeen terms in another order.
            #expect(abs((found[j] ?? .nan) - entropy(own) / entropy(even)) < 1e-12, "latent \(j)")
        }
    }

    /// What fires more often than there is room for is what it would be on every second token, every fourth …
    @Test func whereTooMuchFiresFewerTokensAreLookedAt() throws {
        let ids = (0..<64).map { Int32($0 * $0 % 11) }
        let codes = codes(64, 6) { t, j in (t + j) % 3 != 0 }
        var few = FiringCounts(latents: 6, tokens: 64, mostFirings: 70)
        for (t, id) in ids.enumerated() { few.add(codes, row: t, id: id) }
        // 256 firings: on every fourth token 64 of them.
        var fourth = FiringCounts(latents: 6, tokens: 16)
        for t in stride(from: 0, to: 64, by: 4) { fourth.add(codes, row: t, id: ids[t]) }
        #expect(few.entropies() == fourth.entropies() && few.entropies().allSatisfy { $0 != nil })
        let record = try #require(few.record(of: 0..<6, entropies: few.entropies()))
        #expect(abs(record.mean - 256.0 / (6 * 64)) < 1e-12, "shares are of all tokens")
    }

    @Test func ofALongTextTokensAreLookedAtEvenly() throws {
        // Of 40,000 tokens every third, so that a latent that fires between them has no entropy and still its share.
        let ids = (0..<40_000).map { Int32($0 % 5) }
        let counts = counts(codes(40_000, 2) { t, j in t % 3 == (j == 0 ? 0 : 1) }, ids: ids)
        let entropies = counts.entropies()
        #expect(entropies[1] == nil && abs((entropies[0] ?? 0) - 1) < 1e-6)
        #expect(counts.record(of: 1..<2, entropies: entropies)?.mean == 13_333.0 / 40_000)
    }
}
