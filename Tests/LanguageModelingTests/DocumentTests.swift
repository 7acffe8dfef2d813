import LanguageModeling
import TestSupport
import Testing

/// Where documents begin in rows of tokens.
struct DocumentTests {
    private func configuration(begins: Int?, ends: [Int]) throws -> ModelConfiguration {
        var configuration = try loadLanguageModel(path: fixture("models/llama")).configuration
        configuration.beginningTokenId = begins
        configuration.endTokenIds = ends
        return configuration
    }

    @Test func `a document begins with a row, after an end and with a beginning`() throws {
        let batch = TokenBatch(
            ids: [5, 2, 6, 7, 1, 8, 2, 1, /**/ 2, 2, 9, 1, 1, 4, 4, 4], sequenceCount: 2, length: 8)
        #expect(try batch.documentOffsets(configuration(begins: 1, ends: [2])) == [0, 2, 4, 7, 8, 9, 10, 11, 12, 16])
        #expect(try batch.documentOffsets(configuration(begins: nil, ends: [])) == [0, 8, 16])
    }

    @Test func `one token for both ends a document`() throws {
        let batch = TokenBatch([3, 0, 4, 5, 0, 0])
        #expect(try batch.documentOffsets(configuration(begins: 0, ends: [0])) == [0, 2, 5, 6])
    }

    @Test func `padding begins none`() throws {
        let batch = TokenBatch(ids: [3, 2, 2, 2, 3, 3, 2, 9], counts: [2, 4], length: 4)
        #expect(try batch.documentOffsets(configuration(begins: 2, ends: [2])) == [0, 4, 7, 8])
    }
}
