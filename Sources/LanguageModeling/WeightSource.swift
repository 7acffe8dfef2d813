import Glibc
import Kernels
import TensorFiles

/// Where a decoder's weights come from, by the names its files use.
protocol WeightSource {
    /// Named in messages.
    var path: String { get }
    /// Every tensor there is.
    var names: Set<String> { get }
    /// Numbers in all of them together, by the form they are stored in; the files are there, so it cannot be made up.
    var counts: [NumberFormat: Int] { get }
    /// A tensor of exactly `shape` as it is stored. Throws `TensorFileError`.
    func rows(_ name: String, shape: [Int]) throws -> StoredRows
}

/// The safetensors of a Hugging Face folder: `model.safetensors`, or shards listed by
/// `model.safetensors.index.json`.
struct SafetensorsFolder: WeightSource {
    let path: String
    private let files: [String: SafetensorsFile]

    var names: Set<String> { Set(files.keys) }
    var counts: [NumberFormat: Int] {
        files.reduce(into: [:]) { counts, entry in
            guard let tensor = entry.value.tensors[entry.key] else { return }
            counts[tensor.type.format ?? .f32, default: 0] &+= tensor.shape.reduce(1, &*)
        }
    }

    init(path: String) throws {
        let single = "\(path)/model.safetensors"
        let index = "\(path)/model.safetensors.index.json"
        self.path = path
        if access(single, F_OK) == 0 {
            let file = try SafetensorsFile(path: single)
            files = file.tensors.mapValues { _ in file }
        } else if access(index, F_OK) == 0 {
            files = try Self.shards(index, folder: path)
        } else {
            let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"].first {
                access("\(path)/\($0)", F_OK) == 0
            }
            throw LanguageModelError.noModel(
                path: path,
                missing: "it has neither model.safetensors nor model.safetensors.index.json"
                    + (pickled.map { ", but \($0), which transformers' save_pretrained writes as safetensors" } ?? ""))
        }
    }

    private static func shards(_ index: String, folder: String) throws -> [String: SafetensorsFile] {
        guard let map = try JSONValue(contentsOf: index)["weight_map"]?.object else {
            throw LanguageModelError.missingSetting(file: index, key: "weight_map")
        }
        var opened: [String: SafetensorsFile] = [:]
        var files: [String: SafetensorsFile] = [:]
        for (name, value) in map.sorted(by: { $0.key < $1.key }) {
            guard let shard = value.string, !shard.contains("/"), !shard.isEmpty else {
                throw LanguageModelError.strayShard(file: index, shard: value.string ?? "not a string")
            }
            let file = try opened[shard] ?? SafetensorsFile(path: "\(folder)/\(shard)")
            opened[shard] = file
            try file.require(name)
            files[name] = file
        }
        // transformers reads every tensor of a shard, whether the index lists it or not.
        for (shard, file) in opened.sorted(by: { $0.key < $1.key }) {
            if let other = file.tensors.keys.sorted().first(where: { files[$0] !== file }) {
                throw TensorFileError.malformed(
                    file: "\(folder)/\(shard)", what: "tensor \"\(other)\" is not listed in the index for this shard",
                    next: "fetch index and shards again")
            }
        }
        return files
    }

    func rows(_ name: String, shape: [Int]) throws -> StoredRows {
        guard let file = files[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(files.keys))
        }
        try file.require(name, shape: shape)
        return try file.rows(name)
    }
}

extension GGUFParts: WeightSource {
    var counts: [NumberFormat: Int] {
        files.lazy.flatMap(\.tensors.values).reduce(into: [:]) {
            $0[$1.elementType, default: 0] &+= $1.shape.reduce(1, &*)
        }
    }

    func rows(_ name: String, shape: [Int]) throws -> StoredRows {
        if let found = self[name]?.shape, found != shape {
            throw TensorFileError.wrongShape(file: path, name: name, found: found, wanted: shape)
        }
        return try rows(name)
    }
}
