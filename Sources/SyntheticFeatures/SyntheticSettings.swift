import TensorFiles

/// What a world of known features is made from, as `synthetic.json` has it: after SynthSAEBench (arXiv:2602.14687), with a next-token
/// loss that some of the features decide.
public struct SyntheticSettings: Sendable, Equatable {
    /// Of everything drawn at random.
    public var seed = 1
    /// n, more than `width`: they lie in superposition.
    public var features = 512
    /// d.
    public var width = 96
    /// V, tokens.
    public var vocabulary = 64
    /// Tokens of a sequence.
    public var context = 64
    /// Tokens that decide, with the one at a position, which features fire there.
    public var window = 8
    /// Features that fire at a position, in the mean.
    public var firing = 8.0
    /// a: feature i fires in proportion to (i + 1)^−a, but at no more than half of all positions.
    public var zipf = 1.0
    /// Share of the features that fire only where another one, their parent, does.
    public var hierarchy = 0.3
    /// Groups of features that fire together; 1 and more.
    public var topics = 16
    /// Correlation of the normal variables by which two features of a topic fire.
    public var correlation = 0.5
    /// Standard deviation of a magnitude, whose mean is 1.
    public var spread = 0.25
    /// Share of the features that the next token depends on, drawn without regard to how often they fire.
    public var useful = 0.25
    /// τ: what the next token's logits read of a useful feature is max(0, ⟨d, x − b⟩ − τ)/(1 − τ), so that features that lie near to it
    /// hardly count.
    public var threshold = 0.6
    /// What such a feature of magnitude 1 adds to the logits of the tokens it promotes.
    public var strength = 4.0
    /// Tokens that it promotes.
    public var promoted = 4

    public init() {}

    /// A key of the file: its name, meaning and bounds.
    struct Key: Sendable {
        let name: String
        let meaning: String
        let whole: (@Sendable (inout SyntheticSettings, Int) -> Void)?
        let real: (@Sendable (inout SyntheticSettings, Double) -> Void)?
        let range: ClosedRange<Double>
        let value: @Sendable (SyntheticSettings) -> JSONValue
    }

    private static func key(
        _ name: String, _ path: WritableKeyPath<SyntheticSettings, Int> & Sendable, _ range: ClosedRange<Double>,
        _ meaning: String
    ) -> Key {
        Key(
            name: name, meaning: meaning, whole: { $0[keyPath: path] = $1 }, real: nil, range: range,
            value: { .integer($0[keyPath: path]) })
    }

    private static func key(
        _ name: String, _ path: WritableKeyPath<SyntheticSettings, Double> & Sendable, _ range: ClosedRange<Double>,
        _ meaning: String
    ) -> Key {
        Key(
            name: name, meaning: meaning, whole: nil, real: { $0[keyPath: path] = $1 }, range: range,
            value: { .number($0[keyPath: path]) })
    }

    /// Every key there is.
    static let keys: [Key] = [
        key("seed", \.seed, 0...1e15, "seed of everything drawn"),
        key("features", \.features, 1...65_536, "features, n"),
        key("width", \.width, 2...8192, "width of the activations, d"),
        key("vocabulary", \.vocabulary, 2...65_536, "tokens, V"),
        key("context", \.context, 2...65_536, "tokens of a sequence"),
        key("window", \.window, 1...64, "tokens that decide which features fire"),
        key("firing", \.firing, 0.01...1024, "features that fire at a position, in the mean"),
        key("zipf", \.zipf, 0...4, "a: feature i fires in proportion to (i + 1)^-a, at half of all positions at most"),
        key("hierarchy", \.hierarchy, 0...1, "share of features that fire only where a parent does"),
        key("topics", \.topics, 1...65_536, "groups of features that fire together"),
        key("correlation", \.correlation, 0...0.99, "of the normal variables by which two features of a topic fire"),
        key("spread", \.spread, 0...1, "standard deviation of a magnitude, whose mean is 1"),
        key("useful", \.useful, 0...1, "share of features that the next token depends on"),
        key("threshold", \.threshold, 0...0.95, "of what is read of a useful feature, max(0, <d, x - b> - threshold)"),
        key("strength", \.strength, 0...100, "what such a feature adds to the logits of the tokens it promotes"),
        key("promoted", \.promoted, 1...65_536, "tokens that it promotes"),
    ]

    /// The settings that a file has; a key left out has its default.
    ///
    /// - Throws: `SyntheticError`; what goes wrong while reading.
    public init(contentsOf path: String) throws {
        guard let members = try JSONValue(contentsOf: path).object else {
            throw SyntheticError.badSetting(file: path, key: "the file", found: "no object", wanted: "an object")
        }
        self.init()
        for (name, value) in members.sorted(by: { $0.key < $1.key }) { try set(name, value, file: path) }
        try check(file: path)
    }

    /// Sets one key.
    ///
    /// - Throws: `SyntheticError`.
    public mutating func set(_ name: String, _ value: JSONValue, file: String) throws {
        guard let key = Self.keys.first(where: { $0.name == name }) else {
            throw SyntheticError.unknownSetting(file: file, key: name)
        }
        let wanted =
            "\(key.whole == nil ? "a number" : "a whole number") from \(key.range.lowerBound) to \(key.range.upperBound)"
        guard let number = value.double, key.range.contains(number), key.whole == nil || number == number.rounded()
        else { throw SyntheticError.badSetting(file: file, key: name, found: value.shown, wanted: wanted) }
        key.whole?(&self, Int(number))
        key.real?(&self, number)
    }

    /// Refuses what no key says alone.
    ///
    /// - Throws: `SyntheticError.badSetting`.
    public func check(file: String) throws {
        guard promoted <= vocabulary else {
            throw SyntheticError.badSetting(
                file: file, key: "promoted", found: "\(promoted)", wanted: "no more than the vocabulary's \(vocabulary)"
            )
        }
        guard firing <= 0.5 * Double(features) else {
            throw SyntheticError.badSetting(
                file: file, key: "firing", found: "\(firing)", wanted: "no more than half of the \(features) features")
        }
    }

    /// As the file has them, an object of a line a key.
    public var text: String {
        "{\n" + Self.keys.map { "  \"\($0.name)\": \($0.value(self).shown)" }.joined(separator: ",\n") + "\n}\n"
    }

    /// A line a key, with its default and meaning.
    public static var listed: String {
        keys.map { "  \($0.name) \($0.value(SyntheticSettings()).shown): \($0.meaning)" }.joined(separator: "\n")
    }
}

/// What can be wrong with a world of known features.
public enum SyntheticError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A setting that is not known.
    case unknownSetting(file: String, key: String)
    /// A setting with a value that is not possible.
    case badSetting(file: String, key: String, found: String, wanted: String)
    /// A hook point that it does not have.
    case noSuchPlace(String)
    /// An SAE of another width.
    case otherWidth(sae: Int, world: Int)

    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .unknownSetting(let file, let key):
            "\(file): there is no setting \(key); they are \(SyntheticSettings.keys.map(\.name).joined(separator: ", "))"
        case .badSetting(let file, let key, let found, let wanted):
            "\(file): \(key) is \(found), and must be \(wanted)"
        case .noSuchPlace(let name):
            "a world of known features has no \(name); its activations are at blocks.0.hook_resid_post, layer 0"
        case .otherWidth(let sae, let world):
            "the SAE is of activations of \(sae) numbers, and the world's have \(world); give the world it was trained on"
        }
    }
}
