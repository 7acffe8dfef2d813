import Attribution
import TensorFiles
import TestSupport
import Testing

/// A checkpoint is checked when it is read back, also where it was written with care.
@Suite struct ScoringStateTests {
    private let folder = TemporaryFolder()
    private let key = PassKey(["layer": "1"])
    private var path: String { folder.file("state") }
    private var state: ScoringState {
        var state = ScoringState(
            key: key, sequences: 1..<3, tokenCount: 40, activeCounts: [0, 40, 7], bytes: [1, 2, 3, 4, 5, 6, 7, 8, 9])
        state.reachingTokens = 38
        state.leftOut = [2]
        state.evaluations = 12
        return state
    }

    private func read() throws -> ScoringState {
        try ScoringState.read(path, key: key, latents: 3, sequenceCount: 4, length: 24)
    }

    @Test func whatWasWrittenIsReadLeftOutSequencesToo() throws {
        try state.write(to: path)
        #expect(try read() == state)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let changes: [(String, (inout ScoringState) -> Void)] = [
            ("its sequences are [1, 5] of 4", { $0.sequences = 1..<5 }),
            ("it counts [49] scored tokens in sequences of 24", { $0.tokenCount = 49 }),
            ("it counts [-1] scored tokens", { $0.tokenCount = -1 }),
            ("it has counts of 2 latents", { $0.activeCounts.removeLast() }),
            ("or more than its 40 scored tokens", { $0.activeCounts[0] = 41 }),
            ("or more than its 40 scored tokens", { $0.activeCounts[0] = -1 }),
            ("it counts [41] of its 40 scored tokens as before a loss", { $0.reachingTokens = 41 }),
            ("it counts [-1] of its 40 scored tokens", { $0.reachingTokens = -1 }),
            ("it took [-3] evaluations", { $0.evaluations = -3 }),
            ("it leaves out sequences [0], which are not its own", { $0.leftOut = [0] }),
        ]
        for (what, change) in changes {
            var state = state
            change(&state)
            try state.write(to: path)
            let found = message { _ = try read() }
            #expect(found.hasPrefix(path + ": ") && found.contains(what), "\(what): \(found)")
            #expect(found.hasSuffix("; delete it and score again"), "\(what): \(found)")
        }
    }

    @Test func aByteThatWasChangedIsFound() throws {
        try state.write(to: path)
        var bytes = contents(of: path)
        let place = try #require(bytes.indices.dropLast(8).first { bytes[$0..<$0 + 8].elementsEqual(1...8) })
        bytes[place + 3] = 77
        try AtomicFile.write(bytes, to: path)
        #expect(
            message { _ = try read() } == path
                + ": its numbers are not those that were written; delete it and score again")
    }
}
