import Glibc
import TOMLKit
import TensorFiles

/// What a plain function is called with: the TOML file beside its shared object.
///
///     version = 1
///     symbol = "score"
///     args = ["entries:i64", "activations:f32*", "scores:f32*"]
///     returns = "i32"
///
/// An argument is NAME:TYPE. Scalars are passed by value (`i64`, `i32`) or, as Fortran has them, by reference (`i64*`, `i32*`);
/// arrays have one type each. `returns` is "void" or "i32", where anything but 0 is an error.
struct KernelSignature: Equatable {
    var version: Int
    var symbol: String
    var args: [String]
    var returns: String

    /// N, m, d, the number of entries and S; an array's element type.
    static let scalars: Set<String> = ["tokens", "latents", "dimension", "entries", "sequences"]
    static let arrays: [String: String] = [
        "row_offsets": "i64*", "columns": "i32*", "activations": "f32*", "decoder": "f32*", "decoder_bias": "f32*",
        "gradient": "f32*", "residual": "f32*", "reconstruction": "f32*", "loss": "f32*", "token_ids": "i32*",
        "sequence_offsets": "i64*", "scored": "u8*", "scores": "f32*",
    ]

    /// The TOML file of a shared object, whether it is there or not.
    static func path(of library: String) -> String {
        (library.hasSuffix(".so") ? String(library.dropLast(3)) : library) + ".toml"
    }

    /// The signature of the function in `library`, nil if there is no TOML file beside it.
    /// - Throws: `PluginError.badKernel`.
    static func read(of library: String) throws -> KernelSignature? {
        let path = path(of: library)
        guard access(path, F_OK) == 0 else { return nil }
        func bad(_ reason: String) -> PluginError { .badKernel(path: path, reason: reason) }
        guard let file = fopen(path, "re") else { throw bad(String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 * 1024 + 1)
        let got = fread(&bytes, 1, bytes.count, file)
        guard got < bytes.count else { throw bad("it is longer than 64 KiB") }
        let signature = try KernelSignature(toml: String(decoding: bytes[..<got], as: UTF8.self), bad)
        try signature.check(bad)
        return signature
    }

    private init(toml text: String, _ bad: (String) -> PluginError) throws {
        let table: TOMLTable
        do { table = try TOMLTable(string: text) } catch let error as TOMLParseError {
            let reason = printable(error.description).replacing("Error while parsing ", with: "")
            throw bad("it is not TOML: line \(error.source.begin.line): \(reason)")
        }
        func value<Value>(_ key: String, _ example: String, _ read: (TOMLValueConvertible) -> Value?) throws -> Value {
            guard let found = table[key] else { throw bad("\(key) is missing; write \(key) = \(example)") }
            guard let value = read(found) else {
                throw bad("\(key) is of the wrong type, \(found.type); write \(key) = \(example)")
            }
            return value
        }
        let keys = ["version", "symbol", "args", "returns"]
        if let unknown = table.keys.sorted().first(where: { !keys.contains($0) }) {
            let near = nearest(unknown, among: keys).map { ", perhaps '\($0)'" } ?? ""
            throw bad("there is no key '\(printable(unknown))'\(near); there are \(keys.joined(separator: ", "))")
        }
        version = try value("version", "1", \.int)
        symbol = try value("symbol", "\"score\"", \.string)
        args = try value("args", "[\"entries:i64\", \"activations:f32*\", \"scores:f32*\"]") { list in
            guard let list = list.array else { return nil }
            let texts = list.compactMap(\.string)
            return texts.count == list.count ? texts : nil
        }
        returns = try value("returns", "\"i32\"", \.string)
    }

    /// NAME and TYPE of each argument.
    var arguments: [(name: String, type: String)] {
        args.map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    private func check(_ bad: (String) -> PluginError) throws {
        guard version == 1 else { throw bad("version is \(version); this dmsae reads 1") }
        guard returns == "i32" || returns == "void" else {
            throw bad("returns is '\(returns)'; write \"i32\" or \"void\"")
        }
        guard (1...64).contains(args.count) else { throw bad("there are \(args.count) args; at least 1, at most 64") }
        for (text, (name, type)) in zip(args, arguments) {
            if Self.scalars.contains(name) {
                guard ["i64", "i32", "i64*", "i32*"].contains(type) else {
                    throw bad("argument '\(text)': \(name) is a number; write \(name):i64, :i32, :i64* or :i32*")
                }
            } else if let wanted = Self.arrays[name] {
                guard type == wanted else { throw bad("argument '\(text)': write \(name):\(wanted)") }
            } else {
                let known = Array(Self.scalars) + Array(Self.arrays.keys)
                let near = nearest(name, among: known.sorted()).map { ", perhaps '\($0)'" } ?? ""
                throw bad(
                    "argument '\(text)': there is no '\(name)'\(near); there are \(known.sorted().joined(separator: ", "))"
                )
            }
        }
        guard arguments.count(where: { $0.name == "scores" }) == 1 else {
            throw bad("scores, where the function writes, must be among the args once")
        }
    }
}
