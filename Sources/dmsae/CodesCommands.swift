import ArgumentParser
import Attribution
import Distillation
import LinearAlgebra
import PluginHost
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae encode`: activations to latents.
struct EncodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encode", abstract: "Apply an SAE's encoder to activations.",
        discussion: """
            Reads x [N, d], writes latents [N, F]. Mode inference keeps what exceeds the threshold; mode batch selects \
            k·N entries over the whole file, as in training.

            Example: dmsae encode --sae sae --input x.safetensors --out f.safetensors
            """)

    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Safetensors file with x [N, d].")
    var input: String
    @Option(help: "Safetensors file to write.")
    var out: String
    @Option(help: "Threshold of inference, or selection over the batch.")
    var mode: Mode = .inference
    @Option(help: "Mean active latents per token in mode batch; default the SAE's own.")
    var k: Double?
    @OptionGroup var output: OutputOptions

    enum Mode: String, ExpressibleByArgument, CaseIterable { case inference, batch }

    func run() throws {
        output.apply()
        try OutputPlace.requireFile(out, reading: [sae, input])
        try Surroundings.prepareToCompute(advice: "give fewer rows of activations")
        let (autoencoder, provenance) = try SAEFormats.read(sae)
        let file = try SafetensorsFile(path: input)
        _ = try file.require("x", shape: [nil, autoencoder.dIn])
        let x = try file.finiteMatrix("x")
        let codes = SparseCodes()
        let encoder = SparseEncoder()
        var used: Double?
        switch mode {
        case .inference: try encoder.encode(x, with: autoencoder, into: codes)
        case .batch:
            used = k ?? autoencoder.rowTopK.map(Double.init) ?? provenance.plan?.k ?? provenance.k
            guard let k = used else { throw ValidationError("\(sae) records no k; give --k") }
            guard k > 0, k.isFinite else {
                throw SparseCodingError.badSetting(name: "k", value: "\(k)", wanted: "positive")
            }
            guard k <= Double(autoencoder.dSAE) else {
                throw SparseCodingError.tooManyActive(k: k, width: autoencoder.dSAE)
            }
            let centered = Matrix(rows: x.rows, columns: x.columns)
            try encoder.center(x, for: autoencoder, into: centered)
            _ = try encoder.select(
                centered, with: autoencoder,
                rule: try PluginCatalog().sparsityRule("batchtopk", services: PluginOptions.services),
                SelectionContext(.infer, of: autoencoder, rows: x.rows, meanActive: k),
                budget: provenance.plan?.budget ?? .nonCore, into: codes)
        }
        var settings = ["mode": mode.rawValue]
        settings["k"] = used.map { "\($0)" }
        var writer = SafetensorsWriter(
            metadata: try origin([("SAE", SAEFormats.files(sae)), ("x", [input])], settings))
        writer.add("latents", codes.dense())
        try writer.write(to: out)
        let meanActive = Double(codes.count) / Double(max(1, codes.rows))
        if output.json {
            print(try JSONRecord.text(["tokens": Double(codes.rows), "l0": meanActive]))
        } else {
            print("\(codes.rows) × \(codes.columns) latents, L0 \(decimals(meanActive, 2)), written to \(out)")
        }
    }
}

/// `dmsae decode`: latents to activations.
struct DecodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decode", abstract: "Apply an SAE's decoder, or a prefix of it, to latents.",
        discussion: """
            Reads latents [N, F], writes x [N, d].

            Example: dmsae decode --sae sae --input f.safetensors --out x.safetensors --prefix 512
            """)

    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Safetensors file with latents [N, F].")
    var input: String
    @Option(help: "Safetensors file to write.")
    var out: String
    @Option(help: "Use the first m latents only.")
    var prefix: Int?
    @OptionGroup var output: OutputOptions

    func run() throws {
        output.apply()
        try OutputPlace.requireFile(out, reading: [sae, input])
        try Surroundings.prepareToCompute(advice: "give fewer rows of latents")
        let autoencoder = try SAEFormats.read(sae).sae
        if let prefix, !(1...autoencoder.dSAE).contains(prefix) {
            throw AttributionError.badPrefix(found: prefix, width: autoencoder.dSAE)
        }
        let file = try SafetensorsFile(path: input)
        _ = try file.require("latents", shape: [nil, autoencoder.dSAE])
        let x = autoencoder.decode(SparseCodes(dense: try file.finiteMatrix("latents")), prefix: prefix)
        let width = prefix ?? autoencoder.dSAE
        var writer = SafetensorsWriter(
            metadata: try origin([("SAE", SAEFormats.files(sae)), ("latents", [input])], ["prefix": "\(width)"]))
        writer.add("x", x)
        try writer.write(to: out)
        if output.json {
            print(try JSONRecord.text(["tokens": x.rows]))
        } else {
            print("\(x.rows) × \(x.columns) activations written to \(out)")
        }
    }
}
