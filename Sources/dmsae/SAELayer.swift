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

    /// The layer asked for, or the SAE's own; another than its own is warned of.
    ///
    /// - Throws: `ValidationError` where there is neither.
    init(asked: Int?, _ provenance: SAEProvenance, sae: String) throws {
        guard let layer = asked ?? provenance.layer else {
            throw ValidationError("\(sae) names no layer; give --layer")
        }
        value = layer
        trained = provenance.layer
        self.sae = sae
        if let trained, trained != layer {
            Terminal.shared.warn("\(sae) was trained on layer \(trained) and is applied after layer \(layer)")
        }
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
