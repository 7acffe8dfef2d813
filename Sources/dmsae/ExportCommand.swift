import ArgumentParser
import LatentExports
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae export …`: an SAE for another program to work on.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write an SAE for another program to run on.",
        discussion: """
            Latents go to SAEDashboard, Neuronpedia and Delphi by dmsae latents --export; other formats of SAEs are written by dmsae convert.

            Example: dmsae export saebench --sae sae --model-name gemma-2-2b --out bench
            """, subcommands: [ExportSAEBenchCommand.self])
}

/// `dmsae export saebench`: a folder in which SAEBench runs.
struct ExportSAEBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "saebench", abstract: "Write an SAE and a script that runs SAEBench on it.",
        discussion: """
            OUT/sae is a folder of SAELens, decoder rows unit rows as SAEBench wants them, and OUT/run.py runs sae-bench 0.6 on it: core, \
            absorption, scr, tpp, ravel, sparse_probing, sparse_probing_sae_probes and meta_structure, or those that are named, unlearning and \
            autointerp (with OPENAI_API_KEY) too. SAEBench fetches model and data from the Hub; core, absorption, probes and meta are measured \
            here without it (dmsae eval).

            Example: dmsae export saebench --sae sae --model-name gemma-2-2b --out bench
            """)

    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(
        help: ArgumentHelp(
            "The model as TransformerLens and the Hub call it, such as gemma-2-2b or EleutherAI/pythia-160m-deduped.",
            valueName: "NAME"))
    var modelName: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: "What results call the SAE; default the name of the folder.")
    var name: String?
    @Option(help: "Folder to write, new or empty.")
    var out: String
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        guard !modelName.isEmpty else { throw ValidationError("--model-name is empty") }
        if let name, name.isEmpty || name.contains("/") {
            throw ValidationError("--name \(name) is no name of a file")
        }
    }

    func run() throws {
        output.apply()
        try Surroundings.prepareToCompute(advice: "export where there is more memory")
        var (autoencoder, provenance) = try SAEFormats.read(sae)
        let norms = try autoencoder.foldDecoderNorms()
        guard let place = try hook.place(layer: layer) ?? provenance.hookPoint else {
            throw ValidationError("\(sae) names no layer; give --layer or --hook")
        }
        Terminal.shared.warn(remarksOf: sae, provenance)
        (provenance.layer, provenance.hook, provenance.model) = (place.block, place.kind, modelName)
        let about = try origin(
            [("SAE", SAEFormats.files(sae))],
            [
                "name": name ?? lastComponent(out), "model": modelName, "hook": place.name, "sae_bench": "0.6.0",
                "decoder_norms": norms == nil ? "1" : "folded, they were \(norms!.extent)",
            ])
        let folder = try ExportFolder(out)
        let target = try SAEFormats.format(named: "saelens")
        let written = try folder.place(SAEFolder.files.map { "sae/" + $0 })
        try target.write(autoencoder, provenance, to: parentFolder(of: written[0]))
        // What SAEBench will use is what was read.
        let probe = try ConversionProbe(autoencoder, try target.read(out + "/sae").sae)
        try folder.write("run.py", PackageResources.saebench_py_txt)
        let record = try folder.finish(format: "saebench", latents: autoencoder.dSAE, tokens: 0, about: about)
        if output.json { return print(try JSONRecord.text(record)) }
        print(
            "\(autoencoder.dSAE) latents at \(place.name) of \(modelName), written to \(out); \(probe.differentlyActive) latents are active "
                + "otherwise on \(probe.rows) inputs\nnext: pip install sae-bench==0.6.0, then python \(out)/run.py core absorption"
        )
    }
}
