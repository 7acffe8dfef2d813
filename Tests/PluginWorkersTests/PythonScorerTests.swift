import Attribution
import Foundation
import LinearAlgebra
import PluginABI
import PluginHost
import PluginTestSupport
import PluginWorkers
import TensorFiles
import TestSupport
import Testing

/// Scorers in Python give what the same scorers in C and Swift give: each of their questions, totals, shards and passes.
@Suite(.enabled(if: hasNumpy, Comment(rawValue: numpyIsMissing)))
struct PythonScorerTests {
    let services = Services()
    let folder = TemporaryFolder()

    private func scorer(_ reference: String) throws -> any AttributionScorer & LoadedPlugin {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            reference, services: services.value, isolation: PluginIsolation(executable: builtProgram, timeout: 60))
    }

    /// A scorer of a source, written as `own.py`.
    private func scorer(of source: String, _ rest: String = "") throws -> any AttributionScorer & LoadedPlugin {
        try AtomicFile.write(
            "import numpy\nimport dmsae\nfrom dmsae import scorer\n" + source, to: folder.file("own.py"))
        return try scorer(folder.file("own.py") + rest)
    }

    private func example(_ name: String) -> String { fixture("../../Plugins/Python/examples/\(name).py") }

    private func shipped(_ reference: String) throws -> any AttributionScorer {
        try PluginCatalog().scorer(reference, services: services.value)
    }

    /// What a pass over the golden tokens comes to.
    private func results(_ scorer: any AttributionScorer) throws -> (scores: [Float], outputs: [[Double]]) {
        let splice = try GoldenSplice(), pass = try splice.pass(scorer, prefix: 8)
        try pass.begin(sequences: 4, tokens: 96)
        let scores = try pass.score(try splice.sample())
        return (scores.values, try pass.outputs().map(\.values))
    }

    private func largest<Number: BinaryFloatingPoint>(_ values: [Number]) -> Number {
        values.reduce(0) { max($0, abs($1)) }
    }

    @Test func `gradient × activation by numpy is that of the shipped scorer`() throws {
        let batch = randomBatch(tokens: 200, latents: 300, dimensions: 64, perToken: 12)
        let (python, swift) = (try scorer(example("gxa")), try shipped("gxa"))
        let (a, b) = (try python.scores(batch), try swift.scores(batch))
        // Sums of 64 products in float instead of Double, 2⁻²⁴ of the largest for each but for what cancels.
        let most = 1e-6 * largest(b)
        #expect(most > 0 && paired(a, b).allSatisfy { abs($0 - $1) <= most })
        #expect(python.runtime.keys.sorted() == ["Python", "numpy"])
        #expect(python.sha256.count == 64 && python.path.hasSuffix("examples/gxa.py"))
    }

    @Test func `integrated gradients by questions to the host are those of the shipped scorer`() throws {
        let (a, b) = (
            try results(scorer(example("integrated_gradients") + ",steps=3")).scores,
            try results(shipped("ig,steps=3")).scores
        )
        // The gradients are the same doubles; products with decoder rows are sums of floats.
        let most = 1e-5 * largest(b)
        #expect(most > 0 && paired(a, b).allSatisfy { abs($0 - $1) <= most })
    }

    @Test func `ablation by questions to the host is that of the shipped scorer`() throws {
        let python = try scorer(
            of: """
                @scorer(needs=["evaluation"])
                class Ablation:
                    def begin(self, plan):
                        return {"sum": numpy.zeros(plan.latent_count)}

                    def accumulate(self, state, batch, plan):
                        questions = []
                        for s in range(batch.sequence_count):
                            rows = batch.sequence(s)
                            first, end = batch.row_offsets[rows.start], batch.row_offsets[rows.stop]
                            questions += [(s, j) for j in numpy.unique(batch.latents[first:end])]
                        changes = batch.losses([(s, [dmsae.Ablate(j)]) for s, j in questions])
                        numpy.add.at(state["sum"], [j for _, j in questions], changes)

                    def finish(self, state, plan):
                        return state["sum"]

                    merge = dmsae.add
                """)
        let (a, b) = (try results(python).outputs[0], try results(shipped("ablation")).outputs)
        #expect(largest(a) > 0)
        // Sums of the same four doubles, all asked for at once as the shipped one does: some processors' products round a row by where it
        // stands among the others of a pass. The shipped one's are means over sequences.
        #expect(paired(a, b[0]).allSatisfy { a, b in abs(a - 4 * b) <= 1e-12 + 1e-9 * abs(a) })
    }

    @Test func `every question is answered as the header says`() throws {
        // Each identity is checked where the arrays are; what fails there is an error here.
        _ = try results(
            scorer(
                of: """
                    @scorer(needs=["gradient", "evaluation", "encoder", "target_probabilities"])
                    def identities(batch):
                        S, d, x = batch.sequence_count, batch.dimension, batch.reconstruction
                        rows = [x[batch.sequence(s)] for s in range(S)]
                        def close(a, b, most=1e-4):
                            assert abs(a - b).max() <= most * abs(numpy.asarray(b)).max(), (a, b)
                        sums, g = batch.gradients([(s, rows[s]) for s in range(S)])
                        g = g.reshape(-1, d)
                        close(g[batch.scored], batch.gradient[batch.scored])
                        assert not g[~batch.scored].any()
                        close(sums, [batch.loss[batch.sequence(s)].sum() for s in range(S)])
                        along = batch.gradients_along([(s, rows[s], rows[s]) for s in range(S)], [0.5, 1], [0.25, 0.75])
                        close(along.reshape(-1, d), g)
                        changes, losses = batch.losses([(0, []), (1, [dmsae.Rows(rows[1])])], per_token=True)
                        assert abs(changes).max() <= 1e-5 * batch.loss.sum() # DMSAE-EVAL-01
                        close(losses[1], batch.loss[batch.sequence(1)])
                        j = int(batch.latents[batch.row_offsets[batch.sequence(1).start + 5]])
                        a, b = batch.losses([(1, [dmsae.Ablate(j)]), (1, [dmsae.Scale(j, 0.0)])])
                        assert a == b and a != 0
                        weights = numpy.zeros(batch.token_count, "f")
                        weights[batch.sequence(0)] = 1
                        none, = batch.losses([(1, [dmsae.Ablate(j)])], metric=dmsae.Loss(weights))
                        assert none == 0
                        for metric in (dmsae.Divergence(), dmsae.LogitDifference(3, 5),
                                       dmsae.Direction(numpy.ones(d), 1)):
                            values, h = batch.gradients([(0, rows[0])], metric=metric)
                            assert numpy.isfinite(values).all() and h.shape == (1, len(rows[0]), d) and h.any()
                        _, relp = batch.gradients([(0, rows[0])], rule="relp")
                        assert abs(relp[0] - g[: len(rows[0])]).max() > 0
                        u, scales = batch.head.rows([3, 5, -1]), batch.head.scales()
                        assert u.shape == (3, d) and scales.shape == (batch.token_count,) and (scales[batch.scored] > 0).all()
                        means, count = batch.mean_activations()
                        assert count > 0 and means.shape == (batch.latent_count,)
                        p = (batch.residual - batch.subtracts_decoder_bias * batch.decoder_bias) @ batch.encoder.T + batch.encoder_bias
                        close(p[batch.rows, batch.latents], batch.activations, 1e-5)
                        assert batch.top_k == 0 and (batch.activations > batch.thresholds[batch.latents]).all()
                        assert ((batch.target_probabilities > 0) == (batch.loss > 0)).all()
                        assert batch.preferred_groups > 0 and batch.hook.endswith("hook_resid_post")
                        for name in ("residual", "activations", "decoder", "gradient"):
                            array = getattr(batch, name)
                            assert not array.flags.writeable and not array.flags.owndata
                        return batch.activations
                    """))
    }

    @Test func `a refusal of the host is an exception that a scorer can take`() throws {
        let found = try results(
            scorer(
                of: """
                    @scorer(needs=["evaluation"])
                    def asks(batch):
                        try:
                            batch.losses([(0, [dmsae.Ablate(batch.latent_count + 5)])])
                        except dmsae.HostError as error:
                            print("refused:", error)
                        return batch.activations
                    """))
        #expect(largest(found.scores) > 0)
        #expect(services.messages.contains { $0.text.hasPrefix("refused: ") && $0.level == .info })
    }

    /// A run over the golden tokens, a sequence a sample.
    private func run(_ scorer: any AttributionScorer, part: Range<Int>? = nil) throws -> ScoringRun {
        let splice = try GoldenSplice(), whole = try splice.sample()
        let samples = (0..<4).map { s in
            let rows = s * 24..<(s + 1) * 24
            return SpliceSample(
                tokens: splice.tokens.sequences(s..<s + 1), residual: whole.residual.copy(rows: rows),
                replaced: Array(whole.replaced[rows]))
        }
        return try ScoringRun(
            try splice.pass(scorer, prefix: 32), ScoreAccumulator(latents: 32, tokens: 96),
            over: SampledSequences(samples), part: part, key: PassKey(["layer": "1"]))
    }

    private func go(_ run: ScoringRun) throws {
        try run.run(keeping: nil, watch: PassWatch(check: {}, advance: { _, _ in }))
    }

    @Test func `a function of totals is added up in Double`() throws {
        let scorer = try scorer(
            of: """
                @scorer(totals=True, unit="tokens", needs=[])
                def fires(batch):
                    return batch.by_latent(batch.activations > 0)
                """)
        let f = try GoldenSplice().golden.expected("acts")
        let run = try run(scorer)
        try go(run)
        #expect(
            try run.result(tau: 0.5) { _ in .total("total") }.scores
                == (0..<32).map { j in Double((0..<96).count { f[$0 * 128 + j] > 0 }) })
    }

    @Test func `one that looks three times gets every batch three times, in order, with its state`() throws {
        let scorer = try scorer(
            of: """
                @scorer(needs=[])
                class Looks:
                    passes = 3

                    def begin(self, plan):
                        return {"count": numpy.zeros(plan.latent_count), "next": numpy.zeros(1, int)}

                    def accumulate(self, state, batch, plan):
                        assert state["next"][0] == plan.pass_index * plan.sequence_count + batch.first_sequence
                        state["next"] += batch.sequence_count
                        state["count"] = state["count"] + (1 + plan.pass_index) * batch.by_latent(batch.activations > 0)

                    def finish(self, state, plan):
                        return state["count"]
                """)
        #expect(scorer.accumulation?.isSequential == true)
        let run = try run(scorer)
        #expect(run.remainingTokens == 3 * 96)
        try go(run)
        let f = try GoldenSplice().golden.expected("acts")
        #expect(
            try run.result(tau: 0.5) { _ in .total("total") }.scores
                == (0..<32).map { j in 6 * Double((0..<96).count { f[$0 * 128 + j] > 0 }) })
    }

    @Test func `settings have the types of the hints`() throws {
        let scorer = try scorer(
            of: """
                from typing import Annotated, List, Literal
                import pathlib

                @scorer
                def typed(batch, on: bool = True, n: Annotated[int, dmsae.Setting(1, 9)] = 3, x: float = 1,
                          mode: Literal["a", "b"] = "a", layers: List[int] = [1, 2], place: pathlib.Path = pathlib.Path("/x"),
                          word="w"):
                    print(repr((on, n, x, mode, layers, str(place), word)))
                    return batch.activations
                """, ",on=false,n=5,x=0.5,mode=b,layers=3;7,word=v")
        _ = try scorer.scores(randomBatch(tokens: 8, latents: 10, dimensions: 4, perToken: 2))
        #expect(services.messages.map(\.text) == ["(False, 5, 0.5, 'b', [3, 7], '/x', 'v')"])
        #expect(
            scorer.parameters.map { "\($0.key)=\($0.value)" }
                == ["on=false", "n=5", "x=0.5", "mode=b", "layers=3;7", "place=/x", "word=v"])
    }

    @Test func `what runs is the file as it was, beside the modules that lie there`() throws {
        try AtomicFile.write("factor = 2\n", to: folder.file("beside.py"))
        let scorer = try scorer(
            of: """
                import beside
                @scorer
                def own(batch):
                    return beside.factor * batch.activations
                """)
        try AtomicFile.write("raise SystemExit", to: folder.file("own.py"))
        let batch = randomBatch(tokens: 8, latents: 10, dimensions: 4, perToken: 2)
        #expect(try scorer.scores(batch) == (0..<batch.codes.count).map { 2 * batch.codes.values[$0] })
    }

    @Test func `a warning of numpy reaches the log, with its line`() throws {
        let scorer = try scorer(
            of: """
                @scorer
                def warns(batch):
                    numpy.zeros(1) / numpy.zeros(1)
                    return numpy.zeros((batch.token_count, batch.latent_count))
                """)
        let batch = randomBatch(tokens: 8, latents: 10, dimensions: 4, perToken: 2)
        #expect(try scorer.scores(batch).allSatisfy { $0 == 0 })
        let message = try #require(services.messages.first)
        #expect(message.level == .warning && message.text.hasPrefix("line 6: RuntimeWarning: invalid value"))
    }

    @Test func `Ctrl-C reaches code of Python that never asks, as an exception that cleans up`() throws {
        let scorer = try scorer(
            of: """
                @scorer
                def loops(batch):
                    try:
                        print("begins")
                        while True:
                            pass
                    finally:
                        print("cleans up")
                """)
        let cancels = Thread { [services] in
            while services.messages.isEmpty { usleep(10_000) }
            services.cancel()
        }
        cancels.start()
        #expect(throws: PluginCallError.cancelled(plugin: "loops", function: "score")) {
            _ = try scorer.scores(randomBatch(tokens: 8, latents: 10, dimensions: 4, perToken: 2))
        }
        #expect(services.messages.map(\.text) == ["begins", "cleans up"])
    }
}
