import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import PluginWorkers
import SparseCoding
import TestSupport
import Testing

/// Plugins in workers: the same numbers, and faults that stay there. The host that survives is this test.
struct IsolationTests: MisbehavingPluginTests {
    let services = Services()
    let folder = TemporaryFolder()

    let batch = randomBatch(tokens: 20, latents: 30, dimensions: 8, perToken: 4)

    // MARK: The same numbers

    @Test(arguments: ["gxa", "random,seed=3"]) func `scores are the same bits as in this process`(reference: String)
        throws
    {
        let name = String(reference.prefix { $0 != "," })
        let here = try PluginCatalog().scorer(reference, services: services.value)
        let there = try PluginCatalog(executableFolder: "/nowhere").scorer(
            shippedPlugin(name) + reference.dropFirst(name.count), services: services.value, isolation: isolation())
        let batch = randomBatch(tokens: 200, latents: 300, dimensions: 64, perToken: 12)
        #expect(try here.scores(batch) == there.scores(batch))
        #expect(here.name == there.name && here.version == there.version && here.parameters == there.parameters)
    }

    @Test(arguments: [
        "ablation", "ablation,draws=2", "ablation,at=token,baseline=mean,draws=3", "ig,steps=3",
        "ig,path=single,steps=2,baseline=mean", "frequency", "reconstruction", "relp,pattern=detached", "logit",
        "expected-gradients,draws=3", "shapley",
    ])
    func `whole passes with questions to the host are the same bits`(reference: String) throws {
        func results(_ scorer: any AttributionScorer) throws -> ([Float], [[UInt64]]) {
            let splice = try GoldenSplice()
            let pass = try splice.pass(scorer, prefix: 8)
            try pass.begin(sequences: 4, tokens: 96)
            let scores = try pass.score(try splice.sample())
            return (scores.values, try pass.outputs().map { $0.values.map(\.bitPattern) })
        }
        let name = String(reference.prefix { $0 != "," })
        let here = try PluginCatalog().scorer(reference, services: services.value)
        let there = try PluginCatalog(executableFolder: "/nowhere").scorer(
            shippedPlugin(name) + reference.dropFirst(name.count), services: services.value, isolation: isolation())
        let (a, b) = (try results(here), try results(there))
        #expect(a.0 == b.0 && a.1 == b.1)
    }

    @Test func `a rule marks the same entries`() throws {
        let here = try PluginCatalog().sparsityRule("batchtopk", services: services.value)
        let there = try PluginCatalog(executableFolder: "/nowhere").sparsityRule(
            shippedPlugin("batchtopk"), services: services.value, isolation: isolation())
        let candidates = randomBatch(tokens: 100, latents: 300, dimensions: 2, perToken: 12).codes
        let context = SelectionContext(
            mode: .train, batchRows: 100, latentCount: 300, meanActive: 5, batchBudget: 500)
        func marks(_ rule: any SparsityRule) throws -> [UInt8] {
            var marks = [UInt8](repeating: 0, count: candidates.count)
            try marks.withUnsafeMutableBufferPointer { try rule.select(from: candidates, context, selected: $0) }
            return marks
        }
        #expect(try marks(here) == marks(there) && marks(here).contains(1))
        #expect(here.scope == there.scope)
        #expect(try here.upperCount(context) == there.upperCount(context))
    }

    @Test(arguments: ["jumprelu,threshold=0.05", "topk"])
    func `a training with a rule in a worker is the same bits`(reference: String) throws {
        let name = String(reference.prefix { $0 != "," })
        func train(_ rule: any SparsityRule) throws -> (SparseAutoencoder, [StepRecord]) {
            let layout = try PrefixLayout(groups: [16, 48])
            var settings = TrainingSettings(k: 5, batchSize: 64, steps: 8)
            settings.learningRate = 1e-2
            let sae = SparseAutoencoder(dIn: 12, layout: layout)
            sae.initialize(seed: 3)
            let trainer = try Trainer(sae, plan: try TrainingPlan(settings, dIn: 12, layout: layout), rule: rule)
            let records = try (0..<8).map { step in
                let x = Matrix(rows: 64, columns: 12)
                CounterRandom(seed: 5, purpose: .test, step: UInt32(step)).fill(
                    UnsafeMutableBufferPointer(start: x.elements, count: x.count), from: -0.5, to: 0.5)
                return try trainer.update(x)
            }
            try trainer.bringBack()
            try trainer.finish(inputScale: 3)
            return (sae, records)
        }
        let here = try train(try PluginCatalog().sparsityRule(reference, services: services.value))
        let there = try train(
            try PluginCatalog(executableFolder: "/nowhere").sparsityRule(
                shippedPlugin(name) + reference.dropFirst(name.count), services: services.value, isolation: isolation())
        )
        #expect(here.1 == there.1)
        #expect(here.0.encoder.values == there.0.encoder.values && here.0.decoder.values == there.0.decoder.values)
        #expect(here.0.inference != nil && here.0.inference == there.0.inference)
        #expect(name != "topk" || here.0.inference == .rowTopK(5))
    }

    @Test func `what a plugin reports is the same text as in this process`() throws {
        for fault in ["text", "nan"] {
            let there = message { _ = try scorer(",fault=\(fault)").scores(batch) }
            let here = message {
                _ = try PluginCatalog(executableFolder: "/nowhere").scorer(
                    try misbehavingPlugin.get() + ":misbehaving,fault=\(fault)", services: services.value
                ).scores(batch)
            }
            #expect(here == there && here != "nothing failed")
        }
        #expect(message { _ = try scorer(",fualt=1") }.contains("did you mean 'fault'"))
    }

    // MARK: Faults

    @Test(arguments: [
        ("segfault", "SIGSEGV"), ("abort", "SIGABRT"), ("trap", "SIGILL"), ("divide", "SIGFPE"), ("stack", "SIGSEGV"),
        ("exit", "ended its process with status 0"), ("kill", "SIGKILL"), ("input", "SIGSEGV"), ("weights", "SIGSEGV"),
        ("far", "SIGSEGV"), ("close", "in score"), ("garbage", "no message"),
    ])
    func `a fault ends the worker and not the host`(fault: String, part: String) throws {
        let scorer = try scorer(",fault=\(fault)")
        let text = message { _ = try scorer.scores(batch) }
        #expect(text.contains(part) && text.contains("plugin 'misbehaving'") && text.contains("in score"), "\(text)")
        // The input is what it was: a copy went out.
        #expect(
            try self.scorer("").scores(batch)
                == Array(UnsafeBufferPointer(start: batch.codes.values, count: batch.codes.count)))
    }

    @Test(arguments: ["near", "before"]) func `a write just beside the output is found`(fault: String) throws {
        let text = message { _ = try scorer(",fault=\(fault)").scores(batch) }
        #expect(text.contains("wrote beside the memory it was given"), "\(text)")
    }

    @Test(arguments: ["loop", "sleep", "stops"]) func `silence is ended`(fault: String) throws {
        let text = message { _ = try scorer(",fault=\(fault)", isolation(timeout: 1)).scores(batch) }
        #expect(text.contains("gave no sign of life for 1 s"), "\(text)")
    }

    @Test func `a slow plugin that talks is left alone`() throws {
        // 750 ms in all, a line every 150: the limit counts from the last one.
        let scores = try scorer(",fault=talks", isolation(timeout: 0.5)).scores(batch)
        #expect(scores.count == batch.codes.count)
        #expect(services.messages.map(\.text) == [String](repeating: "still here", count: 5))
    }

    @Test func `a rule's faults stay in its worker too`() throws {
        for (fault, part) in [("segfault", "SIGSEGV"), ("near", "wrote beside")] {
            let rule = try PluginCatalog(executableFolder: "/nowhere").sparsityRule(
                try misbehavingPlugin.get() + ":unruly,fault=\(fault)", services: services.value, isolation: isolation()
            )
            let context = SelectionContext(mode: .train, batchRows: 20, latentCount: 30, meanActive: 1, batchBudget: 20)
            var marks = [UInt8](repeating: 0, count: batch.codes.count)
            let text = message {
                try marks.withUnsafeMutableBufferPointer { try rule.select(from: batch.codes, context, selected: $0) }
            }
            #expect(text.contains(part), "\(text)")
        }
    }

    @Test func `a Swift trap ends the worker`() throws {
        let source = folder.file("trap.swift"), library = folder.file("trap.so"), c = folder.file("entry.c")
        try """
        @_cdecl("swift_trap") public func trap(_ index: Int) -> Int { [1, 2, 3][index] }
        """.write(toFile: source, atomically: true, encoding: .utf8)
        let fixture = try String(
            contentsOfFile: packageRoot + "/Tests/PluginTestSupport/Fixtures/misbehaving.c", encoding: .utf8)
        try fixture.replacing(
            "if (IS(\"trap\")) __builtin_trap();",
            with: "extern long swift_trap(long); if (IS(\"trap\")) scores[0] = (float)swift_trap(3);"
        ).write(toFile: c, atomically: true, encoding: .utf8)
        for command in [
            ["cc", "-c", "-O1", "-fPIC", "-fvisibility=hidden", "-I", "Include", c, "-o", folder.file("entry.o")],
            ["swiftc", "-O", "-parse-as-library", "-emit-library", source, folder.file("entry.o"), "-o", library],
        ] {
            let result = try run(command)
            try #require(result.status == 0, "\(result.output)")
        }
        let trapping = try PluginCatalog(executableFolder: "/nowhere").scorer(
            library + ":misbehaving,fault=trap", services: services.value, isolation: isolation())
        let text = message { _ = try trapping.scores(batch) }
        #expect(text.contains("SIGILL") || text.contains("SIGTRAP"), "\(text)")
    }

    @Test func `a plugin that crashes when loaded or created is an error`() throws {
        #expect(message { _ = try scorer(",create=abort") }.contains("SIGABRT"))
        let path = folder.file("loading.so")
        try compileMisbehavingPlugin(["LOADING"], to: path)
        let text = message {
            _ = try PluginCatalog(executableFolder: "/nowhere").scorer(
                path, services: services.value, isolation: isolation())
        }
        #expect(text.contains("SIGABRT") && text.contains("in create"), "\(text)")
    }

    // MARK: What follows a crash

    @Test func `a fault that does not come back costs nothing but time`() throws {
        let scores = try scorer(",fault=once,once=\(folder.file("mark"))").scores(batch)
        #expect(scores == Array(UnsafeBufferPointer(start: batch.codes.values, count: batch.codes.count)))
        #expect(folder.names == ["mark"])
        #expect(services.messages.count { $0.text.contains("once, and not when the call was made again") } == 1)
    }

    @Test func `what it crashed on is kept, with its last words, and can be tried again`() throws {
        let scorer = try scorer(",fault=abort")
        let text = message { _ = try scorer.scores(batch) }
        #expect(text.contains("the moon is full | and the tide is high"), "\(text)")
        let bundle = folder.file("plugin-crash-1")
        #expect(text.contains("dmsae plugin replay \(bundle)"))
        #expect(message { _ = try CrashBundle.replay(bundle, isolation(), services.value) }.contains("SIGABRT"))
        let again = try run(builtProgram, ["plugin", "replay", bundle])
        #expect(again.status == 1 && again.errors.contains("SIGABRT"), "\(again.errors)")
        #expect(message { _ = try CrashBundle.replay(folder.path, isolation(), services.value) }.contains("call.json"))
    }

    @Test func `after three crashes it is not started again`() throws {
        let scorer = try scorer(",fault=exit")
        for _ in 0..<3 { _ = message { _ = try scorer.scores(batch) } }
        #expect(message { _ = try scorer.scores(batch) }.contains("not started again after 3 crashes"))
    }

    @Test func `one bad batch leaves the others`() throws {
        let scorer = try scorer(",fault=second")
        var bad = batch
        bad.firstSequence = 1
        let expected = try scorer.scores(batch)
        #expect(message { _ = try scorer.scores(bad) }.contains("SIGABRT"))
        #expect(try scorer.scores(batch) == expected)
    }

    /// What is run is the copy that was made when it was loaded.
    @Test func `a file that is gone when its worker crashes is not missed`() throws {
        let path = folder.file("short-lived.so")
        try compileMisbehavingPlugin(to: path)
        let scorer = try scorer(",fault=second", path: path)
        _ = try scorer.scores(batch)
        unlink(path)
        var bad = batch
        bad.firstSequence = 1
        let text = message { _ = try scorer.scores(bad) }
        #expect(text.contains("crashed (SIGABRT: it gave up by itself) twice on the same input"), "\(text)")
        #expect(text.contains("dmsae plugin replay \(folder.file("plugin-crash-1"))"))
        #expect(try !scorer.scores(batch).isEmpty)
    }

    /// The fixture as one that asks the model.
    private func asking(_ fault: String) throws -> any AttributionScorer {
        let path = folder.file("asking.so")
        try compileMisbehavingPlugin(["FLAGS=DMSAE_PLUGIN_NEEDS_EVALUATION"], to: path)
        return try scorer(fault, path: path)
    }

    @Test func `a call made again spends the budget once`() throws {
        let splice = try GoldenSplice()
        var settings = ScoringSettings()
        settings.prefix = 8
        // Of the 7, 5 are spent before the crash.
        let budget = EvaluationBudget(groups: 7)
        let pass = ScoringPass(
            try SplicedModel(model: splice.model, hook: .residPost(1), sae: try splice.sae(), settings: settings),
            scorer: try asking(",fault=once,once=\(folder.file("mark"))"), budget: budget)
        try pass.begin(sequences: 4, tokens: 96)
        _ = try pass.score(try splice.sample())
        #expect(services.messages.count { $0.text.contains("once, and not when the call was made again") } == 1)
        #expect(budget.remaining == 2 && budget.spent == 5)
    }

    /// An evaluation during which the user asks for an end.
    private final class Interrupted: SplicedEvaluation {
        let preferredGroups = 1
        let remainingGroups: Int? = nil
        private let services: Services

        init(_ services: Services) { self.services = services }

        func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
            services.cancel()
            return groups.map { _ in 0 }
        }
        func gradients(at points: [GradientPoint]) throws -> [Double] { [] }
        func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {}
        func meanActivations() throws -> MeanActivations.Values { throw AttributionError.passUnknown }
    }

    @Test func `a plugin that asks without pause stops when the user asks for it`() throws {
        let scorer = try asking(",fault=asks")
        var batch = batch
        batch.evaluation = Interrupted(services)
        #expect(message { _ = try scorer.scores(batch) } == "score of plugin 'misbehaving' was cancelled")
    }

    @Test func `a call stops when the user asks for it`() throws {
        let scorer = try scorer(",fault=waits")
        services.cancel()
        #expect(message { _ = try scorer.scores(batch) }.contains("cancelled"))
    }

    @Test func `most lines of a plugin that logs without pause are left out`() throws {
        let scorer = try scorer(",fault=flood")
        _ = try scorer.scores(batch)
        let lines = services.messages
        #expect(lines.count < 20_000 && lines.contains { $0.text.contains("the others are left out") })
        #expect(lines.first == PluginMessage(level: .info, plugin: "misbehaving", text: "again\u{1B}[2J"))
        #expect(lines.first?.text.contains("\u{1B}") == false)
    }

    @Test func `a plugin that is never silent stops when the user asks for it`() throws {
        let talk = PluginServices(log: { [services] _ in services.cancel() }, isCancelled: services.value.isCancelled)
        let scorer = try PluginCatalog(executableFolder: "/nowhere").scorer(
            try misbehavingPlugin.get() + ":misbehaving,fault=chatters", services: talk, isolation: isolation())
        #expect(message { _ = try scorer.scores(batch) } == "score of plugin 'misbehaving' was cancelled")
    }

    @Test func `a plugin that was not asked to stop has failed`() throws {
        let text = message { _ = try scorer(",fault=quits").scores(batch) }
        #expect(text.contains("DMSAE_CANCELLED") && text.contains("nobody did"), "\(text)")
    }

    // MARK: By name

    @Test func `a name of the search path runs in a worker`() throws {
        let (empty, path) = (TemporaryFolder(), TemporaryFolder())
        try FileManager.default.copyItem(atPath: try misbehavingPlugin.get(), toPath: path.file("anything.so"))
        let catalog = PluginCatalog(executableFolder: empty.path, searchPath: [path.path])
        let scorer = try catalog.scorer(
            "misbehaving,fault=segfault", services: services.value, isolation: isolation())
        #expect(message { _ = try scorer.scores(batch) }.contains("SIGSEGV"))
    }

    @Test(arguments: ["_exit(0)", "abort()"]) func `a file that ends its process when loaded ends no host`(
        call: String
    ) throws {
        let (empty, path) = (TemporaryFolder(), TemporaryFolder())
        let source = folder.file("ending.c")
        try """
        #include <stdlib.h>
        #include <unistd.h>
        __attribute__((constructor)) static void ends(void) { \(call); }
        """.write(toFile: source, atomically: true, encoding: .utf8)
        #expect(try run(["cc", "-shared", "-fPIC", source, "-o", path.file("ending.so")]).status == 0)
        let catalog = PluginCatalog(executableFolder: empty.path, searchPath: [path.path])
        let list = catalog.list(services: services.value, isolation: isolation())
        #expect(list.count == 1 && list[0].error?.contains("in loading") == true)
        let text = message {
            _ = try catalog.scorer("gxb", services: services.value, isolation: isolation())
        }
        #expect(text.contains("no plugin named 'gxb'") && text.contains("1 that did not load"), "\(text)")
        let inspected = try run(builtProgram, ["plugin", "inspect", "--load", path.file("ending.so")])
        #expect(inspected.status == 1 && inspected.errors.contains("in loading"), "\(inspected.errors)")
    }

    @Test func `a worker started by hand says what it is for`() throws {
        let result = try run(builtProgram, ["plugin", "worker"])
        #expect(result.status != 0 && result.errors.contains("only started by dmsae itself"))
    }
}
