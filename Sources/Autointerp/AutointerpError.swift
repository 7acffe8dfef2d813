import TensorFiles

/// Why latents cannot be explained and scored: what failed, on what, what to do next.
package enum AutointerpError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Windows that do not fit into sequences.
    case badWindow(length: Int, context: Int)
    /// No latent fires in enough windows and is silent in enough.
    case nothingToExplain(sae: String, latents: Int, windows: Int, rare: Int, dense: Int, needed: ShownContexts.Numbers)
    /// What is kept is of other settings.
    case otherSettings(folder: String, key: String, kept: String, now: String)
    /// What is kept is of other contexts, or was changed.
    case changedRecord(file: String, what: String)

    package var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .badWindow(let length, let context):
            "--window \(length) does not divide --context \(context), so that sequences cannot be cut into windows; give a divisor"
        case .nothingToExplain(let sae, let latents, let windows, let rare, let dense, let needed):
            "of the \(latents) latents asked for of \(sae) none can be explained and tested on \(windows) windows of \(needed.window) tokens: "
                + "\(rare) fire in fewer than \(needed.needed) of them, and \(dense) are silent in fewer than \(needed.test); take more text (--tokens), fewer contexts "
                + "(--explain-contexts, --test-contexts), or, for dense latents, count weak activations as none (--floor 0.3)"
        case .otherSettings(let folder, let key, let kept, let now):
            "\(folder) holds latents that were explained with another \(key): \(kept), and not \(now); give the same to go on, or another --out"
        case .changedRecord(let file, let what):
            "\(file): \(what), so its answers are not about these contexts; delete it to ask again"
        }
    }
}
