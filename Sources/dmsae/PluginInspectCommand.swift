import ArgumentParser
import FoundationEssentials
import PluginABI
import PluginHost
import TensorFiles

/// `dmsae plugin inspect`: what a plugin file says about itself.
struct PluginInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Shows what a plugin file says about itself: plugins, settings, what they need.",
        discussion: """
            Reads the file's manifest and runs none of its code. With --load the file is loaded, which runs it in a process of its own, and \
            what its code says is compared with the manifest; a difference is an error.

            Example: dmsae plugin inspect ./scorer.so
            """)

    @Argument(help: "A shipped name or the path of a .so or .py.")
    var plugin: String
    @Flag(help: "Load the file too, and compare what its code says with the manifest.")
    var load = false
    @Option(
        help: ArgumentHelp(
            "Load the file and print a manifest of what its code says, to be put into its source: as JSON for the C "
                + "macro DMSAE_MANIFEST, or as a Swift declaration.", valueName: "c|swift"))
    var manifest: Language?
    @Flag(help: "Print one JSON object.")
    var json = false
    @OptionGroup var plugins: PluginOptions

    enum Language: String, ExpressibleByArgument, CaseIterable { case c, swift }

    func run() throws {
        let catalog = try PluginCatalog()
        let isolation = plugins.isolation(crashFolder: nil)
        let path = try catalog.path(plugin, services: PluginOptions.services, isolation: isolation)
        func describe() throws -> PluginManifest {
            try catalog.describe(path, services: PluginOptions.services, isolation: isolation)
        }
        if let manifest {
            var found = try describe()
            guard found.function == nil else {
                throw ValidationError("\(printable(path)) holds a plain function, which the file beside it describes")
            }
            // Code does not say these of itself.
            let noted = try PluginManifest(path: path)
            (found.requires, found.sanitizer) = (noted?.requires, noted?.sanitizer)
            return print(manifest == .c ? "DMSAE_MANIFEST(\(found.json))" : found.swiftDeclaration)
        }
        let noted = try PluginManifest(path: path)
        let coded = load ? try describe() : nil
        guard let shown = noted ?? coded else {
            if path.hasSuffix(".py") {
                throw ValidationError(
                    "\(printable(path)) is Python, and nothing is known of it without running it; pass --load")
            }
            throw ValidationError(
                "\(printable(path)) has no manifest, so nothing is known of it without running it; pass --load to run it, or put one "
                    + "into its source (--manifest c or --manifest swift prints it)")
        }
        if json {
            let report = Report(
                path: path, source: noted == nil ? "code" : "manifest", manifest: shown,
                differences: zip(noted, coded).map { $0.differences(from: $1) })
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            print(printableJSON(String(decoding: try encoder.encode(report), as: UTF8.self)))
        } else {
            for line in Self.lines(path, shown, fromManifest: noted != nil) { print(printable(line)) }
        }
        guard let (noted, coded) = zip(noted, coded) else { return }
        let differences = noted.differences(from: coded)
        if differences.isEmpty {
            if !json {
                print(
                    shown.function == nil
                        ? "the manifest says what the code says" : "the file loads, and the function is in it")
            }
        } else {
            throw PluginABIError.badManifest(
                path: path,
                reason: "it does not say what the code says (DMSAE-MANIFEST-01): "
                    + differences.joined(separator: "; "))
        }
    }

    private struct Report: Encodable {
        var path: String
        var source: String
        var manifest: PluginManifest
        var differences: [String]?
    }

    static func lines(_ path: String, _ manifest: PluginManifest, fromManifest: Bool) -> [String] {
        if let function = manifest.function, let plugin = manifest.plugins.first {
            return [
                path, "", "\(plugin.id)  plain function, a scorer", "  \(plugin.description)",
                "  returns \(function.returns); arguments: \(function.args.joined(separator: ", "))",
            ] + settings(plugin)
        }
        var lines = [
            path,
            path.hasSuffix(".py")
                ? "  Python; its code was run"
                : "  needs plugin ABI \(manifest.abi.major).\(manifest.abi.minorMin) or newer; "
                    + (fromManifest ? "from its manifest, nothing was run" : "it has no manifest; its code was run"),
        ]
        if let requires = manifest.requires, !requires.isEmpty {
            lines.append("  needs a processor of \(requires.joined(separator: ", "))")
        }
        if let sanitizer = manifest.sanitizer { lines.append("  built with -fsanitize=\(sanitizer)") }
        for plugin in manifest.plugins {
            lines += [
                "", "\(plugin.id) \(plugin.version)  \(plugin.kind), \(plugin.license)", "  \(plugin.description)",
                "  tables: \((plugin.extensions ?? []).joined(separator: ", "))",
            ]
            let words = (plugin.flags ?? []).compactMap { flagWords[$0] }
            if !words.isEmpty { lines.append("  " + words.joined(separator: "; ")) }
            lines += settings(plugin)
        }
        return lines
    }

    /// The settings of a plugin, in words.
    private static func settings(_ plugin: PluginManifest.Plugin) -> [String] {
        let parameters = plugin.parameters ?? []
        guard !parameters.isEmpty else { return ["  no settings"] }
        let width = parameters.map(\.key.count).max() ?? 0
        return ["  settings (\(plugin.id),KEY=VALUE,…):"]
            + parameters.flatMap { parameter in
                let key = parameter.key + String(repeating: " ", count: width - parameter.key.count)
                let unit = parameter.unit.map { " [\($0)]" } ?? ""
                let start = parameter.default.map { "default \($0)" } ?? "required"
                return [
                    "    \(key)  \(parameter.description)\(unit)",
                    "    \(String(repeating: " ", count: width))  \(start); \(parameter.legalValues)",
                ]
            }
    }

    private static let flagWords = [
        "deterministic": "the same input gives the same bits", "reentrant": "may be called from many threads",
        "needs-gradient": "reads the gradient",
        "needs-evaluation": "asks for losses or gradients of other reconstructions",
        "merge-exact": "shards merge without any difference",
        "needs-encoder": "reads the SAE's encoder and thresholds",
        "needs-target-probabilities": "reads the model's own probabilities of next tokens",
        "sequential": "looks at all sequences in order, from one state",
        "scale-invariant": "does not depend on the scale of activations against decoder rows",
    ]
}

/// Both, or nil.
private func zip<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
    guard let a, let b else { return nil }
    return (a, b)
}
