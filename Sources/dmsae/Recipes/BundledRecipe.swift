import ArgumentParser
import TensorFiles

/// A recipe that comes with the program, under its name.
struct BundledRecipe {
    let name: String
    let text: String

    private init(_ name: String, _ bytes: [UInt8]) {
        (self.name, text) = (name, String(decoding: bytes, as: UTF8.self))
    }

    /// One that says only what it has of its own beside what all experiments have.
    private init(experiment name: String, _ bytes: [UInt8]) {
        self.name = name
        text = String(decoding: bytes + Array("\n".utf8) + PackageResources.common_yaml, as: UTF8.self)
    }

    /// Those for `distill`.
    static let toDistil = [
        BundledRecipe("demo", PackageResources.demo_yaml), BundledRecipe("gemma3", PackageResources.gemma3_yaml),
        BundledRecipe("paper-gemma-2-2b", PackageResources.paper_gemma_2_2b_yaml),
        BundledRecipe("synthetic", PackageResources.synthetic_yaml),
    ]

    /// Those for `sweep`; `Recipes/README.md` says what each asks and what came of it.
    static let experiments = [
        BundledRecipe(experiment: "core-modes", PackageResources.core_modes_yaml),
        BundledRecipe(experiment: "tau", PackageResources.tau_yaml),
        BundledRecipe(experiment: "k", PackageResources.k_yaml),
        BundledRecipe(experiment: "finals", PackageResources.finals_yaml),
        BundledRecipe(experiment: "candidates", PackageResources.candidates_yaml),
        BundledRecipe(experiment: "core-rate", PackageResources.core_rate_yaml),
        BundledRecipe(experiment: "cycle-length", PackageResources.cycle_length_yaml),
    ]

    /// The text of the recipe with a name; nil for the name of none.
    static func text(named name: String) -> String? { (toDistil + experiments).first { $0.name == name }?.text }

    /// Refuses what is no file and no path, but may have been meant as a name.
    ///
    /// - Throws: `ValidationError`.
    static func refuseMisspelt(_ name: String, among recipes: [BundledRecipe]) throws {
        let names = recipes.map(\.name)
        guard !exists(name), !name.contains("/"), !name.contains(".") else { return }
        let near = nearest(name, among: names).map { ", perhaps \($0)" } ?? ""
        throw ValidationError(
            printable(
                "there is neither a file nor a bundled recipe called \(name)\(near); bundled are \(names.joined(separator: ", "))"
            ))
    }
}
