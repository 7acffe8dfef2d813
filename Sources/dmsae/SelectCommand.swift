import ArgumentParser
import Attribution
import Distillation
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae select`: scores to a core at τ.
struct SelectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "select", abstract: "Select the smallest core that has a fraction τ of all attribution.",
        discussion: """
            Prints the core's latents; with --sae and --out writes core.json and core.safetensors for `train --core`. Encoder \
            vectors are on the scale that was scored, see `score --no-fold`.

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
        var settings = ["tau": "\(tau)"]
        for (key, value) in file.metadata { settings["scores.\(key)"] = value }
        return try dmsae.origin([("scores", [scores]), ("SAE", sae.map(SAEFormats.files) ?? [])], settings)
    }

    func run() throws {
        output.apply()
        let file = try SafetensorsFile(path: scores)
        _ = try file.require("scores", shape: [nil])
        let values = try file.doubles("scores")
        guard values.allSatisfy(\.isFinite) else {
            throw TensorFileError.malformed(file: scores, what: "scores hold NaN or infinity", next: "score again")
        }
        let selection = try CoreSelection(values, fraction: tau, measure: .unknown)
        var core = Core(selection, scores: values, cycle: 0, previous: nil)
        core.origin = try origin(file)
        if let sae, let out {
            let autoencoder = try self.autoencoder(sae, scored: file)
            try requireCount(values.count, of: autoencoder, sae, scored: file)
            try OutputPlace.requireFolder(out, holdingOnly: nil)
            try createFolder(out)
            try core.write(
                encoder: core.encoderRows(of: autoencoder), biases: core.encoderBiases(of: autoencoder), to: out)
        }
        if output.json { return print(try JSONRecord.text(core)) }
        print(
            "\(core.latents.count) of \(values.count) latents have \(decimals(100 * core.coverage, 1))% "
                + "of the attribution")
        print(core.latents.map { String($0.index) }.joined(separator: " "))
    }

    /// Scores that say of which SAE they are may be of any of its first latents; of others their number is all that tells.
    private func requireCount(
        _ count: Int, of autoencoder: SparseAutoencoder, _ path: String, scored file: SafetensorsFile
    ) throws {
        let (width, prefixes) = (autoencoder.dSAE, autoencoder.layout.prefixes)
        let isSaid = file.metadata["SAE.sha256"] != nil
        guard isSaid ? count <= width : prefixes.contains(count) else {
            throw TensorFileError.unusable(
                file: scores,
                what: "it scores \(count) latents, and \(path) has \(width)"
                    + (isSaid ? "" : ", in prefixes of \(prefixes.map(String.init).joined(separator: ", "))"),
                next: "give the SAE that was scored")
        }
    }

    /// The SAE, if it is the one that was scored, on the scale on which it was; of scores that do not say, folded.
    private func autoencoder(_ path: String, scored file: SafetensorsFile) throws -> SparseAutoencoder {
        if let scored = file.metadata["SAE.sha256"] {
            guard try scored == SHA256.hexadecimal(ofFile: SAEFormats.files(path).last!) else {
                throw TensorFileError.unusable(
                    file: scores, what: "its scores are of another SAE than \(path), whose weights are others",
                    next: "give the SAE that was scored, or score this one")
            }
        }
        var scaling = ScaleOptions()
        scaling.noFold = file.metadata["decoder_norms"] == LatentScale.own.rawValue
        return try scaling.read(path).sae
    }
}
