import Foundation
import TensorFiles
import TestSupport
import Testing

/// What `plugin list`, `inspect`, `validate` and `doctor` show of files that nobody vouches for.
struct PluginListTests {
    private let folder = TemporaryFolder()

    /// A scorer as `NAME.so` whose description clears a screen and turns the text around.
    private func compile(_ name: String, description: String = "clears\\033[2J\\007 and\\ris gone") throws {
        try AtomicFile.write(
            """
            #include "dmsae/single_scorer.h"
            static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores,
                                      dmsae_call *call) {
                for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
                return DMSAE_OK;
            }
            DMSAE_SINGLE_SCORER("\(name)", "1\\033[1m", "MIT\\033[1m", "\(description)", 0, score)
            """, to: folder.file(name + ".c"))
        let result = try run(
            "/usr/bin/env",
            [
                "cc", "-shared", "-fPIC", "-fvisibility=hidden", "-I", fixture("../../Include"),
                folder.file(name + ".c"), "-o",
                folder.file(name + ".so"),
            ])
        #expect(result.status == 0, "\(result.errors)")
    }

    private func isPrintable(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control }
    }

    private func list(_ path: String, _ arguments: [String] = []) throws -> (output: String, errors: String) {
        var environment = startingEnvironment
        environment["DMSAE_PLUGIN_PATH"] = path
        let result = try run(builtProgram, ["plugin", "list"] + arguments, environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        return (result.output, result.errors)
    }

    @Test func `what files say of themselves reaches a terminal without control characters`() throws {
        try compile("loud")
        let listed = try list(folder.path).output
        #expect(listed.contains(#"clears\u{1B}[2J\u{07} and\ris gone"#) && isPrintable(listed), "\(listed)")
        for command in [["inspect", "--load"], ["validate", "--check", "load", "--check", "exports"]] {
            let result = try run(builtProgram, ["plugin"] + command + [folder.file("loud.so")])
            #expect(result.status == 0 && isPrintable(result.output), "\(result.output) \(result.errors)")
        }
    }

    @Test func `the list names a missing folder, an open one, and plugins that a name does not mean`() throws {
        try compile("gxa", description: "An impostor")
        chmod(folder.path, 0o777)
        let (output, _) = try list("/nowhere:\(folder.path):\(folder.path)")
        let words = output.replacing(folder.path, with: "FOLDER").split(separator: "\n").map { $0.drop { $0 == " " } }
        #expect(words.contains("not loaded: /nowhere"))
        #expect(
            words.contains(
                "DMSAE_PLUGIN_PATH names it, and it cannot be read as a folder: No such file or directory; correct the variable"
            ))
        #expect(words.contains("warning: FOLDER"))
        #expect(
            words.contains {
                $0.hasPrefix("not what the name means, which is /") && $0.contains("libdmsae-plugin-gxa.so")
            })
        let json = try JSONValue(parsing: try list(folder.path, ["--json"]).output)
        #expect("\(json)".contains("shadowed_by"))
    }

    @Test func `the doctor says what the sandbox takes away and where plugins are`() throws {
        var environment = startingEnvironment
        environment["DMSAE_PLUGIN_PATH"] = "/nowhere"
        let result = try run(builtProgram, ["doctor"], environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        for words in [
            "kernel", "lanes are used", "BLAS", "a plugin writes no files", "has no network", "LOOK  plugins",
        ] {
            #expect(result.output.contains(words), "\(words): \(result.output)")
        }
        #expect(result.output.contains("/nowhere: DMSAE_PLUGIN_PATH names it, and it cannot be read"))
        let json = try JSONValue(parsing: try run(builtProgram, ["doctor", "--json"], environment: environment).output)
        #expect("\(json)".contains("is_well"))
    }

    @Test func `a sandbox that is no choice is refused, and train says how settings are given`() throws {
        let slip = try run(builtProgram, ["plugin", "list", "--sandbox", "maybe"])
        #expect(slip.status == 64 && slip.errors.contains("one of 'auto', 'on' or 'off'"), "\(slip.errors)")
        #expect(try run(builtProgram, ["train", "--help"]).output.replacing(/\s+/, with: " ").contains(",KEY=VALUE"))
    }
}
