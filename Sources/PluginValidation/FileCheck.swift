import PluginHost

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
            guard let manifest = try PluginManifest(path: file.path) else {
                throw PluginCheck.NotApplicable(reason: "it has no manifest")
            }
            let differences = manifest.differences(from: try file.code.get())
            try expect(differences.isEmpty, differences.joined(separator: "; "))
        },
        FileCheck(
            id: "exports", rules: ["DMSAE-ENTRY-06"], promise: "it exports dmsae_plugin_entry and nothing else"
        ) { file in
            let others = try SharedObject(path: file.path).exports.filter { !isHarmless($0) }
            try expect(
                others.isEmpty,
                "it exports \(others.prefix(5).joined(separator: ", "))\(others.count > 5 ? ", …" : ""); build with "
                    + "-fvisibility=hidden")
        },
        FileCheck(
            id: "segments", rules: [],
            promise: "it loads where memory is either written or run: no executable stack, no relocations in code"
        ) { file in
            let object = try SharedObject(path: file.path)
            try expect(!object.hasExecutableStack, "it asks for an executable stack; link with -z noexecstack")
            try expect(!object.hasTextRelocations, "its code is relocated at load; build with -fPIC")
        },
        FileCheck(
            id: "minor", rules: ["DMSAE-VERSION-03"],
            promise: "it demands no newer host than the tables that it names need"
        ) { file in
            let code = try file.code.get()
            // All of the headers that one cannot ask for at run time came with tables of 0.1.
            let needed = code.plugins.contains { plugin in
                (plugin.extensions ?? []).contains {
                    !["dmsae.scorer.per_token/1", "dmsae.sparsity_rule/1"].contains($0)
                }
                    || plugin.flags?.contains("needs-evaluation") == true
            }
            try expect(
                code.abi.minorMin <= (needed ? 1 : 0),
                "it demands a host of 0.\(code.abi.minorMin), and 0.\(needed ? 1 : 0) has all it names; leave "
                    + "DMSAE_ABI_MINOR_REQUIRED alone")
        },
    ]

    /// What linkers add, and mangled names, which hold their module's or are the same in every library that has them.
    private static func isHarmless(_ name: String) -> Bool {
        ["dmsae_plugin_entry", "_init", "_fini", "_edata", "_end", "__bss_start", "_DYNAMIC"].contains(name)
            || name.hasPrefix("$s") || name.hasPrefix("_ZNSt") || name.hasPrefix("_ZSt") || name.hasPrefix("_ZTISt")
            || name.hasPrefix("_ZTSSt") || name.hasPrefix("_ZTVSt") || name.hasPrefix("_ZNKSt")
    }
}
