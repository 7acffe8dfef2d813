import Attribution
import LanguageModeling
import SparseCoding
import TensorFiles
import Yams

/// A value that a recipe can hold.
protocol RecipeValue: SendableMetatype {
    init?(recipeNode: Node)
    var recipeText: String { get }
    /// `recipeText` as a file must have it.
    var recipeYAML: String { get }
    static var wanted: String { get }
    /// The value of a key.
    ///
    /// - Throws: `DistillationError.badValue`.
    init(recipeNode: Node, key: String) throws
}

extension RecipeValue {
    var recipeYAML: String { recipeText }

    init(recipeNode node: Node, key: String) throws {
        guard let value = Self(recipeNode: node) else {
            throw DistillationError.badValue(
                key: key, value: node.shown,
                wanted: Self.wanted + (node.isOctal ? ", without a zero before it (YAML 1.1 reads it as octal)" : ""))
        }
        self = value
    }
}

extension Int: RecipeValue {
    init?(recipeNode: Node) {
        guard let text = recipeNode.digits, let value = Int(text) else { return nil }
        self = value
    }
    var recipeText: String { String(self) }
    static var wanted: String { "a whole number" }
}

extension Double: RecipeValue {
    init?(recipeNode: Node) {
        guard let text = recipeNode.digits, let value = Double(text), value.isFinite else { return nil }
        self = value
    }
    var recipeText: String { self == rounded() && abs(self) < 1e15 ? String(Int(self)) : String(self) }
    static var wanted: String { "a number" }
}

extension String: RecipeValue {
    init?(recipeNode: Node) {
        guard let text = recipeNode.scalar?.string, !text.isEmpty else { return nil }
        self = text
    }
    var recipeText: String { self }
    /// Quoted where YAML would read something else, as in a path with " #" in it.
    var recipeYAML: String {
        let isPlain =
            !unicodeScalars.contains(where: \.deceives)
            && ((try? Yams.compose(yaml: "key: " + self))?.mapping?["key"]?.scalar?.string == self)
        return isPlain ? self : quoted
    }
    /// As an element of a list, or the value in a map on one line: quoted where it holds what divides them.
    var quotedInList: String { contains(where: ",[]{}:".contains) ? quoted : recipeYAML }
    private var quoted: String { "\"" + unicodeScalars.map(Self.escaped).joined() + "\"" }
    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        if scalar == "\\" || scalar == "\"" { return "\\\(scalar)" }
        guard scalar.deceives else { return String(scalar) }
        let digits = String(scalar.value, radix: 16)
        return "\\U" + String(repeating: "0", count: 8 - digits.count) + digits
    }
    static var wanted: String { "a text" }
}

extension HookPoint: RecipeValue {
    init?(recipeNode: Node) {
        guard let text = recipeNode.scalar?.string else { return nil }
        self.init(text)
    }
    var recipeText: String { name }
    static var wanted: String { "one of \(supported)" }
}

extension Bool: RecipeValue {
    init?(recipeNode: Node) {
        switch recipeNode.scalar?.string {
        case "true", "yes": self = true
        case "false", "no": self = false
        default: return nil
        }
    }
    var recipeText: String { self ? "true" : "false" }
    static var wanted: String { "true or false" }
}

extension Array: RecipeValue where Element: RecipeValue {
    init?(recipeNode: Node) {
        let nodes = recipeNode.sequence.map(Array<Node>.init) ?? [recipeNode]
        let values = nodes.compactMap(Element.init(recipeNode:))
        guard values.count == nodes.count, !values.isEmpty else { return nil }
        self = values
    }
    var recipeText: String { "[" + map(\.recipeText).joined(separator: ", ") + "]" }
    /// What divides a list is quoted in its elements.
    var recipeYAML: String {
        let elements = map { element in
            (element as? String)?.quotedInList ?? element.recipeYAML
        }
        return "[" + elements.joined(separator: ", ") + "]"
    }
    static var wanted: String { "a list, each \(Element.wanted)" }
}

extension Optional: RecipeValue where Wrapped: RecipeValue {
    init?(recipeNode: Node) {
        if recipeNode.scalar?.string == "auto" {
            self = .none
            return
        }
        guard let value = Wrapped(recipeNode: recipeNode) else { return nil }
        self = value
    }
    var recipeText: String { self?.recipeText ?? "auto" }
    var recipeYAML: String { self?.recipeYAML ?? "auto" }
    static var wanted: String { "auto" + (Wrapped.wanted.contains(" or ") ? ", " : " or ") + Wrapped.wanted }
}

extension RecipeValue where Self: RawRepresentable & CaseIterable, RawValue == String {
    init?(recipeNode: Node) {
        guard let text = recipeNode.scalar?.string, let value = Self(rawValue: text) else { return nil }
        self = value
    }
    var recipeText: String { rawValue }
    static var wanted: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }
}

extension DecayStart: RecipeValue {
    init?(recipeNode: Node) {
        if recipeNode.scalar?.string == "none" {
            self = .never
        } else if let step = Int(recipeNode: recipeNode) {
            self = .step(step)
        } else {
            return nil
        }
    }
    var recipeText: String { if case .step(let step) = self { String(step) } else { "none" } }
    static var wanted: String { "none or \(Int.wanted)" }
}

extension BudgetScope: RecipeValue {}
extension TokenWidth: RecipeValue {}
extension AggregateScope: RecipeValue {}
extension CoreDecoderStart: RecipeValue {}
extension CoreBiasStart: RecipeValue {}
extension CoreMode: RecipeValue {}
extension NonCoreStart: RecipeValue {}
extension CandidateScope: RecipeValue {}

extension Node {
    /// A scalar's number. 300_000 and 300000 are both numbers in YAML 1.1; 060 is 48 there and 60 in YAML 1.2, so it is none.
    fileprivate var digits: String? {
        guard let text = scalar?.string, !isOctal, text.first != "_" else { return nil }
        return text.filter { $0 != "_" }
    }

    /// Whether it is a whole number that begins with a zero, or a list with one.
    var isOctal: Bool {
        if let elements = sequence { return elements.contains { $0.scalar != nil && $0.isOctal } }
        let text = (scalar?.string ?? "").utf8.drop { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "+") }
        return text.count > 1 && text.first == UInt8(ascii: "0")
            && text.allSatisfy { (0x30...0x39).contains($0) || $0 == UInt8(ascii: "_") }
    }

    /// The value for a message; of a list the first elements. An alias may stand for a list of lists of lists, so what is
    /// nested is not shown.
    var shown: String {
        if let scalar { return scalar.string }
        guard let elements = sequence else { return "keys and values" }
        let first = elements.prefix(8).map { $0.scalar?.string ?? ($0.sequence == nil ? "keys and values" : "a list") }
        return "[" + (first + (elements.count > 8 ? ["…"] : [])).joined(separator: ", ") + "]"
    }
}
