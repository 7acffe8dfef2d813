import Foundation
import PluginABI
import PluginTestSupport
import TestSupport
import Testing

/// What a file says of itself without being run.
struct ManifestTests {
    let folder = TemporaryFolder()

    /// A shared object with the given source.
    private func build(_ source: String, name: String = UUID().uuidString) throws -> String {
        let path = folder.file(name + ".so")
        try compilePlugin(text: source, to: path)
        return path
    }

    @Test(arguments: [
        "ablation", "batchtopk", "expected-gradients", "frequency", "gxa", "ig", "jumprelu", "logit", "mattr", "norm",
        "random", "reconstruction", "relp", "shapley", "topk",
    ])
    func `the manifest of a shipped plugin says what its code says`(name: String) throws {
        let path = shippedPlugin(name)
        let manifest = try #require(try PluginManifest(path: path))
        #expect(manifest.differences(from: PluginManifest(describing: try PluginLibrary(path: path))) == [])
    }

    @Test func `a manifest is read without running the file, and survives strip`() throws {
        let path = try build(
            """
            #include "dmsae/dmsae.h"
            #include <stdlib.h>
            __attribute__((constructor)) static void loaded(void) { abort(); }
            DMSAE_MANIFEST({"manifest": 1, "abi": {"major": 0, "minor_min": 7}, "future": [1],
                            "plugins": [{"id": "a-b", "kind": "scorer", "version": "2", "license": "MIT",
                                         "description": "with, commas and \\"quotes\\""}]});
            """)
        #expect(try run(["strip", path]).status == 0)
        let manifest = try #require(try PluginManifest(path: path))
        #expect(manifest.abi.minorMin == 7 && manifest.plugins[0].description == #"with, commas and "quotes""#)
        #expect(manifest.plugins[0].parameters == nil)
    }

    @Test func `a file without a manifest has none`() throws {
        #expect(try PluginManifest(path: build("int nothing;")) == nil)
    }

    @Test(arguments: [
        (#"DMSAE_MANIFEST({"manifest": 2, "abi": {"major": 0, "minor_min": 0}, "plugins": []});"#, "version 2"),
        (#"DMSAE_MANIFEST({"manifest": 1);"#, "manifest.h: it is no JSON"),
        (#"DMSAE_MANIFEST([]);"#, "manifest.h: an object is wanted; correct the plugin"),
        (#"DMSAE_MANIFEST({"manifest": 1, "plugins": []});"#, "manifest.h: \"abi\" is missing;"),
        (
            #"DMSAE_MANIFEST({"manifest": 1, "abi": {"major": -1, "minor_min": 0}, "plugins": []});"#,
            "a number in it does not fit"
        ),
        (
            #"DMSAE_MANIFEST({"manifest": 1, "abi": {"major": 0, "minor_min": 0}, "plugins": [{"id": 3}]});"#,
            "manifest.h: a text is wanted at plugins[0].id;"
        ),
    ])
    func `a manifest that cannot be used is an error, not nothing`(source: String, part: String) throws {
        let path = try build("#include \"dmsae/dmsae.h\"\n" + source)
        #expect(message { _ = try PluginManifest(path: path) }.contains(part))
    }

    /// A plugin whose loading ends the process, with a manifest that says more.
    private func demanding(_ more: String) throws -> String {
        try build(
            """
            #include "dmsae/dmsae.h"
            #include <stdlib.h>
            __attribute__((constructor)) static void loaded(void) { abort(); }
            const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) { return 0; }
            DMSAE_MANIFEST({"manifest": 1, "abi": {"major": 0, "minor_min": 0}, \(more), "plugins": []});
            """)
    }

    @Test(arguments: [
        (
            #""requires": ["x86-64", "x86-64-v9"]"#,
            "FILE needs 'x86-64-v9', as its manifest says, of which this dmsae cannot tell whether it is here; update "
                + "dmsae, or correct the manifest (x86-64-v2, x86-64-v3, x86-64-v4)"
        ),
        (
            #""sanitizer": "address""#,
            "FILE was built with -fsanitize=address, whose runtime must be in the process first; run dmsae with "
                + "LD_PRELOAD=$(cc -print-file-name=libasan.so) and --plugin-memory 0, or build it without"
        ),
        (
            #""sanitizer": "memory""#,
            "FILE was built with the sanitizer 'memory', as its manifest says, which this dmsae does not know; "
                + "build it without, or correct the manifest (address, thread, undefined)"
        ),
    ])
    func `a file that this process cannot run is refused before it is loaded`(more: String, expected: String) throws {
        let path = try demanding(more)
        #expect(message { _ = try PluginLibrary(path: path) }.replacing(path, with: "FILE") == expected)
    }

    @Test func `a processor that lacks a level is told from one that has it`() throws {
        var manifest = try #require(try PluginManifest(path: try demanding(#""requires": ["x86-64-v2", "x86-64-v3"]"#)))
        #expect(manifest.requires == ["x86-64-v2", "x86-64-v3"])
        #expect(
            message { try manifest.requireMachine(path: "FILE", level: .baseline) }
                == "FILE needs a processor of x86-64-v3, as its manifest says, and this one is x86-64; get a build of the "
                + "plugin for x86-64, or run it elsewhere")
        #expect(message { try manifest.requireMachine(path: "FILE", level: .v3) } == "nothing failed")
        manifest.requires = ["x86-64-v4"]
        #expect(
            message { try manifest.requireMachine(path: "FILE", level: .v3) }.contains("and this one is x86-64-v3"))
        #expect(message { try manifest.requireMachine(path: "FILE", level: .v4) } == "nothing failed")
    }

    @Test func `every difference is named`() throws {
        let path = shippedPlugin("random")
        let code = PluginManifest(describing: try PluginLibrary(path: path))
        var manifest = code
        manifest.plugins[0].version = "9"
        manifest.plugins[0].flags = ["deterministic"]
        manifest.plugins[0].parameters?[0].default = "1"
        manifest.abi.minorMin = 1
        let found = manifest.differences(from: code)
        #expect(found.count == 4, "\(found)")
        for part in ["abi.minor_min", "random.version", "random.flags", "random.seed"] {
            #expect(found.contains { $0.hasPrefix(part) }, "\(part)")
        }
    }

    @Test func `a file cut off or changed anywhere is refused or read, never a crash`() throws {
        let whole = try Data(contentsOf: URL(filePath: shippedPlugin("random")))
        let path = folder.file("cut.so")
        var (random, refused) = (UInt64(1), 0)
        for i in 0..<400 {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var bytes = whole
            if i % 4 == 0 {
                bytes = bytes.prefix(Int(random >> 33) % bytes.count)
            } else {
                // The ELF header, the segments and the notes lie in the first KiB.
                for k in 0..<4 {
                    bytes[Int((random >> (8 * k)) & 0x3FF)] = UInt8(truncatingIfNeeded: random >> (40 + k))
                }
            }
            try bytes.write(to: URL(filePath: path))
            do { _ = try PluginManifest(path: path) } catch { refused += 1 }
        }
        #expect(refused > 100, "the changes hardly matter: \(refused)")
    }
}
