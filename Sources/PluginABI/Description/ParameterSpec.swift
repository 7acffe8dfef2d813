import CDMSAE
import Glibc
import TensorFiles

/// A setting that a plugin takes, as it describes it: parameters.h, copied out of the plugin.
public struct ParameterSpec: Equatable, Sendable {
    /// How a value is written.
    public enum Kind: String, Sendable, CaseIterable, Codable {
        /// "true" or "false".
        case bool
        /// Decimal digits, with an optional sign.
        case integer
        /// A finite number.
        case number
        /// One of `choices`.
        case choice
        /// Any text without a comma.
        case text
        /// A file; made absolute.
        case path

        init?(_ type: dmsae_parameter_type) {
            guard let kind = Self.allCases[checked: Int(type.rawValue) - 1] else { return nil }
            self = kind
        }
    }

    /// What users write before the `=`.
    public var key: String
    /// How its value is written.
    public var kind: Kind
    /// What it does, in a line.
    public var description: String
    /// As a user would write it; nil if the user must give one.
    public var defaultValue: String?
    /// "nats", "tokens"; empty for none.
    public var unit = ""
    /// The smallest legal integer or number.
    public var minimum = -Double.infinity
    /// The largest value that is legal.
    public var maximum = Double.infinity
    /// The legal values of a choice.
    public var choices: [String] = []
    /// Whether it changes no result.
    public var isCosmetic = false
    /// Whether it is for the long help only.
    public var isAdvanced = false
    /// Whether its value is a list, with ';' between its elements.
    public var isList = false

    /// A setting of that description.
    package init(
        key: String, kind: Kind, description: String, defaultValue: String?, minimum: Double = -.infinity,
        maximum: Double = .infinity, choices: [String] = [], isList: Bool = false
    ) {
        self.key = key
        self.kind = kind
        self.description = description
        self.defaultValue = defaultValue
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.isList = isList
    }

    /// Its legal values, in words.
    public var legalValues: String {
        isList ? "one or more of: \(legalElements), with ';' between them" : legalElements
    }

    private var legalElements: String {
        switch kind {
        case .bool: return "true or false"
        case .choice: return printable(choices.joined(separator: ", "))
        case .text: return "a text without ','"
        case .path: return "a path"
        case .integer, .number:
            let what = kind == .integer ? "a whole number" : "a number"
            func plain(_ bound: Double) -> String {
                abs(bound) <= 0x1p53 && bound == bound.rounded() ? "\(Int(bound))" : "\(bound)"
            }
            return switch (minimum.isFinite, maximum.isFinite) {
            case (true, true): "\(what) from \(plain(minimum)) to \(plain(maximum))"
            case (true, false): "\(what), \(plain(minimum)) or more"
            case (false, true): "\(what), \(plain(maximum)) or less"
            case (false, false): what
            }
        }
    }

    /// `text` in the one form in which it is passed on and recorded, or nil if it is not a legal value.
    public func canonical(_ text: String) -> String? {
        guard isList else { return canonicalElement(text) }
        let elements = text.split(separator: ";", omittingEmptySubsequences: false).map { canonicalElement(String($0)) }
        return elements.contains(nil) ? nil : elements.compactMap { $0 }.joined(separator: ";")
    }

    private func canonicalElement(_ text: String) -> String? {
        switch kind {
        case .bool: return text == "true" || text == "false" ? text : nil
        case .choice: return choices.contains(text) ? text : nil
        case .text: return text
        case .path:
            return text.isEmpty || text.hasPrefix("/") ? (text.isEmpty ? nil : text) : absolute(text)
        case .integer:
            let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
            guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int64(text),
                Double(value) >= minimum, Double(value) <= maximum
            else { return nil }
            return "\(value)"
        case .number:
            // strtod takes leading blanks and names of infinities, which no user means.
            guard let value = Double(text), value.isFinite, value >= minimum, value <= maximum else { return nil }
            return "\(value)"
        }
    }

    private func absolute(_ path: String) -> String {
        guard let folder = getcwd(nil, 0) else { return path }
        defer { free(folder) }
        return "\(String(cString: folder))/\(path)"
    }
}

extension ParameterSpec {
    /// Reads and checks a description; `bad` makes the error of a reason.
    init(_ pointer: UnsafePointer<dmsae_parameter_spec>, path: String, bad: (String) -> PluginABIError) throws {
        let c = try PluginTable(UnsafeRawPointer(pointer), name: "dmsae_parameter_spec", path: path).growing(
            dmsae_parameter_spec.self, from: DMSAE_PARAMETER_SPEC_SIZE_V1,
            notNull: [("key", \.key), ("description", \.description)])
        func text(_ pointer: UnsafePointer<CChar>) throws -> String {
            try ForeignText.read(pointer) { bad("a text of a parameter is \($0)") }
        }
        key = try text(c.key)
        let key = key
        func wrong(_ reason: String) -> PluginABIError { bad("parameter '\(key)': \(reason)") }
        guard !key.isEmpty, key.utf8.allSatisfy(PluginDescriptor.legalInNames) else {
            throw wrong("its key is not made of a-z, 0-9, '-', '_', '.' (DMSAE-PARAM-01)")
        }
        guard let kind = Kind(c.type) else { throw wrong("its type is \(c.type.rawValue), which is none") }
        self.kind = kind
        description = printable(try text(c.description))
        guard !description.isEmpty else { throw wrong("it has no description (DMSAE-PARAM-01)") }
        defaultValue = try c.default_value.map(text)
        unit = printable(try c.unit.map(text) ?? "")
        guard c.flags >> 32 == 0 else { throw wrong("it has flags that this dmsae must understand and does not") }
        isCosmetic = c.flags & DMSAE_PARAMETER_COSMETIC != 0
        isAdvanced = c.flags & DMSAE_PARAMETER_ADVANCED != 0
        isList = c.flags & DMSAE_PARAMETER_LIST != 0
        if kind == .integer || kind == .number {
            guard c.minimum <= c.maximum else { throw wrong("its range is \(c.minimum) to \(c.maximum)") }
            (minimum, maximum) = (c.minimum, c.maximum)
        }
        if kind == .choice {
            guard let list = c.choices, (1...256).contains(c.choice_count) else { throw wrong("it has no choices") }
            choices = try (0..<Int(c.choice_count)).map { i in
                guard UnsafeRawPointer(list + i).load(as: UInt.self) != 0 else { throw wrong("choice \(i) is null") }
                return try text(list[i])
            }
        }
        if let defaultValue, canonical(defaultValue) == nil {
            throw wrong("its default '\(defaultValue)' is not \(legalValues) (DMSAE-PARAM-02)")
        }
    }
}

extension PluginDescriptor {
    /// What `create` gets for what the user wrote: every described setting in its order, canonical, defaults filled in
    /// (DMSAE-PARAM-03). A plugin that describes none, because it is older than descriptions, gets what was written.
    ///
    /// - Throws: `PluginReferenceError.unknownParameter`, `.badParameter`, `.missingParameter`.
    package func settings(_ given: [PluginReference.Parameter], path: String) throws -> [PluginReference.Parameter] {
        guard let specs = parameters else { return given }
        return try ParameterSpec.settings(specs, given, plugin: id, path: path)
    }
}

extension ParameterSpec {
    /// Every described setting in its order, canonical, defaults filled in.
    ///
    /// - Throws: `PluginReferenceError.unknownParameter`, `.badParameter`, `.missingParameter`.
    package static func settings(
        _ specs: [ParameterSpec], _ given: [PluginReference.Parameter], plugin id: String, path: String
    ) throws -> [PluginReference.Parameter] {
        for parameter in given where !specs.contains(where: { $0.key == parameter.key }) {
            throw PluginReferenceError.unknownParameter(
                plugin: id, path: path, key: parameter.key, known: specs.map(\.key))
        }
        return try specs.map { spec in
            guard let text = given.first(where: { $0.key == spec.key })?.value ?? spec.defaultValue else {
                throw PluginReferenceError.missingParameter(plugin: id, key: spec.key, description: spec.description)
            }
            guard let value = spec.canonical(text) else {
                throw PluginReferenceError.badParameter(plugin: id, key: spec.key, value: text, legal: spec.legalValues)
            }
            return PluginReference.Parameter(key: spec.key, value: value)
        }
    }
}

extension Array {
    /// The element, or nil where there is none.
    package subscript(checked index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
