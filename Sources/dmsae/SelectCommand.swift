import ArgumentParser
import Attribution
import Distillation
import SparseCoding
import TensorFiles

/// `dmsae select`: scores to a core at τ.
struct SelectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "select", abstract: "Select the smallest core that has a fraction τ of all attribution.",
        discussion: """
            Prints the core's latents; with --sae and --out writes core.json and core.safetensors for `train --core`.

            Example: dmsae select --scores scores.safetensors --tau 0.9 --sae sae --out core
            """)

    @Option(help: "Safetensors file with scores [m].")
    var scores: String
    @Option(help: "Fraction of all attribution that the core has.")
    var tau = 0.9
    @Option(help: "SAE folder whose encoder vectors the core takes.")
    var sae: String?
    @Option(help: "Folder to write.")
    var out: String?
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (sae == nil) == (out == nil) else { throw ValidationError("--sae and --out go together") }
    }

    /// The scores' own account of themselves, and what was done with them here.
    private func origin(_ file: SafetensorsFile) throws -> [String: String] {
        var result: [String: String] = [:]
        for (key, value) in file.metadata { result["scores.\(key)"] = value }
        result["tau"] = "\(tau)"
        let files = sae.map { folder in SAEFolder.files.map { folder + "/" + $0 } } ?? []
        for (name, hash) in try fileHashes([("scores", [scores]), ("SAE", files)]) { result["sha256.\(name)"] = hash }
        return result
    }

    func run() throws {
        output.apply()
        let file = try SafetensorsFile(path: scores)
        _ = try file.require("scores", shape: [nil])
        let values = try file.doubles("scores")
        guard values.allSatisfy(\.isFinite) else {
            throw TensorFileError.malformed(file: scores, what: "scores hold NaN or infinity", next: "score again")
        }
        let selection = try CoreSelection(values, fraction: tau)
        var core = Core(selection, scores: values, cycle: 0, previous: nil)
        core.origin = try origin(file)
        if let sae, let out {
            let autoencoder = try SAEFolder.read(sae).sae
            guard values.count <= autoencoder.dSAE else {
                throw TensorFileError.unusable(
                    file: scores, what: "it scores \(values.count) latents, and \(sae) has \(autoencoder.dSAE)",
                    next: "give the SAE that was scored")
            }
            try createFolder(out)
            try core.write(encoder: core.encoderRows(of: autoencoder), to: out)
        }
        if output.json { return print(try JSONRecord.text(core)) }
        print(
            "\(core.latents.count) of \(values.count) latents have \(decimals(100 * core.coverage, 1))% "
                + "of the attribution")
        print(core.latents.map { String($0.index) }.joined(separator: " "))
    }
}
