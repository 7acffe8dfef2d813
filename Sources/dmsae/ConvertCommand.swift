import ArgumentParser
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae convert`: an SAE from one format to another.
struct ConvertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert", abstract: "Write an SAE in the format of another tool.",
        discussion: """
            Reads saelens (standard, jumprelu, topk, gated, batchtopk), dictionary_learning (ae.pt and config.json), sparsify \
            (cfg.json and sae.safetensors), gemma_scope (params.npz), gemma_scope_2 (params.safetensors) and openai (a .pt file with \
            ReLU); writes saelens, dictionary_learning and sparsify. Both SAEs are applied to the same inputs, and the largest \
            difference is printed; what a format cannot hold is refused with the reason.

            Example: dmsae convert resid_post_layer_12/trainer_0 sae --to saelens
            """)

    @Argument(help: "SAE to read.")
    var input: String
    @Argument(help: "Folder to write.")
    var output: String
    @Option(help: "Format to write: saelens, dictionary_learning or sparsify.")
    var to: String
    @OptionGroup var options: OutputOptions

    private struct Result: Codable {
        var from: String
        var to: String
        var rows: Int
        var l0: Double
        var differently_active: Int
        var largest_difference_of_activations: Double
        var largest_difference_of_reconstructions: Double
        var prefixes_kept: Bool
    }

    func run() throws {
        options.apply()
        try Surroundings.prepareToCompute(advice: "convert where there is more memory")
        let target = try SAEFormats.format(named: to)
        let source = SAEFormats.format(of: input)
        let (sae, provenance) = try source.read(input)
        try OutputPlace.requireFolder(output, holdingOnly: nil)
        try target.write(sae, provenance, to: output)
        let again = try target.read(output).sae
        let probe = try ConversionProbe(sae, again)
        let keepsPrefixes = again.layout.prefixes == sae.layout.prefixes
        if options.json {
            return print(
                try JSONRecord.text(
                    Result(
                        from: source.name, to: target.name, rows: probe.rows, l0: probe.meanActive,
                        differently_active: probe.differentlyActive,
                        largest_difference_of_activations: probe.codes,
                        largest_difference_of_reconstructions: probe.reconstructions, prefixes_kept: keepsPrefixes)))
        }
        print(
            "\(sae.dSAE) latents of \(sae.dIn) dimensions, from \(source.name) to \(target.name), written to \(output)")
        print(
            "\(probe.rows) inputs, L0 \(decimals(probe.meanActive, 1)): \(probe.differentlyActive) latents are active in one and not "
                + "the other; activations differ by at most \(Float(probe.codes)), reconstructions by \(Float(probe.reconstructions))"
        )
        if !keepsPrefixes {
            print(
                "prefixes \(sae.layout.prefixes.map(String.init).joined(separator: ", ")) are not kept, since the format has no "
                    + "place for them")
        }
    }
}
