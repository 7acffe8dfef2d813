import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TestSupport
import Testing

/// Every fault of a call, each made by a real plugin.
struct PluginCallFaultTests {
    let folder: TemporaryFolder
    let path: String
    let services = Services()

    init() throws {
        folder = TemporaryFolder()
        path = try faultyPlugin(in: folder)
    }

    private func catalog() -> PluginCatalog { PluginCatalog(executableFolder: folder.path) }

    private func makeScorer(_ parameters: String = "", file: String? = nil) throws -> any AttributionScorer
        & LoadedPlugin
    {
        try catalog().scorer("\(file ?? path):first\(parameters)", services: services.value)
    }

    private func makeRule(_ parameters: String = "") throws -> any SparsityRule & LoadedPlugin {
        try catalog().sparsityRule("\(path):rule\(parameters)", services: services.value)
    }

    /// The message of whatever fails in `body`, with the path shortened to FILE.
    private func message(_ file: String? = nil, _ body: () throws -> Void) -> String {
        do { try body() } catch { return "\(error)".replacingOccurrences(of: file ?? path, with: "FILE") }
        return "nothing failed"
    }

    /// Two tokens with entries at latents 0, 2 and 1, 3, 5.
    private let codes = SparseCodes(
        dense: Matrix(rows: 3, columns: 6, [4, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 2]))

    private var batch: ScoringBatch {
        var batch = randomBatch(tokens: 3, latents: 6, dimensions: 4, perToken: 1)
        batch.codes = codes
        return batch
    }

    private var context: SelectionContext {
        SelectionContext(mode: .train, batchRows: 3, latentCount: 6, meanActive: 1, batchBudget: 3)
    }

    private func select(_ rule: any SparsityRule, _ context: SelectionContext? = nil) throws -> [UInt8] {
        var marks = [UInt8](repeating: 0, count: codes.count)
        try marks.withUnsafeMutableBufferPointer {
            try rule.select(from: codes, context ?? self.context, selected: $0)
        }
        return marks
    }

    @Test func `a sound scorer and a sound rule pass`() throws {
        #expect(try makeScorer().scores(batch) == [0.5, 0.5, 0.5, 0.5, 0.5])
        #expect(try select(makeRule()) == [1, 0, 1, 0, 0])
        #expect(try makeRule().upperCount(context) == 1)
    }

    @Test func `an unknown parameter is named`() throws {
        #expect(
            message { _ = try makeScorer(",fautl=nan") }
                == "create of plugin 'first' failed (DMSAE_ERR_UNKNOWN_PARAMETER): unknown parameter fautl; "
                + "it was given fautl=nan; the plugin is FILE")
    }

    @Test func `an error without text still says which call, which status and what was given`() throws {
        #expect(
            message { _ = try makeScorer(",fault=create") }
                == "create of plugin 'first' failed (DMSAE_ERR_INVALID_ARGUMENT): it gave no reason; "
                + "it was given fault=create; the plugin is FILE")
        let scorer = try makeScorer(",fault=silent")
        #expect(
            message { _ = try scorer.scores(batch) }
                == "score of plugin 'first' failed (DMSAE_ERR_OUT_OF_MEMORY): it gave no reason; the plugin is FILE")
    }

    @Test func `an error carries the plugin's own text`() throws {
        let scorer = try makeScorer(",fault=text")
        #expect(
            message { _ = try scorer.scores(batch) }
                == "score of plugin 'first' failed (DMSAE_ERR_FAILED): the moon is full; the plugin is FILE")
    }

    @Test func `a status of a later version is shown by its number`() throws {
        let scorer = try makeScorer(",fault=future")
        #expect(message { _ = try scorer.scores(batch) }.contains("failed (status -77)"))
    }

    @Test func `an error text without an end is cut at the buffer's`() throws {
        let scorer = try makeScorer(",fault=unterminated")
        #expect(
            message { _ = try scorer.scores(batch) }.contains(": " + String(repeating: "x", count: 1023) + ";"))
    }

    @Test func `a lost instance is not called again`() throws {
        let scorer = try makeScorer(",fault=lost")
        #expect(message { _ = try scorer.scores(batch) }.contains("(DMSAE_ERR_INSTANCE_LOST)"))
        #expect(
            message { _ = try scorer.scores(batch) }
                == "plugin 'first' of FILE lost its instance in an earlier call; start again")
    }

    @Test func `a score that is not finite is named by token and latent`() throws {
        #expect(
            message { _ = try makeScorer(",fault=nan").scores(batch) }
                == "scorer 'first' wrote nan at token 0, latent 2 (DMSAE-SCORER-03); correct FILE")
        #expect(
            message { _ = try makeScorer(",fault=infinity").scores(batch) }
                == "scorer 'first' wrote -inf at token 2, latent 5 (DMSAE-SCORER-03); correct FILE")
    }

    @Test func `scores left unwritten are found although the call returned success`() throws {
        #expect(
            message { _ = try makeScorer(",fault=unwritten").scores(batch) }
                == "scorer 'first' left 2 of 5 scores unwritten, the first at token 2, latent 1 (DMSAE-SCORER-03); "
                + "correct FILE")
    }

    @Test func `a null function in a table, a table of another size and a missing table`() throws {
        let null = try faultyPlugin(["SCORE=NULL"], in: folder)
        #expect(
            message(null) { _ = try makeScorer(file: null) }
                == "table dmsae.scorer.per_token/1.score of FILE is null; the plugin must fill every field "
                + "(DMSAE-ENTRY-05)")
        let size = try faultyPlugin(["TABLE_SIZE=24"], in: folder)
        #expect(
            message(size) { _ = try makeScorer(file: size) }
                == "table dmsae.scorer.per_token/1 of FILE says that it has 24 bytes, and exactly 16 are wanted; "
                + "set struct_size to sizeof and rebuild the plugin")
        #expect(
            message { _ = try makeScorer(",fault=table") }
                == "plugin 'first' of FILE has no table 'dmsae.scorer.per_token/1'; "
                + "its description must list it and its get_extension return it")
        #expect(
            message { _ = try makeScorer(",fault=nowhere") }
                == "create.out of FILE is null; the plugin must fill every field (DMSAE-ENTRY-05)")
    }

    @Test func `a flag that must be understood and is not`() throws {
        let flagged = try faultyPlugin(["FLAGS=0x100000001ull"], in: folder)
        #expect(
            message(flagged) { _ = try makeScorer(file: flagged) }
                == "plugin 'first' of FILE has the flags 0x100000000, which this dmsae does not know and must "
                + "understand; update dmsae")
        // The lower half is only advice.
        let advised = try faultyPlugin(["FLAGS=0x80000001ull"], in: folder)
        #expect(try makeScorer(file: advised).scores(batch).count == 5)
    }

    @Test func `a plugin of the other kind`() throws {
        #expect(
            message { _ = try catalog().scorer("\(path):rule", services: services.value) }
                == "plugin 'rule' of FILE is a sparsity rule, and a scorer is wanted here; "
                + "`dmsae plugin list` shows the kinds")
    }

    @Test func `a rule that selects more than its upper count`() throws {
        #expect(
            message { _ = try select(makeRule(",keep=2")) }
                == "rule 'rule' selected 2 entries of token 0, more than its upper count 1 (DMSAE-RULE-03); correct FILE"
        )
        var later = context
        later.firstRow = 10
        #expect(message { _ = try select(makeRule(",keep=2"), later) }.contains("2 entries of token 10, more"))
        #expect(
            message { _ = try select(makeRule(",scope=2,upper=4,keep=3")) }
                == "rule 'rule' selected 5 entries of the batch, more than its upper count 4 (DMSAE-RULE-03); correct FILE"
        )
        #expect(try select(makeRule(",scope=3,keep=9")) == [1, 1, 1, 1, 1])
    }

    @Test func `a mark other than 0 and 1`() throws {
        #expect(
            message { _ = try select(makeRule(",fault=mark")) }
                == "rule 'rule' marked token 0, latent 0 with 3 and not 0 or 1 (DMSAE-RULE-03); correct FILE")
    }

    @Test func `a scope of another version and a bad upper count`() throws {
        #expect(
            message { _ = try makeRule(",scope=7") }
                == "rule 'rule' declares scope 7, which this dmsae does not know (1 row, 2 batch, 3 all); "
                + "update dmsae or correct FILE")
        #expect(
            message { _ = try makeRule(",upper=-1").upperCount(context) }
                == "rule 'rule' gave the upper count -1 (DMSAE-RULE-01); correct FILE")
        #expect(
            message { _ = try makeRule(",fault=upper").upperCount(context) }
                == "upper_count of plugin 'rule' failed (DMSAE_ERR_FAILED): no count today; the plugin is FILE")
        // More than there are entries means all.
        #expect(try makeRule(",upper=1000000").upperCount(context) == 6)
        #expect(try makeRule(",scope=2,upper=1000000").upperCount(context) == 18)
    }

    @Test func `log lines reach the host with the plugin's id`() throws {
        _ = try makeScorer(",fault=logs").scores(batch)
        #expect(
            services.messages.map { "\($0.level) \($0.plugin) \($0.text)" }
                == ["warning first it is late", "warning first a level of the future"])
    }

    @Test func `a call stops when the user asks for it`() throws {
        let scorer = try makeScorer(",fault=waits")
        services.cancel()
        #expect(message { _ = try scorer.scores(batch) } == "score of plugin 'first' was cancelled")
    }

    @Test func `a batch without entries makes no call`() throws {
        var empty = batch
        empty.codes = SparseCodes(rows: 3, columns: 6)
        #expect(try makeScorer(",fault=text").scores(empty) == [])
    }

    #if arch(x86_64)
        @Test func `a plugin that flushes denormals to zero does not change the host's arithmetic`() throws {
            // Half the smallest normal number is a denormal: zero wherever they are flushed.
            func half(_ x: Float) -> Float { x * Float(services.messages.count + 1) * 0.5 }
            #expect(half(.leastNormalMagnitude) > 0)
            let flushing = try faultyPlugin(["FLUSH_DENORMALS"], in: folder)
            let scorer = try makeScorer(file: flushing)
            #expect(half(.leastNormalMagnitude) > 0)
            _ = try scorer.scores(batch)
            #expect(half(.leastNormalMagnitude) > 0)
        }
    #endif
}
