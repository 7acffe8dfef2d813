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
        "ablation", "batchtopk", "frequency", "gxa", "ig", "jumprelu", "random", "reconstruction", "topk",
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
