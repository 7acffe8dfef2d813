import PluginABI

/// One promise about a file, and how it is put to the test; these come before the checks of its plugins.
public struct FileCheck: Sendable {
    /// What users name it by.
    public let id: String
    /// Rules of the headers it is about; none where it is about what any library owes its program.
    public let rules: [String]
    /// What a file that passes does.
    public let promise: String
    let body: @Sendable (Subject) throws -> Void

    /// What it was run on.
    struct Subject: Sendable {
        let path: String
        /// What its code says.
        let code: Result<PluginManifest, any Error>
    }

    /// All of them, in the order in which they are run.
    public static let all = [
        FileCheck(
            id: "load",
            rules: [
                "DMSAE-ENTRY-01", "DMSAE-ENTRY-03", "DMSAE-ENTRY-05", "DMSAE-VERSION-01", "DMSAE-PARAM-01",
            ], promise: "the file loads and describes its plugins"
        ) { file in
            let plugins = try file.code.get().plugins
            let ids = plugins.map(\.id)
            try expect(Set(ids).count == ids.count, "an id is there twice, of \(ids.joined(separator: ", "))")
            for plugin in plugins {
                try expect(!plugin.version.isEmpty, "plugin '\(plugin.id)' has no version")
                try expect(!plugin.description.isEmpty, "plugin '\(plugin.id)' has no description")
            }
        },
        FileCheck(
            id: "manifest", rules: ["DMSAE-MANIFEST-01", "DMSAE-MANIFEST-03"],
            promise: "its manifest, if it has one, says what its code says"
        ) { file in
            let manifest = try required(try PluginManifest(path: file.path), "it has no manifest")
            let differences = manifest.differences(from: try file.code.get())
            try expect(differences.isEmpty, differences.joined(separator: "; "))
        },
        FileCheck(
            id: "exports", rules: ["DMSAE-ENTRY-06"], promise: "it exports dmsae_plugin_entry and nothing else"
        ) { file in
            let others = try PluginFile(path: file.path).exports().filter { !isHarmless($0) }.map(\.name)
            try expect(
                others.isEmpty,
                "it exports \(others.prefix(5).joined(separator: ", "))\(others.count > 5 ? ", …" : ""); build with "
                    + "-fvisibility=hidden, or link with a version script that makes the others local")
        },
        FileCheck(
            id: "segments", rules: [],
            promise: "it loads where memory is either written or run: no executable stack, no relocations in code"
        ) { file in
            let object = try PluginFile(path: file.path).header()
            try expect(!object.hasExecutableStack, "it asks for an executable stack; link with -z noexecstack")
            try expect(!object.hasTextRelocations, "its code is relocated at load; build with -fPIC")
        },
        FileCheck(
            id: "minor", rules: ["DMSAE-VERSION-03"],
            promise: "it demands no newer host than the tables that it names need"
        ) { file in
            let code = try file.code.get()
            let needed = code.plugins.map(newestNeeded).max() ?? 0
            try expect(
                code.abi.minorMin <= needed || code.abi.minorMin == 3,
                "it demands a host of 0.\(code.abi.minorMin), and 0.\(needed) has all it names; leave "
                    + "DMSAE_ABI_MINOR_REQUIRED alone")
        },
    ]

    /// The newest minor that what a plugin names may need. One that asks the host may be unable to do without
    /// dmsae.means/1 of 0.2, and one that accumulates without the budget in its plan: neither is seen from outside. What 0.3
    /// added to every batch and context, and to the meaning of tensors' flags, any plugin may need.
    private static func newestNeeded(_ plugin: PluginManifest.Plugin) -> UInt32 {
        let tables = plugin.extensions ?? []
        if tables.contains("dmsae.scorer.accumulate/1") || plugin.flags?.contains("needs-evaluation") == true {
            return 2
        }
        return tables.contains { !["dmsae.scorer.per_token/1", "dmsae.sparsity_rule/1"].contains($0) } ? 1 : 0
    }

    /// What linkers add; mangled names of Swift, which hold their module's; and what a C++ library instantiates of the
    /// standard library, which its headers make visible whatever the compiler is told, and which is the same in all.
    private static func isHarmless(_ symbol: SharedObject.Symbol) -> Bool {
        let linker = ["dmsae_plugin_entry", "_init", "_fini", "_edata", "_end", "__bss_start", "_DYNAMIC"]
        if linker.contains(symbol.name) || symbol.name.hasPrefix("$s") { return true }
        guard symbol.isShared, symbol.name.hasPrefix("_Z") else { return false }
        // Qualifiers and kinds before the first name: nested, const, volatile, local, guards, type information, tables.
        var name = symbol.name.dropFirst(2)
        while let mark = ["GV", "GR", "TI", "TS", "TV", "TT", "Z", "N", "K", "V"].first(where: name.hasPrefix) {
            name = name.dropFirst(mark.count)
        }
        return ["St", "Sa", "Ss", "Sb", "Si", "So", "Sd", "9__gnu_cxx", "10__cxxabiv1"].contains(where: name.hasPrefix)
    }
}
