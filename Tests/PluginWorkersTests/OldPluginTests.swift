import Attribution
import PluginABI
import PluginHost
import PluginTestSupport
import PluginWorkers
import SparseCoding
import TestSupport
import Testing

#if arch(x86_64)
    /// The plugin binary built with the first headers, which every host of this major version must load and use.
    struct OldPluginTests {
        let services = Services()
        let path = packageRoot + "/Tests/PluginABITests/Versions/0.0/first-x86_64.so"

        private func isolation() -> PluginIsolation { PluginIsolation(executable: builtProgram) }

        @Test(arguments: [false, true]) func `it is loaded and gives the right numbers`(isIsolated: Bool) throws {
            let isolation = isIsolated ? isolation() : nil
            let batch = randomBatch(tokens: 20, latents: 30, dimensions: 4, perToken: 5)
            let scorer = try PluginCatalog(executableFolder: "/nowhere").scorer(
                path + ":first-scorer,factor=3", services: services.value, isolation: isolation)
            let scores = try scorer.scores(batch)
            for e in scores.indices { #expect(scores[e] == 3 * batch.codes.values[e]) }
            let rule = try PluginCatalog(executableFolder: "/nowhere").sparsityRule(
                path + ":first-rule", services: services.value, isolation: isolation)
            #expect(rule.scope == .row && rule.learning == nil && rule.inference == nil)
            let context = SelectionContext(mode: .train, batchRows: 20, latentCount: 30, meanActive: 1, batchBudget: 20)
            var marks = [UInt8](repeating: 0, count: batch.codes.count)
            try marks.withUnsafeMutableBufferPointer { try rule.select(from: batch.codes, context, selected: $0) }
            for r in 0..<20 {
                let entries = batch.codes.entries(ofRow: r)
                let largest = entries.max { batch.codes.values[$0] < batch.codes.values[$1] }
                #expect(entries.filter { marks[$0] == 1 } == [largest].compactMap { $0 })
            }
        }

        /// Built with the headers of 0.1 and 0.2 from the plugins that were shipped: `frequency` of 0.1 counts, `ablation` of 0.2
        /// asks for losses and means.
        @Test(arguments: [("0.1", "frequency", ""), ("0.2", "ablation", ",draws=2,baseline=mean")], [false, true])
        func `those of later headers give what the shipped ones give`(
            old: (version: String, name: String, settings: String), isIsolated: Bool
        ) throws {
            let isolation = isIsolated ? isolation() : nil
            let path = packageRoot + "/Tests/PluginABITests/Versions/\(old.version)/\(old.name)-x86_64.so"
            let there = try PluginCatalog(executableFolder: "/nowhere").scorer(
                path + old.settings, services: services.value, isolation: isolation)
            let here = try PluginCatalog().scorer(old.name + old.settings, services: services.value)
            let (found, expected) = (
                try GoldenSplice().outputs(there, prefix: 8), try GoldenSplice().outputs(here, prefix: 8)
            )
            #expect(found.mapValues { $0.map(\.bitPattern) } == expected.mapValues { $0.map(\.bitPattern) })
            #expect(expected.values.contains { $0.contains { $0 > 0 } })
        }

        @Test func `its settings are its own to refuse, since it describes none`() throws {
            #expect(throws: PluginCallError.self) {
                try PluginCatalog(executableFolder: "/nowhere").scorer(
                    path + ":first-scorer,fcator=3", services: services.value)
            }
            #expect(try PluginManifest(path: path) == nil)
            let library = try PluginLibrary(path: path)
            #expect(library.plugins.map(\.id) == ["first-scorer", "first-rule"])
            #expect(library.plugins.allSatisfy { $0.parameters == nil })
        }
    }
#endif
