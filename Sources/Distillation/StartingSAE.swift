import SparseCoding

/// An SAE in the place of cycle 0's, so that scoring starts at once: one that was trained before, here or elsewhere.
public struct StartingSAE: Sendable {
    /// As the recipe names it.
    public let path: String
    /// With unit decoder rows, and without a core: what was one is a part of the first prefix.
    public let sae: SparseAutoencoder
    /// What its files say of where it comes from.
    public let provenance: SAEProvenance
    /// Its group sizes without a core.
    let groups: [Int]
    /// Whether decoder norms had to be folded into its latents.
    let hadDecoderNorms: Bool

    /// An SAE as it was read.
    ///
    /// - Throws: `DistillationError.badStart` for one without a form in which it is used; as `SparseAutoencoder.foldDecoderNorms`.
    public init(_ sae: SparseAutoencoder, _ provenance: SAEProvenance, path: String) throws {
        guard sae.inference != nil else {
            throw DistillationError.badStart(
                path: path, reason: "its threshold is not set",
                advice: "train it on with `dmsae train --init`, which measures one")
        }
        hadDecoderNorms = try sae.foldDecoderNorms() != nil
        (self.path, self.provenance, groups) = (path, provenance, sae.layout.groups)
        guard sae.layout.coreCount > 0 else {
            self.sae = sae
            return
        }
        let layout = sae.layout
        let ends = layout.coreIsPrefix ? Array(layout.prefixes.dropFirst()) : layout.prefixes
        let sizes = zip(ends, [0] + ends).map { $0 - $1 }
        let thresholds = sae.rowTopK == nil ? try sae.inferenceThresholds().values : nil
        self.sae = sae.copy(layout: try PrefixLayout(groups: sizes, width: sae.dSAE))
        if let thresholds { self.sae.inference = .thresholds(thresholds) }
    }

    /// k that it was trained for, or keeps of each row.
    var k: Double? { provenance.plan?.k ?? provenance.k ?? sae.rowTopK.map(Double.init) }
}

extension Recipe {
    /// Takes over what an SAE in the place of cycle 0 settles: every SAE of the run has its width and its groups, unless it is of
    /// one group, and its layer and k are those of the run unless others are given.
    ///
    /// - Throws: `DistillationError` for a key that is given and has another value, or that is needed and is not given.
    public mutating func adopt(_ start: StartingSAE) throws {
        func require(_ key: String, _ own: some RecipeValue & Equatable, _ its: some RecipeValue & Equatable) throws {
            guard given.contains(key), own.recipeText != its.recipeText else { return }
            throw DistillationError.badValue(
                key: key, value: own.recipeText,
                wanted: "\(its.recipeText), as \(start.path) has it (distill.cycle0), or left out")
        }
        func ask(_ key: String, _ meaning: String) -> DistillationError {
            .badStart(path: start.path, reason: "its files do not say \(meaning)", advice: "give \(key) in the recipe")
        }
        try require("sae.width", width, start.sae.dSAE)
        width = start.sae.dSAE
        if start.groups.count > 1 {
            try require("sae.groups", groups ?? [], start.groups)
            groups = start.groups
        } else if !given.contains("sae.groups") {
            throw ask("sae.groups", "which groups of latents are nested")
        }
        if !given.contains("train.k") {
            guard let its = start.k else { throw ask("train.k", "how many latents of a token are active") }
            k = its
        }
        if !given.contains("layer") && !given.contains("hook") {
            guard let its = start.provenance.hookPoint else { throw ask("layer", "which layer it is of") }
            (layer, hook) = (its.block, its.kind == .residPost ? nil : its)
        }
        if !given.contains("splice.keep_first"), let its = start.provenance.keepFirst { keepFirst = its }
        // By its text: 5.3 in single precision is another number in double.
        if !given.contains("splice.sinks"), let its = start.provenance.sinks { sinks = Double("\(its)") ?? sinks }
    }
}
