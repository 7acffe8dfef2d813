import ArgumentParser
import Distillation
import SparseCoding
import TensorFiles

/// The block after which an SAE is applied, and the one it was trained on.
struct SAELayer {
    /// Where it is applied.
    let value: Int
    private let trained: Int?
    private let sae: String

    /// The layer asked for, or the SAE's own; another than its own is warned of, and so are a model other than the one it was
    /// trained on, and what its file says of its training that is otherwise here.
    ///
    /// - Throws: `ValidationError` where there is neither; what reading the model's files throws.
    init(asked: Int?, _ provenance: SAEProvenance, sae: String, model: String) throws {
        guard let layer = asked ?? provenance.layer else {
            throw ValidationError("\(sae) names no layer; give --layer")
        }
        value = layer
        trained = provenance.layer
        self.sae = sae
        if let trained, trained != layer {
            Terminal.shared.warn("\(sae) was trained on layer \(trained) and is applied after layer \(layer)")
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
        let place = trained.map { "it was trained on layer \($0)" } ?? "it names no layer that it was trained on"
        Terminal.shared.warn(
            "\(sae) explains less than nothing of layer \(self.value) (explained variance \(decimals(value, 3))): \(place); check "
                + "that SAE, model and layer belong together")
    }
}

extension Terminal {
    /// Says what an SAE's cfg.json tells of its training that is otherwise here.
    func warn(remarksOf sae: String, _ provenance: SAEProvenance) {
        for remark in provenance.remarks { warn("\(sae): \(remark)") }
    }
}
