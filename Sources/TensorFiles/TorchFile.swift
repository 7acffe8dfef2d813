import LinearAlgebra

/// A file of `torch.save`: a dictionary of tensors, such as a state dict, in a ZIP archive with a pickle.
///
/// Nothing of the pickle is run (see `Unpickler`). Every tensor's storage, type, size and strides are
/// checked against the file before anything is read through them; tensors may be transposed or parts of a
/// storage, as PyTorch leaves them.
package final class TorchFile: Sendable {
    /// As given by the caller; for messages.
    package let path: String
    /// The tensors, by name.
    package let tensors: [String: TorchTensor]
    /// What else the dictionary holds: numbers, texts, truth values, and nil for what is none of these.
    package let others: [String: TorchScalar?]
    private let archive: ZipArchive
    private let folder: String

    /// Opens a file and reads its pickle. Throws `TensorFileError`.
    package init(path: String) throws {
        self.path = path
        let mapped = try MappedFile(path: path)
        guard ZipArchive.isOne(mapped) else {
            throw TensorFileError.unsupported(
                file: path, what: "it is not in the format of PyTorch 1.6 and later",
                next: "load it with PyTorch and torch.save its state dict again")
        }
        archive = try ZipArchive(path: path)
        let pickles = archive.names.filter { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }
        guard pickles.count == 1 else {
            throw TensorFileError.malformed(
                file: path, what: "it holds \(pickles.count) pickles named data.pkl, and torch.save writes one",
                next: "fetch it again")
        }
        folder = String(pickles[0].dropLast("data.pkl".count))
        if archive.names.contains(folder + "byteorder") {
            let order = String(decoding: try archive.contents(folder + "byteorder").bytes, as: UTF8.self)
            guard order == "little" else {
                throw TensorFileError.unsupported(
                    file: path, what: "its byte order is \(order)", next: "save it on a little-endian machine")
            }
        }
        let pickle = try archive.contents(pickles[0])
        let root = try TorchPickle(path: path).unpickler.value(of: pickle.bytes)
        guard case .dictionary(let dictionary) = root else {
            throw TensorFileError.unsupported(
                file: path, what: "it holds something else than a dictionary of tensors",
                next: "torch.save a state dict")
        }
        var tensors: [String: TorchTensor] = [:]
        var others: [String: TorchScalar?] = [:]
        for (key, value) in dictionary.members {
            switch value {
            case .object(let tensor as TorchTensor): tensors[key] = tensor
            case .boolean(let truth): others[key] = .some(.boolean(truth))
            case .integer(let number): others[key] = .some(.integer(number))
            case .real(let number): others[key] = .some(.real(number))
            case .text(let text): others[key] = .some(.text(text))
            default: others[key] = .some(nil)
            }
        }
        self.tensors = tensors
        self.others = others
        for (name, tensor) in tensors { try check(tensor, name) }
    }

    /// A tensor of numbers widened or rounded to `Float`: rows are the leading sizes together, columns the last; a
    /// vector is one row, a scalar 1×1.
    package func matrix(_ name: String, shape: [Int]? = nil) throws -> Matrix {
        let tensor = try require(name, shape)
        let contents = try archive.contents(folder + "data/" + tensor.storage)
        let result = Matrix(
            rows: tensor.shape.dropLast().reduce(1, *), columns: tensor.shape.last ?? 1)
        let read = tensor.type.floatReader(contents.bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1)!)
        tensor.forEachElement { place, element in result[place] = read(element) }
        return result
    }

    /// A tensor of whole numbers.
    package func integers(_ name: String) throws -> [Int] {
        let tensor = try require(name, nil)
        let contents = try archive.contents(folder + "data/" + tensor.storage)
        guard let read = tensor.type.integerReader(contents.bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1)!)
        else {
            throw TensorFileError.wrongType(
                file: path, name: name, found: "\(tensor.type)", wanted: "a tensor of whole numbers")
        }
        var result = [Int](repeating: 0, count: tensor.count)
        tensor.forEachElement { place, element in result[place] = read(element) }
        return result
    }

    private func require(_ name: String, _ shape: [Int]?) throws -> TorchTensor {
        guard let tensor = tensors[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(tensors.keys))
        }
        if let shape, shape != tensor.shape {
            throw TensorFileError.wrongShape(file: path, name: name, found: tensor.shape, wanted: shape)
        }
        return tensor
    }

    /// That all elements lie in the storage, and the storage in the file.
    private func check(_ tensor: TorchTensor, _ name: String) throws {
        func malformed(_ what: String) -> TensorFileError {
            .malformed(file: path, what: "tensor \"\(name)\" \(what)", next: "fetch it again")
        }
        guard tensor.shape.count == tensor.strides.count, tensor.shape.count <= 8,
            tensor.shape.allSatisfy({ (0...Int(Int32.max)).contains($0) }),
            tensor.strides.allSatisfy({ (0...Int(Int32.max)).contains($0) }), tensor.offset >= 0, tensor.numbers >= 0
        else { throw malformed("has the impossible shape \(tensor.shape), strides \(tensor.strides)") }
        var (count, last, overflows) = (1, tensor.offset, false)
        for (size, stride) in zip(tensor.shape, tensor.strides) {
            let (product, tooMany) = count.multipliedReportingOverflow(by: size)
            // Both factors are below 2³¹.
            let (end, tooFar) = last.addingReportingOverflow(max(0, size - 1) * stride)
            (count, last, overflows) = (product, end, overflows || tooMany || tooFar)
        }
        guard !overflows, count == 0 || last < tensor.numbers, count <= max(1, tensor.numbers) else {
            throw malformed("reaches beyond its storage of \(tensor.numbers) numbers")
        }
        let entry = folder + "data/" + tensor.storage
        guard let bytes = archive.size(entry) else { throw malformed("has no storage \"\(entry)\"") }
        let (wanted, tooMany) = tensor.numbers.multipliedReportingOverflow(by: tensor.type.size)
        guard !tooMany, bytes == wanted else {
            throw malformed("has a storage of \(bytes) bytes for \(tensor.numbers) numbers of \(tensor.type)")
        }
    }
}

/// A tensor in a `TorchFile`: element i₁, i₂, … is number offset + Σ iₖ strideₖ of a storage.
package struct TorchTensor: Sendable, Equatable {
    /// Sizes, slowest first.
    package var shape: [Int]
    /// How the numbers are stored.
    package var type: TorchType
    fileprivate var storage: String
    /// Of the whole storage.
    fileprivate var numbers: Int
    fileprivate var offset: Int
    fileprivate var strides: [Int]

    /// Number of elements.
    package var count: Int { shape.reduce(1, *) }

    /// Calls `body` with the row-major place and the number in the storage of every element.
    fileprivate func forEachElement(_ body: (Int, Int) -> Void) {
        var index = [Int](repeating: 0, count: shape.count)
        var element = offset
        for place in 0..<count {
            body(place, element)
            for axis in shape.indices.reversed() {
                index[axis] += 1
                element += strides[axis]
                if index[axis] < shape[axis] { break }
                element -= shape[axis] * strides[axis]
                index[axis] = 0
            }
        }
    }
}

/// What a `TorchFile` holds beside tensors.
package enum TorchScalar: Sendable, Equatable {
    case boolean(Bool)
    case integer(Int)
    case real(Double)
    case text(String)
}

/// The types of tensors that are read, by the names of PyTorch's storages.
package enum TorchType: String, Sendable, CaseIterable {
    case double = "DoubleStorage"
    case float = "FloatStorage"
    case half = "HalfStorage"
    case bfloat16 = "BFloat16Storage"
    case long = "LongStorage"
    case int = "IntStorage"
    case short = "ShortStorage"
    case char = "CharStorage"
    case byte = "ByteStorage"
    case bool = "BoolStorage"

    /// Bytes of a number.
    var size: Int {
        switch self {
        case .double, .long: 8
        case .float, .int: 4
        case .half, .bfloat16, .short: 2
        case .char, .byte, .bool: 1
        }
    }

    /// Reads number i as `Float`.
    fileprivate func floatReader(_ base: UnsafeRawPointer) -> (Int) -> Float {
        switch self {
        case .double: return { Float(base.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self)) }
        case .float: return { base.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        case .half: return { widenHalf(base.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)) }
        case .bfloat16:
            return { Float(bitPattern: UInt32(base.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)) << 16) }
        case .long, .int, .short, .char, .byte, .bool:
            let read = integerReader(base)!
            return { Float(read($0)) }
        }
    }

    /// Reads number i as a whole one; nil for types of others.
    fileprivate func integerReader(_ base: UnsafeRawPointer) -> ((Int) -> Int)? {
        switch self {
        case .long: { Int(base.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
        case .int: { Int(base.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        case .short: { Int(base.loadUnaligned(fromByteOffset: 2 * $0, as: Int16.self)) }
        case .char: { Int(base.load(fromByteOffset: $0, as: Int8.self)) }
        case .byte, .bool: { Int(base.load(fromByteOffset: $0, as: UInt8.self)) }
        case .double, .float, .half, .bfloat16: nil
        }
    }
}

/// What the pickles of `torch.save` may name.
private struct TorchPickle {
    let path: String

    private static let rebuildTensor = "torch._utils _rebuild_tensor_v2"
    private static let rebuildParameter = "torch._utils _rebuild_parameter"
    private static let orderedDictionary = "collections OrderedDict"
    private static let size = "torch Size"
    private static let globals = Set(
        [rebuildTensor, rebuildParameter, orderedDictionary, size] + TorchType.allCases.map { "torch \($0.rawValue)" })

    /// A storage by its persistent id.
    private struct Storage {
        var key: String
        var type: TorchType
        var numbers: Int
    }

    var unpickler: Unpickler {
        Unpickler(path: path, globals: Self.globals, persistent: storage, call: call)
    }

    private func malformed(_ what: String) -> TensorFileError {
        .malformed(file: path, what: "its pickle is not sound: \(what)", next: "fetch it again")
    }

    /// ('storage', torch.FloatStorage, key, location, numbers)
    private func storage(_ id: PickleValue) throws -> PickleValue {
        guard case .tuple(let parts) = id, parts.count == 5, case .text("storage") = parts[0],
            case .global(let name) = parts[1], let type = TorchType(rawValue: String(name.dropFirst("torch ".count))),
            case .text(let key) = parts[2], case .text = parts[3], case .integer(let numbers) = parts[4]
        else { throw malformed("a persistent id that is no storage") }
        return .object(Storage(key: key, type: type, numbers: numbers))
    }

    private func call(_ name: String, _ arguments: [PickleValue]) throws -> PickleValue {
        switch name {
        case Self.orderedDictionary:
            guard arguments.isEmpty else { throw malformed("an ordered dictionary made of something") }
            return .dictionary(PickleDictionary())
        case Self.size:
            guard arguments.count == 1 else { throw malformed("a size of \(arguments.count) things") }
            return arguments[0]
        case Self.rebuildParameter:
            guard let data = arguments.first, case .object(let tensor) = data, tensor is TorchTensor else {
                throw malformed("a parameter that is no tensor")
            }
            return data
        case Self.rebuildTensor: return .object(try tensor(arguments))
        default: throw malformed("a call of \(name)")
        }
    }

    /// (storage, offset, size, strides, requires_grad, hooks), and metadata in newer files.
    private func tensor(_ arguments: [PickleValue]) throws -> TorchTensor {
        guard (6...7).contains(arguments.count), case .object(let found) = arguments[0],
            let storage = found as? Storage,
            case .integer(let offset) = arguments[1], let shape = integers(arguments[2]),
            let strides = integers(arguments[3])
        else { throw malformed("a tensor is not made as PyTorch makes it") }
        return TorchTensor(
            shape: shape, type: storage.type, storage: storage.key, numbers: storage.numbers, offset: offset,
            strides: strides)
    }

    private func integers(_ value: PickleValue) -> [Int]? {
        guard case .tuple(let parts) = value else { return nil }
        let numbers = parts.compactMap { if case .integer(let number) = $0 { number } else { nil } }
        return numbers.count == parts.count ? numbers : nil
    }
}
