import TensorFiles

/// What can be wrong with a plugin, from a mistyped reference to a score that is not a number.
///
/// Each case reads: what failed, on which file or value, what to do next.
public enum PluginError: Error, Equatable, Sendable {
    // The reference.
    /// A reference that cannot be read.
    case badReference(String, reason: String)
    /// No plugin of this name where plugins are looked for.
    case unknownName(String, folders: [String], known: [String], unloadable: Int)
    /// The file holds no plugin of this id.
    case unknownID(String, path: String, available: [String])
    /// The file holds several plugins of the wanted kind, and none was named.
    case ambiguous(path: String, kind: PluginKind, ids: [String])
    /// The plugin is of another kind than the one asked for.
    case wrongKind(plugin: String, path: String, kind: PluginKind, wanted: PluginKind)

    // The file.
    /// The file or folder cannot be read.
    case unreadable(path: String, reason: String)
    /// The system refused what running a plugin takes.
    case refused(what: String, reason: String)
    /// A variable that a plugin is to have and that is not there.
    case unsetVariable(String)
    /// What was kept was made by another build of the plugin; nil if it does not say by which.
    case otherBuild(path: String, plugin: String, found: String?, now: String)
    /// What was kept was made with another environment of plugins: a variable that was set there, is set here, or both.
    case otherEnvironment(path: String, variable: String, wasSet: Bool, isSet: Bool)
    /// Everybody may change the file.
    case worldWritable(path: String)
    /// The file is not a shared object of this system.
    case notASharedObject(path: String, found: String)
    /// The file was built for another processor.
    case wrongMachine(path: String, found: String, wanted: String)
    /// The dynamic loader refused the file.
    case notLoaded(path: String, reason: String)
    /// Another library of the process takes a symbol from the file, and loading it otherwise is not possible here.
    case symbolTaken(path: String, symbol: String, owner: String)

    // What it exports.
    /// No entry function, nor the TOML file that would describe a plain function.
    case noEntry(path: String, toml: String)
    /// The entry function returned null.
    case entryRefused(path: String)
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

    /// The description of a plain function that cannot be used.
    case badKernel(path: String, reason: String)
    /// A manifest that cannot be read.
    case badManifest(path: String, reason: String)

    // The settings.
    /// A setting that the plugin does not take.
    case unknownParameter(plugin: String, path: String, key: String, known: [String])
    /// A value that is not legal for its setting.
    case badParameter(plugin: String, key: String, value: String, legal: String)
    /// A setting that has no default and was not given.
    case missingParameter(plugin: String, key: String, description: String)

    // What it does.
    /// A function returned an error.
    case failed(plugin: String, path: String, function: String, status: Int32, text: String, parameters: [String])
    /// A plain function returned another code than 0.
    case returned(function: String, path: String, code: Int32)
    /// Something is of a size that cannot be had.
    case tooLarge(plugin: String, path: String, what: String, bytes: UInt64, limit: String)
    /// A function stopped because the user asked for it.
    case cancelled(plugin: String, function: String)
    /// An earlier call lost the instance.
    case lost(plugin: String, path: String)
    /// The scorer returned success and left a score unwritten.
    case unwrittenScore(plugin: String, path: String, row: Int, latent: Int, unwritten: Int, count: Int)
    /// A score that is NaN or infinite.
    case nonFiniteScore(plugin: String, path: String, value: String, row: Int, latent: Int)
    /// A description of a scorer's output that breaks a rule.
    case badOutput(plugin: String, path: String, index: Int, reason: String)
    /// An element of an output that is infinite, or, with no value, that was not written.
    case badOutputValue(plugin: String, path: String, output: String, element: Int, value: String?)
    /// A description of a learnable tensor that breaks a rule.
    case badLearnable(plugin: String, path: String, index: Int, reason: String)
    /// A number of a rule that is not finite, or, with no value, was not written.
    case badRuleValue(
        plugin: String, path: String, function: String, what: String, element: Int, value: String?, rule: String)
    /// Memory beside an output was written.
    case wroteOutside(plugin: String, path: String, function: String)
    /// The worker that a plugin ran in ended, or was ended, during a call.
    case crashed(plugin: String, path: String, function: String, how: String, lastWords: String, bundle: String?)
    /// It crashed so often that it is left alone.
    case notStartedAgain(plugin: String, path: String, crashes: Int)
    /// A folder that holds no crash to replay.
    case badBundle(path: String, reason: String)
    /// What a worker reported, in its words.
    case reported(String)
    /// A scope that this host does not know.
    case unknownScope(plugin: String, path: String, scope: Int32)
    /// A negative upper count.
    case negativeUpperCount(plugin: String, path: String, count: Int64)
    /// A mark that is neither 0 nor 1.
    case badMark(plugin: String, path: String, value: UInt8, row: Int, latent: Int)
    /// More selected than the rule's own upper count; `row` if the scope is a row.
    case tooManySelected(plugin: String, path: String, selected: Int, upperCount: Int, row: Int?)
}

extension PluginError {
    /// Whether it is the system that refused, and not the plugin that failed.
    public var isRefusal: Bool { if case .refused = self { true } else { false } }
}

extension PluginError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .badReference, .unknownName, .unknownID, .ambiguous, .wrongKind: referenceDescription
        case .unreadable, .refused, .unsetVariable, .otherBuild, .otherEnvironment, .worldWritable, .notASharedObject,
            .wrongMachine,
            .notLoaded,
            .symbolTaken:
            fileDescription
        case .unknownParameter, .badParameter, .missingParameter: parameterDescription
        case .failed, .returned, .tooLarge, .cancelled, .lost, .unwrittenScore, .nonFiniteScore, .badOutputValue,
            .badLearnable,
            .badRuleValue, .wroteOutside, .crashed, .notStartedAgain, .badBundle, .reported,
            .unknownScope,
            .negativeUpperCount, .badMark, .tooManySelected:
            callDescription
        default: exportDescription
        }
    }

    private var referenceDescription: String {
        switch self {
        case .badReference(let text, let reason):
            "plugin reference '\(text)': \(reason); write NAME, PATH.so or PATH.so:ID, then ,KEY=VALUE for each "
                + "parameter"
        case .unknownName(let name, let folders, let known, let unloadable):
            "no plugin named '\(name)' in \(list(folders)); there \(known.count == 1 ? "is" : "are") "
                + (known.isEmpty ? "none" : list(known))
                + (unloadable == 0 ? "" : ", and \(unloadable) that did not load (see `dmsae plugin list`)")
                + "; correct the name, give a path ending in .so, or add a folder to DMSAE_PLUGIN_PATH"
        case .unknownID(let id, let path, let available):
            "\(path) holds no plugin '\(id)'; it holds \(list(available)); correct the part after the colon"
        case .ambiguous(let path, let kind, let ids):
            "\(path) holds several plugins of kind \(kind): \(list(ids)); name one, as \(path):\(ids.first ?? "ID")"
        case .wrongKind(let plugin, let path, let kind, let wanted):
            "plugin '\(plugin)' of \(path) is a \(kind), and a \(wanted) is wanted here; "
                + "`dmsae plugin list` shows the kinds"
        default: ""
        }
    }

    /// What helps, by the system's reason.
    private static func advice(on reason: String) -> String {
        if reason.hasPrefix("Too many open files") { return "raise the limit on open files (ulimit -n)" }
        if reason.hasPrefix("File too large") {
            return "raise the limit on the size of files (ulimit -f), which counts for memory that processes share"
        }
        if reason.hasPrefix("Resource temporarily unavailable") { return "raise the limit on processes (ulimit -u)" }
        return "free some, or raise the limit (`ulimit -a`, --plugin-memory)"
    }

    private var fileDescription: String {
        switch self {
        case .unreadable(let path, let reason):
            "plugin file \(path) cannot be read: \(reason); " + SystemAdvice.reading(reason, else: "correct the path")
        case .refused(let what, let reason):
            "the system refused \(what), which a plugin needs: \(reason); \(Self.advice(on: reason))"
        case .unsetVariable(let name):
            "the environment has no variable '\(name)' to pass on to plugins; set it, or leave --plugin-env \(name) out"
        case .otherBuild(let path, let plugin, let found, let now):
            "\(path) was made by "
                + (found.map { "another build of \(plugin) (sha256 \($0))" } ?? "a dmsae that did not keep "
                    + "which build of \(plugin) it ran")
                + ", this one is \(now); go on with what it was made with, name another file or "
                + "folder, or delete it"
        case .otherEnvironment(let path, let variable, let wasSet, let isSet):
            "\(path) was made with\(wasSet ? isSet ? " another value of" : "" : "out") the environment variable \(variable), "
                + "which plugins can read; \(wasSet ? "set it as it was" : "unset it"), name another file or folder, or "
                + "delete it"
        case .worldWritable(let path):
            "plugin file \(path) can be changed by every user of this machine; chmod o-w it once you trust its content"
        case .notASharedObject(let path, let found):
            "plugin file \(path) is not a shared object but \(found); build it with cc -shared -fPIC"
        case .wrongMachine(let path, let found, let wanted):
            "plugin file \(path) was built for \(found), this program for \(wanted); rebuild the plugin for \(wanted)"
        case .notLoaded(let path, let reason):
            "plugin file \(path) does not load: \(reason); "
                + (reason.hasSuffix("Too many open files")
                    ? "raise the limit (ulimit -n)" : "rebuild it, or install the library it needs")
        case .symbolTaken(let path, let symbol, let owner):
            "plugin file \(path) would get \(symbol) from \(owner) instead of its own, because another allocator than libc's is "
                + "loaded (LD_PRELOAD, a sanitizer); run without it, or build the plugin with -fvisibility=hidden"
        default: ""
        }
    }

    private var exportDescription: String {
        switch self {
        case .noEntry(let path, let toml):
            "\(path) is no dmsae plugin: it does not export dmsae_plugin_entry; define that function with default "
                + "visibility (see entry.h), or, if it holds a plain function, say in \(toml) how to call it"
        case .entryRefused(let path):
            "dmsae_plugin_entry of \(path) returned null: the plugin will not work with this host; "
                + "look for another version of the plugin"
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
        case .badOutput(let plugin, let path, let index, let reason):
            "the description of output \(index) of scorer '\(plugin)' is wrong: \(reason); correct \(path) (see scorer.h)"
        case .badKernel(let path, let reason): "\(path) does not describe a function that can be called: \(reason)"
        case .badManifest(let path, let reason): "the manifest of \(path) cannot be used: \(reason); correct the plugin"
        case .unknownFlags(let plugin, let path, let flags):
            "plugin '\(plugin)' of \(path) has the flags \(hexadecimal(flags)), which this dmsae does not know and must "
                + "understand; update dmsae"
        case .missingTable(let plugin, let path, let id):
            "plugin '\(plugin)' of \(path) has no table '\(id)'; its description must list it and its "
                + "get_extension return it"
        default: ""
        }
    }

    private var parameterDescription: String {
        switch self {
        case .unknownParameter(let plugin, let path, let key, let known):
            "unknown parameter '\(key)'; "
                + (nearest(key, among: known).map { "did you mean '\($0)'? " } ?? "")
                + (known.isEmpty ? "\(plugin) takes none" : "\(plugin) takes \(known.joined(separator: ", "))")
                + "; see `dmsae plugin inspect \(path)`"
        case .badParameter(let plugin, let key, let value, let legal):
            "\(key) of \(plugin) is '\(value)'; give \(legal)"
        case .missingParameter(let plugin, let key, let description):
            "\(plugin) needs \(key) (\(description)); write \(plugin),\(key)=VALUE"
        default: ""
        }
    }

    private var callDescription: String {
        switch self {
        case .failed(let plugin, let path, let function, let status, let text, let parameters):
            "\(function) of plugin '\(plugin)' failed (\(statusName(status))): "
                + (text.isEmpty ? "it gave no reason" : text)
                + (parameters.isEmpty ? "" : "; it was given \(parameters.joined(separator: ", "))")
                + "; the plugin is \(path)"
        case .returned(let function, let path, let code):
            "plain function '\(function)' failed with code \(code), which its author can explain; it is in \(path)"
        case .tooLarge(let plugin, let path, let what, let bytes, let limit):
            "plugin '\(plugin)' asks for \(what) of \(bytes) bytes, and \(limit); score fewer sequences or "
                + "latents, or correct \(path)"
        case .cancelled(let plugin, let function): "\(function) of plugin '\(plugin)' was cancelled"
        case .lost(let plugin, let path):
            "plugin '\(plugin)' of \(path) lost its instance in an earlier call; start again"
        case .unwrittenScore(let plugin, let path, let row, let latent, let unwritten, let count):
            "scorer '\(plugin)' left \(unwritten) of \(count) scores unwritten, the first at token \(row), latent \(latent)"
                + " (DMSAE-SCORER-03); correct \(path)"
        case .nonFiniteScore(let plugin, let path, let value, let row, let latent):
            "scorer '\(plugin)' wrote \(value) at token \(row), latent \(latent) (DMSAE-SCORER-03); correct \(path)"
        case .badOutputValue(let plugin, let path, let output, let element, let value):
            "scorer '\(plugin)' " + (value.map { "wrote \($0) to" } ?? "left unwritten")
                + " element \(element) of output '\(output)' (DMSAE-SCORER-11); correct \(path)"
        case .badLearnable(let plugin, let path, let index, let reason):
            "learnable tensor \(index) of rule '\(plugin)' is wrong: \(reason); correct \(path) (see sparsity_rule.h)"
        case .badRuleValue(let plugin, let path, let function, let what, let element, let value, let rule):
            "\(function) of rule '\(plugin)' " + (value.map { "wrote \($0) to" } ?? "left unwritten")
                + " element \(element) of \(what) (\(rule)); correct \(path)"
        case .wroteOutside(let plugin, let path, let function):
            "\(function) of plugin '\(plugin)' wrote beside the memory it was given; correct \(path)"
        case .crashed(let plugin, let path, let function, let how, let lastWords, let bundle):
            "plugin '\(plugin)' \(how) in \(function); the plugin is \(path)"
                + (lastWords.isEmpty ? "" : "; its last words: \(lastWords)")
                + (bundle.map { "; what it was given is kept: dmsae plugin replay \($0)" } ?? "")
        case .notStartedAgain(let plugin, let path, let crashes):
            "plugin '\(plugin)' is not started again after \(crashes) crashes; correct \(path)"
        case .badBundle(let path, let reason):
            "\(path) is not what a crash leaves: \(reason); name a folder that the message of a crash named"
        case .reported(let text): text
        case .unknownScope(let plugin, let path, let scope):
            "rule '\(plugin)' declares scope \(scope), which this dmsae does not know (1 row, 2 batch, 3 all); "
                + "update dmsae or correct \(path)"
        case .negativeUpperCount(let plugin, let path, let count):
            "rule '\(plugin)' gave the upper count \(count) (DMSAE-RULE-01); correct \(path)"
        case .badMark(let plugin, let path, let value, let row, let latent):
            "rule '\(plugin)' marked token \(row), latent \(latent) with \(value) and not 0 or 1 (DMSAE-RULE-03); "
                + "correct \(path)"
        case .tooManySelected(let plugin, let path, let selected, let upperCount, let row):
            "rule '\(plugin)' selected \(selected) entries \(row.map { "of token \($0)" } ?? "of the batch"), more than its "
                + "upper count \(upperCount) (DMSAE-RULE-03); correct \(path)"
        default: ""
        }
    }
}

private func list(_ items: [String]) -> String { items.map { "'\($0)'" }.joined(separator: ", ") }

private func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
