import Glibc
import PluginABI
import TensorFiles
import Yams

/// What a plain function is called with: the YAML file beside its shared object.
///
///     version: 1
///     symbol: score
///     args: ["entries:i64", "activations:f32*", "alpha:f64", "scores:f32*"]
///     returns: i32
///     parameters: {alpha: 0.5}
///
/// An argument is NAME:TYPE. Scalars are passed by value (`i64`, `i32`) or, as Fortran has them, by reference (`i64*`,
/// `i32*`); arrays have one type each. A setting, with its default in `parameters`, is an `f64` or `i64`, by value or by reference. `returns` is "void" or "i32", where anything but 0 is an error.
package struct FunctionSignature: Equatable {
    var version: Int
    package var symbol: String
    var args: [String]
    var returns: String
    /// Settings that the user may give, each with its default.
    var parameters: [Parameter] = []

    struct Parameter: Equatable {
        let name: String
        let defaultValue: String
    }

    /// N, m, d, the number of entries and S; an array's element type.
    static let scalars: Set<String> = ["tokens", "latents", "dimension", "entries", "sequences"]
    static let arrays: [String: String] = [
        "row_offsets": "i64*", "columns": "i32*", "activations": "f32*", "decoder": "f32*", "decoder_bias": "f32*",
        "gradient": "f32*", "residual": "f32*", "reconstruction": "f32*", "loss": "f32*", "token_ids": "i32*",
        "sequence_offsets": "i64*", "scored": "u8*", "scores": "f32*",
    ]

    /// The signature of the function in `file`, nil if nothing beside it describes one.
    /// - Throws: `PluginABIError.badFunction`.
    package init?(of file: PluginFile) throws {
        guard let function = file.function else { return nil }
        let path = FunctionText.path(of: file.path)
        func bad(_ reason: String) -> PluginABIError { .badFunction(path: path, reason: reason) }
        guard let text = String(validating: function.bytes, as: UTF8.self) else { throw bad("it is not UTF-8") }
        try self.init(yaml: text, bad)
        try check(bad)
    }

    private init(yaml text: String, _ bad: (String) -> PluginABIError) throws {
        let table = try Self.mapping(text, bad)
        let keys = ["version", "symbol", "args", "returns", "parameters"]
        for key in table.keys.map({ $0.scalar?.string ?? "" }) where !keys.contains(key) {
            let near = nearest(key, among: keys).map { ", perhaps '\($0)'" } ?? ""
            throw bad("there is no key '\(printable(key))'\(near); there are \(keys.joined(separator: ", "))")
        }
        func value<Value>(_ key: String, _ example: String, _ read: (Node) -> Value?) throws -> Value {
            guard let found = table[Node(key)] else { throw bad("\(key) is missing; write \(key): \(example)") }
            guard let value = read(found) else {
                let kind =
                    found.mapping != nil ? "a mapping" : found.sequence != nil ? "a list" : "'\(found.string ?? "")'"
                throw bad("\(key) is \(printable(kind)); write \(key): \(example)")
            }
            return value
        }
        version = try value("version", "1", \.int)
        symbol = try value("symbol", "score", \.scalar?.string)
        args = try value("args", "[\"entries:i64\", \"activations:f32*\", \"scores:f32*\"]") { list in
            guard let list = list.sequence else { return nil }
            let texts = list.compactMap(\.scalar?.string)
            return texts.count == list.count ? texts : nil
        }
        returns = try value("returns", "i32", \.scalar?.string)
        if table[Node("parameters")] != nil {
            parameters = try value("parameters", "{alpha: 0.5}") { list in
                guard let list = list.mapping else { return nil }
                let pairs = list.compactMap { key, value -> Parameter? in
                    guard let name = key.scalar?.string, let text = value.scalar?.string else { return nil }
                    return Parameter(name: name, defaultValue: text)
                }
                return pairs.count == list.count ? pairs : nil
            }
        }
    }

    /// The keys and values of a text.
    private static func mapping(_ text: String, _ bad: (String) -> PluginABIError) throws -> Node.Mapping {
        do {
            guard let mapping = try Yams.compose(yaml: text)?.mapping else {
                throw bad("it is not a list of keys and values; begin with version: 1")
            }
            return mapping
        } catch let error as YamlError {
            switch error {
            case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
                .composer(_, let problem, let mark, _):
                throw bad("it is not YAML: line \(mark.line): \(printable(problem))")
            case .duplicatedKeysInMapping(let keys, let context):
                throw bad("line \(context.mark.line): \(printable(keys.joined(separator: ", "))) is there twice")
            default: throw bad("it is not YAML: \(printable("\(error)"))")
            }
        }
    }

    /// NAME and TYPE of each argument.
    var arguments: [(name: String, type: String)] {
        args.map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    private func check(_ bad: (String) -> PluginABIError) throws {
        guard version == 1 else { throw bad("version is \(version); this dmsae reads 1") }
        guard returns == "i32" || returns == "void" else {
            throw bad("returns is '\(printable(returns))'; write i32 or void")
        }
        guard (1...64).contains(args.count) else { throw bad("there are \(args.count) args; at least 1, at most 64") }
        for (text, (name, type)) in zip(args, arguments) {
            if Self.scalars.contains(name) {
                guard ["i64", "i32", "i64*", "i32*"].contains(type) else {
                    throw bad(
                        "argument '\(printable(text))': \(name) is a number; write \(name):i64, :i32, :i64* or :i32*")
                }
            } else if let wanted = Self.arrays[name] {
                guard type == wanted else { throw bad("argument '\(printable(text))': write \(name):\(wanted)") }
            } else if parameters.contains(where: { $0.name == name }) {
                guard ["f64", "i64", "f64*", "i64*"].contains(type) else {
                    throw bad(
                        "argument '\(printable(text))': \(name) is a setting; write \(name):f64, :i64, :f64* or :i64*")
                }
            } else {
                let known = Array(Self.scalars) + Array(Self.arrays.keys)
                let near = nearest(name, among: known.sorted()).map { ", perhaps '\($0)'" } ?? ""
                throw bad(
                    "argument '\(printable(text))': there is no '\(printable(name))'\(near); there are \(known.sorted().joined(separator: ", "))"
                )
            }
        }
        guard arguments.count(where: { $0.name == "scores" }) == 1 else {
            throw bad("scores, where the function writes, must be among the args once")
        }
        for parameter in parameters {
            let types = Set(arguments.filter { $0.name == parameter.name }.map { $0.type.prefix(3) })
            guard Self.arrays[parameter.name] == nil, !Self.scalars.contains(parameter.name), types.count == 1 else {
                throw bad(
                    "parameter '\(printable(parameter.name))' must be among the args, of one type, and not one of the host's "
                        + "names")
            }
            guard !parameter.name.isEmpty, parameter.name.utf8.allSatisfy({ $0.isNameByte }) else {
                throw bad("parameter '\(printable(parameter.name))' is not made of a-z, 0-9, '-', '_', '.'")
            }
            let spec = spec(parameter)
            if spec.canonical(parameter.defaultValue) == nil {
                throw bad(
                    "the default of parameter '\(parameter.name)' is '\(printable(parameter.defaultValue))', which is not "
                        + spec.legalValues)
            }
        }
    }

    /// The settings as other plugins describe theirs.
    var specs: [ParameterSpec] { parameters.map(spec) }

    private func spec(_ parameter: Parameter) -> ParameterSpec {
        let type = arguments.first { $0.name == parameter.name }?.type ?? ""
        let kind: ParameterSpec.Kind = type.hasPrefix("f64") ? .number : .integer
        return ParameterSpec(
            key: parameter.name, kind: kind, description: "as its author knows",
            defaultValue: ParameterSpec(
                key: parameter.name, kind: kind, description: "", defaultValue: nil
            ).canonical(parameter.defaultValue) ?? parameter.defaultValue)
    }
}

extension UInt8 {
    /// Of keys of settings.
    fileprivate var isNameByte: Bool {
        (97...122).contains(self) || (48...57).contains(self) || [45, 46, 95].contains(self)
    }
}
