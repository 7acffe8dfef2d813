import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginWorkers
import SparseCoding

/// What the plugin line costs: one batch of gradient × activation in this process, in a worker and by numpy in a worker of
/// Python, as a share of the forward and backward of the language model that a scoring pass needs for it anyway.
struct PluginOverhead {
    let path: String
    let layer: Int

    func run() throws {
        let model = try loadLanguageModel(path: path)
        let c = model.configuration
        let tokens = TokenBatch(
            ids: (0..<2048).map { Int32($0 * 7919 % c.vocabularySize) }, sequenceCount: 8, length: 256)
        let x = try model.residual(of: tokens, at: .residPost(layer))
        let batch = batch(tokens, x)
        let catalog = try PluginCatalog()
        let services = PluginServices(log: { _ in })
        let isolation = PluginIsolation(executable: catalog.executableFolder + "/dmsae")
        let here = try catalog.scorer("gxa", services: services)
        let there = try PluginCatalog(executableFolder: "/").scorer(
            try catalog.path("gxa"), services: services, isolation: isolation)
        let python = try Self.python(catalog, services, isolation)
        var (a, b) = ([Float](repeating: 0, count: batch.codes.count), [Float](repeating: 0, count: batch.codes.count))
        var byNumpy = a
        var rounds = Rounds()
        for _ in 0..<5 {
            try rounds.time("model") { _ = try model.lossesAndGradient(of: tokens, residual: x, at: .residPost(layer)) }
            try rounds.time("here") { try a.withUnsafeMutableBufferPointer { try here.score(batch, into: $0) } }
            try rounds.time("there") { try b.withUnsafeMutableBufferPointer { try there.score(batch, into: $0) } }
            if let python {
                try rounds.time("python") {
                    try byNumpy.withUnsafeMutableBufferPointer { try python.score(batch, into: $0) }
                }
            }
        }
        precondition(a == b, "a worker's scores differ")
        let pass = rounds.median("model")
        print("\nplugins: gxa on 8 × 256 tokens, 64 of 512 latents active; share of forward and backward alone")
        for (part, title) in [
            ("model", "losses and gradient from layer \(layer)"), ("here", "gxa in this process"),
            ("there", "gxa in a worker"),
        ] {
            printRow(title, milliseconds(rounds.median(part)), "\(number(100 * rounds.median(part) / pass, 2))%")
        }
        let added = rounds.median("there") - rounds.median("here")
        printRow("isolation adds", milliseconds(added), "\(number(100 * added / pass, 2))%")
        guard let python else { return print("gxa in Python: no python3 with numpy here") }
        let largest = a.reduce(0) { max($0, abs($1)) }
        let off = zip(a, byNumpy).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) } / largest
        let versions = python.runtime.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        printRow(
            "gxa by numpy in a worker", milliseconds(rounds.median("python")),
            "\(number(100 * rounds.median("python") / pass, 2))%")
        print("  \(versions); off by \(off) of the largest score")
    }

    /// The example in Python; nil where nothing runs it.
    private static func python(_ catalog: PluginCatalog, _ services: PluginServices, _ isolation: PluginIsolation)
        throws
        -> (any AttributionScorer & LoadedPlugin)?
    {
        let source = #filePath.replacing(
            "Tests/Benchmarks/PluginOverhead.swift", with: "Plugins/Python/examples/gxa.py")
        do { return try catalog.scorer(source, services: services, isolation: isolation) } catch WorkerError
            .noInterpreter
        {
            return nil
        }
    }

    /// A batch as large as a real one; what is in it does not matter for time.
    private func batch(_ tokens: TokenBatch, _ x: Matrix) -> ScoringBatch {
        let (m, active, N, d) = (512, 64, tokens.tokenCount, x.columns)
        let codes = SparseCodes(rows: N, columns: m, capacity: N * active)
        for t in 0..<N {
            for i in 0..<active {
                codes.columnIndices[t * active + i] = Int32(i * m / active + (t + i) % (m / active))
                codes.values[t * active + i] = 1 + Float(i)
            }
            codes.rowOffsets[t + 1] = Int64((t + 1) * active)
        }
        let decoder = Matrix(rows: m, columns: d)
        for i in 0..<decoder.count { decoder[i] = Float(i % 17) - 8 }
        return ScoringBatch(
            codes: codes, decoder: decoder, decoderBias: Matrix(rows: 1, columns: d), residual: x, reconstruction: x,
            gradient: x, loss: [Float](repeating: 1, count: N), tokens: tokens.ids,
            sequenceOffsets: (0...tokens.sequenceCount).map { Int64($0 * tokens.length) },
            scored: [UInt8](repeating: 1, count: N), firstToken: 0, coreCount: 0, prefixWidths: [Int64(m)],
            splicedWidth: m, errorTermAdded: false)
    }
}
