import TensorFiles

/// Where the frozen core of a trial comes from: the distillation, or what it is held against. What a core owes to its choice and
/// not to being frozen shows beside others of the same size.
public enum CoreSource: Sendable, Hashable {
    /// No core: a plain Matryoshka SAE.
    case none
    /// C*, what the last two cycles both selected.
    case distilled
    /// What a cycle selected.
    case cycle(Int)
    /// As many of cycle 0's latents as the distilled core has, drawn among those that were not selected there.
    case random
    /// As many random directions, each with the norm of the distilled core's vector in its place: nothing but the direction is
    /// another. What a vector's norm decides is how large its pre-activations are, and so how often a dense latent fires.
    case directions
    /// As many of cycle 0's candidates, those that fire most often.
    case frequency
    /// As many, those with the largest mean activation.
    case meanActivation
    /// As many, those without which the reconstruction is worst.
    case reconstruction
    /// The distilled core of another run's folder.
    case run(String)
    /// A core.json or core.safetensors.
    case file(String)
    /// As many candidates of the first of several SAEs, those whose encoder vectors reappear most alike in all others
    /// (arXiv:2606.12138): what seeds agree on, in the place of what cycles do.
    case pooled([String])

    /// The sources that one word names.
    private static let words: [(word: String, source: CoreSource)] = [
        ("none", .none), ("distilled", .distilled), ("random", .random), ("unit", .directions),
        ("frequency", .frequency), ("mean-activation", .meanActivation), ("reconstruction", .reconstruction),
    ]

    /// The others, before a colon.
    private static let prefixes = ["cycle", "run", "file", "pooled"]

    /// Names of trials that say at once what their core is.
    private static let names: [(name: String, source: CoreSource)] = [("dmsae", .distilled), ("baseline", .none)]

    /// What a recipe may write, for messages.
    static let wanted =
        (names.map(\.name) + words.map(\.word)).joined(separator: ", ")
        + ", cycle:N, run:FOLDER, file:PATH or pooled:SAE,SAE"

    /// A source as a recipe writes it, or the name of a trial that stands for one; nil if it is none.
    init?(_ text: String) {
        if let known = (Self.words.map { ($0.word, $0.source) } + Self.names).first(where: { $0.0 == text }) {
            self = known.1
            return
        }
        guard let colon = text.firstIndex(of: ":") else { return nil }
        let rest = String(text[text.index(after: colon)...])
        guard !rest.isEmpty else { return nil }
        switch text[..<colon] {
        case "cycle":
            guard let cycle = Int(rest), String(cycle) == rest else { return nil }
            self = .cycle(cycle)
        case "run": self = .run(rest)
        case "file": self = .file(rest)
        case "pooled": self = .pooled(rest.split(separator: ",").map(String.init))
        default: return nil
        }
    }

    /// The word that was most likely meant.
    static func nearest(to text: String) -> String? {
        let head = text.prefix { $0 != ":" }
        let meant = TensorFiles.nearest(String(head), among: names.map(\.name) + words.map(\.word) + prefixes)
        return meant.map { prefixes.contains($0) ? $0 + ":" : $0 }
    }

    /// As a recipe writes it.
    public var text: String {
        switch self {
        case .cycle(let cycle): "cycle:\(cycle)"
        case .run(let path): "run:" + path
        case .file(let path): "file:" + path
        case .pooled(let paths): "pooled:" + paths.joined(separator: ",")
        default: Self.words.first { $0.source == self }?.word ?? "none"
        }
    }

    /// The name of a trial that gives none.
    var usualName: String {
        switch self {
        case .cycle(let cycle): "cycle-\(cycle)"
        case .run: "run"
        case .file: "file"
        case .pooled: "pooled"
        default: Self.names.first { $0.source == self }?.name ?? text
        }
    }

    /// The shipped scorer by which cycle 0's candidates are ranked, and which of its outputs they are ranked by; its score for nil.
    public var ranking: (scorer: String, output: String?)? {
        switch self {
        case .frequency: ("frequency", nil)
        case .meanActivation: ("frequency", "mean_activation")
        case .reconstruction: ("reconstruction", nil)
        default: nil
        }
    }

    /// Whether its latents are some of cycle 0's, which are then listed beside the SAE.
    var isOfCycle0: Bool { self == .random || ranking != nil }

    /// Files and folders outside of the run that it is made from.
    var paths: [String] {
        switch self {
        case .run(let path), .file(let path): [path]
        case .pooled(let paths): paths
        default: []
        }
    }
}
