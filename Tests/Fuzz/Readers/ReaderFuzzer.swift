import Glibc
import LanguageModeling
import LinearAlgebra
import SAEFormats
import TensorFiles

/// What libFuzzer calls with every input that it makes (`Tests/Fuzz/readers` builds and runs this). A trap, an endless loop or
/// memory without end is a finding; an error is not, as long as it says something.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do {
        try readerUnderTest.read(UnsafeRawBufferPointer(start: start, count: count))
    } catch {
        precondition(!"\(error)".isEmpty)
    }
    return 0
}

/// `DMSAE_FUZZ` says which.
private let readerUnderTest: FileReader = {
    let name = getenv("DMSAE_FUZZ").map { String(cString: $0) } ?? ""
    guard let reader = FileReader(rawValue: name) else {
        fatalError("set DMSAE_FUZZ to one of \(FileReader.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return reader
}()

/// The readers of files that come from elsewhere.
enum FileReader: String, CaseIterable {
    /// A file of torch.save, all of it.
    case torch
    /// The pickle in one. In the archive its checksum would keep a fuzzer out.
    case pickle
    /// Any archive.
    case zip
    /// An array of NumPy, in an archive of its own.
    case npy
    case safetensors
    /// Token ids; the first byte chooses whether as `.npy` or as safetensors.
    case tokens
    /// Packed text; the first byte chooses how.
    case packed
    case gguf
    case json
    /// `tokenizer.json`.
    case tokenizer
    /// `config.json` of a language model.
    case model
    /// What says what an SAE is, in every format; the first byte chooses which.
    case sae

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        switch self {
        case .torch: try readTorch(try Scratch.file("x.pt", [bytes]))
        case .pickle:
            let numbers = [Float](repeating: 1, count: 16)
            try numbers.withUnsafeBytes { storage in
                try readTorch(try Scratch.archive("x.pt", ["archive/data.pkl": bytes, "archive/data/0": storage]))
            }
        case .zip:
            let archive = try ZipArchive(path: try Scratch.file("x.zip", [bytes]))
            for name in archive.names { _ = try archive.contents(name).bytes.count }
        case .npy:
            let archive = try NumpyArchive(path: try Scratch.archive("x.npz", ["W.npy": bytes]))
            _ = try? archive.matrix("W", shape: [nil])
            _ = try archive.matrix("W", shape: [nil, nil])
        case .safetensors:
            let file = try SafetensorsFile(path: try Scratch.file("x.safetensors", [bytes]))
            for name in file.tensors.keys.sorted() {
                _ = try? file.integers(name)
                _ = try? file.doubles(name)
            }
        case .tokens:
            guard let first = bytes.first else { return }
            let path = try Scratch.file(
                first % 2 == 0 ? "x.npy" : "ids.safetensors", [UnsafeRawBufferPointer(rebasing: bytes.dropFirst())])
            let file = try TokenFile(path: path)
            _ = try file.rows(0..<min(file.rowCount, 4), vocabularySize: 300)
        case .packed:
            guard let first = bytes.first else { return }
            let path = try Scratch.file(
                first % 2 == 0 ? "x.txt.gz" : "x.txt.zst", [UnsafeRawBufferPointer(rebasing: bytes.dropFirst())])
            let stream = try ByteStream(path: path, allowance: 1 << 20)
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while try buffer.withUnsafeMutableBytes({ try stream.read(into: $0) }) > 0 {}
        case .gguf:
            let file = try GGUFParts(path: try Scratch.file("x.gguf", [bytes]))
            for name in file.names.sorted() { _ = try? file.matrix(name) }
            _ = try? DecoderDescription(gguf: file)
            _ = try Tokenizer.load(gguf: file).encode("Grüße, World! 123\n")
        case .json: _ = try JSONValue(parsing: bytes)
        case .tokenizer:
            let tokenizer = try Tokenizer.load(path: try Scratch.file("tokenizer.json", [bytes]))
            _ = try tokenizer.decode(tokenizer.encode("Grüße, World! 123\n<|endoftext|>", allowSpecial: true))
        case .model: _ = try DecoderDescription(huggingFace: try Scratch.file("config.json", [bytes]))
        case .sae:
            guard let first = bytes.first else { return }
            let (folder, name) = SAEConfigurations.all[Int(first) % SAEConfigurations.all.count]
            _ = try Scratch.file(folder + "/" + name, [UnsafeRawBufferPointer(rebasing: bytes.dropFirst())])
            _ = try SAEFormats.read(Scratch.folder + "/" + folder)
        }
    }

    private func readTorch(_ path: String) throws {
        let file = try TorchFile(path: path)
        for name in file.tensors.keys.sorted() {
            _ = try? file.matrix(name)
            _ = try? file.integers(name)
        }
    }
}

/// The files of SAE folders that say what they are; the weights beside them are those of the fixtures.
private enum SAEConfigurations {
    static let all: [(folder: String, name: String)] = {
        let all = [
            ("saelens/matryoshka_training", "cfg.json"), ("saelens/matryoshka_training", "activation_scaler.json"),
            ("saelens/gated", "cfg.json"), ("saelens/topk", "cfg.json"),
            ("dictionary_learning/matryoshka_batchtopk", "config.json"), ("dictionary_learning/gated", "config.json"),
            ("sparsify/layers.15", "cfg.json"),
            ("gemma_scope_2/resid_post/layer_15_width_128_l0_small", "config.json"),
        ]
        let fixtures = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        for (folder, _) in all {
            let source = "/\(fixtures)/Fixtures/\(folder)"
            for name in [
                "cfg.json", "config.json", "activation_scaler.json", "sae_weights.safetensors", "sae.safetensors",
                "params.safetensors", "ae.pt",
            ] where exists(source + "/" + name) {
                guard let file = try? MappedFile(path: source + "/" + name),
                    (try? Scratch.file(folder + "/" + name, [file.slice(0..<file.count)])) != nil
                else { fatalError("cannot copy \(source)/\(name)") }
            }
        }
        return all
    }()
}
