import CDMSAE

/// What a plugin is for.
public enum PluginKind: Equatable, Sendable, CustomStringConvertible {
    /// Says how much each active latent matters.
    case scorer
    /// Decides which pre-activations a batch keeps.
    case sparsityRule
    /// A kind that this version does not know.
    case other(Int32)

    init(_ kind: dmsae_kind) {
        switch kind {
        case .DMSAE_KIND_SCORER: self = .scorer
        case .DMSAE_KIND_SPARSITY_RULE: self = .sparsityRule
        default: self = .other(kind.rawValue)
        }
    }

    /// The kind in words.
    public var description: String {
        switch self {
        case .scorer: "scorer"
        case .sparsityRule: "sparsity rule"
        case .other(let value): "kind \(value)"
        }
    }
}

/// What a file says about one of its plugins; copied out of it.
public struct PluginDescriptor: Equatable, Sendable {
    /// The plugin's index in its file.
    public let index: UInt32
    /// What it is for.
    public let kind: PluginKind
    /// What users type.
    public let id: String
    /// A name for people.
    public let name: String
    /// The plugin's own version.
    public let version: String
    /// Its licence, an SPDX expression.
    public let license: String
    /// What it does, in a line.
    public let summary: String
    /// Ids of the tables it has.
    public let extensions: [String]
    /// `DMSAE_PLUGIN_…` bits.
    public let flags: UInt64

    /// Whether the same input gives the same bits.
    public var isDeterministic: Bool { flags & DMSAE_PLUGIN_DETERMINISTIC != 0 }
    /// Whether calls on one instance may run at the same time.
    public var isReentrant: Bool { flags & DMSAE_PLUGIN_REENTRANT != 0 }
    /// Whether a scorer reads the gradient.
    public var needsGradient: Bool { flags & DMSAE_PLUGIN_NEEDS_GRADIENT != 0 }
    /// Whether a scorer asks for losses and gradients of other reconstructions.
    public var needsEvaluation: Bool { flags & DMSAE_PLUGIN_NEEDS_EVALUATION != 0 }
    /// Whether merged states do not depend on how the pass was cut.
    public var mergesExactly: Bool { flags & DMSAE_PLUGIN_MERGE_EXACT != 0 }
    /// The flags that a host must understand: DMSAE-GROWTH-07. This version has none.
    var unknownFlags: UInt64 { flags & 0xFFFF_FFFF_0000_0000 }
}

extension PluginDescriptor {
    /// Reads and checks a description.
    /// - Throws: `PluginError.wrongSize`, `.nullInTable`, `.badDescription`.
    init(_ pointer: UnsafePointer<dmsae_descriptor>, index: UInt32, path: String) throws {
        func bad(_ reason: String) -> PluginError { .badDescription(path: path, index: index, reason: reason) }
        let raw = UnsafeRawPointer(pointer)
        let c = try PluginTable(raw, name: "dmsae_descriptor", path: path).growing(
            dmsae_descriptor.self, from: DMSAE_DESCRIPTOR_SIZE_V0,
            notNull: [
                ("id", \.id), ("name", \.name), ("version", \.version), ("license", \.license),
                ("description", \.description), ("extensions", \.extensions),
            ])
        func text(_ pointer: UnsafePointer<CChar>, _ field: String) throws -> String {
            guard let text = String(validatingCString: pointer) else { throw bad("its \(field) is not UTF-8") }
            return text
        }
        self.index = index
        kind = PluginKind(c.kind)
        id = try text(c.id, "id")
        name = try text(c.name, "name")
        version = try text(c.version, "version")
        license = try text(c.license, "license")
        summary = try text(c.description, "description")
        flags = c.flags
        let allowed = Set("abcdefghijklmnopqrstuvwxyz0123456789-_.".utf8)
        guard !id.isEmpty, id.utf8.allSatisfy(allowed.contains) else {
            throw bad("its id '\(id)' is not made of a-z, 0-9, '-', '_', '.' (DMSAE-ENTRY-01)")
        }
        guard c.extension_count <= 64 else { throw bad("it names \(c.extension_count) extensions; at most 64") }
        var extensions: [String] = []
        for i in 0..<Int(c.extension_count) {
            let slot = UnsafeRawPointer(c.extensions + i)
            guard slot.load(as: UInt.self) != 0 else {
                throw PluginError.nullInTable(path: path, table: "dmsae_descriptor", field: "extensions[\(i)]")
            }
            extensions.append(try text(c.extensions[i], "extension \(i)"))
        }
        self.extensions = extensions
    }
}
