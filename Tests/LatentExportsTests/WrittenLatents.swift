import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport

import LatentExports

/// Three latents of the golden SAE that fire where a test says, in sequences of any length.
struct WrittenLatents {
    let splice: GoldenSplice

    init() throws { splice = try GoldenSplice() }

    /// `firings` are (token, latent, activation), in the order of tokens.
    func exported(
        _ firings: [(Int, Int, Float)], sequences: Int = 2, length: Int = 4, latents: [Int] = [0, 5, 127],
        ids: [Int32]? = nil, change: (inout ExportedLatents.Source) -> Void = { _ in }
    ) throws -> ExportedLatents {
        var fired = FiredEntries(latentCount: 128, length: length)
        for sequence in 0..<sequences {
            let dense = Matrix(rows: length, columns: 128)
            for (token, latent, value) in firings where token / length == sequence {
                dense[token % length, latent] = value
            }
            fired.add(SparseCodes(dense: dense), scored: [UInt8](repeating: 1, count: length))
        }
        let inspection = LatentInspection(
            try splice.sae(), model: splice.model, tokenizer: nil,
            ids: ids ?? (0..<Int32(sequences * length)).map { $0 % 300 }, fired: fired)
        var source = ExportedLatents.Source(
            model: "llama", family: "llama", blocks: 3, hook: .residPost(1), dataset: "text", set: "res-tiny")
        change(&source)
        var mark = LatentMark()
        (mark.core_rank, mark.born, mark.selected_in, mark.scores) = (1, 0, [0, 2], ["gxa": 0.5])
        return ExportedLatents(inspection, latents: latents, marks: [5: mark], width: 128, source: source)
    }

    /// Writes them, and finishes the folder.
    @discardableResult
    func write(_ exported: ExportedLatents, _ format: LatentFormat, to path: String) throws -> ExportFolder.Record {
        let folder = try ExportFolder(path)
        var done = 0
        try format.write(exported, to: folder) { done += $0 }
        return try folder.finish(
            format: format.rawValue, latents: done, tokens: exported.inspection.tokenCount, about: ["a": "b"])
    }
}

/// A packed file's lines.
func lines(_ path: String) throws -> [JSONValue] {
    let stream = try ByteStream(path: path)
    var (text, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
    while true {
        let count = try buffer.withUnsafeMutableBytes { try stream.read(into: $0) }
        if count == 0 { break }
        text += buffer[..<count]
    }
    return try text.split(separator: UInt8(ascii: "\n")).map {
        try JSONValue(parsing: String(decoding: $0, as: UTF8.self))
    }
}
