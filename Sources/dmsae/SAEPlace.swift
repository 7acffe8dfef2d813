import ArgumentParser
import Distillation
import SparseCoding
import TensorFiles

/// Where in a model an SAE is applied, and where it was trained.
struct SAEPlace {
    /// Where it is applied.
    let hook: HookPoint
    private let trained: HookPoint?
    private let sae: String

    /// The place asked for, or the SAE's own; another than its own is warned of, and so are a model other than the one it was
    /// trained on, and what its file says of its training that is otherwise here.
    ///
    /// - Throws: `ValidationError` where there is neither; what reading the model's files throws.
    init(asked: HookPoint?, _ provenance: SAEProvenance, sae: String, model: String) throws {
        guard let hook = asked ?? provenance.hookPoint else {
            throw ValidationError("\(sae) names no layer; give --layer or --hook")
        }
        self.hook = hook
        trained = provenance.hookPoint
        self.sae = sae
        if let trained, trained.usual != hook.usual {
            Terminal.shared.warn(
                "\(sae) was trained on \(trained.shown) and is applied \(hook.kind == .residPost ? "after" : "at") \(hook.shown)"
            )
        }
        let place = provenance.place
        // Of an SAE that does not say, nothing is hashed.
        if let hash = place.sha256, exists(model), let found = try modelHash(model), hash != found {
            Terminal.shared.warn(
                "\(sae) was trained on another model than \(model)\(place.name.map { " (\($0))" } ?? ""): their SHA-256 differ"
            )
        }
        Terminal.shared.warn(remarksOf: sae, provenance)
    }

    /// Warns of reconstructions that are worse than the mean of all activations would be.
    func warn(explainedVariance value: Double?) {
        guard let value, value < 0 else { return }
        let place = trained.map { "it was trained on \($0.shown)" } ?? "it names no layer that it was trained on"
        Terminal.shared.warn(
            "\(sae) explains less than nothing of \(hook.shown) (explained variance \(decimals(value, 3))): \(place); check "
                + "that SAE, model and layer belong together")
    }
}

extension Terminal {
    /// Says what an SAE's cfg.json tells of its training that is otherwise here.
    func warn(remarksOf sae: String, _ provenance: SAEProvenance) {
        for remark in provenance.remarks { warn("\(sae): \(remark)") }
    }
}
