import ArgumentParser
import TensorFiles

/// `--hook` beside the `--layer` of a command, which stands for the residual stream after a block.
struct HookOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Place in the model under TransformerLens' name, instead of --layer: \(HookPoint.supported).",
            valueName: "NAME"),
        transform: HookOption.hook)
    var hook: HookPoint?

    /// The place that is named, by either option.
    ///
    /// - Throws: `ValidationError` for two that differ.
    func place(layer: Int?) throws -> HookPoint? {
        guard let layer else { return hook }
        guard let hook, hook.usual != .residPost(layer) else { return .residPost(layer) }
        throw ValidationError(
            "--layer \(layer) is \(HookPoint.residPost(layer).name), and --hook is \(hook.name); give one of them")
    }

    /// The same where no SAE names one.
    ///
    /// - Throws: `ValidationError`, for none too.
    func required(layer: Int?) throws -> HookPoint {
        guard let place = try place(layer: layer) else {
            throw ValidationError("missing which activations of the model; give --layer or --hook")
        }
        return place
    }

    private static func hook(_ name: String) throws -> HookPoint {
        guard let hook = HookPoint(name) else {
            throw ValidationError(
                "that is no place that can be read and replaced; supported are \(HookPoint.supported)")
        }
        return hook
    }
}

extension HookPoint {
    /// For a page's list of facts.
    var fact: (name: String, value: String) { kind == .residPost ? ("layer", "\(block)") : ("hook", name) }
}
