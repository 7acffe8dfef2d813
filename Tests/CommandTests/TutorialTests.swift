import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Plugins/README.md, executed: every line that begins with "$" runs and succeeds, in order, in one folder.
struct TutorialTests {
    @Test func everyCommandOfThePluginTutorialWorksAsWritten() throws {
        let (folder, splice) = (TemporaryFolder(), try GoldenSplice())
        var provenance = SAEProvenance()
        provenance.layer = 1
        try SAEFolder.write(try splice.sae(), provenance, to: folder.file("sae"))
        var writer = SafetensorsWriter()
        writer.add("input_ids", integers: splice.tokens.ids.map(Int64.init), shape: [4, 24])
        try writer.write(to: folder.file("ids.safetensors"))

        let text = String(decoding: contents(of: fixture("../../Plugins/README.md")), as: UTF8.self)
        let commands = text.split(separator: "\n").filter { $0.hasPrefix("$ ") }.map { $0.dropFirst(2) }
        #expect(commands.count == 15)
        let bin = builtProgram.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        var tables = 0
        // Those of Python where it is.
        for command in commands where hasNumpy || !command.contains("-py") {
            let result = try run(
                "/bin/sh",
                [
                    "-c",
                    "cd '\(folder.path)' && export PATH='\(bin)':$PATH model='\(fixture("models/llama"))' "
                        + "source='\(fixture("../.."))' && \(command)",
                ])
            #expect(result.status == 0, "\(command): \(result.errors)")
            if result.output.contains("  rank  latent") { tables += 1 }
        }
        #expect(tables == (hasNumpy ? 3 : 2))
        // The same scorer twice, once in C and once in Swift with a factor of 2, both in workers.
        let c = try SafetensorsFile(path: folder.file("c.safetensors")).doubles("scores")
        let swift = try SafetensorsFile(path: folder.file("swift.safetensors")).doubles("scores")
        #expect(c.count == swift.count && c.contains { $0 > 0 })
        for (a, b) in paired(c, swift) { #expect(b.isFinite && abs(2 * a - b) <= 1e-6 * abs(b)) }
        guard hasNumpy else { return }
        // Products of 48 numbers in float.
        let python = try SafetensorsFile(path: folder.file("py.safetensors")).doubles("scores"),
            most = 1e-6 * (c.max() ?? 0)
        for (a, b) in paired(c, python) { #expect(abs(2 * a - b) <= most) }
    }
}
