import Foundation
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Runs it and expects it to do its work without a word of complaint.
@discardableResult
func succeed(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
    let result = try run(builtProgram, arguments)
    #expect(result.status == 0, "\(arguments): \(result.errors)", sourceLocation: sourceLocation)
    return result.output
}

/// Runs it and expects it to fail with one message that has these parts, printing no result before it unless a
/// resumed run had some.
func fail(
    _ arguments: [String], status: Int32 = 1, afterResults: Bool = false, afterWarnings: Bool = false,
    saying parts: String...,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let result = try run(builtProgram, arguments)
    #expect(result.status == status, "\(arguments): \(result.errors)", sourceLocation: sourceLocation)
    #expect(afterResults || result.output == "", "\(arguments)", sourceLocation: sourceLocation)
    let isFirst = result.errors.hasPrefix("Error: ")
    #expect(
        isFirst || afterWarnings && result.errors.contains("\nError: "), "\(arguments): \(result.errors)",
        sourceLocation: sourceLocation)
    for part in parts {
        #expect(result.errors.contains(part), "\(arguments): \(result.errors)", sourceLocation: sourceLocation)
    }
}

/// Whether something is at a path.
func isThere(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Writes one tensor of a golden file, or of numbers, as a file of its own.
func write(_ name: String, _ matrix: Matrix, shape: [Int]? = nil, to path: String) throws {
    var writer = SafetensorsWriter()
    writer.add(name, matrix, shape: shape)
    try writer.write(to: path)
}

/// Writes `input_ids` of this shape, as a file of tokens has them.
func write(ids: [Int64], shape: [Int], to path: String) throws {
    var writer = SafetensorsWriter()
    writer.add("input_ids", integers: ids, shape: shape)
    try writer.write(to: path)
}

/// The SAE of the attribution golden as a folder, its parameters under `prefix` (and without a threshold if none is
/// given).
func writeSAE(
    _ golden: Golden, prefix: String = "", threshold: Float? = nil, layer: Int? = nil, to path: String
) throws {
    let decoder = try golden.matrix(prefix + "W_dec")
    let sae = SparseAutoencoder(dIn: decoder.columns, layout: try PrefixLayout(groups: [8, 24, 32, 64]))
    sae.encoder.assign(try golden.matrix(prefix + "W_enc").transposed())
    sae.encoderBias.assign(try golden.matrix(prefix + "b_enc"))
    sae.decoder.assign(decoder)
    sae.decoderBias.assign(try golden.matrix(prefix + "b_dec"))
    sae.inference = threshold.map { .threshold($0) }
    var provenance = SAEProvenance()
    provenance.layer = layer
    try SAEFolder.write(sae, provenance, to: path)
}

/// A model of three layers with a vocabulary of 320 and a tokenizer to match, beside a text of its words.
struct TinyModel {
    let folder = TemporaryFolder()
    var model: String { folder.file("tiny") }
    var text: String { folder.file("text.jsonl") }

    init() throws {
        try createFolder(model)
        for name in ["config.json", "model.safetensors"] {
            try AtomicFile.write(contents(of: fixture("models/llama/" + name)), to: model + "/" + name)
        }
        try AtomicFile.write(try Self.tokenizer(), to: model + "/tokenizer.json")
        try AtomicFile.write(#"{"eos_token": "<|endoftext|>"}"#, to: model + "/tokenizer_config.json")
        try AtomicFile.write(Self.documents(300), to: text)
    }

    /// The fixture's tokenizer without the tokens the model has no embedding for.
    private static func tokenizer(size: Int = 320) throws -> [UInt8] {
        let data = Data(contents(of: fixture("tokenizer/tokenizer.json")))
        var root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        var model = try #require(root["model"] as? [String: Any])
        let vocabulary = try #require(model["vocab"] as? [String: Int]).filter { $0.value < size }
        let merges = try #require(model["merges"] as? [[String]])
        model["vocab"] = vocabulary
        model["merges"] = merges.filter { vocabulary[$0.joined()] != nil }
        root["model"] = model
        root["added_tokens"] = try #require(root["added_tokens"] as? [[String: Any]])
            .filter { ($0["id"] as? Int ?? size) < size }
        return Array(try JSONSerialization.data(withJSONObject: root))
    }

    /// Documents of forty words each.
    private static func documents(_ count: Int) -> String {
        let words = ["the", "cat", "on", "a", "mat", "he", "ran", "code", "sea", "of", "tin", "and", "rain"]
        var state: UInt64 = 1
        return (0..<count).map { _ in
            let text = (0..<40).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return words[Int(state >> 33) % words.count]
            }
            return #"{"text": ""# + text.joined(separator: " ") + #"."}"# + "\n"
        }.joined()
    }

    /// A distillation of seconds: cycles 0 to 2.
    func writeRecipe(steps: Int = 60, to path: String) throws {
        try AtomicFile.write(
            """
            seed: 3
            model: \(model)
            text: \(text)
            layer: 1
            context: 32
            sequences: 4
            harvest: {tokens: 4000}
            sae: {width: 128, groups: [32, 32, 64]}
            train: {k: 8, batch: 256, steps: \(steps)}
            score: {tokens: 512}
            distill: {cycles: 2, tau: 0.3}
            evaluate: {tokens: 512}

            """, to: path)
    }
}
