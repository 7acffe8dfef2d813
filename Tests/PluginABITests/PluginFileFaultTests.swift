import Foundation
import PluginABI
import PluginTestSupport
import TestSupport
import Testing

/// Every fault of a file, each against a real file that has it.
struct PluginFileFaultTests {
    let folder: TemporaryFolder

    init() throws { folder = TemporaryFolder() }

    /// The message for a file, with its path shortened to FILE.
    private func message(_ path: String) throws -> String {
        do {
            _ = try PluginLibrary(path: path)
        } catch {
            return "\(error)".replacingOccurrences(of: path, with: "FILE")
                .replacingOccurrences(of: path.dropLast("so".count) + "yaml", with: "YAML")
        }
        Issue.record("\(path) loads")
        return ""
    }

    private func messageOf(bytes: [UInt8]) throws -> String {
        let path = folder.file(UUID().uuidString + ".so")
        try Data(bytes).write(to: URL(filePath: path))
        return try message(path)
    }

    @Test func `a sound file loads and describes its plugins`() throws {
        let library = try PluginLibrary(path: try faultyPlugin(in: folder))
        #expect(library.plugins.map(\.id) == ["first", "second", "rule"])
        #expect(library.plugins.map(\.kind) == [.scorer, .scorer, .sparsityRule])
        #expect(library.plugins[0].version == "1.2")
        #expect(library.plugins[0].license == "MIT")
        #expect(library.plugins[0].summary == "A sound scorer")
        #expect(library.plugins.map(\.isReentrant) == [false, true, false])
    }

    @Test func `a file built against a later minor version loads`() throws {
        let library = try PluginLibrary(path: try faultyPlugin(["LARGER"], in: folder))
        #expect(library.plugins.map(\.id) == ["first", "second", "rule"])
    }

    @Test func `a missing file`() throws {
        #expect(
            try message(folder.file("none.so"))
                == "plugin file FILE cannot be read: No such file or directory; correct the path")
    }

    @Test func `a link to itself`() throws {
        let path = folder.file("loop.so")
        #expect(symlink("loop.so", path) == 0)
        #expect(
            try message(path)
                == "plugin file FILE cannot be read: Too many levels of symbolic links; its links lead back to themselves: "
                + "correct them")
    }

    @Test func `a folder`() throws {
        #expect(
            try message(folder.path)
                == "plugin file FILE is not a shared object but a folder; build it with cc -shared -fPIC")
    }

    @Test func `a file that is not ELF`() throws {
        #expect(
            try messageOf(bytes: Array("int main() {}".utf8))
                == "plugin file FILE is not a shared object but a file of another format; build it with cc -shared -fPIC"
        )
        #expect(try messageOf(bytes: []).contains("but an empty file;"))
    }

    @Test func `ELF of another shape or another machine`() throws {
        let sound = try [UInt8](Data(contentsOf: URL(filePath: faultyPlugin(in: folder))))
        func changed(_ offset: Int, _ value: UInt8) throws -> String {
            var bytes = sound
            bytes[offset] = value
            return try messageOf(bytes: bytes)
        }
        #expect(try changed(4, 1).contains("but a 32-bit ELF file;"))
        #expect(try changed(5, 2).contains("but a big-endian ELF file;"))
        #expect(try changed(16, 1).contains("but an object file that is not linked;"))
        #expect(try changed(18, 243).hasPrefix("plugin file FILE was built for RISC-V, this program for "))
    }

    @Test func `a file that was cut short is refused wherever it was cut`() throws {
        let sound = try [UInt8](Data(contentsOf: URL(filePath: faultyPlugin(in: folder))))
        // The tail of the file holds tables for debuggers, which loading does not need.
        for sixteenth in 0..<8 {
            let message = try messageOf(bytes: Array(sound.prefix(max(10, sound.count * sixteenth / 16))))
            #expect(message.contains("but a truncated ELF file;"), "cut at \(sixteenth)/16: \(message)")
        }
        var wild = sound
        for i in 32..<40 { wild[i] = 0xFF }
        #expect(try messageOf(bytes: wild).contains("but a truncated ELF file;"))
        wild = sound
        // The size of the first segment, program header 0 at byte 64.
        for i in (64 + 32)..<(64 + 40) { wild[i] = 0xFF }
        #expect(try messageOf(bytes: wild).contains("but a truncated ELF file;"))
    }

    @Test func `a file that everybody may change`() throws {
        let path = try faultyPlugin(in: folder)
        try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: path)
        #expect(
            try message(path) == "plugin file FILE can be changed by every user of this machine; "
                + "chmod o-w it once you trust its content")
    }

    /// Macro of `faulty.c`, and the message.
    private static let exportFaults = [
        (
            "ENTRY_NAME=another_entry",
            "FILE is no dmsae plugin: it does not export dmsae_plugin_entry; define that function with default "
                + "visibility (see entry.h), or, if it holds a plain function, say in YAML how to call it"
        ),
        (
            "REFUSES=\"\"",
            "dmsae_plugin_entry of FILE returned null: the plugin will not work with this host; "
                + "look for another version of the plugin"
        ),
        (
            "REFUSES=\"it needs dmsae.head/9\"",
            "FILE will not work with this host: it needs dmsae.head/9"
        ),
        (
            "MAGIC=0x1234ull",
            "dmsae_plugin_entry of FILE returned no entry: it begins with 0x1234 and not DMSAE_MAGIC; "
                + "rebuild the plugin with dmsae's headers"
        ),
        ("MAJOR=1", "FILE was built for plugin ABI 1, this dmsae has 0; update dmsae"),
        ("MINOR=99", "FILE needs plugin ABI 0.99 or newer, this dmsae has 0.3; update dmsae"),
        (
            "ENTRY_SIZE=55",
            "dmsae_entry of FILE says that it has 55 bytes, and at least 56 are wanted; "
                + "set struct_size to sizeof and rebuild the plugin"
        ),
        ("CREATE=NULL", "dmsae_entry.create of FILE is null; the plugin must fill every field (DMSAE-ENTRY-05)"),
        ("FIRST_ID=NULL", "dmsae_descriptor.id of FILE is null; the plugin must fill every field (DMSAE-ENTRY-05)"),
        (
            "FIRST_ID=\"First One\"",
            "the description of plugin 0 of FILE is wrong: its id 'First One' is not made of a-z, 0-9, '-', '_', '.' "
                + "(DMSAE-ENTRY-01); correct the plugin (see entry.h)"
        ),
        (
            "FIRST_ID=\"second\"",
            "the description of plugin 1 of FILE is wrong: its id 'second' is taken; correct the plugin (see entry.h)"
        ),
        (
            "SUMMARY=\"\\xff\"",
            "the description of plugin 0 of FILE is wrong: its description is not UTF-8; "
                + "correct the plugin (see entry.h)"
        ),
        (
            "COUNT=0",
            "the description of plugin 0 of FILE is wrong: the file claims to hold 0 plugins; at least 1, at most 1024; "
                + "correct the plugin (see entry.h)"
        ),
        (
            "COUNT=4",
            "the description of plugin 3 of FILE is wrong: there is none (null); correct the plugin (see entry.h)"
        ),
    ]

    @Test(arguments: exportFaults)
    func `what a file exports is checked`(macro: String, expected: String) throws {
        #expect(try message(try faultyPlugin([macro], in: folder)) == expected)
    }

    @Test func `a library that needs a missing symbol is refused when it is loaded and not when it is called`() throws {
        let source = folder.file("needs.c"), path = folder.file("needs.so")
        try "void nowhere_to_be_found(void); void f(void) { nowhere_to_be_found(); }".write(
            toFile: source, atomically: true, encoding: .utf8)
        #expect(try run(["cc", "-shared", "-fPIC", source, "-o", path]).status == 0)
        #expect(
            try message(path)
                == "plugin file FILE does not load: FILE: undefined symbol: nowhere_to_be_found; rebuild it, or install "
                + "the library it needs")
    }

    @Test func `ids and kinds within a file`() throws {
        let path = try faultyPlugin(in: folder)
        let library = try PluginLibrary(path: path)
        #expect(try library.plugin("second", kind: .scorer).id == "second")
        #expect(try library.plugin(nil, kind: .sparsityRule).id == "rule")
        func message(_ id: String?, _ kind: PluginKind) -> String {
            do { _ = try library.plugin(id, kind: kind) } catch { return "\(error)" }
            return "found"
        }
        #expect(
            message("thrid", .scorer)
                == "\(path) holds no plugin 'thrid'; it holds 'first', 'second', 'rule'; "
                + "correct the part after the colon")
        #expect(
            message("rule", .scorer)
                == "plugin 'rule' of \(path) is a sparsity rule, and a scorer is wanted here; "
                + "`dmsae plugin list` shows the kinds")
        #expect(
            message(nil, .scorer)
                == "\(path) holds several plugins of kind scorer: 'first', 'second'; name one, as \(path):first")
    }
}
