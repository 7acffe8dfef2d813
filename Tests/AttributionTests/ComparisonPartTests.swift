import Attribution
import LanguageModeling
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// What a comparison keeps of a few sequences is checked when it is read back, also where it was written with care.
@Suite struct ComparisonPartTests {
    private let folder = TemporaryFolder()
    private let splice: GoldenSplice
    private let part: ComparisonPart
    private let key = PassKey(["layer": "1", "tokens.sha256": "ab"])
    private var path: String { folder.file("part.safetensors") }

    init() throws {
        splice = try GoldenSplice()
        part = try Self.pass(splice).run(try splice.sample()) { _ in true }
    }

    private static func pass(_ splice: GoldenSplice, sequences: Int = 4) throws -> ComparisonPass {
        var settings = ScoringSettings()
        settings.prefix = 32
        return ComparisonPass(
            try SplicedModel(model: splice.model, hook: .residPost(1), sae: try splice.sae(), settings: settings),
            [ComparedScorer(label: "naive", NaiveGradientTimesActivation())], sequences: sequences, length: 24,
            clock: { 0 })
    }

    /// What reading a part says that was changed before it was written, digest and all.
    private func error(_ change: (inout ComparisonPart) -> Void) throws -> String {
        var part = part
        change(&part)
        try part.write(to: path, key: key)
        return try read()
    }

    private func read(_ key: PassKey? = nil) throws -> String {
        let pass = try Self.pass(splice)
        return message { pass.resume(try ComparisonPart(path: path, key: key ?? self.key, next: pass)) }
    }

    @Test func whatWasWrittenIsRead() throws {
        try part.write(to: path, key: key)
        let pass = try Self.pass(splice)
        #expect(try ComparisonPart(path: path, key: key, next: pass) == part)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let changes: [(String, (inout ComparisonPart) -> Void)] = [
            ("it holds sequences 1..<5, and those from 0 on come next", { $0.sequences = 1..<5 }),
            ("it holds sequences 0..<9", { $0.sequences = 0..<9 }),
            ("counts of 4 of 3 sequences", { $0.sequences = 0..<3 }),
            ("latents, ", { $0.latents.removeLast() }), ("tokens and ", { $0.tokens.append(3) }),
            ("activations of entries", { $0.activations.removeFirst() }),
            ("counts of 5 of 4 sequences", { $0.scoredTokens.append(24) }),
            ("entry 0 is of latent -1", { $0.latents[0] = -1 }), ("entry 1 is of latent 32", { $0.latents[1] = 32 }),
            ("at token 96", { $0.tokens[$0.tokens.count - 1] = 96 }), ("at token -1", { $0.tokens[0] = -1 }),
            ("is not in its place", { $0.latents.swapAt(0, 1) }),
            ("is not in its place", { $0.latents[1] = $0.latents[0] }),
            ("entry 0 is nan", { $0.activations[0] = .nan }), ("entry 2 is -1.0", { $0.activations[2] = -1 }),
            ("entry 2 is inf", { $0.activations[2] = .infinity }),
            ("latents fire at more tokens", { $0.scoredTokens[1] = 0 }),
            ("or more are scored than there are", { $0.scoredTokens[1] = 25 }),
            ("naive has 1 scores of ", { $0.answers[0].scores = [1] }),
            ("or infinite ones", { $0.answers[0].scores[3] = .nan }),
            ("naive has a state and needs none", { $0.answers[0].states = [[1, 2, 3]] }),
            ("it has numbers of a scorer that failed", { $0.answers[0].failure = "stopped" }),
            ("it has costs of 2 scorers of 1", { $0.answers.append($0.answers[0]) }),
            ("or impossible ones", { $0.answers[0].cost.evaluations = -1 }),
            ("or impossible ones", { $0.answers[0].cost.replayed_tokens = .max }),
        ]
        for (what, change) in changes {
            let found = try error(change)
            #expect(found.hasPrefix(path + ": ") && found.contains(what), "\(what): \(found)")
            #expect(found.hasSuffix("; delete it and compare again"), "\(what): \(found)")
        }
    }

    /// From the first sequences on, what the whole pass will keep is known: they were all of it here, then a quarter.
    @Test func theMemoryOfAPassIsToldFromItsFirstSequences() throws {
        let (pass, entries) = (try Self.pass(splice), part.latents.count)
        #expect(pass.memory(draws: 10).parts["where latents fire"] == 0)
        pass.resume(part)
        let need = pass.memory(draws: 10)
        #expect(need.parts["where latents fire"] == 40 * entries && need.parts["scores of tokens"] == 20 * entries)
        #expect(need.parts["scores drawn again"] == 8 * 10 * 32)
        let longer = try Self.pass(splice, sequences: 16)
        longer.resume(part)
        #expect(longer.memory(draws: 10).parts["where latents fire"] == 4 * 40 * entries)
        #expect(
            "\(longer.memory(draws: 1))".hasPrefix("comparing 1 scorers on 32 latents and 384 tokens needs "))
    }

    @Test func aPartOfAnotherKeySaysWhatIsAnother() throws {
        try part.write(to: path, key: key)
        for (name, value, what) in [
            ("layer", "2", "layer 1 there, 2 here"), ("tokens.sha256", "cd", "other tokens"),
            ("window", "8", "other window"),
        ] {
            var other = key
            other[name] = value
            #expect(
                try read(other)
                    == "\(path) is the state of another pass (\(what)); give what it was made with, name another file "
                    + "or folder, or delete it")
        }
        try SafetensorsWriter(metadata: [:]).write(to: path)
        #expect(try read().contains("(it does not say of which)"))
    }
}
