import CDMSAE
import FoundationEssentials
import TensorFiles

/// What a plugin file says about itself without being run: the JSON of its ELF note, manifest.h.
public struct PluginManifest: Codable, Equatable, Sendable {
    /// The version of the plugin ABI that the file needs.
    public struct ABI: Codable, Equatable, Sendable {
        /// Exactly the host's.
        public var major: UInt32
        /// At most the host's.
        public var minorMin: UInt32

        enum CodingKeys: String, CodingKey {
            case major
            case minorMin = "minor_min"
        }
    }

    /// What the manifest says about a setting.
    public struct Parameter: Codable, Equatable, Sendable {
        /// As in `ParameterSpec`.
        public var key: String
        /// "bool", "integer", "number", "choice", "text", "path".
        public var type: String
        /// One line for people.
        public var description: String
        /// Nil if required.
        public var `default`: String?
        /// Nil for none.
        public var unit: String?
        /// Nil if infinite.
        public var minimum: Double?
        /// Nil if infinite.
        public var maximum: Double?
        /// Nil unless the type is choice.
        public var choices: [String]?
        /// Of "cosmetic", "advanced" and "list".
        public var flags: [String]?
    }

    /// One plugin of the file.
    public struct Plugin: Codable, Equatable, Sendable {
        /// What users type.
        public var id: String
        /// Either "scorer" or "sparsity-rule".
        public var kind: String
        /// As the plugin gives it.
        public var version: String
        /// An SPDX expression.
        public var license: String
        /// One line for people.
        public var description: String
        /// Ids of tables.
        public var extensions: [String]?
        /// Names of DMSAE_PLUGIN_ bits.
        public var flags: [String]?
        public var parameters: [Parameter]?
    }

    /// A plain function: what the file beside it says.
    public struct Function: Codable, Equatable, Sendable {
        /// NAME:TYPE of each argument.
        public var args: [String]
        /// Either "i32" or "void".
        public var returns: String

        /// A function of such arguments.
        package init(args: [String], returns: String) {
            self.args = args
            self.returns = returns
        }
    }

    /// Version of this format: 1.
    public var manifest: Int
    /// What the file needs.
    public var abi: ABI
    /// What its code takes for granted of the processor; nil for nothing.
    public var requires: [String]?
    /// The sanitizer that it was built with; nil for none.
    public var sanitizer: String?
    /// In the file's order.
    public var plugins: [Plugin]
    /// Not nil where the file holds a plain function, which the file beside it describes; `abi` then says nothing.
    public var function: Function?

    /// The most bytes of a note.
    static let limit = 64 * 1024

    /// The manifest in a file, nil if it has none. Runs none of its code.
    /// - Throws: `PluginABIError.badManifest`; a `PluginFileError` for a file that is cut off.
    package init?(notedIn file: PluginFile) throws {
        let path = file.path
        let notes = try file.header().notes(owner: "DMSAE", type: DMSAE_MANIFEST_TYPE)
        guard let note = notes.first else { return nil }
        func bad(_ reason: String) -> PluginABIError { .badManifest(path: path, reason: reason) }
        guard notes.count == 1 else { throw bad("there are \(notes.count) of them (DMSAE-MANIFEST-03)") }
        do {
            self = try JSONDecoder().decode(PluginManifest.self, from: Data(note.prefix { $0 != 0 })).shown
        } catch {
            throw bad("it is not the JSON of manifest.h: \(JSONRecord.reason(error))")
        }
        guard manifest == 1 else { throw bad("it is of version \(manifest), this dmsae reads 1") }
    }

    /// That of a plain function, which has no tables of its own.
    package init(
        of function: Function, symbol: String, version: Int, settings: [ParameterSpec], describedIn file: String
    ) {
        manifest = 1
        abi = ABI(major: 0, minorMin: 0)
        self.function = Function(args: function.args.map(printable), returns: function.returns)
        let readsGradient = function.args.contains { $0.hasPrefix("gradient:") }
        plugins = [
            Plugin(
                id: symbol, kind: "scorer", version: "\(version)", license: "",
                description: "a plain function, called as \(printable(lastComponent(file))) says",
                extensions: [DMSAE_SCORER_PER_TOKEN], flags: readsGradient ? ["needs-gradient"] : [],
                parameters: settings.map(Parameter.init))
        ]
    }

    /// With texts for people fit for a terminal, as those of code are.
    private var shown: PluginManifest {
        var result = self
        for i in plugins.indices {
            result.plugins[i].version = printable(plugins[i].version)
            result.plugins[i].license = printable(plugins[i].license)
            result.plugins[i].description = printable(plugins[i].description)
            for j in (plugins[i].parameters ?? []).indices {
                let parameter = plugins[i].parameters![j]
                result.plugins[i].parameters![j].description = printable(parameter.description)
                result.plugins[i].parameters![j].unit = parameter.unit.map(printable)
            }
        }
        return result
    }

    /// What the code of a loaded file says, as a manifest.
    public init(describing library: PluginLibrary) {
        manifest = 1
        abi = ABI(major: library.functions.abi_major, minorMin: library.functions.abi_minor_min)
        plugins = library.plugins.map { plugin in
            Plugin(
                id: plugin.id, kind: "\(plugin.kind)".replacing(" ", with: "-"), version: plugin.version,
                license: plugin.license, description: plugin.summary, extensions: plugin.extensions,
                flags: plugin.flagNames, parameters: (plugin.parameters ?? []).map(Parameter.init))
        }
    }

    /// Where this manifest says something else than the code does; empty if they agree (DMSAE-MANIFEST-01).
    public func differences(from code: PluginManifest) -> [String] {
        var found: [String] = []
        func compare<Value: Equatable>(_ what: String, _ mine: Value, _ theirs: Value) {
            if mine != theirs { found.append("\(what): the manifest says \(mine), the code \(theirs)") }
        }
        compare("abi.major", abi.major, code.abi.major)
        compare("abi.minor_min", abi.minorMin, code.abi.minorMin)
        compare("plugins", plugins.map(\.id), code.plugins.map(\.id))
        for (mine, theirs) in zip(plugins, code.plugins) where mine.id == theirs.id {
            compare("\(mine.id).kind", mine.kind, theirs.kind)
            compare("\(mine.id).version", mine.version, theirs.version)
            compare("\(mine.id).license", mine.license, theirs.license)
            compare("\(mine.id).description", mine.description, theirs.description)
            compare("\(mine.id).extensions", mine.extensions ?? [], theirs.extensions ?? [])
            compare("\(mine.id).flags", (mine.flags ?? []).sorted(), (theirs.flags ?? []).sorted())
            let (own, other) = (mine.parameters ?? [], theirs.parameters ?? [])
            compare("\(mine.id).parameters", own.map(\.key), other.map(\.key))
            for (a, b) in zip(own, other) where a.key == b.key && a.canonical != b.canonical {
                found.append("\(mine.id).\(a.key): the manifest and the code describe it differently")
            }
        }
        return found
    }

    /// The plugin `id` of the file at `path`, or, with no id, the only one of this kind.
    /// - Throws: `PluginReferenceError.unknownID`, `.wrongKind`, `.ambiguous`.
    package func plugin(_ id: String?, kind: PluginKind, path: String) throws -> Plugin {
        let matching = plugins.filter { id == nil || $0.id == id }
        guard let first = matching.first else {
            throw PluginReferenceError.unknownID(id ?? "", path: path, available: plugins.map(\.id))
        }
        let wanted = matching.filter { $0.kind == "\(kind)".replacing(" ", with: "-") }
        guard let plugin = wanted.first else {
            let other: PluginKind = kind == .scorer ? .sparsityRule : .scorer
            throw PluginReferenceError.wrongKind(plugin: first.id, path: path, kind: other, wanted: kind)
        }
        guard wanted.count == 1 else {
            throw PluginReferenceError.ambiguous(path: path, kind: kind, ids: wanted.map(\.id))
        }
        return plugin
    }

    /// One line of JSON, keys sorted.
    public var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else { preconditionFailure("a manifest is always JSON") }
        return String(decoding: data, as: UTF8.self)
    }

    /// The declaration that puts the manifest into a Swift plugin: the note as words, since only constants have a place
    /// in a section.
    public var swiftDeclaration: String {
        let text = Array(json.utf8) + [0]
        let padded = text + [UInt8](repeating: 0, count: (4 - text.count % 4) % 4)
        let bytes =
            number(6) + number(UInt32(padded.count)) + number(DMSAE_MANIFEST_TYPE) + Array("DMSAE\0\0\0".utf8) + padded
        let words = stride(from: 0, to: bytes.count, by: 4).map { i in
            let word = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[i + $1]) << UInt32(8 * $1) }
            return "0x" + String(word, radix: 16)
        }
        let rows = stride(from: 0, to: words.count, by: 8).map {
            "    " + words[$0..<min($0 + 8, words.count)].joined(separator: ", ")
        }
        let type = stride(from: 0, to: words.count, by: 12).map {
            "    " + [String](repeating: "UInt32", count: min(12, words.count - $0)).joined(separator: ", ")
        }
        return "@section(\"\(DMSAE_MANIFEST_SECTION)\") @used\nprivate let manifest: (\n"
            + type.joined(separator: ",\n") + "\n) = (\n" + rows.joined(separator: ",\n") + "\n)"
    }

    private func number(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
}

extension PluginManifest.Parameter {
    /// Its legal values, in words.
    public var legalValues: String {
        guard let kind = ParameterSpec.Kind(rawValue: type) else { return type }
        return spec(kind).legalValues
    }

    /// The setting as hosts check it; one of a type that this version does not know takes any text.
    package var spec: ParameterSpec { spec(ParameterSpec.Kind(rawValue: type) ?? .text) }

    private func spec(_ kind: ParameterSpec.Kind) -> ParameterSpec {
        ParameterSpec(
            key: key, kind: kind, description: description, defaultValue: `default`, minimum: minimum ?? -.infinity,
            maximum: maximum ?? .infinity, choices: choices ?? [], isList: flags?.contains("list") == true)
    }

    init(_ spec: ParameterSpec) {
        self.init(
            key: spec.key, type: spec.kind.rawValue, description: spec.description, default: spec.defaultValue,
            unit: spec.unit.isEmpty ? nil : spec.unit, minimum: spec.minimum.isFinite ? spec.minimum : nil,
            maximum: spec.maximum.isFinite ? spec.maximum : nil, choices: spec.choices.isEmpty ? nil : spec.choices,
            flags: (spec.isCosmetic ? ["cosmetic"] : []) + (spec.isAdvanced ? ["advanced"] : [])
                + (spec.isList ? ["list"] : []))
    }

    /// With what is absent made empty.
    fileprivate var canonical: Self {
        var result = self
        result.unit = unit ?? ""
        result.choices = choices ?? []
        result.flags = flags ?? []
        return result
    }
}

extension PluginDescriptor {
    /// Names of the flags that this version knows, as manifests have them.
    public var flagNames: [String] {
        let names = [
            (DMSAE_PLUGIN_DETERMINISTIC, "deterministic"), (DMSAE_PLUGIN_REENTRANT, "reentrant"),
            (DMSAE_PLUGIN_NEEDS_GRADIENT, "needs-gradient"), (DMSAE_PLUGIN_NEEDS_EVALUATION, "needs-evaluation"),
            (DMSAE_PLUGIN_MERGE_EXACT, "merge-exact"), (DMSAE_PLUGIN_SCALE_INVARIANT, "scale-invariant"),
            (DMSAE_PLUGIN_NEEDS_ENCODER, "needs-encoder"),
            (DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES, "needs-target-probabilities"),
            (DMSAE_PLUGIN_SEQUENTIAL, "sequential"),
        ]
        return names.filter { flags & $0.0 != 0 }.map(\.1)
    }
}
