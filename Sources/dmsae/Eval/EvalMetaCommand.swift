import ArgumentParser
import Attribution
import LinearAlgebra
import PluginHost
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae eval meta`: what the decoder rows of an SAE are made of.
struct EvalMetaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meta",
        abstract: "A meta-SAE of the decoder rows: how much of them is structure that latents share.",
        discussion: """
            Trains an SAE with a quarter as many latents on the decoder rows (arXiv:2502.04878), as sae-bench 0.6's meta_structure does, in its \
            JSON: the share of their variance that four meta latents a row explain. Beside it the same of random rows, isotropic ones and ones \
            of the rows' own covariance, and of the core and each group apart: how much of theirs is explained, and how many meta latents two \
            of them share, beside as many other latents, with what 95% of draws lie between. Needs no model.

            Example: dmsae eval meta --sae sae --out meta.json
            """)

    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Meta latents a latent.")
    var widthRatio = 0.25
    @Option(help: "Active meta latents a row.")
    var k = 4
    @Option(help: "Training steps.")
    var steps = 1500
    @Option(help: "Rows of a step.")
    var batch = 1024
    @Option(help: "Learning rate.")
    var lr = 5e-4
    @Option(help: "Draws of other latents.")
    var draws = 200
    @Flag(inversion: .prefixedNo, help: "Train on random rows, too.")
    var controls = true
    @Option(help: "Seed of starts, rows and draws.")
    var seed: UInt64 = 42
    @Option(help: "JSON file to write, as SAEBench writes it.")
    var out: String?
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require("--width-ratio", widthRatio, in: 1e-6...16)
        try require("--k", k, in: 1...(1 << 20))
        try require("--steps", steps, in: 1...(1 << 24))
        try require("--batch", batch, in: 1...(1 << 20))
        try require("--lr", lr, in: 1e-12...1e3)
        try require("--draws", draws, in: 0...9_999)
    }

    func run() throws {
        output.apply()
        if let out { try OutputPlace.requireFile(out, reading: [sae]) }
        Interruption.install(advice: "interrupted; run the same command again to train from the start")
        try Surroundings.prepareToCompute(advice: "measure a smaller SAE, or lower --width-ratio")
        let (autoencoder, provenance) = try SAEFormats.read(sae)
        let norms = try autoencoder.foldDecoderNorms()
        var plan = MetaStructure.Plan()
        (plan.widthRatio, plan.k, plan.steps, plan.batch) = (widthRatio, k, steps, batch)
        (plan.learningRate, plan.seed) = (lr, seed)
        let rule = try PluginCatalog().sparsityRule("batchtopk", services: PluginOptions.services)
        let began = monotonicSeconds()
        let found = try train("decoder rows", autoencoder.decoder, plan, rule)
        let seconds = monotonicSeconds() - began
        var random: [String: Double] = [:]
        for control in controls ? MetaStructure.Control.allCases : [] {
            let rows = control.rows(like: autoencoder.decoder, seed: seed)
            let other = try train("\(control.rawValue) rows", rows, plan, rule)
            random[control.rawValue] = other.explained(other.errors.indices)
        }
        let parts = MetaStructureOutput.parts(found, autoencoder.layout, draws: draws, seed: seed)
        let settings = try origin(
            [("SAE", SAEFormats.files(sae))],
            ["draws": "\(draws)", "scale": norms == nil ? LatentScale.unit.rawValue : LatentScale.folded.rawValue])
        let metrics = MetaStructureOutput.Categories(found, columns: autoencoder.dIn, seconds: seconds)
        let record = MetaStructureOutput.Record(
            type: MetaStructureOutput.type, config: .init(plan), metrics: metrics, details: [],
            extra: .init(
                settings: settings, metaLatents: plan.width(rows: autoencoder.dSAE), controls: random, parts: parts),
            sae: SAEBenchSAE(
                model: provenance.model ?? "unknown", dIn: autoencoder.dIn, dSAE: autoencoder.dSAE,
                hook: provenance.hookPoint?.name ?? "unknown", layer: provenance.hookPoint?.block ?? -1,
                context: provenance.contextLength), origin: .here(sae: sae))
        if let out { try JSONRecord.write(record, to: out) }
        if output.json { return print(try JSONRecord.text(record)) }
        show(metrics.meta_structure, random, parts)
    }

    private func train(_ name: String, _ rows: Matrix, _ plan: MetaStructure.Plan, _ rule: any SparsityRule) throws
        -> MetaStructure
    {
        Terminal.shared.begin("train on \(name)", total: plan.steps, unit: "steps")
        defer { Terminal.shared.end() }
        return try MetaStructure(of: rows, plan, rule: rule) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
    }

    private func show(
        _ metrics: MetaStructureOutput.Metrics, _ random: [String: Double], _ parts: [MetaStructureOutput.Part]
    ) {
        func line(_ name: String, _ value: Double) {
            print(name + String(repeating: " ", count: max(1, 38 - name.count)) + decimals(value, 4))
        }
        line("decoder_fraction_variance_explained", metrics.decoder_fraction_variance_explained)
        for (name, value) in random.sorted(by: { $0.key < $1.key }) { line("  of \(name) random rows", value) }
        if parts.isEmpty { return }
        func text(_ interval: Interval?) -> String {
            interval.map {
                "\(decimals($0.value, 3)) [\(decimals($0.low, 3)), \(decimals($0.high, 3))]"
            } ?? ""
        }
        var table = TextTable([
            ("latents", 12), ("", 6), ("explained", 9), ("of as many others", 22), ("shared", 8),
            ("by as many others", 22),
        ])
        for part in parts {
            table.add([
                part.latents, "\(part.count)", decimals(part.variance_explained, 3),
                text(part.others_variance_explained),
                decimals(part.shared_meta_latents, 3), text(part.others_shared_meta_latents),
            ])
        }
        print("")
        table.lines.forEach { print($0) }
    }
}
