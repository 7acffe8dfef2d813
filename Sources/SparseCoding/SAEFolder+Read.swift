import LinearAlgebra
import TensorFiles

extension SAEFolder {
    /// Where SAELens keeps what it multiplies inputs by, beside an SAE whose training goes on.
    package static let scalerName = "activation_scaler.json"

    /// Reads a folder written by this program or by SAELens: standard, jumprelu, topk and gated, and batchtopk and
    /// matryoshka_batchtopk as they are saved for going on with their training.
    ///
    /// - Throws: `TensorFileError` for a broken file, `SparseCodingError.badFolder` for an SAE of another kind, one of a
    ///   place in the model that is no `HookPoint`, or files that contradict each other.
    public static func read(_ folder: String) throws -> (sae: SparseAutoencoder, provenance: SAEProvenance) {
        let path = folder + "/" + configurationName
        let configuration = try SAEConfiguration(folder: folder, file: path)
        let tensors = try SAEFolderTensors(folder, configuration)
        let own = try configuration.own.map { try OwnConfiguration($0) }
        if own != nil, !configuration.architecture.isWrittenHere {
            throw tensors.fails(
                "metadata.dmsae belongs to jumprelu and topk SAEs, and this is \(configuration.architecture.name)",
                "remove metadata.dmsae if the SAE was changed on purpose")
        }
        let layout = try readLayout(configuration, own, width: tensors.dSAE, folder: folder)
        let sae = SparseAutoencoder(dIn: tensors.dIn, layout: layout, coreIsDense: own?.coreIsDense ?? true)
        sae.subtractsDecoderBias = configuration.subtractsDecoderBias
        var provenance = SAEProvenance()
        if let own {
            provenance = try JSONRecord.read(WrittenConfiguration.self, from: path, allowingOtherKeys: true).metadata
                .dmsae
                .provenance
            try own.check(provenance)
        } else {
            provenance.k = configuration.k
        }
        try tensors.assign(to: sae)
        if case .jumpReLU = configuration.architecture {
            try assign(thresholds: try tensors.thresholds(), own, to: sae, tensors.fails)
        }
        do {
            if configuration.scalesInputs {
                let factor = try tensors.inputFactor()
                try sae.foldInputFactor(factor, keepingRank: configuration.rescalesByDecoderNorm)
                provenance.inputScale = 1 / factor
            }
            if configuration.rescalesByDecoderNorm { try sae.rescaleByDecoderNorms() }
        } catch SparseCodingError.cannotFold(let reason) {
            throw tensors.fails(
                "what it is scaled by cannot be folded into its weights: \(reason)", "choose another one")
        }
        if let said = provenance.hookPoint, let hook = configuration.hook, said != hook {
            throw tensors.fails(
                "metadata.dmsae.provenance is of \(said.shown), and the hook is that of \(hook.shown)",
                "correct cfg.json")
        }
        provenance.hookPoint = provenance.hookPoint ?? configuration.hook
        provenance.remarks = configuration.remarks
        return (sae, provenance)
    }

    private static func assign(
        thresholds: Matrix, _ own: OwnConfiguration?, to sae: SparseAutoencoder,
        _ fails: (String, String) -> SparseCodingError
    ) throws {
        guard let own, !own.hasLatentThresholds else {
            sae.inference = .thresholds(thresholds.values)
            return
        }
        let common = thresholds[sae.dSAE - 1]
        if own.hasThreshold { sae.inference = .threshold(common) }
        for j in 0..<sae.dSAE {
            let wanted = own.hasThreshold && sae.exemptCore.contains(j) ? 0 : own.hasThreshold ? common : -1
            guard thresholds[j] == wanted else {
                throw fails(
                    "the threshold of latent \(j) is \(thresholds[j]), and by metadata.dmsae it is \(wanted)",
                    "remove metadata.dmsae if the thresholds were changed on purpose")
            }
        }
    }

    /// The layout that `cfg.json` states. What is wrong with it is a fault of the file, whatever a
    /// training would be told.
    private static func readLayout(
        _ configuration: SAEConfiguration, _ own: OwnConfiguration?, width: Int, folder: String
    ) throws -> PrefixLayout {
        do {
            return try layout(configuration, own, width: width)
        } catch let error as SparseCodingError {
            throw SparseCodingError.badFolder(
                path: folder, reason: String(error.description.prefix { $0 != ";" }),
                advice:
                    "correct \(own == nil ? "matryoshka_widths" : "metadata.dmsae") in cfg.json, or write the SAE again"
            )
        }
    }

    private static func layout(
        _ configuration: SAEConfiguration, _ own: OwnConfiguration?, width: Int
    ) throws -> PrefixLayout {
        if let own {
            let layout = try PrefixLayout(
                groups: own.groups, width: width, coreCount: own.core, coreIsPrefix: own.prefixes.first == own.core)
            for (name, said) in [("prefixes", own.prefixes), ("matryoshka_widths", configuration.prefixes)] {
                guard let said, said != layout.prefixes else { continue }
                throw SparseCodingError.badSetting(
                    name: name, value: "\(said), and by groups and core it is \(layout.prefixes)", wanted: "the same")
            }
            return layout
        }
        guard let prefixes = configuration.prefixes, !prefixes.isEmpty else { return try PrefixLayout(groups: [width]) }
        guard prefixes.allSatisfy({ (1...width).contains($0) }) else {
            throw SparseCodingError.badSetting(
                name: "matryoshka_widths", value: "\(prefixes), beyond 1 to d_sae, \(width)", wanted: "within")
        }
        let ends = prefixes.last == width ? prefixes : prefixes + [width]
        return try PrefixLayout(groups: zip(ends, [0] + ends).map { $0 - $1 }, width: width)
    }
}

/// `metadata.dmsae`, but for the provenance: what SAELens has no names for.
private struct OwnConfiguration {
    let groups: [Int]
    let prefixes: [Int]
    let core: Int
    let coreIsDense: Bool
    let hasThreshold: Bool
    let hasLatentThresholds: Bool
    private let members: SAEMembers

    init(_ members: SAEMembers) throws {
        self.members = members
        func required<Value>(_ key: String, _ value: Value?) throws -> Value {
            guard let value else { throw members.refused(key, "write the SAE again") }
            return value
        }
        guard try members.integer("format") == 1 else {
            throw members.refused("format", "this program knows format 1; use the version that wrote the SAE")
        }
        groups = try required("groups", try members.integers("groups"))
        prefixes = try required("prefixes", try members.integers("prefixes"))
        core = try required("core", try members.integer("core"))
        let mode = try required("core_mode", try members.text("core_mode"))
        guard mode == "dense" || mode == "sparse" else { throw members.refused("core_mode", "write dense or sparse") }
        coreIsDense = mode == "dense"
        hasThreshold = try required("threshold_set", try members.truth("threshold_set"))
        hasLatentThresholds = try required("per_latent_thresholds", try members.truth("per_latent_thresholds"))
        try members.refuseOthers(than: Set(WrittenConfiguration.Own.CodingKeys.allCases.map(\.rawValue)))
    }

    /// Refuses what the decoder of `provenance` passed over: keys that it does not know, 1.0 for a whole number, and numbers that are used
    /// here and mean nothing.
    func check(_ provenance: SAEProvenance) throws {
        guard let own = try members.object("provenance"), let document = members["provenance"] else { return }
        if let key = try JSONRecord.unknownKey(in: document, of: provenance) {
            throw members.fails(
                "\(members.name)provenance.\(key) is not known here",
                "remove it from cfg.json if it says nothing of the SAE")
        }
        for key in ["layer", "contextLength", "keepFirst", "seed", "steps"] { _ = try own.integer(key, orNull: true) }
        if let first = provenance.keepFirst, first < 0 {
            throw own.refused("keepFirst", "write how many first positions were left out, from 0")
        }
        if let sinks = provenance.sinks, sinks != 0, !(sinks > 1 && sinks.isFinite) {
            throw own.refused("sinks", "write a multiple of the median norm above 1, or 0 for none")
        }
        guard let plan = try own.object("plan") else { return }
        for key in [
            "batchSize", "steps", "warmupSteps", "decayStart", "thresholdStart", "deadAfterTokens", "auxiliaryCount",
        ] { _ = try plan.integer(key, orNull: true) }
    }
}
