import SparseCoding
import TensorFiles

/// Which model something was made of, and at which of its hook points; nil where that is not known.
public struct ModelPlace: Equatable, Sendable {
    /// The model's file or folder, by name.
    public var name: String?
    /// SHA-256 of the model's one file, or of the list of those of its several files.
    public var sha256: String?
    /// Where in the model.
    public var hook: HookPoint?

    /// A place of which this much is known.
    public init(name: String?, sha256: String?, hook: HookPoint?) {
        self.name = name
        self.sha256 = sha256
        self.hook = hook
    }

    /// Of an activation store or an SAE trained on one: `hashes` are by what a file is for, see `modelHash`.
    public init(name: String?, hashes: [String: String]?, hook: HookPoint?) {
        self.init(name: name, sha256: hashes.flatMap(Self.modelHash), hook: hook)
    }

    /// The model's hash out of SHA-256 by what a file is for: "model", or "model config.json" and so on; nil if none is there.
    public static func modelHash(_ hashes: [String: String]) -> String? {
        if let one = hashes["model"] { return one }
        let several = hashes.filter { $0.key.hasPrefix("model ") }.sorted { $0.key < $1.key }.map(\.value)
        return several.isEmpty ? nil : modelHash(ofFiles: several)
    }

    /// The model's hash out of those of its files in the order of their names.
    public static func modelHash(ofFiles hashes: [String]) -> String {
        hashes.count == 1 ? hashes[0] : SHA256.hexadecimal(SHA256.digest(of: hashes.joined(separator: " ")))
    }

    /// In what activations of another place are others than those that `subject` was made of, in sentences.
    public func differences(of subject: String, from activations: ModelPlace) -> [String] {
        var result: [String] = []
        if let hook, let other = activations.hook, hook.usual != other.usual {
            result.append("\(subject) is of \(hook.shown), and the activations are of \(other.shown)")
        }
        if let sha256, let other = activations.sha256, sha256 != other {
            func named(_ name: String?) -> String { name.map { " (\($0))" } ?? "" }
            result.append(
                "\(subject) is of another model\(named(name)) than the activations\(named(activations.name)): "
                    + "their SHA-256 differ")
        }
        return result
    }
}

extension SAEProvenance {
    /// What its activations were of.
    public var place: ModelPlace { ModelPlace(name: model, hashes: hashes, hook: hookPoint) }
}

extension ActivationStoreRecord {
    /// What its activations are of.
    public var place: ModelPlace { ModelPlace(name: model, hashes: hashes, hook: hookPoint) }
}

extension Core {
    /// What the activations of its SAE were of.
    public var place: ModelPlace {
        // `select` keeps what the scores say of themselves under names of its own.
        func said(_ key: String) -> String? { origin?[key] ?? origin?["scores." + key] }
        return ModelPlace(
            name: said("model"), sha256: said("model.sha256"), hook: HookPoint(entry: said))
    }

    /// What a core.json, or a core.safetensors with its core.json beside it, is of; nil where nothing says that.
    ///
    /// - Throws: `TensorFileError` for a file that is no core.json.
    public static func place(at path: String) throws -> ModelPlace? {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
        let list = path.hasSuffix(".json") ? path : folder + "core.json"
        guard exists(list) else { return nil }
        let core = try JSONRecord.read(Core.self, from: list)
        let isOwn = try path == list || core.encoderHash == SHA256.hexadecimal(ofFile: path)
        return isOwn ? core.place : nil
    }
}
