import Attribution
import CDMSAE
import TensorFiles

/// What a plugin is for.
public enum PluginKind: Equatable, Codable, Sendable, CustomStringConvertible {
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
    /// Bits DMSAE_PLUGIN_…, of entry.h.
    public let flags: UInt64
    /// The settings it takes; nil for a plugin older than their description, which takes what its create accepts.
    public private(set) var parameters: [ParameterSpec]?

    /// The plugin as a host sees it that is older than the description of settings: they pass to create as written.
    package var undescribed: PluginDescriptor {
        var result = self
        result.parameters = nil
        return result
    }

    /// Characters of ids and keys.
    static func legalInNames(_ byte: UInt8) -> Bool {
        (97...122).contains(byte) || (48...57).contains(byte) || [45, 46, 95].contains(byte)
    }

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
    /// Whether a scorer gets all batches in order from one state.
    public var isSequential: Bool { flags & DMSAE_PLUGIN_SEQUENTIAL != 0 }
    /// What a scorer reads of a batch beside what every batch has.
    public var batchNeeds: BatchNeeds {
        var needs: BatchNeeds = []
        if flags & DMSAE_PLUGIN_NEEDS_ENCODER != 0 { needs.insert(.encoder) }
        if flags & DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES != 0 { needs.insert(.targetProbabilities) }
        return needs
    }
    /// The flags that a host must understand: DMSAE-GROWTH-07. This version has none.
    package var unknownFlags: UInt64 { flags & 0xFFFF_FFFF_0000_0000 }
}

extension PluginDescriptor {
    /// Reads and checks a description.
    /// - Throws: `PluginABIError.wrongSize`, `.nullInTable`, `.badDescription`.
    init(_ pointer: UnsafePointer<dmsae_descriptor>, index: UInt32, path: String) throws {
        func bad(_ reason: String) -> PluginABIError { .badDescription(path: path, index: index, reason: reason) }
        let raw = UnsafeRawPointer(pointer)
        let c = try PluginTable(raw, name: "dmsae_descriptor", path: path).growing(
            dmsae_descriptor.self, from: DMSAE_DESCRIPTOR_SIZE_V0,
            notNull: [
                ("id", \.id), ("name", \.name), ("version", \.version), ("license", \.license),
                ("description", \.description), ("extensions", \.extensions),
            ])
        func text(_ pointer: UnsafePointer<CChar>, _ field: String) throws -> String {
            try ForeignText.read(pointer) { bad("its \(field) is \($0)") }
        }
        self.index = index
        kind = PluginKind(c.kind)
        id = try text(c.id, "id")
        name = printable(try text(c.name, "name"))
        version = printable(try text(c.version, "version"))
        license = printable(try text(c.license, "license"))
        summary = printable(try text(c.description, "description"))
        flags = c.flags
        guard !id.isEmpty, id.utf8.allSatisfy(Self.legalInNames) else {
            throw bad("its id '\(id)' is not made of a-z, 0-9, '-', '_', '.' (DMSAE-ENTRY-01)")
        }
        guard c.extension_count <= 64 else { throw bad("it names \(c.extension_count) extensions; at most 64") }
        var extensions: [String] = []
        for i in 0..<Int(c.extension_count) {
            let slot = UnsafeRawPointer(c.extensions + i)
            guard slot.load(as: UInt.self) != 0 else {
                throw PluginABIError.nullInTable(path: path, table: "dmsae_descriptor", field: "extensions[\(i)]")
            }
            extensions.append(try text(c.extensions[i], "extension \(i)"))
        }
        self.extensions = extensions
        let describes = Int(c.struct_size) >= MemoryLayout<dmsae_descriptor>.size
        parameters = describes ? try Self.parameters(c, path: path, bad: bad) : nil
    }

    private static func parameters(
        _ c: dmsae_descriptor, path: String, bad: (String) -> PluginABIError
    ) throws -> [ParameterSpec] {
        guard c.parameter_count <= 256 else { throw bad("it describes \(c.parameter_count) parameters; at most 256") }
        guard c.parameter_count > 0 else { return [] }
        guard let list = c.parameters else { throw bad("it describes \(c.parameter_count) parameters at null") }
        var specs: [ParameterSpec] = []
        for i in 0..<Int(c.parameter_count) {
            guard UnsafeRawPointer(list + i).load(as: UInt.self) != 0 else { throw bad("parameter \(i) is null") }
            let spec = try ParameterSpec(list[i], path: path, bad: bad)
            if specs.contains(where: { $0.key == spec.key }) { throw bad("parameter '\(spec.key)' is there twice") }
            specs.append(spec)
        }
        return specs
    }
}
