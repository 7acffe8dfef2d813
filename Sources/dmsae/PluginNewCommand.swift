import ArgumentParser
import Distillation
import FoundationEssentials
import Glibc
import PluginABI
import TensorFiles

/// `dmsae plugin new`: a folder in which a scorer builds with one command.
struct PluginNewCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "new",
        abstract: "Makes a folder with a working scorer to change: its source, and what builds it.",
        discussion: """
            The folder needs nothing of this repository. The scorer computes -a·⟨g, w⟩ until you change it.

            Example: dmsae plugin new --lang c contrast && make -C contrast
            """)

    @Argument(help: "Name of the scorer: a-z, 0-9 and '-', beginning with a letter. The folder gets the same.")
    var name: String
    @Option(help: "Language.")
    var lang: Language = .c

    enum Language: String, ExpressibleByArgument, CaseIterable { case c, swift, python }

    func validate() throws {
        let letters = name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
        guard letters, let first = name.utf8.first, (97...122).contains(first), !name.hasSuffix("-"),
            name.utf8.count <= 40
        else {
            throw ValidationError(
                "'\(name)' is no name for a plugin; use a-z, 0-9 and '-', beginning with a letter, at most 40 of them")
        }
    }

    func run() throws {
        guard mkdir(name, 0o755) == 0 else {
            let reason =
                errno == EEXIST ? "there already is a file or folder of this name" : String(cString: strerror(errno))
            throw TensorFileError.unwritable(file: name, reason: reason)
        }
        for (file, text) in try files() { try AtomicFile.write(text, to: "\(name)/\(file)") }
        print(
            """
            \(name)/ holds a scorer that works; the part to change is \(source). Next:\(lang == .python ? "" : "\n  make -C \(name)")
              dmsae plugin validate \(built)
              dmsae score --scorer \(built) …
            """)
    }

    private var source: String {
        switch lang {
        case .c: "\(name)/\(name).c"
        case .swift: "\(name)/\(type).swift"
        case .python: built
        }
    }

    /// What `--scorer` takes.
    private var built: String { "\(name)/\(name).\(lang == .python ? "py" : "so")" }

    /// "my-scorer" as a Swift type, which also names the module: two plugins in one program must not share it.
    private var type: String {
        name.split(separator: "-").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined() + "Scorer"
    }

    private func template(_ bytes: [UInt8]) -> String {
        String(decoding: bytes, as: UTF8.self).replacing("@ID@", with: name).replacing("@TYPE@", with: type)
    }

    /// What the Swift template says of itself, as a source file; the C template's manifest is in its source.
    private func manifest() throws -> String {
        let text = """
            {"manifest": 1, "abi": {"major": 0, "minor_min": 0}, "plugins": [{"id": "\(name)", "kind": "scorer",
             "version": "0.1.0", "license": "Apache-2.0", "description": "-a · ⟨g, w⟩",
             "extensions": ["dmsae.scorer.per_token/1"], "flags": ["deterministic", "needs-gradient"],
             "parameters": [{"key": "scale", "type": "number", "description": "Factor on every score", "default": "1",
                             "minimum": 0, "maximum": 1e6}]}]}
            """
        let declaration = try JSONDecoder().decode(PluginManifest.self, from: Data(text.utf8)).swiftDeclaration
        return """
            // What \(name).so says of itself to those who do not run it. After a change of settings, flags or version:
            //     make && dmsae plugin inspect ./\(name).so --manifest swift > Manifest.swift && make

            \(declaration)

            """
    }

    private func files() throws -> [(String, String)] {
        let header = String(decoding: PackageResources.dmsae_plugin_h, as: UTF8.self)
        switch lang {
        case .python: return [("\(name).py", template(PackageResources.scorer_py_txt))]
        case .c:
            return [
                ("\(name).c", template(PackageResources.scorer_c_txt)), ("dmsae_plugin.h", header),
                (
                    "Makefile",
                    """
                    CFLAGS ?= -O2 -Wall

                    \(name).so: \(name).c dmsae_plugin.h
                    \t$(CC) $(CFLAGS) -shared -fPIC -fvisibility=hidden $< -o $@

                    """
                ),
            ]
        case .swift:
            return [
                ("\(type).swift", template(PackageResources.Scorer_swift_txt)),
                ("DMSAEPlugin.swift", String(decoding: PackageResources.DMSAEPlugin_swift_txt, as: UTF8.self)),
                ("Manifest.swift", try manifest()), ("dmsae_plugin.h", header),
                ("module.modulemap", "module CDMSAE [system] {\n    header \"dmsae_plugin.h\"\n    export *\n}\n"),
                (
                    "Makefile",
                    """
                    \(name).so: \(type).swift DMSAEPlugin.swift Manifest.swift dmsae_plugin.h
                    \tswiftc -O -parse-as-library -emit-library -module-name \(type) -I . $(filter %.swift,$^) -o $@

                    """
                ),
            ]
        }
    }
}

/// `dmsae plugin explain`: a rule of the headers.
struct PluginExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Prints a rule of the plugin ABI, as messages cite it; without one, all of them.",
        discussion: "Example: dmsae plugin explain DMSAE-SCORER-04")

    @Argument(help: "Id of a rule.")
    var rule: String?

    func run() throws {
        let rules = Self.rules(String(decoding: PackageResources.dmsae_plugin_h, as: UTF8.self))
        guard let rule = rule?.uppercased() else {
            for (id, text) in rules { print("\(id)  \(text)\n") }
            return
        }
        if let (id, text) = rules.first(where: { $0.id == rule }) { return print("\(id)  \(text)") }
        let near = nearest(rule, among: rules.map(\.id))
        throw ValidationError(
            "there is no rule \(rule)\(near.map { ", perhaps \($0)" } ?? ""); `dmsae plugin explain` lists them all"
        )
    }

    /// The rules of a header, in its order: from an id at the start of a comment line to the next rule or empty line.
    static func rules(_ header: String) -> [(id: String, text: String)] {
        var rules: [(id: String, text: String)] = []
        var isOpen = false
        for line in header.split(separator: "\n", omittingEmptySubsequences: false) {
            var text = line.drop { $0 == " " }
            guard text.hasPrefix("*") else {
                isOpen = false
                continue
            }
            let end = text.hasSuffix("*/")
            if end { text = text.dropLast(2) }
            text = text.dropFirst().drop { $0 == " " }
            while text.hasSuffix(" ") { text = text.dropLast() }
            if text.hasPrefix("DMSAE-"), let space = text.firstIndex(of: " "), text[space...].hasPrefix("  ") {
                rules.append((String(text[..<space]), String(text[space...].drop { $0 == " " })))
                isOpen = true
            } else if text.isEmpty || text.hasPrefix("Rationale") {
                isOpen = false
            } else if isOpen {
                rules[rules.count - 1].text += " " + text
            }
            if end { isOpen = false }
        }
        return rules
    }
}
