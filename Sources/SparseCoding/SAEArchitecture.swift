/// What SAELens calls the architecture of an SAE: what is kept of p, and in which tensors that stands.
enum SAEArchitecture: Equatable {
    /// p > 0.
    case standard
    /// p > θ_j.
    case jumpReLU
    /// The k largest of a row.
    case topK(Int)
    /// Two encoders with the same directions, see `GatedEncoder`.
    case gated
    /// p > θ, one for all: BatchTopK and its Matryoshka, as they are saved for going on with their training. SAELens
    /// itself makes a jumprelu SAE of them at the end.
    case batchTopK

    /// As messages name it.
    var name: String {
        switch self {
        case .standard: "standard"
        case .jumpReLU: "jumprelu"
        case .topK: "topk"
        case .gated: "gated"
        case .batchTopK: "batchtopk"
        }
    }

    /// Whether this program writes it.
    var isWrittenHere: Bool {
        switch self {
        case .jumpReLU, .topK: true
        case .standard, .gated, .batchTopK: false
        }
    }

    /// Shapes of the tensors that it consists of. Thresholds of older trainings stand as their logarithms.
    func tensors(dIn: Int, dSAE: Int, hasLogarithms: Bool) -> [String: [Int]] {
        let own: [String: [Int]] =
            switch self {
            case .standard, .topK: ["b_enc": [dSAE]]
            case .jumpReLU: ["b_enc": [dSAE], hasLogarithms ? "log_threshold" : "threshold": [dSAE]]
            case .gated: ["b_gate": [dSAE], "b_mag": [dSAE], "r_mag": [dSAE]]
            case .batchTopK: ["b_enc": [dSAE], "topk_threshold": []]
            }
        return own.merging(["W_enc": [dIn, dSAE], "W_dec": [dSAE, dIn], "b_dec": [dIn]]) { first, _ in first }
    }

    /// The architecture that `cfg.json` names.
    ///
    /// - Parameter isOld: written by SAELens before version 6, which had activation functions and called
    ///   TopK one of them.
    init(_ root: SAEMembers, isOld: Bool) throws {
        let activation = try root.text("activation_fn") ?? root.text("activation_fn_str")
        let settings = try root.object("activation_fn_kwargs")
        var named = try root.text("architecture")
        if isOld, activation == "topk" {
            try root.require("activation_fn_str", "topk", "activation_fn is topk; correct cfg.json")
            try settings?.refuseOthers(than: ["k"])
            named = "topk"
        } else {
            for key in ["activation_fn", "activation_fn_str"] {
                try root.require(key, "relu", "only ReLU and TopK are read")
            }
            if let settings, !settings.isEmpty {
                throw root.refused("activation_fn_kwargs", "write the SAE as topk of SAELens 6")
            }
            // Before there were others, this was not written.
            if named == nil, isOld, root["d_in"] != nil { named = "standard" }
        }
        guard let named else {
            throw root.fails(
                "cfg.json names no architecture", "write standard, jumprelu, topk or gated, whichever it is")
        }
        switch named {
        case "standard": self = .standard
        case "jumprelu": self = .jumpReLU
        case "gated": self = .gated
        case "batchtopk", "matryoshka_batchtopk": self = .batchTopK
        case "topk":
            let k = try (isOld ? settings?.integer("k") : nil) ?? root.integer("k")
            guard let k, k >= 1 else {
                throw root.fails(
                    "its k is \(root["k"]?.shown ?? "missing")", "write how many latents fire, a whole number")
            }
            self = .topK(k)
        default: throw root.fails("its architecture is \(named)", Self.advice(for: named))
        }
        if root["k"] != nil, !named.hasSuffix("topk") {
            throw root.refused("k", "a \(named) SAE has none; write topk if it selects by number")
        }
    }

    private static func advice(for name: String) -> String {
        switch name.lowercased().replacing("_", with: "") {
        case "abstopk": "it keeps latents by the size of negative values too, and here no latent is negative"
        case let name where name.hasSuffix("transcoder"):
            "a transcoder rebuilds another place than it reads, which is not supported"
        case let plain
        where ["standard", "jumprelu", "topk", "gated", "batchtopk", "matryoshkabatchtopk"].contains(plain):
            "SAELens writes standard, jumprelu, topk or gated; correct cfg.json if that is what it is"
        default: "choose an SAE that is standard, jumprelu, topk, gated or batchtopk"
        }
    }
}
