import TensorFiles

/// What can be wrong with what a plugin's file exports and says of itself.
///
/// Each case reads: what failed, on which file and value, what to do next.
public enum PluginABIError: Error, Equatable, Codable, Sendable {
    /// No entry function, nor the file that would describe a plain function.
    case noEntry(path: String, description: String)
    /// The entry function returned null, and wrote this about it.
    case entryRefused(path: String, text: String)
    /// The file's code takes a processor that this machine does not have.
    case processorLacks(path: String, requirement: String, has: String)
    /// A requirement that this host cannot judge.
    case unknownRequirement(path: String, requirement: String)
    /// The file was built with a sanitizer whose runtime is not there, or that this host does not know.
    case sanitizerMissing(path: String, sanitizer: String)
    case unknownSanitizer(path: String, sanitizer: String)
    /// What the entry function returned is not an entry.
    case badMagic(path: String, found: UInt64)
    /// Built for another major version of the ABI.
    case wrongMajor(path: String, plugin: UInt32, host: UInt32)
    /// Needs a newer minor version of the ABI than this host has.
    case newerMinor(path: String, major: UInt32, plugin: UInt32, host: UInt32)
    /// A struct or table of the wrong size.
    case wrongSize(path: String, structure: String, found: UInt32, wanted: String)
    /// A pointer that may not be null.
    case nullInTable(path: String, table: String, field: String)
    /// A description that breaks a rule.
    case badDescription(path: String, index: UInt32, reason: String)
    /// The plugin asks for something this host does not know.
    case unknownFlags(plugin: String, path: String, flags: UInt64)
    /// The table that the plugin's kind asks for is not there.
    case missingTable(plugin: String, path: String, id: String)
    /// A description of a scorer's output that breaks a rule.
    case badOutput(plugin: String, path: String, index: Int, reason: String)
    /// Several passes without the flag that says so, or without totals.
    case notSequential(plugin: String, path: String)
    /// A description of a learnable tensor that breaks a rule.
    case badLearnable(plugin: String, path: String, index: Int, reason: String)
    /// A scope that this host does not know.
    case unknownScope(plugin: String, path: String, scope: Int32)
    /// The description of a plain function that cannot be used.
    case badFunction(path: String, reason: String)
    /// A manifest that cannot be read.
    case badManifest(path: String, reason: String)
    /// The description of a plain function as earlier versions read it.
    case oldFunction(path: String, wanted: String)
}

extension PluginABIError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noEntry(let path, let description):
            "\(path) is no dmsae plugin: it does not export dmsae_plugin_entry; define that function with default "
                + "visibility (see entry.h), or, if it holds a plain function, say in \(description) how to call it"
        case .entryRefused(let path, let text):
            text.isEmpty
                ? "dmsae_plugin_entry of \(path) returned null: the plugin will not work with this host; "
                    + "look for another version of the plugin"
                : "\(path) will not work with this host: \(text)"
        case .processorLacks(let path, let requirement, let has):
            "\(path) needs a processor of \(requirement), as its manifest says, and this one is \(has); get a build of the "
                + "plugin for \(has), or run it elsewhere"
        case .unknownRequirement(let path, let requirement):
            "\(path) needs '\(requirement)', as its manifest says, of which this dmsae cannot tell whether it is here; update "
                + "dmsae, or correct the manifest (x86-64-v2, x86-64-v3, x86-64-v4)"
        case .sanitizerMissing(let path, let sanitizer):
            "\(path) was built with -fsanitize=\(sanitizer), whose runtime must be in the process first; run dmsae with "
                + "LD_PRELOAD=$(cc -print-file-name=lib\(sanitizer == "thread" ? "t" : "a")san.so) and --plugin-memory 0, or "
                + "build it without"
        case .unknownSanitizer(let path, let sanitizer):
            "\(path) was built with the sanitizer '\(sanitizer)', as its manifest says, which this dmsae does not know; "
                + "build it without, or correct the manifest (address, thread, undefined)"
        case .badMagic(let path, let found):
            "dmsae_plugin_entry of \(path) returned no entry: it begins with \(hexadecimal(found)) and not DMSAE_MAGIC; "
                + "rebuild the plugin with dmsae's headers"
        case .wrongMajor(let path, let plugin, let host):
            "\(path) was built for plugin ABI \(plugin), this dmsae has \(host); "
                + (plugin > host ? "update dmsae" : "rebuild the plugin with this dmsae's headers")
        case .newerMinor(let path, let major, let plugin, let host):
            "\(path) needs plugin ABI \(major).\(plugin) or newer, this dmsae has \(major).\(host); update dmsae"
        case .wrongSize(let path, let structure, let found, let wanted):
            "\(structure) of \(path) says that it has \(found) bytes, and \(wanted) are wanted; "
                + "set struct_size to sizeof and rebuild the plugin"
        case .nullInTable(let path, let table, let field):
            "\(table).\(field) of \(path) is null; the plugin must fill every field (DMSAE-ENTRY-05)"
        case .badDescription(let path, let index, let reason):
            "the description of plugin \(index) of \(path) is wrong: \(reason); correct the plugin (see entry.h)"
        case .unknownFlags(let plugin, let path, let flags):
            "plugin '\(plugin)' of \(path) has the flags \(hexadecimal(flags)), which this dmsae does not know and must "
                + "understand; update dmsae"
        case .missingTable(let plugin, let path, let id):
            "plugin '\(plugin)' of \(path) has no table '\(id)'; its description must list it and its "
                + "get_extension return it"
        case .badOutput(let plugin, let path, let index, let reason):
            "the description of output \(index) of scorer '\(plugin)' is wrong: \(reason); correct \(path) (see scorer.h)"
        case .notSequential(let plugin, let path):
            "scorer '\(plugin)' has the table dmsae.scorer.passes/1, which goes with dmsae.scorer.accumulate/1 and "
                + "DMSAE_PLUGIN_SEQUENTIAL (DMSAE-SCORER-15); correct \(path)"
        case .badLearnable(let plugin, let path, let index, let reason):
            "learnable tensor \(index) of rule '\(plugin)' is wrong: \(reason); correct \(path) (see sparsity_rule.h)"
        case .unknownScope(let plugin, let path, let scope):
            "rule '\(plugin)' declares scope \(scope), which this dmsae does not know (1 row, 2 batch, 3 all); "
                + "update dmsae or correct \(path)"
        case .badFunction(let path, let reason): "\(path) does not describe a function that can be called: \(reason)"
        case .badManifest(let path, let reason): "the manifest of \(path) cannot be used: \(reason); correct the plugin"
        case .oldFunction(let path, let wanted):
            "\(path) describes a plain function as earlier versions of dmsae read it; write the same into \(wanted), KEY = VALUE as "
                + "KEY: VALUE, and delete it"
        }
    }
}

private func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
